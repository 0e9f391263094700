//! How statements over eight partitions compare with the same ones on a single SQLite file, in one process:
//! `cargo run --release -p query --example pushdown_speed [rows]`. Partitions are read one after the other here,
//! so what several cores or machines would gain is not in the figures.

#[path = "../tests/integration/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use query::{Rule, Rules};
use support::Cluster;

const STATEMENTS: [&str; 9] = [
    "SELECT count(*) FROM orders",
    "SELECT count(*), sum(n), total(amount), avg(amount), min(amount), max(amount) FROM orders",
    "SELECT grp, count(*), sum(n) FROM orders GROUP BY grp",
    "SELECT grp, count(*), sum(amount), max(amount) FROM orders WHERE n > 100 GROUP BY grp ORDER BY 3 DESC LIMIT 10",
    "SELECT * FROM orders ORDER BY amount DESC LIMIT 10",
    "SELECT * FROM orders LIMIT 10",
    "SELECT DISTINCT grp FROM orders",
    "SELECT count(DISTINCT grp) FROM orders",
    "SELECT * FROM orders WHERE id = 4711",
];

/// The best of several times.
async fn timed(cluster: &Cluster, sql: &str) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        cluster.ok(sql).await;
        best = best.min(began.elapsed());
    }
    best
}

async fn filled(mut cluster: Cluster, rows: u64) -> Cluster {
    const BATCH: u64 = 10_000;
    cluster.set_rules(Rules::default());
    cluster.ok("CREATE TABLE orders (id INTEGER PRIMARY KEY, grp TEXT, n INT, amount REAL, note TEXT)").await;
    for first in (0..rows).step_by(BATCH as usize) {
        let last = (first + BATCH).min(rows) - 1;
        cluster
            .ok(&format!(
                "INSERT INTO orders SELECT value, 'group ' || (value * 7919 % 1000), value * 31 % 10007,
                 (value * 7907 % 1000003) / 100.0, 'note ' || value FROM generate_series({first}, {last})"
            ))
            .await;
    }
    cluster
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rows = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let single = filled(Cluster::hashed(1, None), rows).await;
    let mut partitioned = filled(Cluster::hashed(8, None), rows).await;
    println!(
        "{:>9} {:>9} {:>7} {:>9}  statement over {rows} rows",
        "one file", "pushed", "ratio", "gathered"
    );
    let milliseconds = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
    for sql in STATEMENTS {
        let one = timed(&single, sql).await;
        partitioned.set_rules(Rules::default());
        let pushed = timed(&partitioned, sql).await;
        partitioned.set_rules(Rules::none().with(Rule::Filters));
        let gathered = timed(&partitioned, sql).await;
        let ratio = pushed.as_secs_f64() / one.as_secs_f64();
        let (one, pushed) = (milliseconds(one), milliseconds(pushed));
        println!("{one:>9} {pushed:>9} {ratio:>7.2} {:>9}  {sql}", milliseconds(gathered));
    }
}
