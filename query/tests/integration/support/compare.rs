//! Whether several partitions answer as one file.

use common::protocol::StatementResult;
use common::{Error, ErrorCode, Result, Value};

/// Compares answers; where equal values may stand for each other (which of them represents a group is not
/// promised), equal is enough.
pub fn same(
    sql: &str,
    expected: &Result<StatementResult>,
    found: &Result<StatementResult>,
) -> std::result::Result<(), String> {
    let (expected, found) = match (expected, found) {
        (Ok(expected), Ok(found)) => (expected, found),
        (Err(expected), Err(found)) => {
            // Where several rows are refused, or one for several reasons, which is told is not promised.
            let same = expected.message == found.message || (is_of_a_row(expected) && is_of_a_row(found));
            return if same { Ok(()) } else { Err(format!("{found:?}\n{expected:?}")) };
        }
        (expected, found) => return Err(format!("{found:?}\n{expected:?}")),
    };
    let rows = |result: &StatementResult| result.rows.to_values().unwrap();
    let (expected_rows, found_rows) = (rows(expected), rows(found));
    let ordered = sql.contains("ORDER BY");
    let texts = |rows: &[Vec<Value>], text: fn(&Value) -> String| {
        let mut rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(text).collect()).collect();
        if !ordered {
            rows.sort_unstable();
        }
        rows
    };
    let exact = |value: &Value| format!("{value:?}");
    let groups = ["GROUP BY", "DISTINCT", "UNION", "EXCEPT", "INTERSECT", "min(", "max("];
    let same_rows = texts(&expected_rows, exact) == texts(&found_rows, exact)
        || (groups.iter().any(|word| sql.contains(word))
            && texts(&expected_rows, folded) == texts(&found_rows, folded));
    let counts = |result: &StatementResult| (result.affected_rows, result.last_insert_rowid);
    if same_rows && counts(expected) == counts(found) && expected.columns == found.columns {
        return Ok(());
    }
    Err(format!("{found_rows:?} {:?}\n{expected_rows:?} {:?}", counts(found), counts(expected)))
}

/// Whether a row was refused for its values.
fn is_of_a_row(error: &Error) -> bool {
    matches!(error.code, ErrorCode::UniqueViolation | ErrorCode::CheckViolation | ErrorCode::NotNullViolation)
        || error.message == "datatype mismatch"
}

/// One text for all values that are equal under some collation.
fn folded(value: &Value) -> String {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "2^63 - 1 and 2^63 are not told apart")]
        Value::Integer(integer) => format!("{:e}", *integer as f64),
        Value::Real(real) => format!("{real:e}"),
        Value::Text(text) => format!("'{}'", text.trim_end_matches(' ').to_ascii_lowercase()),
        other => format!("{other:?}"),
    }
}
