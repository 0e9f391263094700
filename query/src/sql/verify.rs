//! Checks what the rules answer: the same statement is answered again by gathering, and both must agree in
//! values with their types, in names, and in errors.

use std::collections::BTreeMap;

use common::protocol::{Statement, StatementResult};
use common::{Error, Result, Value};

use super::{Limits, read};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::{Action, Planned};

/// Attempts before a difference is believed: writes may come in between the two answers.
const ATTEMPTS_MAX: usize = 3;

/// Most rows of each side that a report shows.
const ROWS_SHOWN: usize = 20;

/// Answers a reading statement by the planner's rules and by gathering.
///
/// # Errors
/// Those that both ways answer; `internal` if they differ.
pub(super) async fn read_both(
    planner: &Planner,
    reference: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<StatementResult> {
    let gathering = reference.plan(&statement.sql)?;
    // What an index leads to first is as good as the first row, and gathered rows have no indexes.
    let only_counts = match &planned.action {
        Action::Read(read) => read.follows_indexes(planner.database(), values),
        _ => false,
    };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let expected = read(reference, access, &gathering, values, statement, limits).await;
        let found = read(planner, access, planned, values, statement, limits).await;
        match difference(planned, &expected, &found) {
            None => return found,
            Some(_) if only_counts && row_count(&expected) == row_count(&found) => return found,
            Some(_) if attempt < ATTEMPTS_MAX => {}
            Some(difference) => {
                let plan = planned.describe(planner.database(), values).lines().join("\n");
                let sql = &statement.sql;
                return Err(Error::internal(format!(
                    "the plan answers something else than gathering does\n{sql}\n{plan}\n{difference}"
                )));
            }
        }
    }
}

/// What is different, or `None`.
fn difference(
    planned: &Planned,
    expected: &Result<StatementResult>,
    found: &Result<StatementResult>,
) -> Option<String> {
    let (expected, found) = match (expected, found) {
        (Ok(expected), Ok(found)) => (expected, found),
        (Err(expected), Err(found)) if expected.code == found.code && expected.message == found.message => {
            return None;
        }
        _ => return Some(format!("gathered: {}\nplanned: {}", shown(expected), shown(found))),
    };
    let same_rows = if planned.is_ordered {
        expected.rows == found.rows
    } else {
        expected.rows == found.rows || multiset(expected) == multiset(found)
    };
    let same = same_rows
        && expected.columns == found.columns
        && expected.types == found.types
        && expected.truncated == found.truncated;
    (!same).then(|| format!("gathered: {}\nplanned: {}", shown_rows(expected), shown_rows(found)))
}

fn row_count(answer: &Result<StatementResult>) -> Option<u32> {
    answer.as_ref().ok().map(|result| result.rows.rows)
}

/// How often each row is there, a row being its values with their types.
fn multiset(result: &StatementResult) -> Option<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for row in result.rows.to_values().ok()? {
        *counts.entry(format!("{row:?}")).or_default() += 1;
    }
    Some(counts)
}

fn shown(answer: &Result<StatementResult>) -> String {
    match answer {
        Ok(result) => shown_rows(result),
        Err(error) => format!("{} {}", error.code, error.message),
    }
}

fn shown_rows(result: &StatementResult) -> String {
    let mut rows = result.rows.to_values().unwrap_or_default();
    let count = rows.len();
    rows.truncate(ROWS_SHOWN);
    let rows: Vec<String> = rows.iter().map(|row| format!("  {row:?}")).collect();
    let (columns, types) = (&result.columns, &result.types);
    format!("{count} rows of {columns:?} {types:?}\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use common::row::RowBlock;

    use super::*;

    fn planned(is_ordered: bool) -> Planned {
        Planned {
            footprint_beside_others: None,
            text: String::new(),
            parameters: Vec::new(),
            columns: Vec::new(),
            types: Vec::new(),
            is_read: true,
            is_ordered,
            is_deterministic: true,
            asks_of_statements_before: false,
            tables: Vec::new(),
            action: Action::Evaluate,
            sources_in_one_bucket: std::sync::OnceLock::new(),
        }
    }

    fn answer(values: &[Value]) -> Result<StatementResult> {
        let rows: Vec<Vec<Value>> = values.iter().map(|value| vec![value.clone()]).collect();
        Ok(StatementResult { rows: RowBlock::from_values(1, &rows), ..StatementResult::default() })
    }

    #[test]
    fn order_counts_where_the_client_asked_for_it() {
        let (one, other) = (answer(&[1.into(), 2.into()]), answer(&[2.into(), 1.into()]));
        assert_eq!(difference(&planned(false), &one, &other), None);
        assert!(difference(&planned(true), &one, &other).is_some());
        let twice = answer(&[1.into(), 1.into()]);
        assert!(difference(&planned(false), &one, &twice).is_some());
    }

    #[test]
    fn equal_values_of_other_types_differ() {
        let difference = difference(&planned(false), &answer(&[1.into()]), &answer(&[1.0.into()])).unwrap();
        assert!(difference.contains("Integer(1)") && difference.contains("Real(1.0)"), "{difference}");
    }

    #[test]
    fn errors_must_be_the_same() {
        let overflow = || Err(Error::bad_request("integer overflow"));
        assert_eq!(difference(&planned(false), &overflow(), &overflow()), None);
        assert!(difference(&planned(false), &overflow(), &answer(&[])).is_some());
        assert!(difference(&planned(false), &overflow(), &Err(Error::bad_request("other"))).is_some());
    }
}
