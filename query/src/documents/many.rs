//! Changing and deleting the documents that match a filter.

use common::names::quote_identifier;
use common::{Error, ErrorCode, Result, Value};
use serde_json::{Map, Value as Json};

use super::filter::Condition;
use super::find::{fields, filter};
use super::stored::{self, Stored, existing, milliseconds, run_together, select, statement, text_of};
use super::{Precondition, change, id, object, update as operators};
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::sql::{ATTEMPTS_MAX, run_one};

/// Documents that are changed in one write.
const DOCUMENTS_PER_WRITE: usize = 1_000;

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

/// `POST update`: the body has `filter`, `update`, `multi`, `upsert`. Each document changes atomically; one
/// that another request changes meanwhile is looked at again.
pub async fn update(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
    moment: Moment,
) -> Result<Updated> {
    let request = fields(request)?;
    let filter = filter(request)?;
    let changes = match request.get("update") {
        Some(Json::Object(changes)) if operators::has_operators(changes) => changes,
        Some(Json::Object(_)) => {
            return Err(Error::bad_request("update needs operators")
                .with_hint("{\"$set\": {…}}; to replace a document, PUT it"));
        }
        _ => return Err(Error::bad_request("update must be an object with $set, $unset or $inc")),
    };
    operators::check(changes)?;
    let (multi, upsert) = (flag(request, "multi", true)?, flag(request, "upsert", false)?);
    let condition = Condition::of(&filter)?;
    let mut done = Updated::default();
    match stored::table(planner, collection)? {
        Some(table) => {
            let quoted = quote_identifier(&table.name);
            let work = Work { planner, access, quoted: &quoted, changes, moment };
            work.run(condition, multi, &mut done).await?;
        }
        None if upsert => {}
        None => {
            existing(planner, collection)?;
        }
    }
    if done.matched == 0 && upsert {
        let document = document_of(&filter, changes)?;
        let mut ids =
            super::insert(planner, access, collection, vec![Json::Object(document)], moment).await?;
        done.upserted_id = ids.pop();
    }
    Ok(done)
}

struct Work<'a, A> {
    planner: &'a Planner,
    access: &'a A,
    quoted: &'a str,
    changes: &'a Map<String, Json>,
    moment: Moment,
}

impl<A: PartitionAccess> Work<'_, A> {
    async fn run(&self, condition: Condition, multi: bool, done: &mut Updated) -> Result<()> {
        let rest = if multi { " ORDER BY rowid" } else { " ORDER BY rowid LIMIT 1" };
        let found = select(self.planner, self.access, self.quoted, condition.clone(), rest).await?;
        done.matched = found.len() as u64;
        let mut todo = found;
        for _ in 0..ATTEMPTS_MAX {
            let mut overtaken = Vec::new();
            for chunk in todo.chunks(DOCUMENTS_PER_WRITE) {
                let written = self.write(chunk, done).await;
                overtaken.extend(written.map_err(|error| partly(error, done))?);
            }
            if overtaken.is_empty() {
                return Ok(());
            }
            todo = self.again(&condition, &overtaken).await.map_err(|error| partly(error, done))?;
            // One that no longer matches was changed by somebody else first.
            done.matched -= (overtaken.len() - todo.len()) as u64;
        }
        let error =
            Error::new(ErrorCode::SerializationFailure, "documents change faster than they can be updated");
        Err(partly(error, done))
    }

    /// Writes some documents; answers the ids of those that were changed meanwhile.
    async fn write(&self, chunk: &[Stored], done: &mut Updated) -> Result<Vec<Value>> {
        let (mut statements, mut ids) = (Vec::new(), Vec::new());
        for stored in chunk {
            let mut fields = stored.fields.clone();
            operators::apply(&mut fields, self.changes)?;
            if fields == stored.fields {
                continue;
            }
            let (text, now) = (text_of(&fields)?, milliseconds(self.moment));
            let unchanged = Precondition::Version(vec![stored.version]);
            let sets = "\"doc\" = jsonb(?)";
            statements.push(change(self.quoted, sets, vec![text.into()], &stored.id, now, &unchanged));
            ids.push(stored.id.clone());
        }
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let results = run_together(self.planner, self.access, statements).await?;
        let mut overtaken = Vec::new();
        for (id, result) in ids.into_iter().zip(results) {
            if result.affected_rows == 0 {
                overtaken.push(id);
            } else {
                done.modified += result.affected_rows;
            }
        }
        Ok(overtaken)
    }

    /// The documents of some ids that still match.
    async fn again(&self, condition: &Condition, ids: &[Value]) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        for id in ids {
            let mut narrowed = condition.clone();
            narrowed.sql = match narrowed.sql.as_str() {
                "" => "\"_id\" = ?".to_owned(),
                sql => format!("({sql}) AND \"_id\" = ?"),
            };
            narrowed.params.push(id.clone());
            found.extend(select(self.planner, self.access, self.quoted, narrowed, "").await?);
        }
        Ok(found)
    }
}

/// An error after some documents were changed says so.
fn partly(mut error: Error, done: &Updated) -> Error {
    if done.modified > 0 && error.outcome == common::Outcome::NotApplied {
        error.outcome = common::Outcome::Partial;
        error.applied = vec![format!("{} documents", done.modified)];
    }
    error
}

/// The document that an upsert makes: what the filter asks for by equality, then changed.
fn document_of(filter: &Map<String, Json>, changes: &Map<String, Json>) -> Result<Map<String, Json>> {
    let mut document = Map::new();
    let mut equalities = Map::new();
    for (field, wanted) in filter {
        let is_condition =
            matches!(wanted, Json::Object(inner) if inner.keys().any(|key| key.starts_with('$')));
        if field == "_id" && !is_condition {
            id::of_json(wanted)?;
            document.insert("_id".to_owned(), wanted.clone());
        } else if !field.starts_with('$') && !is_condition {
            equalities.insert(field.clone(), wanted.clone());
        }
    }
    let set = Map::from_iter([("$set".to_owned(), Json::Object(equalities))]);
    operators::apply(&mut document, &set)?;
    operators::apply(&mut document, changes)?;
    object(Json::Object(document), "a document")
}

fn flag(request: &Map<String, Json>, field: &str, absent: bool) -> Result<bool> {
    match request.get(field) {
        None | Some(Json::Null) => Ok(absent),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Error::bad_request(format!("{field} must be true or false"))),
    }
}

/// `POST delete`: the body has `filter`, `multi`. Answers how many were deleted.
pub async fn delete_many(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<u64> {
    let request = fields(request)?;
    let filter = filter(request)?;
    let multi = flag(request, "multi", true)?;
    let condition = Condition::of(&filter)?;
    let quoted = existing(planner, collection)?;
    if multi {
        let sql = format!("DELETE FROM {quoted}{}", condition.clause());
        return Ok(run_one(planner, access, &statement(sql, condition.params), 0).await?.affected_rows);
    }
    for _ in 0..ATTEMPTS_MAX {
        let first = select(planner, access, &quoted, condition.clone(), " ORDER BY rowid LIMIT 1").await?;
        let Some(stored) = first.into_iter().next() else { return Ok(0) };
        let sql = format!("DELETE FROM {quoted} WHERE \"_id\" = ? AND \"_version\" = ?");
        let delete = statement(sql, vec![stored.id, stored.version.into()]);
        if run_one(planner, access, &delete, 0).await?.affected_rows > 0 {
            return Ok(1);
        }
    }
    Err(Error::new(ErrorCode::SerializationFailure, "the documents change faster than one can be deleted"))
}
