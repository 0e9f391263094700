//! Which names are allowed.

use crate::{Error, ErrorCode, Result};

fn matches(name: &str, first: impl Fn(u8) -> bool, rest: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len()) && first(bytes[0]) && bytes[1..].iter().all(|&byte| rest(byte))
}

/// Checks the name of a database or a collection: `^[A-Za-z][A-Za-z0-9_]{0,62}$`.
pub fn check_database_name(kind: &str, name: &str) -> Result<()> {
    if matches(name, |b| b.is_ascii_alphabetic(), |b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(Error::new(ErrorCode::BadName, format!("'{}' is not a valid {kind} name", shortened(name)))
        .with_hint("use a letter, then up to 62 letters, digits or underscores"))
}

/// Checks the id of a node: `^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`.
pub fn check_node_id(name: &str) -> Result<()> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if matches(name, |b| b.is_ascii_alphanumeric(), rest) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::BadName, format!("'{}' is not a valid node id", shortened(name)))
        .with_hint("use a letter or digit, then up to 62 letters, digits, '_', '.' or '-'"))
}

/// Whether a table of this name belongs to the system: `_…` is ours, `sqlite_…` is SQLite's.
#[must_use]
pub fn is_internal_table(name: &str) -> bool {
    name.starts_with('_') || name.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("sqlite_"))
}

/// Checks the name of a table that a client creates.
pub fn check_table_name(name: &str) -> Result<()> {
    if !name.is_empty() && !name.contains('\0') && !is_internal_table(name) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::BadName, format!("'{}' is not a valid table name", shortened(name)))
        .with_hint("names that begin with '_' or 'sqlite_' are reserved"))
}

/// Quotes an identifier for SQL.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// At most 80 characters of a name, for messages.
fn shortened(name: &str) -> String {
    if name.chars().count() <= 80 { name.to_owned() } else { name.chars().take(80).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_names() {
        for good in ["a", "Shop_2", "CON", &"x".repeat(63)] {
            assert!(check_database_name("database", good).is_ok(), "{good}");
        }
        for bad in ["", "_sys", "2a", "a-b", "a/b", "../etc", "ａ", &"x".repeat(64)] {
            assert!(check_database_name("database", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
    }
}
