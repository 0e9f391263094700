//! What statements say of transactions.

/// What a statement says of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// One begins.
    Begin,
    /// It is committed.
    Commit,
    /// All of it is taken back.
    RollBack,
    /// A savepoint is set, left, or gone back to.
    Savepoint,
    /// Nothing: it reads or writes.
    Nothing,
}

impl Control {
    pub(super) fn of(statement: &str) -> Control {
        let words: Vec<String> =
            statement.split_ascii_whitespace().take(3).map(str::to_ascii_uppercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["BEGIN", ..] => Control::Begin,
            ["COMMIT" | "END"] | ["COMMIT" | "END", "TRANSACTION"] => Control::Commit,
            ["ROLLBACK"] | ["ROLLBACK", "TRANSACTION"] => Control::RollBack,
            ["SAVEPOINT" | "RELEASE" | "ROLLBACK", ..] => Control::Savepoint,
            _ => Control::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_statement_says_of_transactions() {
        for (text, control) in [
            ("BEGIN TRANSACTION", Control::Begin),
            ("begin immediate", Control::Begin),
            ("COMMIT", Control::Commit),
            ("end transaction", Control::Commit),
            ("rollback", Control::RollBack),
            ("ROLLBACK TO SAVEPOINT s", Control::Savepoint),
            ("SAVEPOINT s", Control::Savepoint),
            ("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END", Control::Nothing),
        ] {
            assert_eq!(Control::of(text), control, "{text}");
        }
    }
}
