//! What the coordinator spends on a statement besides asking partitions: checking, planning, binding, choosing the
//! partition, and handing on the answer: `cargo run --release -p query --example planning_speed`. The partitions here
//! answer at once and without rows.

#[path = "../tests/integration/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use common::protocol::{Params, Statement, StatementResult, WorkItem};
use common::{Error, Result, Value};
use query::schema::SchemaChange;
use query::sql::{SqlRequest, run};
use query::{PartitionAccess, Planner, RowStream};
use support::Cluster;

const TIMES: u32 = 100_000;

/// Partitions without rows.
struct NoRows;

impl PartitionAccess for NoRows {
    async fn read(&self, _bucket: usize, _statement: Statement, _max_rows: u32) -> Result<StatementResult> {
        Ok(StatementResult { is_read: true, ..StatementResult::default() })
    }

    async fn stream(&self, _bucket: usize, _statement: Statement) -> Result<RowStream> {
        Err(Error::internal("a point read is no stream"))
    }

    async fn write(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        _max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let answer = |(_, items): (usize, Vec<WorkItem>)| vec![StatementResult::default(); items.len()];
        Ok(work.into_iter().map(answer).collect())
    }

    async fn allocate_rowids(&self, _table: &str, _count: u64) -> Result<i64> {
        Ok(1)
    }

    async fn release_rowids(&self, _table: &str, _first: i64, _count: u64) {}

    async fn rowids_set(&self, _table: &str, _greatest: i64) -> Result<()> {
        Ok(())
    }

    async fn change_schema(&self, _change: SchemaChange) -> Result<()> {
        Err(Error::internal("the schema stays as it is"))
    }

    async fn change_schema_and_rows(
        &self,
        _change: SchemaChange,
        _work: Vec<(usize, Vec<WorkItem>)>,
        _max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        Err(Error::internal("the schema stays as it is"))
    }
}

/// The time of one request.
async fn timed(planner: &Planner, times: u32, text: impl Fn(u32) -> String) -> Duration {
    let mut requests: Vec<SqlRequest> = (0..times)
        .map(|number| {
            let params = Params::Positional(vec![Value::Integer(number.into())]);
            let statements = vec![Statement { sql: text(number), params }];
            SqlRequest { statements, atomic: true, max_rows: 10_000, read_only: false }
        })
        .collect();
    let began = Instant::now();
    for request in requests.drain(..) {
        run(planner, &NoRows, request).await.expect("nothing can fail");
    }
    began.elapsed() / times
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut cluster = Cluster::hashed(8, None);
    cluster.set_rules(query::Rules::default());
    cluster.ok("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, amount REAL)").await;
    let planner = cluster.planner();
    for (what, text) in [
        ("point SELECT", "SELECT customer, amount FROM orders WHERE id = ?"),
        ("point UPDATE", "UPDATE orders SET amount = amount + 1 WHERE id = ?"),
        ("INSERT of a row", "INSERT INTO orders VALUES (?, 'somebody', 1.5)"),
    ] {
        let known = timed(&planner, TIMES, |_| text.to_owned()).await;
        let new = timed(&planner, TIMES / 50, |number| format!("{text} -- {number}")).await;
        println!("{what:>16}: {known:>9.2?} of a known text, {new:>9.2?} of a new one");
    }
}
