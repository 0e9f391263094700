//! Which rowids tables have had: each partition knows of its own rows, and the greatest counts.

use common::entry::Change;
use common::names::quote_identifier;
use common::protocol::{Params, Statement, StatementResult};
use common::{Error, Result, Value};
use futures_util::future;
use sqlite::TrialDatabase;

use super::proven::{self, Proofs};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::table::Table;

/// Where SQLite keeps AUTOINCREMENT's counters.
pub(super) const TABLE: &str = "sqlite_sequence";

/// Answers a statement that reads `sqlite_sequence`, where AUTOINCREMENT keeps its counters.
pub(super) async fn answer(
    planner: &Planner,
    access: &impl PartitionAccess,
    statement: &Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    let counters = greatest_counts(of_all_buckets(planner, access, &counts_of_bucket()).await?);
    planner.shadow().query_with_sequences(statement, &counters, max_rows)
}

/// Has a database in which statements are tried count on from the counters; answers also the proofs of these.
pub(super) async fn load(
    planner: &Planner,
    access: &impl PartitionAccess,
    mut database: TrialDatabase,
) -> Result<(TrialDatabase, Proofs)> {
    let reads = (0..planner.buckets()).map(|bucket| proven::read(access, bucket, counts_of_bucket()));
    let (rows, proofs): (Vec<_>, Vec<_>) = future::try_join_all(reads).await?.into_iter().unzip();
    for (table, counter) in greatest_counts(rows.into_iter().flatten()) {
        database.set_counter(&table, counter)?;
    }
    Ok((database, proofs.into_iter().flatten().collect()))
}

fn counts_of_bucket() -> Statement {
    Statement { sql: format!("SELECT name, seq FROM {TABLE} ORDER BY rowid"), params: Params::None }
}

/// Of each table the greatest of its counters, in the order in which they are met.
fn greatest_counts(rows: impl IntoIterator<Item = Vec<Value>>) -> Vec<(String, i64)> {
    let mut counters: Vec<(String, i64)> = Vec::new();
    for row in rows {
        let [Value::Text(name), Value::Integer(greatest)] = row.as_slice() else { continue };
        match counters.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = (*known).max(*greatest),
            None => counters.push((name.clone(), *greatest)),
        }
    }
    counters
}

/// The greatest rowid that a table has, or has had if it is declared AUTOINCREMENT; 0 if it has none.
pub async fn greatest_rowid(planner: &Planner, access: &impl PartitionAccess, table: &str) -> Result<i64> {
    let table = planner.table(table).ok_or_else(|| Error::internal("rowids are asked for no table"))?;
    let rows = of_all_buckets(planner, access, &greatest_in_bucket(&table)).await?;
    let rowid = |row: &Vec<Value>| match row.first() {
        Some(Value::Integer(rowid)) => Some(*rowid),
        _ => None,
    };
    Ok(rows.iter().filter_map(rowid).max().unwrap_or(0))
}

/// The change by which the first bucket counts up to a rowid that no row has, with the proof of what it was computed
/// from; `None` if it has counted so far already.
pub(super) async fn advance(
    access: &impl PartitionAccess,
    table: &str,
    counter: i64,
) -> Result<Option<(Change, Proofs)>> {
    let sql = format!(
        "SELECT (SELECT rowid FROM {TABLE} WHERE name = ?1), (SELECT seq FROM {TABLE} WHERE name = ?1), \
         (SELECT coalesce(max(rowid), 0) + 1 FROM {TABLE})"
    );
    let statement = Statement { sql, params: Params::Positional(vec![table.into()]) };
    let (rows, proof) = proven::read(access, 0, statement).await?;
    let row = vec![table.into(), Value::Integer(counter)];
    let change = match rows.first().map(Vec::as_slice) {
        Some([_, Value::Integer(counted), _]) if *counted >= counter => return Ok(None),
        Some([known @ Value::Integer(_), ..]) => {
            let key = vec![known.clone()];
            Change::Update { old_key: key.clone(), key, old_row: None, row }
        }
        Some([_, _, next @ Value::Integer(_)]) => Change::Insert { key: vec![next.clone()], row },
        _ => return Err(Error::internal("a partition does not tell what it has counted")),
    };
    Ok(Some((change, proof)))
}

/// What asks a bucket for the greatest rowid that it has seen.
pub(super) fn greatest_in_bucket(table: &Table) -> Statement {
    let rowid = table.rowid_name.unwrap_or("rowid");
    let sql = format!("SELECT max({rowid}) FROM {}", quote_identifier(&table.name));
    if !table.autoincrement {
        return Statement { sql, params: Params::None };
    }
    Statement {
        sql: format!("SELECT max(n) FROM (SELECT seq AS n FROM {TABLE} WHERE name = ? UNION ALL {sql})"),
        params: Params::Positional(vec![table.name.as_str().into()]),
    }
}

/// What all buckets of the anchor answer, one after the other.
async fn of_all_buckets(
    planner: &Planner,
    access: &impl PartitionAccess,
    statement: &Statement,
) -> Result<Vec<Vec<Value>>> {
    let reads = (0..planner.buckets()).map(|bucket| access.read(bucket, statement.clone(), u32::MAX));
    let mut rows = Vec::new();
    for result in future::try_join_all(reads).await? {
        rows.extend(result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?);
    }
    Ok(rows)
}
