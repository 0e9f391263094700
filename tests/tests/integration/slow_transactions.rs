//! What is told about transactions: numbers for Prometheus, and a log of the slow ones; and many rows at once.

use std::time::Instant;

use polylite_client::{Client, CreateDatabase, ErrorCode, Outcome};
use tests::metrics::{metrics_of, number};
use tests::process_cluster::{PATIENCE, ServerProcess};

/// Rows of a large write.
const ROWS: i64 = 10_000;

fn insert(ids: impl Iterator<Item = i64>) -> String {
    let rows: Vec<String> = ids.map(|id| format!("({id},'n{id}')")).collect();
    format!("INSERT INTO t (id, name) VALUES {}", rows.join(","))
}

#[test]
fn large_writes_are_all_or_nothing_and_slow_transactions_are_told() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--port", "0", "--ephemeral", "--slow-transaction-ms", "0"];
    let server = ServerProcess::start(home.path(), "dev", &flags, &home.path().join("dev.log"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let client = Client::new([server.url()]).expect("a URL");
    runtime.block_on(async {
        let database = client.create_database(&CreateDatabase::sql("shop")).await.expect("a database");
        let create = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)";
        database.sql(create).execute().await.expect("a table");
        let written = database.sql(insert(0..ROWS)).execute().await.expect("many rows");
        assert_eq!(written.affected_rows, ROWS.unsigned_abs());
        // The last one is there already.
        let refused =
            database.sql(insert((ROWS..2 * ROWS).chain([7]))).execute().await.expect_err("a duplicate");
        assert!(
            refused.is(ErrorCode::UniqueViolation) && refused.outcome == Outcome::NotApplied,
            "{refused:?}"
        );
        let count = database.sql("SELECT count(*) FROM t").query().await.expect("a count");
        assert_eq!(count.scalar::<i64>().expect("a number"), ROWS);
    });
    let metrics = metrics_of(server.url());
    assert!(number(&metrics, "polylite_transactions_total{outcome=\"committed\"}") >= 1.0);
    assert!(number(&metrics, "polylite_transactions_total{outcome=\"aborted\"}") >= 1.0);
    assert!(number(&metrics, "polylite_wait_seconds_count{cause=\"prepare\"}") >= 2.0);
    assert!(number(&metrics, "polylite_transaction_seconds_count") >= 2.0);
    // Who took part learns of the last decision after the answer.
    let deadline = Instant::now() + PATIENCE;
    while number(&metrics_of(server.url()), "polylite_in_doubt_transactions") > 0.0 {
        assert!(Instant::now() < deadline, "a transaction stays in doubt");
    }
    let log = server.log();
    let slow = log.lines().find(|line| line.contains("slow transaction")).expect("a line in the log");
    assert!(slow.contains("committed") && slow.contains("prepare"), "{slow}");
}
