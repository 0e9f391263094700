//! Plans as text: where a statement goes and what is pushed there. The cases are in `plans/`; with
//! `POLYLITE_WRITE_PLANS` set they are written anew, to be looked at.

use std::time::Instant;

use crate::support::Cluster;

async fn check(file: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(file);
    let script = std::fs::read_to_string(&path).unwrap();
    let cluster = Cluster::hashed(4, None);
    cluster.ok("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, email TEXT UNIQUE)").await;
    let change = query::schema::declare_tables(
        &cluster.database(),
        &serde_json::json!([{"name": "orders", "partition_key": "customer", "columns": [
            {"name": "customer", "data_type": "INTEGER"}, {"name": "n", "data_type": "INTEGER"}]}]),
    );
    query::PartitionAccess::change_schema(&cluster, change.unwrap()).await.unwrap();
    let change = query::schema::declare_tables(
        &cluster.database(),
        &serde_json::json!([{"name": "sales", "partition_key": "region", "columns": [
            {"name": "id", "data_type": "INTEGER"}, {"name": "region", "data_type": "TEXT"},
            {"name": "product", "data_type": "TEXT"}, {"name": "amount", "data_type": "REAL"},
            {"name": "tag", "data_type": "BLOB"}]}]),
    );
    query::PartitionAccess::change_schema(&cluster, change.unwrap()).await.unwrap();
    let change = query::schema::declare_tables(
        &cluster.database(),
        &serde_json::json!([
            {"name": "items", "partition_key": "customer", "columns": [
                {"name": "customer", "data_type": "INTEGER"}, {"name": "price", "data_type": "REAL"},
                {"name": "grade", "data_type": "INTEGER"}]},
            {"name": "grades", "reference": true, "columns": [
                {"name": "id", "data_type": "INTEGER", "primary_key": true},
                {"name": "title", "data_type": "TEXT"}]}]),
    );
    query::PartitionAccess::change_schema(&cluster, change.unwrap()).await.unwrap();
    cluster.ok("CREATE INDEX items_customer ON items (customer)").await;
    for view in [
        "CREATE VIEW large AS SELECT customer, n FROM orders WHERE n > 10",
        "CREATE VIEW everybody (who) AS SELECT id FROM customers UNION ALL SELECT customer FROM orders WHERE n > 1",
    ] {
        cluster.ok(view).await;
    }
    let (mut wrong, mut written) = (Vec::new(), Vec::new());
    for block in script.split("\n\n").map(str::trim_end).filter(|block| !block.is_empty()) {
        if block.starts_with('#') {
            written.push(block.to_owned());
            continue;
        }
        let (sql, expected) = block.split_once('\n').unwrap_or((block, ""));
        // Which bucket a key has is the hash's business; that it is one is the plan's.
        let found = cluster.plan(sql).join("\n");
        let same = found == expected || without_bucket(&found) == without_bucket(expected);
        written.push(if same { block.to_owned() } else { format!("{sql}\n{found}") });
        if !same {
            wrong.push(format!("{sql}\n{found}"));
        }
    }
    if std::env::var_os("POLYLITE_WRITE_PLANS").is_some() {
        std::fs::write(&path, written.join("\n\n") + "\n").unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn without_bucket(plan: &str) -> String {
    let mut plan = plan.to_owned();
    for bucket in 0..4 {
        plan = plan.replace(&format!("SINGLE p{bucket}"), "SINGLE");
        plan = plan.replace(&format!(" p{bucket} (pruned 3)"), " (pruned 3)");
    }
    plan
}

#[tokio::test]
async fn reads_go_where_they_must() {
    check("reads.txt").await;
}

#[tokio::test]
async fn of_several_tables_only_rows_that_matter_are_read() {
    check("joins.txt").await;
}

#[tokio::test]
async fn partitions_do_what_they_can_of_one_table() {
    check("pushdown.txt").await;
}

#[tokio::test]
async fn partitions_evaluate_subqueries_whose_rows_lie_together() {
    check("subqueries.txt").await;
}

#[tokio::test]
async fn writes_go_where_they_must() {
    check("writes.txt").await;
}

#[tokio::test]
async fn an_equal_text_is_not_planned_again() {
    const TIMES: u32 = 1_000;
    let cluster = Cluster::hashed(4, None);
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)").await;
    let planner = cluster.planner();
    let began = Instant::now();
    for number in 0..TIMES {
        assert!(planner.is_read(&format!("SELECT a FROM t WHERE id = ? AND a <> '{number}'")).unwrap());
    }
    let planning = began.elapsed() / TIMES;
    let began = Instant::now();
    for _ in 0..TIMES {
        assert!(planner.is_read("SELECT a FROM t WHERE id = ? AND a <> '7'").unwrap());
    }
    let finding = began.elapsed() / TIMES;
    println!("planned in {planning:?}, found in {finding:?}");
    assert!(finding * 5 < planning, "planned in {planning:?}, found in {finding:?}");
}
