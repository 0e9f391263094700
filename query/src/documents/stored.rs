//! Documents as rows of their collection's table, see [`common::schema::collection_ddl`].

use std::borrow::Cow;
use std::sync::Arc;

use common::limits::DOCUMENT_MAX;
use common::names::{check_database_name, quote_identifier};
use common::protocol::{Params, Statement, StatementResult};
use common::query_object::Which;
use common::schema::TableKind;
use common::{Error, ErrorCode, Result, Value};
use serde_json::{Map, Value as Json};

use super::filter::Condition;
use super::time::rfc3339;
use super::update::RESERVED;
use super::{Document, id};
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::plan::Place;
use crate::planner::Planner;
use crate::schema::create_collection;
use crate::sql::{ATTEMPTS_MAX, Rows, SqlRequest, insert_rows, run_one, send};
use crate::table::Table;

/// Columns of a document's row as read, in this order.
pub(super) const COLUMNS: &str = "\"_id\", json(\"doc\"), \"_version\", \"_created_at\", \"_updated_at\"";

/// Places of a document's row as written: `_id`, `doc`, `_version`, `_created_at`, `_updated_at`.
const PLACES: [Place; 5] =
    [Place::Column(0), Place::Column(1), Place::Column(2), Place::Column(3), Place::Column(4)];

/// A document as stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(super) id: Value,
    pub(super) fields: Map<String, Json>,
    pub(super) version: i64,
    created_at: i64,
    updated_at: i64,
}

impl Stored {
    fn of(row: Vec<Value>) -> Result<Stored> {
        let damaged = || Error::internal("a row of a collection is not a document");
        let [
            id,
            Value::Text(text),
            Value::Integer(version),
            Value::Integer(created_at),
            Value::Integer(updated_at),
        ]: [Value; 5] = row.try_into().map_err(|_| damaged())?
        else {
            return Err(damaged());
        };
        let Ok(Json::Object(fields)) = serde_json::from_str(&text) else { return Err(damaged()) };
        Ok(Stored { id, fields, version, created_at, updated_at })
    }

    /// The rows of an answer as documents.
    pub(super) fn all(result: &StatementResult) -> Result<Vec<Stored>> {
        let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
        rows.into_iter().map(Stored::of).collect()
    }

    /// With its id, without its other metadata.
    pub(crate) fn plain(self) -> Json {
        Json::Object(self.with_id())
    }

    fn with_id(self) -> Map<String, Json> {
        let mut document = Map::with_capacity(self.fields.len() + 4);
        document.insert("_id".to_owned(), common::json::to_json(&self.id));
        document.extend(self.fields);
        document
    }

    /// With all its metadata.
    pub(super) fn into_document(self) -> Document {
        let (version, created_at, updated_at) = (self.version, self.created_at, self.updated_at);
        let mut document = self.with_id();
        document.insert("_version".to_owned(), version.into());
        document.insert("_created_at".to_owned(), rfc3339(created_at).into());
        document.insert("_updated_at".to_owned(), rfc3339(updated_at).into());
        Document { json: Json::Object(document), version }
    }
}

/// A document's text without the fields that belong to the store.
pub(super) fn text_of(document: &Map<String, Json>) -> Result<String> {
    let mut fields = Cow::Borrowed(document);
    if RESERVED.iter().any(|name| document.contains_key(*name)) {
        let fields = fields.to_mut();
        for name in RESERVED {
            fields.shift_remove(name);
        }
    }
    let text = serde_json::to_string(fields.as_ref()).map_err(|error| Error::internal(error.to_string()))?;
    if text.len() > DOCUMENT_MAX {
        return Err(Error::new(ErrorCode::ValueTooBig, "the document is larger than 16 MiB"));
    }
    Ok(text)
}

/// The table behind a collection; `None` if there is none.
pub(super) fn table(planner: &Planner, collection: &str) -> Result<Option<Arc<Table>>> {
    check_database_name("collection", collection)?;
    match planner.table(collection) {
        Some(table) if table.kind == TableKind::Collection => Ok(Some(table)),
        Some(_) => Err(Error::bad_request(format!("'{collection}' is a table, not a collection"))
            .with_hint("use SQL or a query object with \"table\"")),
        None => Ok(None),
    }
}

/// The quoted name of a collection that must be there.
pub(super) fn existing(planner: &Planner, collection: &str) -> Result<String> {
    match table(planner, collection)? {
        Some(table) => Ok(quote_identifier(&table.name)),
        None => Err(Error::new(
            ErrorCode::CollectionNotFound,
            format!("Collection '{collection}' does not exist"),
        )
        .with_hint("it comes to be with its first document")),
    }
}

/// The planner of a schema with the collection, which is made if it is not there.
pub(super) async fn ensure(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
) -> Result<(Arc<Table>, Option<Planner>)> {
    if let Some(table) = table(planner, collection)? {
        return Ok((table, None));
    }
    let change = create_collection(planner.database(), collection)?;
    let mut database = planner.database().as_ref().clone();
    database.schema = change.schema.clone();
    access.change_schema(change).await?;
    let newer = Planner::new(Arc::new(database), planner.rules())?;
    let table = table(&newer, collection)?.ok_or_else(|| Error::internal("a new collection is not there"))?;
    Ok((table, Some(newer)))
}

/// A statement with parameters by position.
pub(super) fn statement(sql: String, params: Vec<Value>) -> Statement {
    let params = if params.is_empty() { Params::None } else { Params::Positional(params) };
    Statement { sql, params }
}

/// Inserts documents with their ids, all or none.
pub(super) async fn insert(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    documents: Vec<(Value, String)>,
    moment: Moment,
) -> Result<()> {
    let now = milliseconds(moment);
    let rows =
        documents.into_iter().map(|(id, text)| vec![id, text.into(), 1.into(), now.clone(), now.clone()]);
    let rows = Rows { places: PLACES.to_vec(), rows: rows.collect(), rowids_allocated: false };
    write_rows(planner, access, table, rows).await.map_err(|error| duplicate_id(error, table))
}

/// Sends rows; a rowid that collides is drawn again.
async fn write_rows(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    rows: Rows,
) -> Result<()> {
    let text = |places: &[Place], count: usize| insert_text(table, places, count);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let pending = insert_rows(planner, access, table, rows.clone(), &text).await?;
        match send(planner, access, vec![pending], 0).await {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.again && attempt < ATTEMPTS_MAX => {}
            Err(refusal) => return Err(refusal.error),
        }
    }
}

/// The text becomes JSONB on the partition.
fn insert_text(table: &Table, places: &[Place], count: usize) -> String {
    let name = |place: &Place| match place {
        Place::Column(position) => quote_identifier(&table.columns[*position].name),
        Place::Rowid => table.rowid_name.unwrap_or("rowid").to_owned(),
    };
    let names: Vec<String> = places.iter().map(name).collect();
    let marks: Vec<&str> =
        places.iter().map(|place| if *place == Place::Column(1) { "jsonb(?)" } else { "?" }).collect();
    let row = format!("({})", marks.join(", "));
    let rows = vec![row; count].join(", ");
    format!("INSERT INTO {} ({}) VALUES {rows}", quote_identifier(&table.name), names.join(", "))
}

fn duplicate_id(mut error: Error, table: &Table) -> Error {
    if error.code == ErrorCode::UniqueViolation {
        error.message = format!("UNIQUE constraint failed: {}._id", table.name);
        error.statement = None;
    }
    error
}

/// Inserts one document under its own id or, without one, the next integer of the collection.
pub(crate) async fn insert_numbered(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    document: Map<String, Json>,
    moment: Moment,
) -> Result<Json> {
    let given = id::of_document(&document)?;
    let text = text_of(&document)?;
    let (table, newer) = ensure(planner, access, collection).await?;
    let planner = newer.as_ref().unwrap_or(planner);
    if let Some(id) = given {
        insert(planner, access, &table, vec![(id.clone(), text)], moment).await?;
        return Ok(common::json::to_json(&id));
    }
    let now = milliseconds(moment);
    for _ in 0..ATTEMPTS_MAX {
        // The number is the rowid too, so that counting costs nothing of its own.
        let number = if planner.buckets() == 1 {
            next_number(planner, access, &table).await?
        } else {
            access.allocate_rowids(&table.name, 1).await?
        };
        let mut places = PLACES.to_vec();
        let mut row = vec![number.into(), text.clone().into(), 1.into(), now.clone(), now.clone()];
        if planner.buckets() > 1 {
            places.push(Place::Rowid);
            row.push(number.into());
        }
        let rows = Rows { places, rows: vec![row], rowids_allocated: true };
        match write_rows(planner, access, &table, rows).await {
            Ok(()) => return Ok(number.into()),
            // A client has taken the number itself, or another request was faster.
            Err(error) if error.code == ErrorCode::UniqueViolation => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(ErrorCode::SerializationFailure, "no free id was found for the document"))
}

/// One more than the greatest integer id of a collection with one partition.
async fn next_number(planner: &Planner, access: &impl PartitionAccess, table: &Table) -> Result<i64> {
    // Integers sort before texts.
    let name = quote_identifier(&table.name);
    let sql = format!("SELECT coalesce(max(\"_id\"), 0) FROM {name} WHERE \"_id\" < ''");
    let result = run_one(planner, access, &statement(sql, Vec::new()), 1).await?;
    let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    match rows.first().and_then(|row| row.first()) {
        Some(Value::Integer(greatest)) if *greatest < i64::MAX => Ok((*greatest).max(0) + 1),
        _ => Err(Error::bad_request("there is no next integer id; give an _id")),
    }
}

pub(super) fn milliseconds(moment: Moment) -> Value {
    Value::Integer(i64::try_from(moment.now_ms).unwrap_or(i64::MAX))
}

/// The condition that selects documents.
fn condition(which: &Which) -> Result<Condition> {
    match which {
        Which::Id(id) => Ok(Condition { sql: "\"_id\" = ?".to_owned(), params: vec![id.clone()] }),
        Which::Matching(filter) => Condition::of(filter),
    }
}

/// Documents that are selected, in the order of their making; none if there is no such collection.
pub(crate) async fn matching(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    which: &Which,
) -> Result<Vec<Stored>> {
    let condition = condition(which)?;
    let Some(table) = table(planner, collection)? else { return Ok(Vec::new()) };
    select(planner, access, &quote_identifier(&table.name), condition, " ORDER BY rowid").await
}

/// Documents that pass a condition; `rest` follows it.
pub(super) async fn select(
    planner: &Planner,
    access: &impl PartitionAccess,
    quoted: &str,
    condition: Condition,
    rest: &str,
) -> Result<Vec<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM {quoted}{}{rest}", condition.clause());
    let result = run_one(planner, access, &statement(sql, condition.params), u32::MAX).await?;
    if result.truncated {
        return Err(Error::new(ErrorCode::ResultTooBig, "the documents are larger than one answer may be")
            .with_hint("use a narrower filter, a projection in SQL, or limit"));
    }
    Stored::all(&result)
}

/// Gives documents the fields of `values`, for each in its partition; answers how many, and the one that is named
/// by its id as it is then.
pub(crate) async fn assign(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    which: &Which,
    values: &Map<String, Json>,
    moment: Moment,
) -> Result<(u64, Option<Stored>)> {
    text_of(values)?;
    let values: Vec<(&String, &Json)> =
        values.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())).collect();
    let condition = condition(which)?;
    let Some(table) = table(planner, collection)? else { return Ok((0, None)) };
    let mut expression = "\"doc\"".to_owned();
    let mut params = Vec::new();
    // Fields are set a few at a time: a function of SQLite takes at most 127 arguments.
    for chunk in values.chunks(50) {
        expression = format!("jsonb_set({expression}{})", ", ?, jsonb(?)".repeat(chunk.len()));
        for (name, value) in chunk {
            params.extend([field_path(name)?.into(), value.to_string().into()]);
        }
    }
    params.push(milliseconds(moment));
    params.extend(condition.params.clone());
    let mut sql = format!(
        "UPDATE {} SET \"doc\" = {expression}, \"_version\" = \"_version\" + 1, \"_updated_at\" = ?{}",
        quote_identifier(&table.name),
        condition.clause()
    );
    let is_one = matches!(which, Which::Id(_));
    if is_one {
        sql = format!("{sql} RETURNING {COLUMNS}");
    }
    let result = run_one(planner, access, &statement(sql, params), 1).await?;
    let changed = if is_one { Stored::all(&result)?.into_iter().next() } else { None };
    Ok((result.affected_rows, changed))
}

/// The path of a top-level field, whatever its name holds besides quotes.
fn field_path(name: &str) -> Result<String> {
    if name.is_empty() || name.contains(['"', '\\', '\0']) {
        return Err(Error::not_supported(
            "fields with such names cannot be set one by one",
            "replace the whole document",
        ));
    }
    Ok(format!("$.\"{name}\""))
}

/// Deletes documents; answers how many.
pub(crate) async fn remove(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    which: &Which,
) -> Result<u64> {
    let condition = condition(which)?;
    let Some(table) = table(planner, collection)? else { return Ok(0) };
    let sql = format!("DELETE FROM {}{}", quote_identifier(&table.name), condition.clause());
    Ok(run_one(planner, access, &statement(sql, condition.params), 0).await?.affected_rows)
}

/// Runs statements as one atomic write.
pub(super) async fn run_together(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: Vec<Statement>,
) -> Result<Vec<StatementResult>> {
    let request = SqlRequest { statements, atomic: true, max_rows: 1, read_only: false };
    crate::sql::run(planner, access, request).await?.results.into_iter().collect()
}
