//! Statements that a partitioned database refuses where one file does not. The list is short, and each
//! refusal has its own code and says what to do instead. What is not on it and is refused is a difference.

use crate::answer::Refusal;

/// Parts of the texts of refusals with the code `not_supported`.
const NOT_SUPPORTED: &[&str] = &[
    // Files of one node have programs, statistics and virtual tables of their own.
    "EXPLAIN shows one file's program",
    "virtual tables are not supported",
    // Replicas could not store the same.
    "a text is stored that is not UTF-8",
    // Rows are placed by what a statement sets.
    "the rowid of this table cannot be set over several partitions",
    // Constraints and objects that need rows of several partitions or column groups.
    " over several partitions (table ",
    " in several column groups",
];

/// The answer once a table has the greatest rowid there is: no other one is drawn by chance.
pub(crate) const ROWIDS_EXHAUSTED: &str = "database or disk is full";

/// How the answer to dropping the column by which a table is divided ends; a place in a request may follow.
const PARTITION_KEY_DROPPED: &str = "\": PARTITION KEY";

/// Whether a refusal is on the list. What is forbidden (ATTACH, PRAGMA, transactions in SQL, the system's own
/// tables) is not a matter of partitions.
#[must_use]
pub fn is_documented(refusal: &Refusal) -> bool {
    let listed = || NOT_SUPPORTED.iter().any(|text| refusal.message.contains(text));
    match refusal.code.as_str() {
        // Answers are bounded, whatever they are made of.
        "sql_forbidden" | "result_too_big" => true,
        "sql_error" => {
            refusal.message.starts_with(ROWIDS_EXHAUSTED) || refusal.message.contains(PARTITION_KEY_DROPPED)
        }
        code => code == "not_supported" && listed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_a_difference() {
        let refusal = |code: &str, message: &str| Refusal { code: code.into(), message: message.into() };
        assert!(is_documented(&refusal("not_supported", "virtual tables are not supported")));
        assert!(is_documented(&refusal("result_too_big", "the answer is too large")));
        assert!(!is_documented(&refusal("not_supported", "this form of the statement is not understood")));
        assert!(!is_documented(&refusal("sql_error", "virtual tables are not supported")));
    }
}
