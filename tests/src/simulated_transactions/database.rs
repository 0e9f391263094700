//! The databases under test, and what is in them at the beginning.

use std::time::Duration;

use common::catalog::one_column_group;
use common::partition_map::{PartitionMethod, hash_ranges};
use common::protocol::{Params, Statement};
use common::schema::{DatabaseKind, PartitionType, Schema};
use common::{Result, Value};
use coordinator::catalog::{Command, NewDatabase, NewPartition};
use coordinator::placement::{Measured, choose_nodes};
use query::documents;
use serde_json::json;
use tokio::time::sleep;

use super::clients::{in_database, options, run_sql};
use super::coordinator::Coordinators;
use super::recorded::{
    ACCOUNTS, BALANCE, COINS, COUNTERS, LISTS, PURSES, SIDE_BALANCE, SIDES, VERSIONED, WIDE_ROWS,
};
use crate::simulated_placement::world::World;

/// The database that is divided by rows.
pub(super) const ROWS: &str = "rows";
/// The database that is divided by columns.
pub(super) const COLUMNS: &str = "columns";
/// Partitions of the first one.
const PARTITIONS: u32 = 5;
/// Column groups of the second one.
const GROUPS: [&str; 3] = ["first", "second", "third"];
/// How long it is waited between two looks whether all partitions have leaders.
const LOOK: Duration = Duration::from_millis(20);

/// Makes the databases and their rows and documents.
pub(super) async fn make(world: &World, coordinators: &Coordinators) {
    make_database(world, ROWS, PartitionType::Horizontal, PARTITIONS, one_column_group(), Vec::new());
    let attributes = ["a", "b", "c"].map(|name| vec![name.to_owned()]).to_vec();
    let groups = GROUPS.map(str::to_owned).to_vec();
    make_database(world, COLUMNS, PartitionType::Vertical, 1, groups, attributes);
    while !world.is_at_rest() {
        sleep(LOOK).await;
    }
    fill(coordinators).await.expect("tables are made while nothing fails");
}

fn make_database(
    world: &World,
    name: &str,
    partition_type: PartitionType,
    buckets: u32,
    column_groups: Vec<String>,
    attribute_groups: Vec<Vec<String>>,
) {
    let mut state = world.state();
    let ranges = hash_ranges(buckets);
    let count = ranges.len() * column_groups.len();
    let nodes = choose_nodes(&state.catalog, &Measured::new(), count, 3).expect("there are nodes");
    let partitions = ranges.iter().cycle().cloned().zip(nodes).enumerate();
    let new = NewDatabase {
        name: name.into(),
        kind: DatabaseKind::Sql,
        partition_type,
        partition_key: None,
        method: PartitionMethod::Hash,
        replication_factor: 3,
        schema: Schema::default(),
        statements: Vec::new(),
        group_statements: Vec::new(),
        column_groups,
        attribute_groups,
        partitions: partitions
            .map(|(number, (range, nodes))| NewPartition { uuid: format!("{name} {number}"), range, nodes })
            .collect(),
    };
    state.propose(&Command::CreateDatabase(Box::new(new))).expect("a database is made");
}

async fn fill(coordinators: &Coordinators) -> Result<()> {
    let gateway = &coordinators.at(0).gateway;
    let numbered = |from: u64, count: u64, rest: String| -> String {
        (from..from + count).map(|id| format!("({id}, {rest})")).collect::<Vec<_>>().join(", ")
    };
    for sql in [
        "CREATE TABLE lists (id INTEGER PRIMARY KEY, items TEXT NOT NULL)".to_owned(),
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)".to_owned(),
        "CREATE TABLE audits (id INTEGER PRIMARY KEY, total INTEGER NOT NULL)".to_owned(),
        "CREATE TABLE versions (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)".to_owned(),
        "CREATE TABLE sides (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)".to_owned(),
        "CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)".to_owned(),
        "CREATE TABLE marks (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)".to_owned(),
        format!("INSERT INTO lists VALUES {}", numbered(0, LISTS, "''".to_owned())),
        format!("INSERT INTO accounts VALUES {}", numbered(0, ACCOUNTS, BALANCE.to_string())),
        format!("INSERT INTO versions VALUES {}", numbered(0, VERSIONED, "0".to_owned())),
        format!("INSERT INTO sides VALUES {}", numbered(0, SIDES, SIDE_BALANCE.to_string())),
        format!("INSERT INTO sides VALUES {}", numbered(1_000, SIDES, SIDE_BALANCE.to_string())),
        format!("INSERT INTO counters VALUES {}", numbered(0, COUNTERS, "0".to_owned())),
        format!("INSERT INTO marks VALUES {}", numbered(0, COUNTERS, "0".to_owned())),
    ] {
        run_sql(gateway, ROWS, vec![statement(&sql, &[])], &options()).await?;
    }
    for sql in [
        "CREATE TABLE wide (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c INTEGER)".to_owned(),
        format!("INSERT INTO wide VALUES {}", numbered(0, WIDE_ROWS, "0, 0, 0".to_owned())),
    ] {
        run_sql(gateway, COLUMNS, vec![statement(&sql, &[])], &options()).await?;
    }
    let many = |count: u64, field: &str, value: i64| -> Vec<_> {
        (0..count).map(|id| json!({"_id": id, field: value})).collect()
    };
    for (collection, list) in [
        ("purses", many(PURSES, "coins", COINS)),
        ("versioned", many(VERSIONED, "version", 0)),
        ("tallies", many(COUNTERS, "n", 0)),
        ("ticks", many(COUNTERS, "n", 0)),
    ] {
        let (list, moment) = (&list, coordinators.moment());
        in_database(gateway, ROWS, &options(), move |session| async move {
            documents::insert(&session.planner, &session.access, collection, list.clone(), moment).await
        })
        .await?;
    }
    Ok(())
}

/// A statement with its parameters.
pub(super) fn statement(sql: &str, values: &[i64]) -> Statement {
    let values = values.iter().map(|value| Value::Integer(*value)).collect();
    Statement { sql: sql.to_owned(), params: Params::Positional(values) }
}
