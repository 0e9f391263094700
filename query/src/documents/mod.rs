//! Documents of collections.
//!
//! A collection is a table ([`common::schema::collection_ddl`]) spread by `_id`; the routes here become
//! statements on it. What a version check decides, it decides inside the partition's write, so that of two
//! writers with the same version only one wins.

pub(crate) mod filter;
mod find;
pub(crate) mod id;
mod many;
mod projection;
pub(crate) mod stored;
mod time;
mod update;

use common::protocol::Statement;
use common::{Error, ErrorCode, Result, Value};
use serde_json::{Map, Value as Json};

use self::filter::Condition;
use self::stored::{Stored, existing, milliseconds, statement, text_of};
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::sql::{ATTEMPTS_MAX, run_one};

pub use find::{count, find};
pub use many::{Updated, delete_many, update};

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

impl Precondition {
    /// A condition on the row to be changed, to be put after another one.
    fn clause(&self) -> String {
        match self {
            Precondition::Version(versions) => {
                let versions: Vec<String> = versions.iter().map(i64::to_string).collect();
                format!(" AND \"_version\" IN ({})", versions.join(", "))
            }
            _ => String::new(),
        }
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
        let document = object(document, "a document")?;
        let id = id::of_document(&document)?.unwrap_or_else(|| id::generate(moment, number).into());
        rows.push((id, text_of(&document)?));
    }
    let ids = rows.iter().map(|(id, _)| common::json::to_json(id)).collect();
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
    let quoted = existing(planner, collection)?;
    let found = by_id(planner, access, &quoted, &id).await?;
    found.map(Stored::into_document).ok_or_else(|| not_found(path_id))
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
    let document = object(document, "a document")?;
    if id::of_document(&document)?.is_some_and(|own| own != id) {
        return Err(Error::bad_request("the document's _id is not the one of the path"));
    }
    let text = text_of(&document)?;
    let creates = matches!(precondition, Precondition::None | Precondition::Absent);
    if !creates && stored::table(planner, collection)?.is_none() {
        return Err(failed());
    }
    let (table, newer) = stored::ensure(planner, access, collection).await?;
    let planner = newer.as_ref().unwrap_or(planner);
    let quoted = common::names::quote_identifier(&table.name);
    let now = milliseconds(moment);
    if !creates {
        let sets = "\"doc\" = jsonb(?)";
        let written = change(&quoted, sets, vec![text.into()], &id, now, &precondition);
        let done = run_one(planner, access, &written, 1).await?;
        return one(&done)?.map(|document| (document, false)).ok_or_else(failed);
    }
    let upsert = if precondition == Precondition::None {
        " ON CONFLICT (\"_id\") DO UPDATE SET \"doc\" = excluded.\"doc\", \"_version\" = \"_version\" + 1, \
         \"_updated_at\" = excluded.\"_updated_at\""
    } else {
        ""
    };
    let sql = format!(
        "INSERT INTO {quoted} (\"_id\", \"doc\", \"_version\", \"_created_at\", \"_updated_at\") \
         VALUES (?, jsonb(?), 1, ?, ?){upsert} RETURNING {}",
        stored::COLUMNS
    );
    let written = statement(sql, vec![id, text.into(), now.clone(), now]);
    let done = run_one(planner, access, &written, 1).await.map_err(|error| {
        let exists = error.code == ErrorCode::UniqueViolation && precondition == Precondition::Absent;
        if exists { failed() } else { error }
    })?;
    let document = one(&done)?.ok_or_else(|| Error::internal("a written document was not answered"))?;
    let created = document.version == 1;
    Ok((document, created))
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
    let id = id::of_path(path_id)?;
    let patch = object(patch, "a patch")?;
    if precondition == Precondition::Absent {
        return Err(failed());
    }
    let quoted = existing(planner, collection)?;
    if update::has_operators(&patch) {
        update::check(&patch)?;
        return patch_with_operators(planner, access, &quoted, &id, path_id, &patch, &precondition, moment)
            .await;
    }
    if patch.get("_id").is_some_and(|given| id::of_json(given).as_ref() != Ok(&id)) {
        return Err(Error::bad_request("_id cannot be changed"));
    }
    let text = text_of(&patch)?;
    let sets = "\"doc\" = jsonb_patch(\"doc\", ?)";
    let written = change(&quoted, sets, vec![text.into()], &id, milliseconds(moment), &precondition);
    let done = run_one(planner, access, &written, 1).await?;
    match one(&done)? {
        Some(document) => Ok(document),
        None => Err(missing(planner, access, &quoted, &id, path_id).await?),
    }
}

/// The new document is computed here and written if the old one has not changed meanwhile.
#[allow(clippy::too_many_arguments)]
async fn patch_with_operators(
    planner: &Planner,
    access: &impl PartitionAccess,
    quoted: &str,
    id: &Value,
    path_id: &str,
    update: &Map<String, Json>,
    precondition: &Precondition,
    moment: Moment,
) -> Result<Document> {
    for _ in 0..ATTEMPTS_MAX {
        let found = by_id(planner, access, quoted, id).await?.ok_or_else(|| not_found(path_id))?;
        if matches!(precondition, Precondition::Version(versions) if !versions.contains(&found.version)) {
            return Err(failed());
        }
        let mut fields = found.fields;
        update::apply(&mut fields, update)?;
        let unchanged = Precondition::Version(vec![found.version]);
        let text = text_of(&fields)?;
        let sets = "\"doc\" = jsonb(?)";
        let written = change(quoted, sets, vec![text.into()], id, milliseconds(moment), &unchanged);
        if let Some(document) = one(&run_one(planner, access, &written, 1).await?)? {
            return Ok(document);
        }
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
    let quoted = existing(planner, collection)?;
    let sql = format!("DELETE FROM {quoted} WHERE \"_id\" = ?{}", precondition.clause());
    let done = run_one(planner, access, &statement(sql, vec![id.clone()]), 0).await?;
    if done.affected_rows == 0 {
        return Err(missing(planner, access, &quoted, &id, path_id).await?);
    }
    Ok(())
}

/// The statement that changes one document and answers it. `sets` has parameters of its own before the rest.
fn change(
    quoted: &str,
    sets: &str,
    mut params: Vec<Value>,
    id: &Value,
    now: Value,
    precondition: &Precondition,
) -> Statement {
    let sql = format!(
        "UPDATE {quoted} SET {sets}, \"_version\" = \"_version\" + 1, \"_updated_at\" = ? \
         WHERE \"_id\" = ?{} RETURNING {}",
        precondition.clause(),
        stored::COLUMNS
    );
    params.extend([now, id.clone()]);
    statement(sql, params)
}

async fn by_id(
    planner: &Planner,
    access: &impl PartitionAccess,
    quoted: &str,
    id: &Value,
) -> Result<Option<Stored>> {
    let condition = Condition { sql: "\"_id\" = ?".to_owned(), params: vec![id.clone()] };
    Ok(stored::select(planner, access, quoted, condition, "").await?.into_iter().next())
}

fn one(result: &common::protocol::StatementResult) -> Result<Option<Document>> {
    Ok(Stored::all(result)?.into_iter().next().map(Stored::into_document))
}

/// Why a write found no document: there is none, or its version is another.
async fn missing(
    planner: &Planner,
    access: &impl PartitionAccess,
    quoted: &str,
    id: &Value,
    path_id: &str,
) -> Result<Error> {
    Ok(if by_id(planner, access, quoted, id).await?.is_some() { failed() } else { not_found(path_id) })
}

fn not_found(path_id: &str) -> Error {
    Error::new(ErrorCode::DocumentNotFound, format!("Document '{path_id}' not found"))
}

fn failed() -> Error {
    Error::new(ErrorCode::PreconditionFailed, "the document is not in the state that the request asks for")
        .with_hint("read it again, and send its ETag as If-Match")
}

/// JSON that must be an object.
fn object(json: Json, what: &str) -> Result<Map<String, Json>> {
    match json {
        Json::Object(object) => Ok(object),
        _ => Err(Error::bad_request(format!("{what} must be an object"))),
    }
}
