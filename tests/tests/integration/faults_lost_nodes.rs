//! Storage nodes that are gone: with one of three, work goes on; with two, the cluster says so truly and in
//! time, and works again when one is back.

use std::time::{Duration, Instant};

use polylite_client::{Client, Database, ErrorCode, Outcome, ReadLevel, RetryPolicy};
use serde_json::json;
use tests::process_cluster::ProcessCluster;
use tests::replica_files::assert_equal_after_stop;
use tokio::runtime::Runtime;

const DATABASE: &str = "shop";

/// Keys that surely lie in all of the four partitions.
const KEYS: i64 = 40;

/// What "a few seconds" may be on a busy machine.
const FEW_SECONDS: Duration = Duration::from_secs(8);

/// What a client gives a write whose refusal is awaited.
const STATEMENT_LIMIT: Duration = Duration::from_secs(3);

/// What an answer may come later than its time limit.
const GRACE: Duration = Duration::from_millis(1_500);

struct Shop {
    cluster: ProcessCluster,
    runtime: Runtime,
    /// Repeats what is safe to repeat.
    patient: Database,
    /// Tells every error.
    plain: Database,
}

impl Shop {
    fn open() -> Shop {
        let cluster = ProcessCluster::start(1, 3);
        cluster.run(&["create-database", "--name", DATABASE]).succeeded();
        let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER NOT NULL)";
        cluster.run(&["sql", "--db-name", DATABASE, table]).succeeded();
        let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
        let plain = Client::builder(cluster.coordinator_urls()).retry(once).build().expect("a client");
        let patient = Client::new(cluster.coordinator_urls()).expect("a client");
        let runtime = Runtime::new().expect("a runtime starts");
        let shop =
            Shop { cluster, runtime, patient: patient.database(DATABASE), plain: plain.database(DATABASE) };
        shop.write_everywhere(0);
        shop
    }

    /// Sets every key's value, each by a request of its own, and tells how long that took.
    fn write_everywhere(&self, value: i64) -> Duration {
        let begun = Instant::now();
        self.runtime.block_on(async {
            for id in 0..KEYS {
                let text = "INSERT INTO t VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET x = ?2";
                let done = self.patient.sql(text).bind(id).bind(value).execute().await;
                assert_eq!(done.expect("a write goes through").affected_rows, 1);
            }
        });
        begun.elapsed()
    }

    fn values_of(&self, level: ReadLevel) -> polylite_client::Result<Vec<i64>> {
        let read = self.patient.sql("SELECT DISTINCT x FROM t WHERE id BETWEEN 0 AND 39").level(level);
        let rows = self.runtime.block_on(read.query())?;
        Ok(rows.iter().map(|row| row.get_at(0).expect("an integer")).collect())
    }

    /// One insert that is not repeated, with its own time limit: what it answered, and after how long.
    fn insert_once(&self, id: i64) -> (polylite_client::Result<()>, Duration) {
        let begun = Instant::now();
        let insert = self.plain.sql("INSERT INTO t VALUES (?, 0)").bind(id).timeout(STATEMENT_LIMIT);
        (self.runtime.block_on(insert.execute()).map(drop), begun.elapsed())
    }

    fn has(&self, id: i64) -> bool {
        let read = self.patient.sql("SELECT count(*) FROM t WHERE id = ?").bind(id).query();
        self.runtime.block_on(read).and_then(|rows| rows.scalar::<i64>()).expect("the row is looked for") == 1
    }
}

#[test]
fn with_one_node_of_three_dead_reads_and_writes_go_on() {
    let mut shop = Shop::open();
    for dead in 0..3 {
        shop.cluster.kill_node(dead);
        let value = i64::try_from(dead).expect("a small number") + 1;
        let took = shop.write_everywhere(value);
        eprintln!("node-{dead} killed: every partition wrote within {took:?}");
        assert!(took < FEW_SECONDS, "writes went on only after {took:?}");
        assert_eq!(shop.values_of(ReadLevel::Linearizable).expect("reads go on"), [value]);
        shop.cluster.restart_node(dead);
        shop.cluster.await_active_nodes(3);
        // The next node may only die when this one has caught up: else two would be missing.
        tests::replica_files::await_equal_positions(&shop.cluster, DATABASE, 3);
    }
    assert_equal_after_stop(&mut shop.cluster, DATABASE, 3);
}

#[test]
fn with_two_nodes_of_three_dead_a_write_is_refused_truly_and_in_time() {
    let mut shop = Shop::open();
    shop.cluster.kill_node(0);
    shop.cluster.kill_node(2);
    let mut fates = Vec::new();
    for id in 1_000..1_006 {
        let (answer, took) = shop.insert_once(id);
        let error = answer.expect_err("a write without quorum is refused");
        assert!(error.is(ErrorCode::NoQuorum) && error.status == Some(503), "{error:?}");
        assert!(
            error.retryable && matches!(error.outcome, Outcome::NotApplied | Outcome::Unknown),
            "{error:?}"
        );
        assert!(took < STATEMENT_LIMIT + GRACE, "the refusal took {took:?}");
        fates.push((id, error.outcome));
    }
    eprintln!("refused: {fates:?}");
    let refused = fates.iter().filter(|(_, outcome)| *outcome == Outcome::NotApplied).count();
    assert!(refused > 0, "once the survivors know, a write never reaches a log");
    assert_query_objects_are_refused_early(&shop);
    let stale = shop.values_of(ReadLevel::Stale).expect("a stale read needs no quorum");
    assert_eq!(stale, [0]);

    shop.cluster.restart_node(2);
    let took = shop.write_everywhere(7);
    eprintln!("with one node back every partition wrote within {took:?}");
    assert!(took < FEW_SECONDS, "writes went on only after {took:?}");
    assert_eq!(shop.values_of(ReadLevel::Linearizable).expect("reads go on"), [7]);
    for (id, outcome) in fates {
        assert!(outcome != Outcome::NotApplied || !shop.has(id), "row {id} was said not to be applied");
    }
    shop.cluster.restart_node(0);
    shop.cluster.await_active_nodes(3);
    assert_equal_after_stop(&mut shop.cluster, DATABASE, 3);
}

/// Query objects have no time limit of their own; their clients give up after five seconds.
fn assert_query_objects_are_refused_early(shop: &Shop) {
    let begun = Instant::now();
    let insert = shop.plain.sql_insert("t", json!({"id": 2_000, "x": 0}));
    let error = shop.runtime.block_on(insert).expect_err("a write without quorum is refused");
    assert!(error.is(ErrorCode::NoQuorum), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "the refusal took {:?}", begun.elapsed());
}
