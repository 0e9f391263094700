//! Whether a request's text alone says which partition runs it as a whole.

use common::Value;

use super::SqlRequest;
use crate::Planner;
use crate::plan::{Action, Insert, InsertSource, Place};
use crate::route::Operand;
use crate::table::Key;

/// Whether the text of a request may send it as a whole to one partition, and to the same one each time, so that
/// its answer is made of that partition's results and of nothing else. Where it turns out to concern several
/// partitions all the same, it does so each time too.
#[must_use]
pub fn is_by_text(planner: &Planner, request: &SqlRequest) -> bool {
    let [statement] = request.statements.as_slice() else { return false };
    let Ok(planned) = planner.plan(&statement.sql) else { return false };
    let Ok(values) = planned.values(&statement.params) else { return false };
    match &planned.action {
        // Nothing is written.
        _ if planned.is_read => true,
        Action::OneBucket => true,
        Action::Change(change) => {
            let buckets = change.buckets(planner.database(), &values);
            let table = &change.target;
            let alone = !table.reference && table.global_indexes.is_empty();
            alone && buckets.is_some_and(|buckets| buckets.len() == 1)
        }
        Action::Insert(insert) => chooses_its_bucket(planner, insert, &values),
        _ => false,
    }
}

/// Whether the client gives the key of each row.
fn chooses_its_bucket(planner: &Planner, insert: &Insert, values: &[Value]) -> bool {
    let table = &insert.target;
    if table.reference || table.is_split() || !table.global_indexes.is_empty() {
        return false;
    }
    if planner.buckets() == 1 {
        return true;
    }
    let InsertSource::Rows(rows) = &insert.source else { return false };
    let is_given = |column: &usize| insert.places.contains(&Place::Column(*column));
    match &table.key {
        // A rowid that is NULL is generated.
        Key::Rowid => {
            let rowid = insert.places.iter().position(|place| match place {
                Place::Rowid => true,
                Place::Column(column) => table.rowid_alias == Some(*column),
            });
            let gives = |row: &Vec<Operand>, rowid: usize| {
                row.get(rowid).and_then(|operand| operand.value(values)).is_some_and(|value| !value.is_null())
            };
            rowid.is_some_and(|rowid| rows.iter().all(|row| gives(row, rowid)))
        }
        Key::Columns(columns) => columns.iter().all(is_given),
    }
}
