//! Changing and deleting the documents that match a filter.
//!
//! Documents are read, changed here and written under the versions that were read, so that no change of
//! somebody else is lost; those that were changed meanwhile are looked at again. Where one document is meant by its id and
//! the change is simple, its partition does it all at once.

use common::json::kind_of;
use common::protocol::Statement;
use common::{Error, ErrorCode, Outcome, Result, Value};
use serde_json::Value as Json;

use super::CONTENDED_ATTEMPTS;
use super::filter::path::FieldPath;
use super::filter::{Filter, Test};
use super::find::source::Source;
use super::find::{fields, filter, known};
use super::keys::has_derived_columns;
use super::place::Place;
use super::stored::{self, Stored, existing, milliseconds, replacement, run_together, run_write, statement};
use super::update::in_place::InPlace;
use super::update::{Circumstances, Update, beginning, is_same};
use super::value::{Fields, size_of_fields};
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::sql::run_one;
use crate::table::Table;

/// Most documents that are written at once.
const DOCUMENTS_PER_WRITE: usize = 1_000;
/// And their greatest size in bytes, but for one document.
const BYTES_PER_WRITE: usize = 4 << 20;

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updated {
    /// Documents that the filter matched.
    pub matched: u64,
    /// Documents that changed.
    pub modified: u64,
    /// The id of the document that `upsert` made.
    pub upserted_id: Option<Json>,
}

/// An update as a request describes it.
#[derive(Clone, Debug)]
pub(super) struct UpdateRequest {
    pub(super) filter: Filter,
    pub(super) update: Update,
    pub(super) multi: bool,
    pub(super) upsert: bool,
}

impl UpdateRequest {
    /// Reads `filter`, `update`, `multi`, `upsert`, `arrayFilters`.
    pub(super) fn parse(request: &Fields) -> Result<UpdateRequest> {
        known(request, &["filter", "update", "multi", "upsert", "arrayFilters"])?;
        let place = Place::root("update");
        let given = request.get("update").ok_or_else(|| place.wrong("the update is missing"))?;
        let update = Update::parse(given, request.get("arrayFilters"), &place)?;
        let multi = flag(request, "multi")?;
        if !update.has_operators() && multi == Some(true) {
            return Err(place
                .wrong("a document can take the place of one only; with \"multi\" an update has operators"));
        }
        Ok(UpdateRequest {
            multi: multi.unwrap_or(update.has_operators()),
            filter: filter(request)?,
            update,
            upsert: flag(request, "upsert")?.unwrap_or(false),
        })
    }
}

/// `POST update`: the body has `filter`, `update`, `multi`, `upsert`, `arrayFilters`. Each document changes atomically.
pub async fn update(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
    moment: Moment,
) -> Result<Updated> {
    let request = UpdateRequest::parse(fields(request)?)?;
    update_matching(planner, access, collection, &request, moment).await
}

pub(super) async fn update_matching(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &UpdateRequest,
    moment: Moment,
) -> Result<Updated> {
    for attempt in 1..=CONTENDED_ATTEMPTS {
        let mut done = Updated::default();
        match stored::table(planner, collection)? {
            Some(table) => {
                let change = Change { update: &request.update, filter: &request.filter, moment };
                let work = Work::new(planner, access, &table, request.filter.clone());
                if work.change_in_place(&change).await? {
                    return Ok(Updated { matched: 1, modified: 1, upserted_id: None });
                }
                done = if request.multi {
                    work.change_all(&change).await?
                } else {
                    work.change_one(&change).await?
                };
            }
            None if request.upsert => {}
            None => drop(existing(planner, collection)?),
        }
        if done.matched > 0 || !request.upsert {
            return Ok(done);
        }
        let now = i64::try_from(moment.now_ms).unwrap_or(i64::MAX);
        let circumstances = Circumstances { filter: Some(&request.filter), now, inserts: true };
        let document = request.update.apply(&beginning(&request.filter)?, &circumstances)?;
        let has_id = document.contains_key("_id");
        match super::insert(planner, access, collection, vec![Json::Object(document)], moment).await {
            Ok(mut ids) => return Ok(Updated { upserted_id: ids.pop(), ..done }),
            // Another request was faster; now there is a document to be changed, unless the id is another's.
            Err(error)
                if error.code == ErrorCode::UniqueViolation && has_id && attempt < ATTEMPTS_TO_UPSERT =>
            {
                access.back_off(attempt).await;
            }
            Err(error) => return Err(error),
        }
    }
    Err(contended())
}

/// Attempts at an upsert whose id is taken.
const ATTEMPTS_TO_UPSERT: usize = 3;

fn contended() -> Error {
    Error::new(ErrorCode::SerializationFailure, "documents change faster than they can be updated")
}

/// What is to become of documents.
struct Change<'a> {
    update: &'a Update,
    filter: &'a Filter,
    moment: Moment,
}

impl Change<'_> {
    /// The statement that changes a document; `None` if it stays as it is.
    fn statement(
        &self,
        planner: &Planner,
        table: &Table,
        stored: &Stored,
    ) -> Result<Option<(Statement, usize)>> {
        let now = i64::try_from(self.moment.now_ms).unwrap_or(i64::MAX);
        let circumstances = Circumstances { filter: Some(self.filter), now, inserts: false };
        let changed = self.update.apply(&stored.fields, &circumstances)?;
        if is_same(&changed, &stored.fields) {
            return Ok(None);
        }
        let now = milliseconds(self.moment);
        let written = replacement(planner, table, &changed, &stored.id, &[stored.version], now)?;
        Ok(Some((written, size_of_fields(&changed))))
    }
}

/// Work on the documents of a collection that match.
struct Work<'a, A> {
    planner: &'a Planner,
    access: &'a A,
    table: &'a Table,
    source: Source,
    filter: Filter,
}

/// Statements with the ids of the documents that they are about.
type Batch = Vec<(Statement, Value)>;

impl<'a, A: PartitionAccess> Work<'a, A> {
    fn new(planner: &'a Planner, access: &'a A, table: &'a Table, filter: Filter) -> Work<'a, A> {
        Work { planner, access, table, source: Source::new(planner, table, filter.clone()), filter }
    }

    /// Has a partition change the one document that there can be. `false` if it must be looked at, or does not match.
    async fn change_in_place(&self, change: &Change<'_>) -> Result<bool> {
        if !self.filter.names_one_id() || has_derived_columns(self.table) || self.access.holds_writes_back() {
            return Ok(false);
        }
        let (Some(InPlace { document, condition }), Some(matching)) =
            (change.update.in_place(), self.source.surely())
        else {
            return Ok(false);
        };
        let sql = format!(
            "UPDATE {} SET \"doc\" = {}, \"_version\" = \"_version\" + 1, \"_updated_at\" = ? WHERE {} AND {}",
            self.source.quoted(),
            document.text,
            matching.text,
            condition.text
        );
        let now = vec![milliseconds(change.moment)];
        let params = [document.params, now, matching.params, condition.params].concat();
        let done = run_one(self.planner, self.access, &statement(sql, params), 0).await?;
        Ok(done.affected_rows > 0)
    }

    async fn change_one(&self, change: &Change<'_>) -> Result<Updated> {
        for attempt in 1..=CONTENDED_ATTEMPTS {
            let found = self.source.all(self.planner, self.access, Some(1)).await?;
            let Some(stored) = found.first() else { return Ok(Updated::default()) };
            let Some((statement, _)) = change.statement(self.planner, self.table, stored)? else {
                return Ok(Updated { matched: 1, ..Updated::default() });
            };
            if run_write(self.planner, self.access, &statement).await?.affected_rows > 0 {
                return Ok(Updated { matched: 1, modified: 1, upserted_id: None });
            }
            self.access.back_off(attempt).await;
        }
        Err(contended())
    }

    async fn change_all(&self, change: &Change<'_>) -> Result<Updated> {
        let mut todo = self.source.all(self.planner, self.access, None).await?;
        let mut done = Updated { matched: todo.len() as u64, ..Updated::default() };
        for attempt in 1..=CONTENDED_ATTEMPTS {
            // All are computed before any is written: what cannot be changed is found out in time.
            let (mut batches, mut batch, mut bytes) = (Vec::new(), Batch::new(), 0);
            for stored in &todo {
                let changed = change.statement(self.planner, self.table, stored);
                let Some((statement, length)) = changed.map_err(|error| partly(error, done.modified))? else {
                    continue;
                };
                if batch.len() >= DOCUMENTS_PER_WRITE || (bytes > 0 && bytes + length > BYTES_PER_WRITE) {
                    batches.push(std::mem::take(&mut batch));
                    bytes = 0;
                }
                bytes += length;
                batch.push((statement, stored.id.clone()));
            }
            batches.push(batch);
            let overtaken = self.write(batches, &mut done.modified).await?;
            if overtaken.is_empty() {
                return Ok(done);
            }
            self.access.back_off(attempt).await;
            todo = self.again(&overtaken).await.map_err(|error| partly(error, done.modified))?;
            // One that no longer matches was changed by somebody else first.
            done.matched -= (overtaken.len() - todo.len()) as u64;
        }
        Err(partly(contended(), done.modified))
    }

    /// Writes documents; answers the ids of those that were changed meanwhile.
    async fn write(&self, batches: Vec<Batch>, done: &mut u64) -> Result<Vec<Value>> {
        let mut overtaken = Vec::new();
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            let (statements, ids): (Vec<Statement>, Vec<Value>) = batch.into_iter().unzip();
            let results = run_together(self.planner, self.access, statements).await;
            let results = results.map_err(|mut error| {
                error.statement = None;
                partly(error, *done)
            })?;
            for (id, result) in ids.into_iter().zip(results) {
                if result.affected_rows == 0 {
                    overtaken.push(id);
                } else {
                    *done += result.affected_rows;
                }
            }
        }
        Ok(overtaken)
    }

    /// The documents of some ids that still match.
    async fn again(&self, ids: &[Value]) -> Result<Vec<Stored>> {
        let path = FieldPath::parse("_id", &Place::root("filter"))?;
        let mut found = Vec::new();
        for ids in ids.chunks(DOCUMENTS_PER_WRITE) {
            let values = ids.iter().map(common::json::to_json).collect();
            let among = Filter::Field(path.clone(), Test::Among(values));
            let filter = Filter::All(vec![among, self.filter.clone()]);
            let source = Source::new(self.planner, self.table, filter);
            found.extend(source.all(self.planner, self.access, None).await?);
        }
        Ok(found)
    }

    async fn delete_one(&self) -> Result<u64> {
        for attempt in 1..=CONTENDED_ATTEMPTS {
            let found = self.source.all(self.planner, self.access, Some(1)).await?;
            let Some(stored) = found.first() else { return Ok(0) };
            let delete = self.deletion(stored);
            if run_one(self.planner, self.access, &delete, 0).await?.affected_rows > 0 {
                return Ok(1);
            }
            self.access.back_off(attempt).await;
        }
        Err(contended())
    }

    async fn delete_all(&self) -> Result<u64> {
        if self.source.is_decided() {
            let clause = self.source.clause();
            let sql = format!("DELETE FROM {}{}", self.source.quoted(), clause.text);
            let done = run_one(self.planner, self.access, &statement(sql, clause.params), 0).await?;
            return Ok(done.affected_rows);
        }
        let mut todo = self.source.all(self.planner, self.access, None).await?;
        let mut deleted = 0;
        for attempt in 1..=CONTENDED_ATTEMPTS {
            let deletions: Batch =
                todo.iter().map(|stored| (self.deletion(stored), stored.id.clone())).collect();
            let batches = deletions.chunks(DOCUMENTS_PER_WRITE).map(<[_]>::to_vec).collect();
            let overtaken = self.write(batches, &mut deleted).await?;
            if overtaken.is_empty() {
                return Ok(deleted);
            }
            self.access.back_off(attempt).await;
            todo = self.again(&overtaken).await.map_err(|error| partly(error, deleted))?;
        }
        Err(partly(contended(), deleted))
    }

    fn deletion(&self, stored: &Stored) -> Statement {
        let sql = format!("DELETE FROM {} WHERE \"_id\" = ? AND \"_version\" = ?", self.source.quoted());
        statement(sql, vec![stored.id.clone(), stored.version.into()])
    }
}

/// An error after some documents were changed says so.
fn partly(mut error: Error, done: u64) -> Error {
    if done > 0 && error.outcome == Outcome::NotApplied {
        error.outcome = Outcome::Partial;
        error.applied = vec![format!("{done} documents")];
    }
    error
}

/// A field that is true or false.
pub(super) fn flag(request: &Fields, field: &str) -> Result<Option<bool>> {
    match request.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => {
            Err(Place::root(field).wrong(format!("{field} must be true or false, not {}", kind_of(other))))
        }
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
    known(request, &["filter", "multi"])?;
    if request.get("filter").is_none_or(Json::is_null) {
        return Err(Error::bad_request("Missing required fields: 'filter'")
            .with_hint("an empty filter, {}, deletes every document"));
    }
    let (filter, multi) = (filter(request)?, flag(request, "multi")?.unwrap_or(true));
    delete_matching(planner, access, collection, filter, multi).await
}

pub(crate) async fn delete_matching(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    filter: Filter,
    multi: bool,
) -> Result<u64> {
    let table = existing(planner, collection)?;
    let work = Work::new(planner, access, &table, filter);
    if multi { work.delete_all().await } else { work.delete_one().await }
}
