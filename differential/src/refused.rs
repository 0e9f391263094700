//! Statements that a partitioned database refuses where one file does not. The list is short, and each
//! refusal has its own code and says what to do instead.

use crate::answer::Refusal;

/// Beginnings of refusals that are documented, by code.
const DOCUMENTED: &[(&str, &str)] = &[
    // One database is one namespace, and a request is one transaction.
    ("sql_forbidden", ""),
    ("not_supported", ""),
];

/// Whether a refusal is on the list.
#[must_use]
pub fn is_documented(refusal: &Refusal) -> bool {
    DOCUMENTED.iter().any(|(code, text)| refusal.code == *code && refusal.message.starts_with(text))
}
