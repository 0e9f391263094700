//! `polylite bench healing`: what a cluster does when nodes are lost and partitions move, while clients write, and what
//! the clients notice of it. Every write that was acknowledged is looked for in the end.

mod moves;
mod rebuilding;
mod replacing;
mod restart;
mod writers;

use std::time::Duration;

use clap::Args;
use common::Value;

use self::writers::{Latencies, Writers};
use super::failover;
use super::figures::percentile;
use super::own_cluster::{OwnCluster, Plan};
use super::report::{milliseconds, shown};
use super::workload::Subject;
use crate::failure::Failure;
use crate::output::RowSet;

/// Nodes of the cluster: one more than a partition has replicas, so that lost ones can be made anew.
const NODES: usize = 4;
/// Whatever is waited for has failed after so long.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// What leaders that were elected anew need until they are spread again.
const REST: Duration = Duration::from_secs(3);

/// Flags of `bench healing`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Healing")]
pub struct HealingArguments {
    /// Leaders that are killed.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_KILLS", default_value_t = 20)]
    kills: u32,
    /// MiB in the replicas that are made anew.
    #[arg(long, value_name = "MIB", env = "POLYLITE_MIB", default_value_t = 256)]
    mib: u64,
    /// MiB on a node that is killed and started again in the moment after they were written; may be repeated.
    #[arg(
        long = "restart-mib",
        value_name = "MIB",
        env = "POLYLITE_RESTART_MIB",
        value_delimiter = ',',
        default_value = "256"
    )]
    restart_mib: Vec<u64>,
    /// Connections that write one row at a time meanwhile.
    #[arg(long, value_name = "COUNT", env = "POLYLITE_WRITERS", default_value_t = 4)]
    writers: usize,
}

/// Measures and reports; `time` is how long clients write undisturbed, and how long partitions are moved.
pub async fn run(arguments: &HealingArguments, partitions: u32, time: Duration) -> Result<RowSet, Failure> {
    let mut report = Report::new();
    for mib in &arguments.restart_mib {
        eprintln!("measuring: a node with {mib} MiB is killed and starts again");
        let folder = tempfile::tempdir()?;
        report.restart(*mib, restart::kill_after_load(folder.path(), *mib).await?);
    }
    let folder = tempfile::tempdir()?;
    let plan = Plan { nodes: NODES, coordinator: &["--repair-after", "0"] };
    let mut cluster = OwnCluster::start_as(folder.path(), plan).await?;
    let measured = measure(&mut cluster, arguments, partitions, time, &mut report).await;
    // Before the folder under their data is removed.
    cluster.stop().await?;
    measured?;
    Ok(report.rows)
}

async fn measure(
    cluster: &mut OwnCluster,
    arguments: &HealingArguments,
    partitions: u32,
    time: Duration,
    report: &mut Report,
) -> Result<(), Failure> {
    let subject = Subject::prepare(cluster.url.clone(), partitions).await?;
    subject.fill_up(arguments.mib << 20).await?;
    let writers = Writers::start(&subject, arguments.writers).await?;

    eprintln!("measuring: clients write undisturbed");
    let before = writers.during(tokio::time::sleep(time)).await.1;
    report.writes("writes undisturbed", &before, None);

    eprintln!("measuring: a node is lost, and its replicas of {} MiB are made anew", arguments.mib);
    let lost = failover::busiest_leader(&subject).await?;
    let number = cluster.kill_node(&lost).await?;
    rebuilding::await_notice(&subject, &lost).await?;
    let (rebuilt, meanwhile) = writers.during(rebuilding::make_anew(&subject, &lost)).await;
    report.rebuilt(arguments.mib, rebuilt?);
    report.writes("writes while replicas are made anew", &meanwhile, Some(&before));

    eprintln!("measuring: the node comes back, and replicas are moved one after the other");
    cluster.restart_node(number).await?;
    rebuilding::even_out(&subject).await?;
    let (moved, meanwhile) = writers.during(moves::move_replicas(&subject, NODES, time)).await;
    report.moves(moved?);
    report.writes("writes while replicas move", &meanwhile, Some(&before));

    eprintln!("measuring: partitions are split and merged");
    let (replaced, meanwhile) = writers.during(replacing::split_and_merge(&subject, time)).await;
    report.replaced(replaced?, &meanwhile);
    report.writes("writes while partitions are split and merged", &meanwhile, Some(&before));

    let mut failovers = Vec::new();
    for kill in 1..=arguments.kills {
        eprintln!("measuring: leader {kill} of {} is killed", arguments.kills);
        tokio::time::sleep(REST).await;
        failovers.push(failover::kill_a_leader(cluster, &subject).await?);
    }
    report.failovers(failovers);
    let (acknowledged, lost) = writers.finish(&subject).await?;
    report.lost(acknowledged, lost);
    subject.clean_up().await
}

/// The figures, each beside what it is compared with.
struct Report {
    rows: RowSet,
}

impl Report {
    fn new() -> Report {
        let columns = ["what", "unit", "figure", "beside", "its figure", "ratio"];
        Report { rows: RowSet::with_columns(&columns) }
    }

    fn add(&mut self, what: &str, unit: &str, figure: Option<f64>, beside: Option<(&str, Option<f64>)>) {
        let (name, other) = beside.unzip();
        let other = other.flatten();
        let ratio = figure.zip(other).map(|(figure, other)| figure / other.max(1e-9));
        self.rows.rows.push(vec![
            what.into(),
            unit.into(),
            shown(figure),
            name.map_or(Value::Null, Value::from),
            shown(other),
            shown(ratio),
        ]);
    }

    fn writes(&mut self, what: &str, latencies: &Latencies, before: Option<&Latencies>) {
        for percent in [50, 99] {
            let of = |latencies: &Latencies| percentile(latencies.sorted(), percent).map(milliseconds);
            let before = before.map(|before| ("undisturbed", of(before)));
            self.add(what, &format!("ms, p{percent}"), of(latencies), before);
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn rebuilt(&mut self, mib: u64, took: Duration) {
        self.add(&format!("replicas of {mib} MiB made anew"), "s", Some(took.as_secs_f64()), None);
        let rate = mib as f64 / took.as_secs_f64().max(1e-9);
        self.add("copied", "MiB/s", Some(rate), Some(("--fetch-rate of one node", Some(64.0))));
    }

    fn moves(&mut self, per_hour: f64) {
        self.add("replicas moved", "an hour", Some(per_hour), None);
    }

    /// No request waited longer for a split or a merge than the longest write took.
    fn replaced(&mut self, count: usize, meanwhile: &Latencies) {
        let longest = meanwhile.sorted().last().copied().map(milliseconds);
        let what = format!("longest write while partitions are split and merged, {count} times");
        self.add(&what, "ms", longest, Some(("goal", Some(replacing::GOAL_MS))));
    }

    fn restart(&mut self, mib: u64, restart: restart::Restart) {
        let goal = Some(("goal", Some(restart::GOAL.as_secs_f64())));
        let what = format!("a node with {mib} MiB, killed as they were written, starts");
        self.add(&what, "s until ready", Some(restart.ready.as_secs_f64()), None);
        self.add(&what, "s until written", Some(restart.written.as_secs_f64()), goal);
    }

    fn failovers(&mut self, mut times: Vec<Duration>) {
        times.sort_unstable();
        let what = format!("leader killed, {} times, until all partitions are written", times.len());
        let goal = Some(("goal", Some(failover::GOAL.as_secs_f64())));
        for (percent, goal) in [(50, None), (99, goal)] {
            let figure = percentile(&times, percent).map(|time| time.as_secs_f64());
            self.add(&what, &format!("s, p{percent}"), figure, goal);
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn lost(&mut self, acknowledged: u64, lost: u64) {
        let of = Some(("acknowledged", Some(acknowledged as f64)));
        self.add("rows lost", "rows", Some(lost as f64), of);
    }
}
