//! What dumps of SQLite databases say besides their definitions and rows.

use crate::statements::ScriptStatement;

/// Whether a statement turns foreign keys on, or off, as dumps begin, if it is one that does. Says what they are instead.
pub(super) fn foreign_keys_set(statement: &str) -> Option<bool> {
    let compact: String = statement.split_ascii_whitespace().collect::<String>().to_ascii_lowercase();
    let value = compact.strip_prefix("pragmaforeign_keys=")?;
    let enforced = !matches!(value, "off" | "0" | "false" | "no");
    if !enforced {
        eprintln!(
            "note: foreign keys are always enforced; `{}` has them wait for the end of each transaction",
            statement.trim()
        );
    }
    Some(enforced)
}

/// Whether a statement sets what follows from the rows: what AUTOINCREMENT has counted, or statistics. Says so.
pub(super) fn follows_from_rows(statement: &str) -> bool {
    let words = words(statement);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // As ever it ends, before what was counted is set.
        ["delete", "from", "sqlite_sequence"] | ["insert", "into", "sqlite_stat1" | "sqlite_stat4", ..] => {}
        ["insert", "into", "sqlite_sequence", ..] => eprintln!(
            "note: rowids of AUTOINCREMENT are counted from the rows; `{}` has no effect",
            statement.trim()
        ),
        ["analyze", "sqlite_schema" | "sqlite_master"] => {
            eprintln!("note: the dump's statistics are left out; ANALYZE makes them anew");
        }
        _ => return false,
    }
    true
}

/// The statements of a transaction, its tables first where it does nothing but make objects and fill tables: a row can only
/// refer to a table that is there, and dumps may be in the order of the tables' names.
pub(super) fn tables_first(statements: &[ScriptStatement]) -> Vec<&ScriptStatement> {
    // What stands before the columns; the AS of a table that is made from a query stands there too.
    let makes_table = |statement: &ScriptStatement| {
        let head = statement.text.split_once('(').map(|(head, _)| words(head));
        head.is_some_and(|head| {
            head.starts_with(&["create".to_owned(), "table".to_owned()]) && !head.contains(&"as".to_owned())
        })
    };
    let fills_or_makes = |statement: &ScriptStatement| match words(&statement.text).as_slice() {
        [first, ..] if first == "create" => true,
        [first, second, ..] => first == "insert" && second == "into",
        _ => false,
    };
    let mut ordered: Vec<&ScriptStatement> = statements.iter().collect();
    if statements.iter().all(fills_or_makes) {
        // Of equal ones the order stays.
        ordered.sort_by_key(|statement| !makes_table(statement));
    }
    ordered
}

/// The first words, as many as `CREATE TABLE IF NOT EXISTS t AS`, in lower case and without quotation marks.
fn words(statement: &str) -> Vec<String> {
    let words = statement.split(|character: char| character.is_ascii_whitespace() || character == '(');
    let words = words.filter(|word| !word.is_empty()).take(7);
    words.map(|word| word.trim_matches('"').to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_rows_is_not_sent() {
        assert_eq!(foreign_keys_set("PRAGMA foreign_keys=OFF"), Some(false));
        assert_eq!(foreign_keys_set("pragma foreign_keys = on"), Some(true));
        assert_eq!(foreign_keys_set("PRAGMA foreign_keys"), None);
        for set in [
            "DELETE FROM sqlite_sequence",
            "INSERT INTO \"sqlite_sequence\" VALUES('t',3)",
            "ANALYZE sqlite_schema",
            "INSERT INTO sqlite_stat1 VALUES('t','i','10 1')",
            "INSERT INTO sqlite_stat4(tbl) VALUES('t')",
        ] {
            assert!(follows_from_rows(set), "{set}");
        }
        for sent in [
            "DELETE FROM sqlite_sequence WHERE name = 't'",
            "INSERT INTO t SELECT seq FROM sqlite_sequence",
            "ANALYZE",
            "ANALYZE t",
        ] {
            assert!(!follows_from_rows(sent), "{sent}");
        }
    }

    #[test]
    fn tables_come_first_where_nothing_else_is_done() {
        let order = |texts: &[&str]| -> Vec<usize> {
            let numbered = texts.iter().enumerate();
            let statements: Vec<ScriptStatement> =
                numbered.map(|(line, text)| ScriptStatement { text: (*text).to_owned(), line }).collect();
            tables_first(&statements).into_iter().map(|statement| statement.line).collect()
        };
        let (child, row, parent) =
            ("CREATE TABLE a(p REFERENCES z)", "INSERT INTO \"a\" VALUES(1)", "CREATE TABLE z(id)");
        let (index, copy) = ("CREATE INDEX i ON a (p)", "CREATE TABLE y AS SELECT * FROM a");
        assert_eq!(order(&[child, row, index, parent]), [0, 3, 1, 2]);
        let other_copy = "CREATE TABLE IF NOT EXISTS y AS SELECT p FROM (SELECT * FROM a)";
        for copy in [copy, other_copy] {
            assert_eq!(order(&[child, row, copy, parent]), [0, 3, 1, 2], "{copy}");
        }
        assert_eq!(order(&[child, row, "DROP TABLE z", parent]), [0, 1, 2, 3]);
    }
}
