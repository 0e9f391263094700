//! Runs a client's SQL.

use common::Result;
use common::protocol::{Statement, StatementResult};

use crate::Planner;
use crate::access::PartitionAccess;

/// Statements of one request.
#[derive(Clone, Debug)]
pub struct SqlRequest {
    /// In order.
    pub statements: Vec<Statement>,
    /// All or none; else each by itself.
    pub atomic: bool,
    /// Most rows answered per statement.
    pub max_rows: u32,
    /// Refuse whatever would change something.
    pub read_only: bool,
}

/// What they answered.
#[derive(Clone, Debug, Default)]
pub struct SqlAnswer {
    /// One result per statement. Only a request that is not atomic holds errors here.
    pub results: Vec<Result<StatementResult>>,
}

/// Runs the statements.
pub async fn run(planner: &Planner, access: &impl PartitionAccess, request: SqlRequest) -> Result<SqlAnswer> {
    let _ = (planner, access, request);
    Err(common::Error::internal("not reachable yet"))
}

/// Runs one reading statement whose answer may have any number of rows.
pub async fn stream(
    planner: &Planner,
    access: &impl PartitionAccess,
    statement: Statement,
) -> Result<crate::access::RowStream> {
    let _ = (planner, access, statement);
    Err(common::Error::internal("not reachable yet"))
}
