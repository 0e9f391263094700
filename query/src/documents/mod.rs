//! Documents of collections.

use common::{Error, Result};
use serde_json::Value as Json;

use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;

/// A document as answered, with `_id`, `_version`, `_created_at` and `_updated_at`.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The document with its metadata.
    pub json: Json,
    /// Its version, the `ETag`.
    pub version: i64,
}

/// What must hold of the stored document for a write to happen, else `precondition_failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// `If-Match: "<version>"`; several are alternatives.
    Version(Vec<i64>),
    /// `If-Match: *`: it exists.
    Exists,
    /// `If-None-Match: *`: it does not exist.
    Absent,
}

/// What `update` did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updated {
    /// Documents that the filter matched.
    pub matched: u64,
    /// Documents that changed.
    pub modified: u64,
    /// The id of the document that `upsert` made.
    pub upserted_id: Option<Json>,
}

/// Inserts documents, all or none; answers their ids. The collection is made if it is not there.
pub async fn insert(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    documents: Vec<Json>,
    moment: Moment,
) -> Result<Vec<Json>> {
    let _ = (planner, access, collection, documents, moment);
    Err(Error::internal("not written yet"))
}

/// The document of an id, or `document_not_found`. The id is what the path says: digits are an integer, a quoted
/// text is a text.
pub async fn get(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    path_id: &str,
) -> Result<Document> {
    let _ = (planner, access, collection, path_id);
    Err(Error::internal("not written yet"))
}

/// Replaces a document, or creates it; the flag says that it was created.
pub async fn put(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    path_id: &str,
    document: Json,
    precondition: Precondition,
    moment: Moment,
) -> Result<(Document, bool)> {
    let _ = (planner, access, collection, path_id, document, precondition, moment);
    Err(Error::internal("not written yet"))
}

/// Changes a document by JSON Merge Patch (RFC 7396), or by an update object with operators.
pub async fn patch(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    path_id: &str,
    patch: Json,
    precondition: Precondition,
    moment: Moment,
) -> Result<Document> {
    let _ = (planner, access, collection, path_id, patch, precondition, moment);
    Err(Error::internal("not written yet"))
}

/// Deletes a document.
pub async fn delete(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    path_id: &str,
    precondition: Precondition,
) -> Result<()> {
    let _ = (planner, access, collection, path_id, precondition);
    Err(Error::internal("not written yet"))
}

/// `POST find`: the body has `filter`, `projection`, `sort`, `skip`, `limit`.
pub async fn find(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<Vec<Json>> {
    let _ = (planner, access, collection, request);
    Err(Error::internal("not written yet"))
}

/// `POST count`: the body has `filter`.
pub async fn count(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<u64> {
    let _ = (planner, access, collection, request);
    Err(Error::internal("not written yet"))
}

/// `POST update`: the body has `filter`, `update`, `multi`, `upsert`.
pub async fn update(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
    moment: Moment,
) -> Result<Updated> {
    let _ = (planner, access, collection, request, moment);
    Err(Error::internal("not written yet"))
}

/// `POST delete`: the body has `filter`, `multi`. Answers how many were deleted.
pub async fn delete_many(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<u64> {
    let _ = (planner, access, collection, request);
    Err(Error::internal("not written yet"))
}
