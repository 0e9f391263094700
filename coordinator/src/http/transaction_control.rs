//! BEGIN, COMMIT, SAVEPOINT and the like as SQL text within a transaction.

use crate::gateway::Control;

/// What a text asks for, if it is nothing but transaction control. Comments are not looked through.
pub fn parse(sql: &str) -> Option<Control> {
    let text = sql.trim().trim_end_matches(';').trim_end();
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?.to_ascii_uppercase();
    let rest: Vec<&str> = words.collect();
    let is = |word: &str, keyword: &str| word.eq_ignore_ascii_case(keyword);
    let rest: &[&str] = match (first.as_str(), rest.as_slice()) {
        ("COMMIT" | "END" | "ROLLBACK" | "BEGIN", [word, rest @ ..]) if is(word, "TRANSACTION") => rest,
        (_, rest) => rest,
    };
    match (first.as_str(), rest) {
        ("BEGIN", [] | [_] | [_, _]) => Some(Control::Begin),
        ("COMMIT" | "END", []) => Some(Control::Commit),
        ("ROLLBACK", []) => Some(Control::RollBack),
        ("ROLLBACK", [to, name]) if is(to, "TO") => Some(Control::RollBackTo(unquoted(name))),
        ("ROLLBACK", [to, savepoint, name]) if is(to, "TO") && is(savepoint, "SAVEPOINT") => {
            Some(Control::RollBackTo(unquoted(name)))
        }
        ("SAVEPOINT", [name]) => Some(Control::Savepoint(unquoted(name))),
        ("RELEASE", [name]) => Some(Control::Release(unquoted(name))),
        ("RELEASE", [savepoint, name]) if is(savepoint, "SAVEPOINT") => {
            Some(Control::Release(unquoted(name)))
        }
        _ => None,
    }
}

/// The name as it is compared: without quotes, in small letters.
fn unquoted(name: &str) -> String {
    let inner = [('"', '"'), ('\'', '\''), ('`', '`'), ('[', ']')]
        .iter()
        .find_map(|(open, close)| name.strip_prefix(*open)?.strip_suffix(*close));
    inner.unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_control_the_transaction_are_told_from_others() {
        assert_eq!(parse(" commit transaction ; "), Some(Control::Commit));
        assert_eq!(parse("END"), Some(Control::Commit));
        assert_eq!(parse("rollback"), Some(Control::RollBack));
        assert_eq!(parse("ROLLBACK TRANSACTION TO SAVEPOINT \"A\""), Some(Control::RollBackTo("a".into())));
        assert_eq!(parse("SAVEPOINT a;"), Some(Control::Savepoint("a".into())));
        assert_eq!(parse("release savepoint a"), Some(Control::Release("a".into())));
        assert_eq!(parse("BEGIN IMMEDIATE TRANSACTION"), Some(Control::Begin));
        for other in ["SELECT 1", "", "COMMIT now", "ROLLBACK TO", "RELEASE"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
