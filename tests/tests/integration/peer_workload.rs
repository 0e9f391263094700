//! How long statements over a million rows take on three storage nodes, beside one SQLite file in memory that
//! holds the same rows and is asked in the same run. The tables and statements are those by which other
//! distributed databases were measured.
//!
//! It only measures, so it runs when it is asked for, with an optimised binary:
//! `POLYLITE_BINARY=target/release/polylite cargo test -p tests peer_workload -- --ignored --nocapture`;
//! `POLYLITE_ROWS=<count>` for more or fewer rows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use differential::seed::setting;
use polylite_client::{Client, Database};
use sqlite::single_file::SingleFile;
use tests::process_cluster::ProcessCluster;
use tokio::runtime::Runtime;

const CUSTOMERS: u64 = 10_000;

/// Medians are of so many runs.
const RUNS: usize = 5;

const SCHEMA: [(&str, &str); 2] = [
    (
        "orders",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, cust_id INT, region TEXT, amount INT, payload TEXT)",
    ),
    ("customers", "CREATE TABLE customers (id INTEGER PRIMARY KEY, segment TEXT, name TEXT)"),
];

/// What is measured, by name.
const STATEMENTS: [(&str, &str); 6] = [
    (
        "group by",
        "SELECT region, count(*), sum(amount), avg(amount) FROM orders GROUP BY region ORDER BY region",
    ),
    ("aggregate", "SELECT count(*), sum(amount), min(amount), max(amount) FROM orders"),
    (
        "join",
        "SELECT c.segment, count(*), sum(o.amount) FROM orders o JOIN customers c ON o.cust_id = c.id \
         GROUP BY c.segment ORDER BY c.segment",
    ),
    ("top 10", "SELECT * FROM orders ORDER BY amount DESC, id LIMIT 10"),
    ("limit 10", "SELECT * FROM orders LIMIT 10"),
    ("point", "SELECT payload FROM orders WHERE id = 4711"),
];

fn order_line(id: u64) -> String {
    format!("{id},{},r{:02},{},{id:064}", (id * 7_919) % CUSTOMERS + 1, (id * 31) % 16, (id * 37) % 1_000)
}

fn customer_line(id: u64) -> String {
    format!("{id},s{:02},customer-{id:06}", (id * 13) % 20)
}

/// Writes a CSV file, and the same rows into the reference.
fn load(
    folder: &Path,
    reference: &mut SingleFile,
    table: &str,
    header: &str,
    lines: impl Iterator<Item = String>,
) -> PathBuf {
    let mut text = format!("{header}\n");
    let rows = lines.map(|line| {
        writeln!(text, "{line}").expect("a text grows");
        line.split(',').map(|cell| Some(cell.to_owned())).collect()
    });
    let places = vec!["?"; header.split(',').count()].join(", ");
    reference
        .insert_texts(&format!("INSERT INTO {table} VALUES ({places})"), rows)
        .expect("SQLite takes rows");
    let path = folder.join(format!("{table}.csv"));
    std::fs::write(&path, text).expect("the file is written");
    path
}

fn median(mut measure: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            measure();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

fn compare(runtime: &Runtime, database: &Database, reference: &SingleFile, name: &str, sql: &str) {
    let asked = std::cell::Cell::new(0);
    // Of a text that is asked again the answer may have been kept.
    let ask = || {
        asked.set(asked.get() + 1);
        let text = format!("{sql} -- {}", asked.get());
        runtime.block_on(database.sql(&text).timeout(Duration::from_secs(60)).query())
    };
    let found = ask().unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let expected = reference.query(sql).expect("SQLite answers");
    let rows: Vec<_> = found.iter().map(|row| row.values().to_vec()).collect();
    assert_eq!(rows, expected, "{sql}");
    let cluster = median(|| drop(ask()));
    let file = median(|| drop(reference.query(sql)));
    let ratio = cluster.as_secs_f64() / file.as_secs_f64();
    println!("{name:<10} {cluster:>10.2?} cluster {file:>10.2?} file {ratio:>8.2} x");
}

#[test]
#[ignore = "it measures, which says something with an optimised binary on a quiet machine alone"]
fn statements_over_a_million_rows_beside_one_file() {
    let rows = setting("POLYLITE_ROWS").unwrap_or(1_000_000);
    let cluster = ProcessCluster::start(1, 3);
    cluster.run(&["create-database", "--name", "shop", "--partitions", "8"]).succeeded();
    let runtime = Runtime::new().expect("a runtime starts");
    let database = Client::new(cluster.coordinator_urls()).expect("an address").database("shop");
    let mut reference = SingleFile::new().expect("SQLite works");
    for (_, sql) in SCHEMA {
        reference.run(sql).expect("SQLite takes the schema");
        runtime.block_on(database.sql(sql).execute()).expect("the table is made");
    }
    let orders = (1..=rows).map(order_line);
    let orders = load(cluster.folder(), &mut reference, "orders", "id,cust_id,region,amount,payload", orders);
    let customers = (1..=CUSTOMERS).map(customer_line);
    let customers = load(cluster.folder(), &mut reference, "customers", "id,segment,name", customers);
    for (table, path) in [("orders", orders), ("customers", customers)] {
        let begun = Instant::now();
        let path = path.to_str().expect("a path in UTF-8");
        cluster.run(&["import", "--db-name", "shop", "--table", table, path]).succeeded();
        println!("{table} imported in {:.1?}", begun.elapsed());
    }
    for (name, sql) in STATEMENTS {
        compare(&runtime, &database, &reference, name, sql);
    }
}
