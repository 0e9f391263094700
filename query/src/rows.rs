//! Rows in bulk: import and export.

use common::{Error, Result, Value};

use crate::access::{PartitionAccess, RowStream};
use crate::planner::Planner;

/// Inserts rows given by column names; a column that is not named takes its default. One atomic write.
/// Answers how many rows went in.
pub async fn insert(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &str,
    columns: &[String],
    rows: Vec<Vec<Value>>,
) -> Result<u64> {
    let _ = (planner, access, table, columns, rows);
    Err(Error::internal("rows::insert is not written yet"))
}

/// All rows of a table or a collection in the order of their keys.
pub async fn export(planner: &Planner, access: &impl PartitionAccess, table: &str) -> Result<RowStream> {
    let _ = (planner, access, table);
    Err(Error::internal("rows::export is not written yet"))
}
