//! Documents as rows of their collection's table, see [`common::schema::collection_ddl`].

use std::sync::Arc;

use common::limits::DOCUMENT_MAX;
use common::names::{check_database_name, quote_identifier};
use common::protocol::{Params, Statement, StatementResult};
use common::schema::{DOCUMENT_ID, TableKind};
use common::{Error, ErrorCode, Result, Value};
use serde_json::{Map, Value as Json};

use super::attributes::{Attributes, Written};
use super::value::Fields;
use super::value::timestamp::rfc3339;
use super::{Document, id, keys};
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::plan::Place as Column;
use crate::planner::Planner;
use crate::schema::create_collection;
use crate::sql::{ATTEMPTS_MAX, Rows, SqlRequest, insert_rows, run_one, send};
use crate::table::Table;

/// Fields that belong to the store.
pub(crate) const RESERVED: [&str; 4] = ["_id", "_version", "_created_at", "_updated_at"];

/// Columns of a document's metadata.
const METADATA: [&str; 3] = ["_version", "_created_at", "_updated_at"];

/// A document as stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(super) id: Value,
    /// The document as answered, with its metadata if that was read.
    pub(super) fields: Fields,
    /// 0 if it was not read.
    pub(super) version: i64,
}

impl Stored {
    /// The document of a row of [`Attributes::columns`]; what follows them is left out.
    pub(super) fn of(row: Vec<Value>) -> Result<Stored> {
        let damaged = || Error::internal("a row of a collection is not a document");
        let mut values = row.into_iter();
        let mut next = || values.next().ok_or_else(damaged);
        let (id, text, version, created_at, updated_at) = (next()?, next()?, next()?, next()?, next()?);
        let Value::Text(text) = text else { return Err(damaged()) };
        let Ok(Json::Object(own)) = serde_json::from_str(&text) else { return Err(damaged()) };
        let mut fields = Map::with_capacity(own.len() + 4);
        fields.insert("_id".to_owned(), common::json::to_json(&id));
        fields.extend(own);
        let version = match (version, created_at, updated_at) {
            (Value::Null, ..) => 0,
            (Value::Integer(version), Value::Integer(created_at), Value::Integer(updated_at)) => {
                fields.insert("_version".to_owned(), version.into());
                fields.insert("_created_at".to_owned(), rfc3339(created_at).into());
                fields.insert("_updated_at".to_owned(), rfc3339(updated_at).into());
                version
            }
            _ => return Err(damaged()),
        };
        Ok(Stored { id, fields, version })
    }

    /// The rows of an answer as documents.
    pub(super) fn all(result: &StatementResult) -> Result<Vec<Stored>> {
        let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
        rows.into_iter().map(Stored::of).collect()
    }

    /// With its id, without its other metadata.
    pub(crate) fn plain(mut self) -> Json {
        for name in &RESERVED[1..] {
            self.fields.shift_remove(*name);
        }
        Json::Object(self.fields)
    }

    /// With all its metadata.
    pub(super) fn into_document(self) -> Document {
        Document { text: Json::Object(self.fields).to_string(), version: self.version }
    }
}

/// The document of a row of [`Attributes::columns`] with all metadata, as [`Stored::of`] would have it, put together
/// without being read.
pub(super) fn document_of_row(row: Vec<Value>) -> Result<Document> {
    let damaged = || Error::internal("a row of a collection is not a document");
    let [
        id,
        Value::Text(own),
        Value::Integer(version),
        Value::Integer(created_at),
        Value::Integer(updated_at),
    ] = row.as_slice()
    else {
        return Err(damaged());
    };
    let own = own.strip_prefix('{').and_then(|own| own.strip_suffix('}')).ok_or_else(damaged)?;
    let separator = if own.is_empty() { "" } else { "," };
    let (created_at, updated_at) = (rfc3339(*created_at), rfc3339(*updated_at));
    let id = common::json::to_json(id);
    let text = format!(
        "{{\"_id\":{id}{separator}{own},\"_version\":{version},\
         \"_created_at\":\"{created_at}\",\"_updated_at\":\"{updated_at}\"}}"
    );
    Ok(Document { text, version: *version })
}

/// A document's text without the fields that belong to the store.
pub(super) fn text_of(document: &Fields) -> Result<String> {
    let text = if RESERVED.iter().any(|name| document.contains_key(*name)) {
        let mut fields = document.clone();
        fields.retain(|name, _| !RESERVED.contains(&name.as_str()));
        serde_json::to_string(&fields)
    } else {
        serde_json::to_string(document)
    };
    let text = text.map_err(|error| Error::internal(error.to_string()))?;
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

/// The table behind a collection that must be there.
pub(super) fn existing(planner: &Planner, collection: &str) -> Result<Arc<Table>> {
    table(planner, collection)?.ok_or_else(|| {
        Error::new(ErrorCode::CollectionNotFound, format!("Collection '{collection}' does not exist"))
            .with_hint("it comes to be with its first document")
    })
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

/// A document to be inserted: its id, its fields, and its text.
pub(super) type New = (Value, Fields, String);

/// Documents on their way into the table.
struct NewRows {
    rows: Rows,
    /// Quoted name of each place, and what makes its value of a parameter.
    columns: Vec<(String, &'static str)>,
}

/// Places and values of documents that are inserted.
fn rows_of(planner: &Planner, table: &Table, documents: Vec<New>, now: &Value) -> Result<NewRows> {
    let (keys, attributes) = (keys::of_table(table)?, Attributes::of(planner, table));
    let mut columns = Vec::new();
    let mut rows = Vec::with_capacity(documents.len());
    for (id, fields, text) in documents {
        let written = attributes.written(&fields, text)?;
        let mut row = vec![id, 1.into(), now.clone(), now.clone()];
        if columns.is_empty() {
            let own = std::iter::once(DOCUMENT_ID).chain(METADATA).map(quote_identifier);
            columns.extend(own.map(|name| (name, "?")));
            columns.extend(written.iter().map(|written| (written.column.clone(), written.expression)));
            columns.extend(keys.iter().map(|key| (quote_identifier(&key.name), "?")));
        }
        row.extend(written.into_iter().map(|written| written.value));
        row.extend(keys.iter().map(|key| key.value(&fields)));
        rows.push(row);
    }
    let position = |(quoted, _): &(String, &str)| {
        let is_it = |name: &str| quote_identifier(name) == *quoted;
        let found = table.columns.iter().position(|column| is_it(&column.name));
        found.map(Column::Column).ok_or_else(|| Error::internal("a collection lacks a column"))
    };
    let places = columns.iter().map(position).collect::<Result<Vec<Column>>>()?;
    Ok(NewRows { rows: Rows { places, rows, ..Rows::default() }, columns })
}

/// Inserts documents, all or none.
pub(super) async fn insert(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    documents: Vec<New>,
    moment: Moment,
) -> Result<()> {
    let rows = rows_of(planner, table, documents, &milliseconds(moment))?;
    write_rows(planner, access, table, rows).await.map_err(|error| violation(error, table))
}

/// Sends rows; a rowid that collides is drawn again.
async fn write_rows(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    NewRows { rows, columns }: NewRows,
) -> Result<()> {
    let text = |places: &[Column], count: usize| insert_text(table, places, &columns, count);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let pending = insert_rows(planner, access, table, rows.clone(), &text).await?;
        match send(planner, access, vec![pending], 0).await {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.may_pass(attempt) => {}
            Err(refusal) => return Err(refusal.error),
        }
    }
}

/// Texts become JSONB on the partition.
fn insert_text(table: &Table, places: &[Column], columns: &[(String, &str)], count: usize) -> String {
    let name = |place: &Column| match place {
        Column::Column(position) => quote_identifier(&table.columns[*position].name),
        Column::Rowid => table.rowid_name.unwrap_or("rowid").to_owned(),
    };
    let names: Vec<String> = places.iter().map(name).collect();
    let mark =
        |name: &String| columns.iter().find(|(column, _)| column == name).map_or("?", |(_, mark)| *mark);
    let marks: Vec<&str> = names.iter().map(mark).collect();
    let row = format!("({})", marks.join(", "));
    let rows = vec![row; count].join(", ");
    format!("INSERT INTO {} ({}) VALUES {rows}", quote_identifier(&table.name), names.join(", "))
}

/// What an insert violated, in the words of documents: rows have keys that documents know nothing of.
fn violation(error: Error, table: &Table) -> Error {
    if error.code != ErrorCode::UniqueViolation {
        return error;
    }
    let own = error.message.clone();
    let mut told = keys::told(error);
    if told.message == own {
        told.message = violated_id(table);
    }
    told.statement = None;
    told
}

/// Whether an error says that a document of that id is there already.
pub(super) fn is_of_id(error: &Error, table: &Table) -> bool {
    error.code == ErrorCode::UniqueViolation && violation(error.clone(), table).message == violated_id(table)
}

fn violated_id(table: &Table) -> String {
    format!("UNIQUE constraint failed: {}._id", table.name)
}

/// Inserts one document under its own id or, without one, the next integer of the collection.
pub(crate) async fn insert_numbered(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    document: Fields,
    moment: Moment,
) -> Result<Json> {
    let document = super::fields_of(Json::Object(document), "document")?;
    let given = id::of_document(&document)?;
    let text = text_of(&document)?;
    let (table, newer) = ensure(planner, access, collection).await?;
    let planner = newer.as_ref().unwrap_or(planner);
    if let Some(id) = given {
        insert(planner, access, &table, vec![(id.clone(), document, text)], moment).await?;
        return Ok(common::json::to_json(&id));
    }
    let now = milliseconds(moment);
    let is_counted = planner.buckets() > 1 || table.divided.is_some();
    for _ in 0..ATTEMPTS_MAX {
        // The number is the rowid too, so that counting costs nothing of its own.
        let number = if is_counted {
            access.allocate_rowids(&table.name, 1).await?
        } else {
            next_number(planner, access, &table).await?
        };
        let new = (number.into(), document.clone(), text.clone());
        let mut rows = rows_of(planner, &table, vec![new], &now)?;
        rows.rows.rowids_allocated = true;
        if is_counted {
            rows.rows.places.push(Column::Rowid);
            rows.rows.rows.iter_mut().for_each(|row| row.push(number.into()));
        }
        match write_rows(planner, access, &table, rows).await {
            Ok(()) => return Ok(number.into()),
            // A client has taken the number itself, or another request was faster.
            Err(error) if is_of_id(&error, &table) => {}
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

/// The document of an id.
pub(super) async fn by_id(
    planner: &Planner,
    access: &impl PartitionAccess,
    quoted: &str,
    id: &Value,
) -> Result<Option<Stored>> {
    Ok(Stored::all(&row_by_id(planner, access, quoted, id).await?)?.into_iter().next())
}

/// The row of an id: [`columns_of_whole`].
pub(super) async fn row_by_id(
    planner: &Planner,
    access: &impl PartitionAccess,
    quoted: &str,
    id: &Value,
) -> Result<StatementResult> {
    let columns = columns_of_whole();
    let read = statement(format!("SELECT {columns} FROM {quoted} WHERE \"_id\" = ?"), vec![id.clone()]);
    run_one(planner, access, &read, u32::MAX).await
}

/// The columns of a whole document's row as read.
fn columns_of_whole() -> String {
    Attributes::columns_of_whole("\"doc\"")
}

/// A document on its way into its columns.
struct Writing {
    columns: Vec<Written>,
    /// What tells the document as it is after the write, with its metadata, in columns as read.
    answered: String,
    /// The parameters of that.
    parameters: Vec<Value>,
}

impl Writing {
    fn of(planner: &Planner, table: &Table, document: &Fields) -> Result<Writing> {
        let text = text_of(document)?;
        let attributes = Attributes::of(planner, table);
        // Where the document is put together of columns, the statement sees it as it was.
        let (answered, parameters) = match attributes.is_divided() {
            true => (Attributes::columns_of_whole("?"), vec![text.clone().into()]),
            false => (columns_of_whole(), Vec::new()),
        };
        let mut columns = attributes.written(document, text)?;
        let key = |key: keys::KeyColumn| {
            let value = key.value(document);
            Written { column: quote_identifier(&key.name), expression: "?", value }
        };
        columns.extend(keys::of_table(table)?.into_iter().map(key));
        Ok(Writing { columns, answered, parameters })
    }
}

/// The statement that replaces a document if its version is one of some, and answers it.
pub(super) fn replacement(
    planner: &Planner,
    table: &Table,
    document: &Fields,
    id: &Value,
    versions: &[i64],
    now: Value,
) -> Result<Statement> {
    let Writing { columns, answered, parameters } = Writing::of(planner, table, document)?;
    let set = |written: &Written| format!("{} = {}, ", written.column, written.expression);
    let sets: String = columns.iter().map(set).collect();
    let mut params: Vec<Value> = columns.into_iter().map(|written| written.value).collect();
    params.extend([now, id.clone()]);
    params.extend(versions.iter().map(|version| Value::Integer(*version)));
    params.extend(parameters);
    let condition = match versions {
        [] => String::new(),
        [_] => " AND \"_version\" = ?".to_owned(),
        several => format!(" AND \"_version\" IN ({})", vec!["?"; several.len()].join(", ")),
    };
    let sql = format!(
        "UPDATE {} SET {sets}\"_version\" = \"_version\" + 1, \"_updated_at\" = ? \
         WHERE \"_id\" = ?{condition} RETURNING {answered}",
        quote_identifier(&table.name)
    );
    Ok(statement(sql, params))
}

/// The statement that inserts a document, or with `replaces` puts it in the place of the one with its id, and answers
/// it.
pub(super) fn insertion(
    planner: &Planner,
    table: &Table,
    document: &Fields,
    id: &Value,
    replaces: bool,
    now: Value,
) -> Result<Statement> {
    let Writing { columns, answered, parameters } = Writing::of(planner, table, document)?;
    let names: String = columns.iter().map(|written| format!(", {}", written.column)).collect();
    let values: String = columns.iter().map(|written| format!(", {}", written.expression)).collect();
    let conflict = if replaces {
        let set = |written: &Written| format!("{0} = excluded.{0}, ", written.column);
        let sets: String = columns.iter().map(set).collect();
        format!(
            " ON CONFLICT (\"_id\") DO UPDATE SET {sets}\"_version\" = \"_version\" + 1, \
             \"_updated_at\" = excluded.\"_updated_at\""
        )
    } else {
        String::new()
    };
    let mut params = vec![id.clone(), now.clone(), now];
    params.extend(columns.into_iter().map(|written| written.value));
    params.extend(parameters);
    let sql = format!(
        "INSERT INTO {} (\"_id\", \"_version\", \"_created_at\", \"_updated_at\"{names}) \
         VALUES (?, 1, ?, ?{values}){conflict} RETURNING {answered}",
        quote_identifier(&table.name)
    );
    Ok(statement(sql, params))
}

/// Changes the schema; answers what later statements are planned on.
pub(super) async fn change_schema(
    planner: &Planner,
    access: &impl PartitionAccess,
    sql: &str,
) -> Result<Planner> {
    let definition = crate::schema::define(planner.database(), sql)?;
    let definition = definition.ok_or_else(|| Error::internal("a change of the schema had no effect"))?;
    let mut database = planner.database().as_ref().clone();
    database.schema = definition.change.schema.clone();
    access.change_schema(definition.change).await?;
    Planner::new(Arc::new(database), planner.rules())
}

/// Runs statements as one atomic write.
pub(super) async fn run_together(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: Vec<Statement>,
) -> Result<Vec<StatementResult>> {
    let request = SqlRequest { statements, atomic: true, max_rows: 1, read_only: false };
    let answer = crate::sql::run_for_documents(planner, access, request).await.map_err(keys::told)?;
    answer.results.into_iter().map(|result| result.map_err(keys::told)).collect()
}

/// Runs a statement that writes a document.
pub(super) async fn run_write(
    planner: &Planner,
    access: &impl PartitionAccess,
    written: &Statement,
) -> Result<StatementResult> {
    run_one(planner, access, written, 1).await.map_err(keys::told)
}
