//! Documents of collections.
//!
//! A collection is a table ([`common::schema::collection_ddl`]) spread by `_id`; the routes here become
//! statements on it. What a version check decides, it decides inside the partition's write, so that of two
//! writers with the same version only one wins.
//!
//! - `attributes`: where that lies, if documents are divided over column groups;
//! - `value`: what a document holds, and the order of values;
//! - `filter`, `find`: which documents, in which order, and what of them is answered;
//! - `update`, [`mod@many`]: changes of documents;
//! - `expression`, `aggregate`: what is computed from documents.

mod aggregate;
pub(crate) mod attributes;
mod budget;
mod bulk;
pub(crate) mod expression;
pub(crate) mod filter;
pub(crate) mod find;
pub(crate) mod id;
mod indexes;
mod keys;
mod many;
pub(crate) mod objects;
pub(crate) mod place;
pub(crate) mod stored;
pub(crate) mod update;
pub(crate) mod value;

use common::json::kind_of;
use common::{Error, ErrorCode, Result, Value};
use serde_json::Value as Json;

use self::place::Place;
use self::stored::{
    by_id, document_of_row, existing, insertion, milliseconds, replacement, row_by_id, run_write, statement,
    text_of,
};
use self::update::{Circumstances, Update, is_same};
use self::value::{Fields, extended};
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::sql::run_one;

pub use aggregate::{aggregate, aggregate_stream};
pub use bulk::bulk;
pub use find::{DocumentList, DocumentStream, count, distinct, find, find_stream};
pub use indexes::{create_index, drop_index, explain, list_indexes};
pub(crate) use keys::has_derived_columns;
pub use many::{Updated, delete_many, update};

/// Attempts at a change of documents that others change too.
const CONTENDED_ATTEMPTS: usize = 100;

/// A document as answered, with `_id`, `_version`, `_created_at` and `_updated_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The document with its metadata, as JSON text.
    pub text: String,
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

impl Precondition {
    /// The versions that are allowed; empty if any is.
    fn versions(&self) -> &[i64] {
        match self {
            Precondition::Version(versions) => versions,
            _ => &[],
        }
    }
}

/// A document that a request brings, as it is kept.
fn fields_of(json: Json, what: &'static str) -> Result<Fields> {
    let place = Place::root(what);
    match json {
        Json::Object(fields) => extended::normal_fields(fields, &place),
        other => Err(place.wrong(format!("a document is an object, not {}", kind_of(&other)))),
    }
}

/// Inserts documents, all or none; answers their ids. The collection is made if it is not there.
pub async fn insert(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    documents: Vec<Json>,
    moment: Moment,
) -> Result<Vec<Json>> {
    let mut rows = Vec::with_capacity(documents.len());
    for (number, document) in documents.into_iter().enumerate() {
        let document = fields_of(document, "document")?;
        let id = id::of_document(&document)?.unwrap_or_else(|| id::generate(moment, number).into());
        let text = text_of(&document)?;
        rows.push((id, document, text));
    }
    let ids = rows.iter().map(|(id, ..)| common::json::to_json(id)).collect();
    let (table, newer) = stored::ensure(planner, access, collection).await?;
    stored::insert(newer.as_ref().unwrap_or(planner), access, &table, rows, moment).await?;
    Ok(ids)
}

/// The document of an id, or `document_not_found`. The id is what the path says: digits are an integer, a
/// quoted text is a text.
pub async fn get(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    path_id: &str,
) -> Result<Document> {
    let id = id::of_path(path_id)?;
    let quoted = quoted(planner, collection)?;
    one(&row_by_id(planner, access, &quoted, &id).await?)?.ok_or_else(|| not_found(path_id))
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
    let id = id::of_path(path_id)?;
    let document = fields_of(document, "document")?;
    if id::of_document(&document)?.is_some_and(|own| own != id) {
        return Err(Place::root("document")
            .field("_id")
            .wrong("the document's _id is not the one of the path"));
    }
    text_of(&document)?;
    let creates = matches!(precondition, Precondition::None | Precondition::Absent);
    if !creates && stored::table(planner, collection)?.is_none() {
        return Err(failed());
    }
    let (table, newer) = stored::ensure(planner, access, collection).await?;
    let planner = newer.as_ref().unwrap_or(planner);
    let now = milliseconds(moment);
    if !creates {
        let written = replacement(planner, &table, &document, &id, precondition.versions(), now)?;
        let done = run_write(planner, access, &written).await?;
        return one(&done)?.map(|document| (document, false)).ok_or_else(failed);
    }
    let written = insertion(planner, &table, &document, &id, precondition == Precondition::None, now)?;
    let done = run_one(planner, access, &written, 1).await.map_err(|error| {
        let exists = precondition == Precondition::Absent && stored::is_of_id(&error, &table);
        if exists { failed() } else { keys::told(error) }
    })?;
    let document = one(&done)?.ok_or_else(|| Error::internal("a written document was not answered"))?;
    let created = document.version == 1;
    Ok((document, created))
}

/// Changes a document by JSON Merge Patch (RFC 7396), or by an update object with operators. The new document is
/// computed here and written if the old one has not changed meanwhile.
pub async fn patch(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    path_id: &str,
    patch: Json,
    precondition: Precondition,
    moment: Moment,
) -> Result<Document> {
    let id = id::of_path(path_id)?;
    let place = Place::root("patch");
    let update = match &patch {
        Json::Object(fields) if filter::parse::is_operators(&patch).is_none() => {
            Update::merge(fields.clone(), &place)?
        }
        other => Update::parse(other, None, &place)?,
    };
    if precondition == Precondition::Absent {
        return Err(failed());
    }
    if patch.get("_id").is_some_and(|given| id::of_json(given).as_ref() != Ok(&id)) {
        return Err(place.field("_id").wrong("_id cannot be changed"));
    }
    let table = existing(planner, collection)?;
    let quoted = common::names::quote_identifier(&table.name);
    for attempt in 1..=CONTENDED_ATTEMPTS {
        let found = by_id(planner, access, &quoted, &id).await?.ok_or_else(|| not_found(path_id))?;
        if matches!(&precondition, Precondition::Version(versions) if !versions.contains(&found.version)) {
            return Err(failed());
        }
        let now = i64::try_from(moment.now_ms).unwrap_or(i64::MAX);
        let circumstances = Circumstances { filter: None, now, inserts: false };
        let changed = update.apply(&found.fields, &circumstances)?;
        if is_same(&changed, &found.fields) {
            return Ok(found.into_document());
        }
        let now = milliseconds(moment);
        let written = replacement(planner, &table, &changed, &id, &[found.version], now)?;
        if let Some(document) = one(&run_write(planner, access, &written).await?)? {
            return Ok(document);
        }
        access.back_off(attempt).await;
    }
    Err(Error::new(ErrorCode::SerializationFailure, "the document changes faster than it can be updated"))
}

/// Deletes a document.
pub async fn delete(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    path_id: &str,
    precondition: Precondition,
) -> Result<()> {
    let id = id::of_path(path_id)?;
    if precondition == Precondition::Absent {
        return Err(failed());
    }
    let quoted = quoted(planner, collection)?;
    let versions = precondition.versions();
    let mut params = vec![id.clone()];
    params.extend(versions.iter().map(|version| Value::Integer(*version)));
    let condition = match versions {
        [] => String::new(),
        several => format!(" AND \"_version\" IN ({})", vec!["?"; several.len()].join(", ")),
    };
    let sql = format!("DELETE FROM {quoted} WHERE \"_id\" = ?{condition}");
    let done = run_one(planner, access, &statement(sql, params), 0).await?;
    if done.affected_rows == 0 {
        let exists = by_id(planner, access, &quoted, &id).await?.is_some();
        return Err(if exists { failed() } else { not_found(path_id) });
    }
    Ok(())
}

/// The quoted name of a collection that must be there.
fn quoted(planner: &Planner, collection: &str) -> Result<String> {
    Ok(common::names::quote_identifier(&existing(planner, collection)?.name))
}

fn one(result: &common::protocol::StatementResult) -> Result<Option<Document>> {
    let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    rows.into_iter().next().map(document_of_row).transpose()
}

fn not_found(path_id: &str) -> Error {
    Error::new(ErrorCode::DocumentNotFound, format!("Document '{path_id}' not found"))
}

fn failed() -> Error {
    Error::new(ErrorCode::PreconditionFailed, "the document is not in the state that the request asks for")
        .with_hint("read it again, and send its ETag as If-Match")
}
