//! A shop some of whose tables lie together.

use query::PartitionAccess as _;
use query::schema::declare_tables;
use serde_json::json;

use super::Cluster;
use super::random::Random;

/// Orders and marks lie with their customers; levels are everywhere; notes lie by ids of their own.
pub async fn shop(buckets: u32) -> Cluster {
    let cluster = Cluster::hashed(buckets, None);
    let tables = json!([
        {"name": "customers", "columns": [
            {"name": "id", "data_type": "INTEGER", "primary_key": true},
            {"name": "name", "data_type": "TEXT"}, {"name": "level", "data_type": "INTEGER"}]},
        {"name": "orders", "partition_key": "customer", "columns": [
            {"name": "customer", "data_type": "INTEGER"}, {"name": "n", "data_type": "INTEGER"},
            {"name": "amount", "data_type": "REAL"}, {"name": "any", "data_type": ""}]},
        {"name": "marks", "partition_key": "customer", "columns": [
            {"name": "customer", "data_type": "INTEGER"}, {"name": "n", "data_type": "INTEGER"}]},
        {"name": "levels", "reference": true, "columns": [
            {"name": "id", "data_type": "INTEGER", "primary_key": true},
            {"name": "title", "data_type": "TEXT"}]},
        {"name": "notes", "columns": [
            {"name": "id", "data_type": "INTEGER", "primary_key": true},
            {"name": "customer", "data_type": "INTEGER"}, {"name": "n", "data_type": "INTEGER"}]}
    ]);
    let change = declare_tables(&cluster.database(), &tables).unwrap();
    cluster.change_schema(change).await.unwrap();
    cluster
}

/// A row of one of its tables.
pub fn insert(random: &mut Random) -> String {
    let value = random.pick(&["NULL", "1", "1.0", "'1'", "'x'", "2.5", "x'31'", "7"]);
    match random.number(7) {
        0 | 1 => format!(
            "INSERT OR IGNORE INTO customers VALUES ({}, '{}', {})",
            random.number(25),
            random.pick(&["a", "b", "C", "c"]),
            random.pick(&["1", "2", "3", "9", "NULL", "'2'"])
        ),
        2 => format!(
            "INSERT OR IGNORE INTO levels VALUES ({}, 'level {}')",
            random.number(4),
            random.number(3)
        ),
        3 => format!("INSERT INTO notes (customer, n) VALUES ({}, {})", random.number(25), random.number(9)),
        4 => format!(
            "INSERT INTO marks VALUES ({}, {})",
            random.pick(&["NULL", "3", "11", "12", "20", "21", "5"]),
            random.pick(&["NULL", "1", "2", "5"]),
        ),
        _ => format!(
            "INSERT INTO orders VALUES ({}, {}, {}, {value})",
            random.pick(&["NULL", "'x'", "2.5", "'7'", "8.0", "3", "11", "12", "20", "21"]),
            random.number(9),
            random.pick(&["0.1", "2.5", "1e15", "NULL", "-0.3", "1e-9"]),
        ),
    }
}
