//! Query objects: the JSON form of the commonest statements, as `POST /query/{db}` and query files take it.

use serde_json::Value as Json;

use crate::schema::DatabaseKind;
use crate::{Error, Result};

/// A query object, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryObject {
    /// The operation and its fields.
    pub json: Json,
}

impl QueryObject {
    /// Checks a query object against the face of its database.
    pub fn parse(json: Json, kind: DatabaseKind) -> Result<QueryObject> {
        let _ = kind;
        if json.is_object() {
            Ok(QueryObject { json })
        } else {
            Err(Error::bad_request("a query is a JSON object"))
        }
    }
}
