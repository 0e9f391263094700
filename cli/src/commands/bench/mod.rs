//! `polylite bench`: throughput and latency of a cluster, beside a baseline measured on the same machine in
//! the same run, because a number without one says little. Each figure is the median of several runs, and in
//! every run the baseline is measured directly before the cluster.

mod baseline;
mod constant_server;
mod documents;
mod failover;
mod figures;
mod healing;
mod http_load;
mod own_cluster;
mod parsing_server;
mod processes;
mod report;
mod transactions;
mod workload;
mod ycsb;

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::output::OutputFormat;
use healing::HealingArguments;
use http_load::Load;
use own_cluster::OwnCluster;
use report::Line;
use workload::Subject;

/// Flags of `bench`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What is measured.
    #[arg(value_enum, default_value = "all")]
    workload: Workload,
    /// Connections, each with one request under way.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_CONNECTIONS", default_value_t = 64)]
    connections: usize,
    /// How long each workload is measured in a run.
    #[arg(long, value_name = "N", env = "POLYLITE_SECONDS", default_value_t = 5)]
    seconds: u64,
    /// How often everything is measured; medians are shown.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_RUNS", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Rows of the import.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_ROWS", default_value_t = 300_000)]
    rows: u64,
    /// Horizontal partitions of the database.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_PARTITIONS", default_value_t = 4)]
    partitions: u32,
    /// Address of a coordinator; left out, a coordinator and three storage nodes are started for the run.
    #[arg(long = "coordinator", value_name = "URL", env = "POLYLITE_COORDINATOR")]
    coordinator: Option<String>,
    /// How the figures are written.
    #[arg(long, value_enum, env = "POLYLITE_OUTPUT", default_value = "table")]
    output: OutputFormat,
    #[command(flatten)]
    healing: HealingArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Durable inserts of one row each, under keys that the client chooses.
    Insert,
    /// The same under keys that the cluster generates.
    Generated,
    /// Linearizable reads of one row each.
    Read,
    /// Reads of which the coordinator keeps the answer: of single rows, and of a sum over all.
    Cached,
    /// One CSV file.
    Import,
    /// YCSB's mixes A to F over documents, beside the same work by SQL, and documents found by an index.
    Docs,
    /// Documents found by an index alone, with the cache and past it.
    Find,
    /// Transactions over two partitions beside one, rows of all partitions beside one, and tables divided by columns.
    Transactions,
    /// What a cluster without requests uses; only of a cluster started for the run.
    Idle,
    /// How long writes stand still when a leader is killed; only of a cluster started for the run.
    Failover,
    /// How a cluster heals: leaders are killed, lost replicas made anew, partitions moved and loaded nodes started again, in
    /// a cluster of its own. Not one of `all`.
    Healing,
    /// All of them.
    All,
}

/// Long enough for a steady number, short beside what it is compared with.
const BASELINE_TIME: Duration = Duration::from_secs(2);
/// What a cluster needs to come to rest.
const REST_TIME: Duration = Duration::from_secs(3);

/// Measures and reports.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    if arguments.workload == Workload::Healing {
        let time = Duration::from_secs(arguments.seconds.max(1));
        let rows = healing::run(&arguments.healing, arguments.partitions, time).await?;
        return Ok(rows.print(arguments.output)?);
    }
    let folder = tempfile::tempdir()?;
    let mut cluster = match &arguments.coordinator {
        None => Some(OwnCluster::start(folder.path()).await?),
        Some(_) => None,
    };
    let given = arguments.coordinator.clone().unwrap_or_default();
    let url = cluster.as_ref().map_or(given, |cluster| cluster.url.clone());
    let subject = Subject::prepare(url, arguments.partitions).await?;
    let bench = Bench { arguments: &arguments, folder: folder.path(), subject: &subject };
    let measured = bench.measure(cluster.as_mut()).await;
    let cleaned = subject.clean_up().await;
    if let Some(cluster) = cluster {
        // Before the folder under their data is removed.
        cluster.stop().await?;
    }
    let lines = measured?;
    cleaned?;
    Ok(report::table(&lines).print(arguments.output)?)
}

struct Bench<'a> {
    arguments: &'a Arguments,
    folder: &'a Path,
    subject: &'a Subject,
}

impl Bench<'_> {
    fn includes(&self, workload: Workload) -> bool {
        [Workload::All, workload].contains(&self.arguments.workload)
    }

    fn load(&self) -> Load {
        Load {
            connections: self.arguments.connections.max(1),
            time: Duration::from_secs(self.arguments.seconds.max(1)),
        }
    }

    fn baseline_load(&self) -> Load {
        Load { time: self.load().time.min(BASELINE_TIME), ..self.load() }
    }

    /// Numbers of the runs.
    fn runs(&self, what: &str) -> impl Iterator<Item = u32> + use<> {
        let (what, runs) = (what.to_owned(), self.arguments.runs);
        (1..=runs).inspect(move |run| eprintln!("measuring: {what}, run {run} of {runs}"))
    }

    async fn measure(&self, cluster: Option<&mut OwnCluster>) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        if self.includes(Workload::Idle)
            && let Some(cluster) = &cluster
        {
            lines.extend(self.idle(cluster).await?);
        }
        if self.includes(Workload::Insert) {
            lines.extend(self.inserts().await?);
        }
        if self.includes(Workload::Generated) {
            lines.push(self.generated().await?);
        }
        if self.includes(Workload::Read) {
            lines.push(self.reads().await?);
        }
        if self.includes(Workload::Cached) {
            lines.extend(self.cached().await?);
        }
        if self.includes(Workload::Import) {
            lines.push(self.imports().await?);
        }
        if self.includes(Workload::Docs) {
            lines.extend(self.documents(&documents::KINDS).await?);
        }
        if self.arguments.workload == Workload::Find {
            lines.extend(self.documents(&documents::FINDS).await?);
        }
        if self.includes(Workload::Transactions) {
            lines.extend(self.transactions().await?);
        }
        let Some(cluster) = cluster else { return Ok(lines) };
        if self.arguments.workload != Workload::Idle {
            let mut line = Line::new("memory after load", "MiB, largest process", "");
            line.add_figure(processes::largest_memory(&cluster.pids())?);
            lines.push(line);
        }
        if self.includes(Workload::Failover) {
            let mut line = Line::new("leader killed", "s until writes succeed", "");
            for _ in self.runs("a leader is killed") {
                tokio::time::sleep(REST_TIME).await;
                line.add_figure(failover::kill_a_leader(cluster, self.subject).await?.as_secs_f64());
            }
            lines.push(line);
        }
        Ok(lines)
    }

    async fn idle(&self, cluster: &OwnCluster) -> Result<[Line; 2], Failure> {
        let mut processor = Line::new("idle", "% of a core, all processes", "");
        let mut memory = Line::new("idle", "MiB, largest process", "");
        tokio::time::sleep(REST_TIME).await;
        for _ in self.runs("no requests") {
            processor.add_figure(processes::processor_percent(&cluster.pids(), self.load().time).await?);
            memory.add_figure(processes::largest_memory(&cluster.pids())?);
        }
        Ok([processor, memory])
    }

    async fn inserts(&self) -> Result<[Line; 2], Failure> {
        let mut beside_sqlite = Line::new("insert", "rows/s", "SQLite, WAL, synced, 1 row a commit");
        let mut beside_disk = Line::new("insert", "rows/s", "fdatasync of 4 KiB");
        for _ in self.runs("inserts") {
            let time = self.baseline_load().time;
            let sqlite = baseline::sqlite_inserts(self.folder, 1, time).await?;
            let disk = baseline::synced_writes(self.folder, time).await?;
            let measured = self.subject.insert(self.load()).await?;
            beside_sqlite.add(&measured, sqlite);
            beside_disk.add(&measured, disk);
        }
        Ok([beside_sqlite, beside_disk])
    }

    async fn generated(&self) -> Result<Line, Failure> {
        let mut line = Line::new("insert, generated keys", "rows/s", "SQLite, WAL, synced, 1 row a commit");
        for _ in self.runs("inserts under generated keys") {
            let sqlite = baseline::sqlite_inserts(self.folder, 1, self.baseline_load().time).await?;
            line.add(&self.subject.insert_generated(self.load()).await?, sqlite);
        }
        Ok(line)
    }

    async fn reads(&self) -> Result<Line, Failure> {
        let mut line = Line::new("read, linearizable", "rows/s", "a server with a constant answer");
        let server = constant_server::start().await?;
        for _ in self.runs("reads") {
            let constant = workload::read_constant(&server.url, self.baseline_load()).await?;
            line.add(&self.subject.read(self.load()).await?, constant.per_second());
        }
        Ok(line)
    }

    async fn cached(&self) -> Result<[Line; 2], Failure> {
        let mut rows =
            Line::new("read, from the cache", "rows/s", "an axum handler that parses and answers alike");
        let mut sums = Line::new("sum over all rows, from the cache", "answers/s", "the same past the cache");
        let server = parsing_server::start().await?;
        for _ in self.runs("reads from the cache") {
            let constant = workload::read_constant(&server.url, self.baseline_load()).await?;
            rows.add(&self.subject.read_few(self.load()).await?, constant.per_second());
            let past = self.subject.sum(self.baseline_load(), workload::PAST_CACHE_PATH).await?;
            sums.add(&self.subject.sum(self.load(), workload::SQL_PATH).await?, past.per_second());
        }
        Ok([rows, sums])
    }

    async fn documents(&self, kinds: &[documents::Kind]) -> Result<Vec<Line>, Failure> {
        let records = documents::Records::prepare(self.subject).await?;
        let line = |kind: &documents::Kind| Line::new(kind.title(), "operations/s", "the same by SQL");
        let mut lines: Vec<Line> = kinds.iter().map(line).collect();
        for _ in self.runs("documents") {
            for (kind, line) in kinds.iter().zip(&mut lines) {
                let by_sql = records.measure(self.load(), *kind, documents::Way::Sql).await?;
                line.add(
                    &records.measure(self.load(), *kind, documents::Way::Documents).await?,
                    by_sql.per_second(),
                );
            }
        }
        Ok(lines)
    }

    async fn transactions(&self) -> Result<Vec<Line>, Failure> {
        let Subject { url, connection, .. } = self.subject;
        let accounts = transactions::Accounts::prepare(url, connection, self.arguments.partitions).await?;
        let line = |kind: &transactions::Kind| Line::new(kind.title(), "requests/s", kind.baseline());
        let mut lines: Vec<Line> = transactions::KINDS.iter().map(line).collect();
        for _ in self.runs("transactions") {
            for (kind, line) in transactions::KINDS.into_iter().zip(&mut lines) {
                let (beside, measured) = accounts.measure(self.load(), kind).await?;
                line.add(&measured, beside.per_second());
            }
        }
        transactions::clean_up(connection).await?;
        Ok(lines)
    }

    async fn imports(&self) -> Result<Line, Failure> {
        let mut line = Line::new("import, CSV", "rows/s", "SQLite, 1,000 rows a commit");
        for run in self.runs("import") {
            let sqlite = baseline::sqlite_inserts(self.folder, 1_000, self.baseline_load().time).await?;
            line.add(&self.subject.import(self.arguments.rows, run).await?, sqlite);
        }
        Ok(line)
    }
}
