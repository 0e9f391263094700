//! Indexes of a collection, over paths, and which of them a search uses.
//!
//! An index is one of SQLite's, over the values at its paths, on every partition. Its name in the schema is the
//! collection's and its own, with a point between. Where a path meets an array, a document is found by a mark, and
//! the array is looked at when the document has been read.

use std::collections::BTreeSet;

use common::json::kind_of;
use common::names::quote_identifier;
use common::schema::{ObjectKind, SchemaObject};
use common::{Error, ErrorCode, Result};
use serde_json::{Value as Json, json};

use super::attributes::Attributes;
use super::filter::Filter;
use super::filter::path::FieldPath;
use super::filter::pushed::Path;
use super::find::source::{Source, number_in};
use super::find::{Find, fields, known};
use super::keys;
use super::many::flag;
use super::place::Place;
use super::stored::{self, existing, statement};
use crate::access::PartitionAccess;
use crate::plan::PlanNode;
use crate::planner::Planner;
use crate::sql::run_one;
use crate::table::Table;

/// Most paths of an index.
const FIELDS_MAX: usize = 16;
/// Longest name.
const NAME_MAX: usize = 120;

/// `POST indexes`: the body has `name`, `fields`, `unique`. Answers the name.
pub async fn create_index(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<String> {
    let request = fields(request)?;
    refuse_options(request)?;
    known(request, &["name", "fields", "unique"])?;
    let place = Place::root("fields");
    let paths = paths(request.get("fields"), &place)?;
    let name = match request.get("name") {
        None | Some(Json::Null) => paths.iter().map(|path| path.text.as_str()).collect::<Vec<_>>().join("_"),
        Some(Json::String(name)) if !name.is_empty() => name.clone(),
        Some(_) => return Err(Place::root("name").wrong("the name of an index is a string")),
    };
    if name.len() > NAME_MAX || name.contains(['\0', ':']) {
        return Err(Place::root("name")
            .wrong(format!("the name of an index has at most {NAME_MAX} bytes and no colon")));
    }
    let unique = flag(request, "unique")?.unwrap_or(false);
    let table = existing(planner, collection)?;
    if find(planner, &table, &name).is_some() {
        return Err(Place::root("name").wrong(format!("there is an index '{name}' already")));
    }
    let attributes = Attributes::of(planner, &table);
    check_groups(&attributes, &paths, unique, &place)?;
    let keys = paths.iter().map(|path| key(path, &attributes, &place)).collect::<Result<Vec<String>>>()?;
    let newer = if unique { Some(make_unique(planner, access, &table, &name, &paths).await?) } else { None };
    let sql = format!(
        "CREATE INDEX {} ON {} ({})",
        quote_identifier(&schema_name(&table, &name)),
        quote_identifier(&table.name),
        keys.join(", ")
    );
    stored::change_schema(newer.as_ref().unwrap_or(planner), access, &sql).await?;
    Ok(name)
}

/// Refuses kinds of indexes that MongoDB has.
fn refuse_options(request: &super::value::Fields) -> Result<()> {
    const OPTIONS: [(&str, &str); 5] = [
        (
            "expireAfterSeconds",
            "delete what is old now and then: POST delete with {\"at\": {\"$lt\": {\"$date\": …}}}",
        ),
        ("sparse", "an index counts a missing field as null"),
        ("partialFilterExpression", "an index is over all documents"),
        ("collation", "strings compare by their bytes"),
        ("weights", "$regex searches texts"),
    ];
    match OPTIONS.iter().find(|(name, _)| request.contains_key(*name)) {
        Some((name, hint)) => {
            Err(Place::root(name).unsupported(format!("the option '{name}' of an index"), hint))
        }
        None => Ok(()),
    }
}

/// Makes the column of a unique index, fills it and makes SQL's own index over it, which holds over all partitions.
/// Whoever writes a document fills the column too from the moment it is there; what was there before is filled under
/// the version that was read.
async fn make_unique(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    name: &str,
    paths: &[FieldPath],
) -> Result<Planner> {
    let (column, quoted) = (keys::column_name(paths), quote_identifier(&table.name));
    if unique_index(planner, table, &column).is_some() {
        return Err(Place::root("fields").wrong("there is a unique index over these paths already"));
    }
    let quoted_column = quote_identifier(&column);
    let mut newer = None;
    if table.column(&column).is_none() {
        let sql = format!("ALTER TABLE {quoted} ADD COLUMN {quoted_column} TEXT");
        newer = Some(stored::change_schema(planner, access, &sql).await?);
    }
    let planner = newer.as_ref().unwrap_or(planner);
    let table = existing(planner, &table.name)?;
    fill(planner, access, &table, &column).await?;
    let sql = format!("SELECT count(*), count(DISTINCT {quoted_column}) FROM {quoted}");
    let result = run_one(planner, access, &statement(sql, Vec::new()), 1).await?;
    let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    if number_in(&rows, 0)? != number_in(&rows, 1)? {
        let sql = format!("ALTER TABLE {quoted} DROP COLUMN {quoted_column}");
        stored::change_schema(planner, access, &sql).await?;
        return Err(duplicates(name));
    }
    let index = quote_identifier(&schema_name(&table, &format!("{name}:unique")));
    let sql = format!("CREATE UNIQUE INDEX {index} ON {quoted} ({quoted_column})");
    run_one(planner, access, &statement(sql.clone(), Vec::new()), 0)
        .await
        .map_err(|error| if error.code == ErrorCode::UniqueViolation { duplicates(name) } else { error })?;
    planner_after(planner, &sql)
}

/// The planner of the schema that a statement has led to, if nothing else has changed it.
fn planner_after(planner: &Planner, sql: &str) -> Result<Planner> {
    let definition = crate::schema::define(planner.database(), sql)?;
    let definition =
        definition.ok_or_else(|| Error::internal("an index was made by a statement without effect"))?;
    let mut database = planner.database().as_ref().clone();
    database.schema = definition.completion().schema;
    Planner::new(std::sync::Arc::new(database), planner.rules())
}

fn duplicates(name: &str) -> Error {
    let message = format!("documents have equal values where the index '{name}' wants unique ones");
    Error::new(ErrorCode::UniqueViolation, message)
}

/// Documents that are filled at once.
const DOCUMENTS_PER_WRITE: usize = 1_000;

async fn fill(planner: &Planner, access: &impl PartitionAccess, table: &Table, column: &str) -> Result<()> {
    let keys = keys::of_table(table)?;
    let key = keys.iter().find(|key| key.name == column);
    let key = key.ok_or_else(|| Error::internal("the column of a unique index is missing"))?;
    let mut documents =
        Source::new(planner, table, Filter::All(Vec::new())).open(planner, access, None).await?;
    let sql = format!(
        "UPDATE {} SET {} = ? WHERE \"_id\" = ? AND \"_version\" = ?",
        quote_identifier(&table.name),
        quote_identifier(column)
    );
    let mut statements = Vec::new();
    loop {
        let next = documents.next().await?;
        let is_last = next.is_none();
        if let Some(stored) = next {
            let params = vec![key.value(&stored.fields), stored.id, stored.version.into()];
            statements.push(statement(sql.clone(), params));
        }
        if is_last || statements.len() >= DOCUMENTS_PER_WRITE {
            if !statements.is_empty() {
                stored::run_together(planner, access, std::mem::take(&mut statements)).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

fn paths(json: Option<&Json>, place: &Place<'_>) -> Result<Vec<FieldPath>> {
    let Some(Json::Array(items)) = json else {
        return Err(
            place.wrong(format!("a list of paths is wanted, not {}", json.map_or("nothing", kind_of)))
        );
    };
    if items.is_empty() || items.len() > FIELDS_MAX {
        return Err(place.wrong(format!("an index has 1 to {FIELDS_MAX} paths")));
    }
    let path = |(index, item): (usize, &Json)| {
        let place = place.item(index);
        let text =
            item.as_str().ok_or_else(|| place.wrong(format!("a path is a string, not {}", kind_of(item))))?;
        FieldPath::parse(text, &place)
    };
    items.iter().enumerate().map(path).collect()
}

/// No partition has the values of an index over several column groups; a unique one has a column of its own.
fn check_groups(attributes: &Attributes, paths: &[FieldPath], unique: bool, place: &Place<'_>) -> Result<()> {
    let columns: BTreeSet<String> = paths.iter().map(|path| attributes.column_of(&path.names[0])).collect();
    if unique || columns.len() == 1 {
        return Ok(());
    }
    Err(place.unsupported(
        "an index over attributes of several column groups",
        "make one for each, or name these attributes in one column group when the database is made",
    ))
}

/// What an index is over at a path.
fn key(path: &FieldPath, attributes: &Attributes, place: &Place<'_>) -> Result<String> {
    Path::of(path, attributes).map(|path| path.index_key()).ok_or_else(|| {
        place.unsupported(
            format!("an index over '{}'", path.text),
            "paths of indexes are names without quotes, backslashes and numbers; _id has an index",
        )
    })
}

/// The unique index over a column.
fn unique_index<'p>(planner: &'p Planner, table: &Table, column: &str) -> Option<&'p SchemaObject> {
    let quoted = quote_identifier(column);
    let is_over = |object: &&SchemaObject| object.name.ends_with(":unique") && object.sql.contains(&quoted);
    all(planner, table).into_iter().find(is_over)
}

fn schema_name(table: &Table, name: &str) -> String {
    format!("{}.{name}", table.name)
}

fn find<'p>(planner: &'p Planner, table: &Table, name: &str) -> Option<&'p SchemaObject> {
    let wanted = schema_name(table, name);
    all(planner, table).into_iter().find(|object| object.name.eq_ignore_ascii_case(&wanted))
}

fn all<'p>(planner: &'p Planner, table: &Table) -> Vec<&'p SchemaObject> {
    let objects = planner.database().schema.objects.iter();
    let of_table = |object: &&SchemaObject| {
        object.kind == ObjectKind::Index && object.table.eq_ignore_ascii_case(&table.name)
    };
    objects.filter(of_table).collect()
}

/// `GET indexes`: name, fields, and whether it is unique.
pub fn list_indexes(planner: &Planner, collection: &str) -> Result<Vec<Json>> {
    let table = existing(planner, collection)?;
    let own = json!({"name": "_id", "fields": ["_id"], "unique": true});
    let prefix = format!("{}.", table.name);
    let names = all(planner, &table).into_iter().filter(|object| !object.name.ends_with(":unique"));
    let others = names.map(|object| {
        let name = object.name.strip_prefix(&prefix).unwrap_or(&object.name);
        let is_unique = find(planner, &table, &format!("{name}:unique")).is_some();
        json!({"name": name, "fields": fields_in(&object.sql), "unique": is_unique})
    });
    Ok(std::iter::once(own).chain(others).collect())
}

/// The paths that stand in an index's statement, each behind the operator that takes its value.
fn fields_in(sql: &str) -> Vec<String> {
    let literals = sql.split("\" ->> '$").skip(1);
    let path = |rest: &str| {
        let mut text = String::new();
        let mut characters = rest.chars().peekable();
        while let Some(character) = characters.next() {
            if character == '\'' && characters.next_if_eq(&'\'').is_none() {
                break;
            }
            text.push(character);
        }
        text.trim_start_matches('.')
            .split('.')
            .map(|name| name.trim_matches('"'))
            .collect::<Vec<_>>()
            .join(".")
    };
    literals.map(path).collect()
}

/// `DELETE indexes/{name}`.
pub async fn drop_index(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    name: &str,
) -> Result<()> {
    let table = existing(planner, collection)?;
    let found = find(planner, &table, name)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("there is no index '{name}'")))?;
    let drop_index = |name: &str| format!("DROP INDEX {}", quote_identifier(name));
    let newer = stored::change_schema(planner, access, &drop_index(&found.name)).await?;
    let Some(unique) = find(planner, &table, &format!("{name}:unique")) else { return Ok(()) };
    let newer = stored::change_schema(&newer, access, &drop_index(&unique.name)).await?;
    for key in keys::of_table(&table)? {
        if unique.sql.contains(&quote_identifier(&key.name)) {
            let (table, column) = (quote_identifier(&table.name), quote_identifier(&key.name));
            stored::change_schema(&newer, access, &format!("ALTER TABLE {table} DROP COLUMN {column}"))
                .await?;
            break;
        }
    }
    Ok(())
}

/// `POST explain`: the body has `find`, or `aggregate` with the pipeline whose filters are told about. The steps below
/// each text that goes to partitions are SQLite's own, and name the indexes that are used.
pub async fn explain(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<PlanNode> {
    let request = fields(request)?;
    known(request, &["find", "aggregate"])?;
    let table = existing(planner, collection)?;
    let (source, statement) = match (request.get("find"), request.get("aggregate")) {
        (Some(found), None) => Find::parse(fields(found)?)?.statement(planner, &table),
        (None, Some(aggregate)) => super::aggregate::first_statement(planner, &table, fields(aggregate)?)?,
        _ => return Err(Error::bad_request("give either find or aggregate")),
    };
    let mut plan = crate::sql::explain(planner, access, statement, false).await?;
    if !source.is_decided() {
        let detail = "documents on which partitions cannot decide are looked at by the coordinator";
        plan.children.push(PlanNode::new("FILTER", detail));
    }
    Ok(plan)
}
