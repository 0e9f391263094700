//! `polylite bench`: throughput and latency of a cluster, beside a baseline measured on the same machine in
//! the same run, because a number without one says little.

mod baseline;
mod constant_server;
mod latency;
mod own_cluster;
mod workload;

use std::time::Duration;

use clap::{Args, ValueEnum};
use common::Value;

use crate::arguments::OutputArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::RowSet;
use latency::Measured;
use own_cluster::OwnCluster;
use workload::{DATABASE, Load};

/// Flags of `bench`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What is measured.
    #[arg(value_enum, default_value = "all")]
    workload: Workload,
    /// Requests in flight at once.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_CONNECTIONS", default_value_t = 64)]
    connections: usize,
    /// How long each workload runs.
    #[arg(long, value_name = "N", env = "POLYLITE_SECONDS", default_value_t = 5)]
    seconds: u64,
    /// Rows of the import.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_ROWS", default_value_t = 300_000)]
    rows: u64,
    /// Horizontal partitions of the database.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_PARTITIONS", default_value_t = 4)]
    partitions: u32,
    /// Address of a coordinator; left out, a coordinator and three storage nodes are started for the run.
    #[arg(long = "coordinator", value_name = "URL", env = "POLYLITE_COORDINATOR", value_delimiter = ',')]
    coordinators: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Durable inserts of one row each.
    Insert,
    /// Linearizable reads of one row each.
    Read,
    /// One CSV file.
    Import,
    /// All of them.
    All,
}

impl Workload {
    fn includes(self, other: Workload) -> bool {
        self == Workload::All || self == other
    }
}

/// One line of the report.
struct Line {
    what: &'static str,
    measured: Measured,
    baseline: &'static str,
    baseline_rate: f64,
}

/// Measures and reports.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let cluster = match arguments.coordinators.as_slice() {
        [] => Some(OwnCluster::start(folder.path()).await?),
        _ => None,
    };
    let coordinators = match &cluster {
        Some(cluster) => vec![cluster.url.clone()],
        None => arguments.coordinators.clone(),
    };
    let connection = Connection::to(&coordinators)?;
    let load =
        Load { connections: arguments.connections.max(1), time: Duration::from_secs(arguments.seconds) };
    workload::create_database(&connection, arguments.partitions).await?;
    let measured = measure(&arguments, &connection, load, folder.path()).await;
    let dropped = connection.delete(&format!("/databases/{DATABASE}")).await;
    let lines = measured?;
    dropped?;
    Ok(report(&lines).print(arguments.output.output)?)
}

async fn measure(
    arguments: &Arguments,
    connection: &Connection,
    load: Load,
    folder: &std::path::Path,
) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    let mut rows = 0;
    if arguments.workload.includes(Workload::Insert) {
        say("plain SQLite, one synced commit a row");
        let baseline_rate = baseline::sqlite_inserts(folder, 1, load.time.min(BASELINE_TIME)).await?;
        say("synced writes of 4 KiB");
        let synced = baseline::synced_writes(folder, load.time.min(BASELINE_TIME)).await?;
        say("inserts");
        let measured = workload::insert(connection, load).await?;
        rows = measured.operations;
        lines.push(Line { what: "insert", measured, baseline: "SQLite, WAL, FULL", baseline_rate });
        let measured = lines.last().map(|line| line.measured).unwrap_or_default();
        lines.push(Line { what: "insert", measured, baseline: "fdatasync of 4 KiB", baseline_rate: synced });
    }
    if arguments.workload.includes(Workload::Read) {
        if rows == 0 {
            rows = workload::fill(connection).await?;
        }
        say("a server that always answers the same");
        let server = constant_server::start().await?;
        let baseline = Connection::to(&[server.url.clone()])?;
        let brief = Load { time: load.time.min(BASELINE_TIME), ..load };
        let baseline_rate = workload::read(&baseline, brief, rows).await?.per_second();
        say("reads");
        let measured = workload::read(connection, load, rows).await?;
        lines.push(Line { what: "read", measured, baseline: "constant answer", baseline_rate });
    }
    if arguments.workload.includes(Workload::Import) {
        say("plain SQLite, 1,000 rows a commit");
        let baseline_rate = baseline::sqlite_inserts(folder, 1_000, load.time.min(BASELINE_TIME)).await?;
        say("import");
        let measured = workload::import(connection, arguments.rows).await?;
        lines.push(Line { what: "import", measured, baseline: "SQLite, 1,000 rows a commit", baseline_rate });
    }
    Ok(lines)
}

/// Long enough for a steady number, short beside what it is compared with.
const BASELINE_TIME: Duration = Duration::from_secs(3);

fn say(what: &str) {
    eprintln!("measuring: {what}");
}

fn report(lines: &[Line]) -> RowSet {
    let columns = ["workload", "ops/s", "p50 ms", "p99 ms", "baseline", "baseline ops/s", "ratio"];
    let mut set = RowSet::with_columns(&columns);
    for line in lines {
        let rate = line.measured.per_second();
        set.rows.push(vec![
            line.what.into(),
            Value::Real(rate.round()),
            milliseconds(line.measured.median),
            milliseconds(line.measured.percentile_99),
            line.baseline.into(),
            Value::Real(line.baseline_rate.round()),
            Value::Real((rate / line.baseline_rate.max(1e-9) * 100.0).round() / 100.0),
        ]);
    }
    set
}

fn milliseconds(time: Option<Duration>) -> Value {
    time.map_or(Value::Null, |time| Value::Real((time.as_secs_f64() * 1e5).round() / 100.0))
}
