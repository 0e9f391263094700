//! Query objects: the JSON form of the commonest statements.

use common::query_object::QueryObject;
use common::{Error, Result};
use serde_json::Value as Json;

use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;

/// What a query object answers.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectAnswer {
    /// `data`: rows as objects, a document, or null.
    pub data: Option<Json>,
    /// `affected_rows`, of writes.
    pub affected_rows: Option<u64>,
    /// Whether it was a read.
    pub is_read: bool,
}

/// Runs a query object.
pub async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    object: QueryObject,
    moment: Moment,
) -> Result<ObjectAnswer> {
    let _ = (planner, access, object, moment);
    Err(Error::internal("objects::run is not written yet"))
}
