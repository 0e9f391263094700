//! Several writes in one request: one after another, or all or none.
//!
//! Where all or none are to happen, the writes are computed on the documents as they were read, each seeing what those
//! before it did, and sent as one transaction. A guard before each document makes the transaction fail if the
//! document is not as it was read; then everything is computed again.

use common::json::kind_of;
use std::collections::BTreeMap;

use common::protocol::Statement;
use common::{Error, ErrorCode, Outcome, Result, Value};
use serde_json::{Map, Value as Json, json};

use super::budget::Budget;
use super::filter::Filter;
use super::find::source::Source;
use super::find::{fields, known};
use super::many::{UpdateRequest, delete_matching, flag, update_matching};
use super::place::Place;
use super::stored::{self, Stored, milliseconds, run_together, statement};
use super::update::{Circumstances, beginning, is_same};
use super::value::Fields;
use super::value::order::Key;
use super::{CONTENDED_ATTEMPTS, id};
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::table::Table;

/// Most operations of a request.
const OPERATIONS_MAX: usize = 10_000;

/// A write.
#[derive(Clone, Debug)]
enum Operation {
    Insert(Fields),
    Update(UpdateRequest),
    Delete { filter: Filter, multi: bool },
}

/// `POST bulk`: the body has `operations`, `ordered` (true), `atomic` (false). Answers counts, a result for each
/// operation, and the errors of those that failed.
pub async fn bulk(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
    moment: Moment,
) -> Result<Json> {
    let request = fields(request)?;
    known(request, &["operations", "ordered", "atomic"])?;
    let operations = operations(request.get("operations"))?;
    let (ordered, atomic) =
        (flag(request, "ordered")?.unwrap_or(true), flag(request, "atomic")?.unwrap_or(false));
    let (_, newer) = stored::ensure(planner, access, collection).await?;
    let planner = newer.as_ref().unwrap_or(planner);
    if atomic {
        return all_or_none(planner, access, collection, &operations, moment).await;
    }
    let mut summary = Summary::default();
    for (index, operation) in operations.into_iter().enumerate() {
        let moment = Moment { random: moment.random.wrapping_add(index as u128), ..moment };
        let done = one(planner, access, collection, operation, moment).await;
        let failed = done.is_err();
        summary.add(index, done)?;
        if failed && ordered {
            break;
        }
    }
    Ok(summary.answer())
}

fn operations(json: Option<&Json>) -> Result<Vec<Operation>> {
    let place = Place::root("operations");
    let Some(Json::Array(items)) = json else {
        return Err(
            place.wrong(format!("a list of operations is wanted, not {}", json.map_or("nothing", kind_of)))
        );
    };
    if items.len() > OPERATIONS_MAX {
        return Err(place.wrong(format!("there are more than {OPERATIONS_MAX} operations")));
    }
    items.iter().enumerate().map(|(index, item)| operation(item, &place.item(index))).collect()
}

fn operation(json: &Json, place: &Place<'_>) -> Result<Operation> {
    let found = json.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let Some((name, Json::Object(given))) = found else {
        return Err(place.wrong(
            "an operation is an object of one field, for example {\"insertOne\":{\"document\":{…}}}",
        ));
    };
    let place = place.field(name);
    let here = |error: Error| Error { message: format!("{} (in {place})", error.message), ..error };
    let with_multi = |multi: bool| {
        let mut fields = given.clone();
        if let Some(replacement) = fields.shift_remove("replacement") {
            fields.insert("update".to_owned(), replacement);
        }
        fields.insert("multi".to_owned(), multi.into());
        UpdateRequest::parse(&fields).map_err(here)
    };
    let filter = || {
        known(given, &["filter"]).map_err(here)?;
        super::find::filter(given).map_err(here)
    };
    match name.as_str() {
        "insertOne" => {
            known(given, &["document"]).map_err(here)?;
            let document = given.get("document").cloned().unwrap_or_default();
            super::fields_of(document, "document").map(Operation::Insert).map_err(here)
        }
        "updateOne" | "updateMany" if given.contains_key("replacement") => {
            Err(place.wrong("an update has 'update'; replaceOne has 'replacement'"))
        }
        "updateOne" | "updateMany" => {
            let request = with_multi(name == "updateMany")?;
            if !request.update.has_operators() {
                return Err(place.wrong("an update has operators; replaceOne replaces a document"));
            }
            Ok(Operation::Update(request))
        }
        "replaceOne" => {
            let request = with_multi(false)?;
            if request.update.has_operators() {
                return Err(place.wrong("a replacement is a document without operators"));
            }
            Ok(Operation::Update(request))
        }
        "deleteOne" => Ok(Operation::Delete { filter: filter()?, multi: false }),
        "deleteMany" => Ok(Operation::Delete { filter: filter()?, multi: true }),
        other => Err(place
            .wrong(format!("unknown operation '{other}'"))
            .with_hint("insertOne, updateOne, updateMany, replaceOne, deleteOne, deleteMany")),
    }
}

/// What an operation did.
#[derive(Clone, Debug)]
enum Done {
    Inserted(Json),
    Updated { matched: u64, modified: u64, upserted_id: Option<Json> },
    Deleted(u64),
}

async fn one(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    operation: Operation,
    moment: Moment,
) -> Result<Done> {
    match operation {
        Operation::Insert(document) => {
            let documents = vec![Json::Object(document)];
            let mut ids = super::insert(planner, access, collection, documents, moment).await?;
            Ok(Done::Inserted(ids.pop().unwrap_or_default()))
        }
        Operation::Update(request) => {
            let done = update_matching(planner, access, collection, &request, moment).await?;
            Ok(Done::Updated {
                matched: done.matched,
                modified: done.modified,
                upserted_id: done.upserted_id,
            })
        }
        Operation::Delete { filter, multi } => {
            delete_matching(planner, access, collection, filter, multi).await.map(Done::Deleted)
        }
    }
}

/// What all of them did.
#[derive(Debug, Default)]
struct Summary {
    inserted: u64,
    matched: u64,
    modified: u64,
    deleted: u64,
    upserted: u64,
    results: Vec<Json>,
    errors: Vec<Json>,
}

impl Summary {
    /// Takes the result of an operation. An error whose outcome is not known ends the request.
    fn add(&mut self, index: usize, done: Result<Done>) -> Result<()> {
        let result = match done {
            Ok(Done::Inserted(id)) => {
                self.inserted += 1;
                json!({ "id": id })
            }
            Ok(Done::Updated { matched, modified, upserted_id }) => {
                self.matched += matched;
                self.modified += modified;
                self.upserted += u64::from(upserted_id.is_some());
                json!({"matched": matched, "modified": modified, "upserted_id": upserted_id})
            }
            Ok(Done::Deleted(deleted)) => {
                self.deleted += deleted;
                json!({ "deleted": deleted })
            }
            Err(error) if matches!(error.outcome, Outcome::Unknown | Outcome::Applied) => {
                return Err(error.with_outcome(Outcome::Unknown).at_statement(index));
            }
            // What was planned on an older schema is planned anew, as long as nothing was done.
            Err(error) if matches!(error.code, ErrorCode::StaleSchema | ErrorCode::StalePartitionMap) => {
                let outcome = if self.results.is_empty() { error.outcome } else { Outcome::Partial };
                return Err(error.with_outcome(outcome).at_statement(index));
            }
            Err(error) => {
                let mut shown = Map::new();
                shown.insert("index".to_owned(), index.into());
                shown.insert("error".to_owned(), error.message.into());
                shown.insert("code".to_owned(), error.code.as_str().into());
                if let Some(hint) = error.hint {
                    shown.insert("hint".to_owned(), hint.into());
                }
                self.errors.push(Json::Object(shown));
                Json::Null
            }
        };
        self.results.push(result);
        Ok(())
    }

    fn answer(self) -> Json {
        json!({
            "inserted": self.inserted,
            "matched": self.matched,
            "modified": self.modified,
            "deleted": self.deleted,
            "upserted": self.upserted,
            "results": self.results,
            "errors": self.errors,
        })
    }
}

/// Computes and writes everything, again if documents were changed meanwhile.
async fn all_or_none(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    operations: &[Operation],
    moment: Moment,
) -> Result<Json> {
    let table = stored::existing(planner, collection)?;
    for attempt in 1..=CONTENDED_ATTEMPTS {
        let mut overlay = Overlay { documents: BTreeMap::new(), moment, budget: Budget::default() };
        let mut summary = Summary::default();
        for (index, operation) in operations.iter().enumerate() {
            let filter = match operation {
                Operation::Insert(_) => None,
                Operation::Update(request) => Some(&request.filter),
                Operation::Delete { filter, .. } => Some(filter),
            };
            if let Some(filter) = filter {
                let source = Source::new(planner, &table, filter.clone());
                overlay.know(source.all(planner, access, None).await?)?;
            }
            let done = overlay.perform(operation, index).map_err(|error| error.at_statement(index))?;
            summary.add(index, Ok(done))?;
        }
        let statements = overlay.statements(planner, &table)?;
        if statements.is_empty() {
            return Ok(summary.answer());
        }
        match run_together(planner, access, statements).await {
            Ok(_) => return Ok(summary.answer()),
            // A guard has found a document that is not as it was read.
            Err(error)
                if error.code == ErrorCode::NotNullViolation && error.outcome == Outcome::NotApplied =>
            {
                access.back_off(attempt).await;
            }
            Err(mut error) => {
                error.statement = None;
                return Err(error);
            }
        }
    }
    Err(Error::new(ErrorCode::SerializationFailure, "the documents change faster than they can be written"))
}

/// Documents as the operations so far have left them, by id.
struct Overlay {
    documents: BTreeMap<Key, Entry>,
    moment: Moment,
    budget: Budget,
}

/// A document.
struct Entry {
    /// As it was read.
    before: Option<Stored>,
    /// As it is.
    now: Option<Fields>,
}

impl Overlay {
    /// Takes what was read of documents that nothing is known of yet.
    fn know(&mut self, found: Vec<Stored>) -> Result<()> {
        for stored in found {
            let key = Key(common::json::to_json(&stored.id));
            if !self.documents.contains_key(&key) {
                self.budget.hold_fields(&stored.fields)?;
                let now = Some(stored.fields.clone());
                self.documents.insert(key, Entry { before: Some(stored), now });
            }
        }
        Ok(())
    }

    /// The ids of documents for which a filter holds.
    fn matching(&self, filter: &Filter, multi: bool) -> Result<Vec<Key>> {
        let mut found = Vec::new();
        for (key, entry) in &self.documents {
            if let Some(fields) = &entry.now
                && filter.matches(fields)?
            {
                found.push(key.clone());
                if !multi {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn perform(&mut self, operation: &Operation, index: usize) -> Result<Done> {
        let now = i64::try_from(self.moment.now_ms).unwrap_or(i64::MAX);
        match operation {
            Operation::Insert(document) => self.insert(document.clone(), index).map(Done::Inserted),
            Operation::Update(request) => {
                let keys = self.matching(&request.filter, request.multi)?;
                let (mut modified, mut upserted_id) = (0, None);
                for key in &keys {
                    let Some(entry) = self.documents.get_mut(key) else { continue };
                    let Some(fields) = &entry.now else { continue };
                    let circumstances = Circumstances { filter: Some(&request.filter), now, inserts: false };
                    let changed = request.update.apply(fields, &circumstances)?;
                    if !is_same(&changed, fields) {
                        modified += 1;
                        self.budget.hold_fields(&changed)?;
                        entry.now = Some(changed);
                    }
                }
                if keys.is_empty() && request.upsert {
                    let circumstances = Circumstances { filter: Some(&request.filter), now, inserts: true };
                    let document = request.update.apply(&beginning(&request.filter)?, &circumstances)?;
                    upserted_id = Some(self.insert(document, index)?);
                }
                Ok(Done::Updated { matched: keys.len() as u64, modified, upserted_id })
            }
            Operation::Delete { filter, multi } => {
                let keys = self.matching(filter, *multi)?;
                for key in &keys {
                    if let Some(entry) = self.documents.get_mut(key) {
                        entry.now = None;
                    }
                }
                Ok(Done::Deleted(keys.len() as u64))
            }
        }
    }

    fn insert(&mut self, mut document: Fields, index: usize) -> Result<Json> {
        let id = id::of_document(&document)?.unwrap_or_else(|| id::generate(self.moment, index).into());
        let id = common::json::to_json(&id);
        document.insert("_id".to_owned(), id.clone());
        let entry = self.documents.entry(Key(id.clone())).or_insert(Entry { before: None, now: None });
        if entry.now.is_some() {
            return Err(Error::new(ErrorCode::UniqueViolation, format!("there is a document {id} already")));
        }
        self.budget.hold_fields(&document)?;
        entry.now = Some(document);
        Ok(id)
    }

    /// What has to be written.
    fn statements(self, planner: &Planner, table: &Table) -> Result<Vec<Statement>> {
        let quoted = &common::names::quote_identifier(&table.name);
        let now = milliseconds(self.moment);
        let mut statements = Vec::new();
        for (key, entry) in self.documents {
            let id = id::of_json(&key.0)?;
            match (entry.before, entry.now) {
                (None, Some(fields)) => {
                    statements.push(stored::insertion(planner, table, &fields, &id, false, now.clone())?);
                }
                (Some(before), Some(fields)) if !is_same(&before.fields, &fields) => {
                    statements.extend(guard(quoted, &before));
                    let written = stored::replacement(planner, table, &fields, &id, &[], now.clone())?;
                    statements.push(written);
                }
                (Some(before), None) => {
                    statements.extend(guard(quoted, &before));
                    statements.push(statement(format!("DELETE FROM {quoted} WHERE \"_id\" = ?"), vec![id]));
                }
                _ => {}
            }
        }
        Ok(statements)
    }
}

/// Statements that change nothing and fail if a document is not as it was read: where it is gone the first makes one
/// without times, which the second does not let pass.
fn guard(quoted: &str, before: &Stored) -> [Statement; 2] {
    let version = Value::Integer(before.version);
    let same = format!(
        "INSERT INTO {quoted} (\"_id\", \"doc\", \"_version\", \"_created_at\", \"_updated_at\") \
         VALUES (?, x'0c', 1, -1, -1) \
         ON CONFLICT (\"_id\") DO UPDATE SET \"_version\" = CASE WHEN \"_version\" = ? THEN \"_version\" END"
    );
    let known = format!(
        "UPDATE {quoted} SET \"_version\" = CASE WHEN \"_created_at\" <> -1 THEN \"_version\" END WHERE \"_id\" = ?"
    );
    [statement(same, vec![before.id.clone(), version]), statement(known, vec![before.id.clone()])]
}
