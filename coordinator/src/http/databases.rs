//! `/databases`: made, shown, dropped.

use std::time::Duration;

use axum::extract::State;
use common::catalog::{Database, DatabaseState};
use common::json::from_json;
use common::limits::{PARTITIONS_DEFAULT, PARTITIONS_MAX, REPLICATION_FACTOR_MAX};
use common::names::check_database_name;
use common::partition_division::first_homes;
use common::partition_map::{Bucket, BucketRange, PartitionMethod, hash_ranges, key_ranges};
use common::schema::{DatabaseKind, PartitionType, Schema};
use common::{Error, PartitionId, Result};
use query::schema::{declare_attribute_groups, declare_tables};
use serde_json::{Value as Json, json};

use super::answer::success_seen;
use super::app::{App, moment};
use super::body::JsonBody;
use super::column_groups;
use super::failure::Answer;
use super::fields::Fields;
use super::request::Segments;
use super::table_description::describe_tables;
use crate::gateway::{Bookmark, ready};
use crate::operations::DatabaseSpec;

/// How long a database may take until every partition takes writes.
const CREATE_TIME: Duration = Duration::from_secs(30);

/// Names of all databases.
#[utoipa::path(get, path = "/databases", tag = "Databases",
    responses((status = 200, description = "`{\"success\":true,\"databases\":[\"a\",\"b\"]}`")))]
pub async fn list(State(app): State<App>) -> Answer {
    let catalog = app.catalog.confirmed().await?;
    let names: Vec<&String> =
        catalog.databases.keys().filter(|name| ready(&catalog, name).is_some()).collect();
    Ok(success_seen(json!({ "databases": names }), &seen_catalog(&app)))
}

/// Makes a database; answers when every partition has a leader and takes writes.
#[utoipa::path(post, path = "/databases", tag = "Databases",
    request_body(content = Object, description = "`name`*, `db_type`* (SQL or NOSQL), `partition_type` \
        (HORIZONTAL, VERTICAL or MIXED), `partition_key`, `partitions`, `partition_method` (hash or range), \
        `split_points`, `replication_factor`, `column_groups` (`{\"name\": [columns]}`), `tables` (each with \
        `name`*, `columns`*, `indexes`, `partition_key`, `reference`, `column_groups`)"),
    responses((status = 200, description = "The database is there"),
        (status = 409, description = "`database_exists`"), (status = 503, description = "`no_storage_nodes`")))]
pub async fn create(State(app): State<App>, JsonBody(body): JsonBody) -> Answer {
    let automatic_groups = column_groups::automatic_count(&app.catalog.view());
    let spec = read_spec(body, app.replication_factor, automatic_groups)?;
    let name = spec.name.clone();
    app.operations.create_database(spec, CREATE_TIME).await?;
    let message = format!("Database '{name}' created successfully");
    Ok(success_seen(json!({ "message": message }), &seen_catalog(&app)))
}

/// A database's kind, partitioning and tables.
#[utoipa::path(get, path = "/databases/{db}", tag = "Databases", params(("db" = String, Path)),
    responses((status = 200, description = "`{\"success\":true,\"database\":{…}}`"),
        (status = 404, description = "`database_not_found`")))]
pub async fn get(State(app): State<App>, Segments(name): Segments<String>) -> Answer {
    let (_, database) = app.database(&name).await?;
    let mut shown = json!({
        "name": database.name,
        "db_type": database.kind.as_str(),
        "partition_type": database.partition_type.as_str(),
        "partition_key": database.partition_key,
        "partitions": database.buckets.len(),
        "partition_method": database.method,
        "replication_factor": database.replication_factor,
        "schema_version": database.schema.version,
    });
    shown["column_groups"] = column_groups::describe(&database).await?;
    shown["tables"] = describe_tables(database.schema).await?;
    Ok(success_seen(json!({ "database": shown }), &seen_catalog(&app)))
}

/// Drops a database with all its data.
#[utoipa::path(delete, path = "/databases/{db}", tag = "Databases", params(("db" = String, Path)),
    responses((status = 200, description = "It is gone"), (status = 404, description = "`database_not_found`")))]
pub async fn drop(State(app): State<App>, Segments(name): Segments<String>) -> Answer {
    check_database_name("database", &name)?;
    app.operations.drop_database(&name, CREATE_TIME).await?;
    let message = format!("Database '{name}' deleted successfully");
    Ok(success_seen(json!({ "message": message }), &seen_catalog(&app)))
}

/// What a client has seen that was answered from the catalog as it is here now.
pub fn seen_catalog(app: &App) -> Bookmark {
    Bookmark::of_catalog(app.catalog.view().version)
}

/// A database as asked for, checked as far as the request alone allows.
fn read_spec(mut body: Fields, replication_factor: u32, automatic_groups: usize) -> Result<DatabaseSpec> {
    let name = body.required_text("name")?;
    let kind = parse_kind(&body.required_text("db_type")?)?;
    check_database_name("database", &name)?;
    let partition_type = match body.text("partition_type")? {
        Some(word) => parse_partition_type(&word)?,
        None if kind == DatabaseKind::Sql => PartitionType::Horizontal,
        None => PartitionType::Vertical,
    };
    let partition_key = body.text("partition_key")?;
    let (method, ranges) = read_ranges(&mut body, partition_type)?;
    let replication_factor = body
        .whole("replication_factor", 1, u64::from(REPLICATION_FACTOR_MAX))?
        .and_then(|factor| u32::try_from(factor).ok())
        .unwrap_or(replication_factor);
    let groups = body.take("column_groups");
    let mut tables = body.list("tables")?.unwrap_or_default();
    body.done()?;
    let column_groups =
        column_groups::of_new_database(groups.as_ref(), &mut tables, partition_type, automatic_groups)?;
    let attribute_groups = declare_attribute_groups(groups.as_ref(), &column_groups)?;
    let mut planned = Database {
        name,
        kind,
        partition_type,
        partition_key,
        method,
        replication_factor,
        state: DatabaseState::Creating,
        schema: Schema::default(),
        schema_change: None,
        buckets: provisional_buckets(&ranges),
        column_groups,
        attribute_groups,
        created_at: moment().now_ms,
        retired: Vec::new(),
        successors: std::collections::BTreeMap::new(),
        buckets_asked: 0,
    };
    let (mut statements, mut group_statements) = (Vec::new(), Vec::new());
    if !tables.is_empty() {
        let change = declare_tables(&planned, &Json::Array(tables))?;
        planned.schema = change.schema;
        (statements, group_statements) = (change.statements, change.group_statements);
    }
    Ok(DatabaseSpec {
        name: planned.name,
        kind,
        partition_type,
        partition_key: planned.partition_key,
        method,
        ranges,
        column_groups: planned.column_groups,
        attribute_groups: planned.attribute_groups,
        replication_factor,
        schema: planned.schema,
        statements,
        group_statements,
    })
}

/// Tables are declared against the ranges; their partitions have no ids yet.
fn provisional_buckets(ranges: &[BucketRange]) -> Vec<Bucket> {
    let bucket = |(range, homes): (&BucketRange, _)| Bucket {
        range: range.clone(),
        partitions: vec![PartitionId(0)],
        epoch: 0,
        homes,
    };
    ranges.iter().zip(first_homes(ranges)).map(bucket).collect()
}

fn parse_kind(word: &str) -> Result<DatabaseKind> {
    match word.to_ascii_uppercase().as_str() {
        "SQL" => Ok(DatabaseKind::Sql),
        "NOSQL" => Ok(DatabaseKind::NoSql),
        _ => Err(Error::bad_request(format!("Invalid database type: {word}")).with_hint("use SQL or NOSQL")),
    }
}

fn parse_partition_type(word: &str) -> Result<PartitionType> {
    match word.to_ascii_uppercase().as_str() {
        "HORIZONTAL" => Ok(PartitionType::Horizontal),
        "VERTICAL" => Ok(PartitionType::Vertical),
        "MIXED" => Ok(PartitionType::Mixed),
        _ => Err(Error::bad_request(format!("Invalid partition type: {word}"))
            .with_hint("use HORIZONTAL, VERTICAL or MIXED")),
    }
}

/// What each partition owns: `partitions`, `partition_method`, `split_points`.
fn read_ranges(
    body: &mut Fields,
    partition_type: PartitionType,
) -> Result<(PartitionMethod, Vec<BucketRange>)> {
    let count = body.whole("partitions", 1, u64::from(PARTITIONS_MAX))?;
    let method = match body.text("partition_method")?.map(|word| word.to_ascii_lowercase()).as_deref() {
        None | Some("hash") => PartitionMethod::Hash,
        Some("range") => PartitionMethod::Range,
        Some(_) => return Err(Error::bad_request("'partition_method' must be 'hash' or 'range'")),
    };
    let split_points = body.list("split_points")?;
    if partition_type == PartitionType::Vertical {
        if count.is_some_and(|count| count != 1) || split_points.is_some_and(|points| !points.is_empty()) {
            return Err(Error::bad_request("a VERTICAL database has one horizontal partition")
                .with_hint("leave 'partitions' and 'split_points' out, or make the database MIXED"));
        }
        return Ok((PartitionMethod::Hash, hash_ranges(1)));
    }
    match (method, split_points) {
        (PartitionMethod::Hash, None) => {
            let count = count.and_then(|count| u32::try_from(count).ok()).unwrap_or(PARTITIONS_DEFAULT);
            Ok((method, hash_ranges(count)))
        }
        (PartitionMethod::Hash, Some(_)) => {
            Err(Error::bad_request("'split_points' goes with 'partition_method': 'range'"))
        }
        (PartitionMethod::Range, None) => Err(super::fields::missing("split_points")),
        (PartitionMethod::Range, Some(points)) => {
            let points = points.iter().map(from_json).collect::<Result<Vec<_>>>()?;
            let ranges = key_ranges(&points)?;
            if ranges.len() > PARTITIONS_MAX as usize {
                return Err(Error::bad_request(format!("there may be at most {PARTITIONS_MAX} partitions")));
            }
            if count.is_some_and(|count| count != ranges.len() as u64) {
                let message = format!("{} split points make {} partitions", points.len(), ranges.len());
                return Err(Error::bad_request(message).with_hint("leave 'partitions' out"));
            }
            Ok((method, ranges))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ErrorCode;

    fn spec(body: Json) -> Result<DatabaseSpec> {
        read_spec(Fields::of(body).unwrap(), 3, 3)
    }

    #[test]
    fn defaults_follow_the_kind() {
        let sql = spec(json!({"name": "a", "db_type": "sql"})).unwrap();
        assert_eq!((sql.partition_type, sql.ranges.len()), (PartitionType::Horizontal, 4));
        assert_eq!(sql.replication_factor, 3);
        let documents = spec(json!({"name": "a", "db_type": "NoSQL"})).unwrap();
        assert_eq!((documents.partition_type, documents.ranges.len()), (PartitionType::Vertical, 1));
    }

    #[test]
    fn split_points_make_one_partition_more() {
        let body =
            json!({"name": "a", "db_type": "SQL", "partition_method": "range", "split_points": [10, "x"]});
        let ranges = spec(body).unwrap();
        assert_eq!((ranges.method, ranges.ranges.len()), (PartitionMethod::Range, 3));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let base = |extra: Json| {
            let mut body = json!({"name": "a", "db_type": "SQL"});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            spec(body).unwrap_err()
        };
        for extra in [
            json!({"db_type": "GRAPH"}),
            json!({"partition_type": "DIAGONAL"}),
            json!({"partitions": 0}),
            json!({"partitions": 257}),
            json!({"partitions": "4"}),
            json!({"partition_method": "range"}),
            json!({"partition_method": "range", "split_points": [2, 1]}),
            json!({"partition_method": "range", "split_points": [1], "partitions": 3}),
            json!({"split_points": [1]}),
            json!({"partition_type": "VERTICAL", "partitions": 4}),
            json!({"replication_factor": 0}),
            json!({"partitons": 3}),
        ] {
            assert_eq!(base(extra.clone()).code, ErrorCode::BadRequest, "{extra}");
        }
        assert_eq!(base(json!({"name": "../x"})).code, ErrorCode::BadName);
        assert_eq!(base(json!({"column_groups": {"a": ["b"]}})).code, ErrorCode::BadRequest);
        assert_eq!(spec(json!({"name": "a"})).unwrap_err().message, "Missing required fields: 'db_type'");
    }
}
