//! Requests that change the schema and rows, while coordinators and whoever drives operations die at any of their steps: in
//! the end all of each is there or nothing, as its client was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::protocol::{SchemaStep, StatementResult, WorkItem};
use common::{Outcome, Result};
use coordinator::catalog::is_open;
use coordinator::gateway::Session;
use query::PartitionAccess as _;
use query::schema::declare_tables;
use rand::Rng as _;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::clients::{in_database, numbers, options, run_sql};
use super::coordinator::Coordinators;
use super::database::{ROWS, statement};
use super::{COORDINATORS, HEALING, LOOK, Settings, Stage, harm, heal, on_stage, settled};
use crate::simulated_cluster::Violation;
use crate::simulated_placement::admin::drive_for_ever;
use crate::simulated_placement::world::World;

/// Clients, each with one request under way.
const CLIENTS: i64 = 3;
/// A client waits a little longer than its request.
const ANSWER: Duration = Duration::from_secs(10);
/// Rows of one request have numbers below the next one's by this.
const NUMBERS: i64 = 1_000;

/// What became of the requests of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct MigrationReport {
    /// Their clients were told that they are applied.
    pub applied: u64,
    /// Their clients were told that nothing is.
    pub refused: u64,
    /// Their clients were told nothing, and they are applied …
    pub found: u64,
    /// … or not.
    pub missing: u64,
}

impl MigrationReport {
    /// With those of another run.
    pub fn add(&mut self, other: &MigrationReport) {
        self.applied += other.applied;
        self.refused += other.refused;
        self.found += other.found;
        self.missing += other.missing;
    }
}

/// What the clients were told, by the numbers of their requests.
type Told = Arc<Mutex<BTreeMap<i64, Outcome>>>;

/// Runs a seed's history to its end. An error is a fault of the program under test, and so is a panic.
pub fn run_migrations(settings: &Settings) -> Result<MigrationReport, Violation> {
    let time = settings.time;
    on_stage(*settings, async |stage| {
        tokio::select! {
            biased;
            () = drive_and_die(&stage.world, time) => unreachable!("it never ends"),
            report = Box::pin(history(&stage, time)) => report,
        }
    })
}

/// Whoever leads the catalog drives its operations, for a time that is drawn, and then another one does. The last one
/// stays.
async fn drive_and_die(world: &World, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let time = world.state().random.random_range(100..20_000);
        let _ = timeout(Duration::from_millis(time), drive_for_ever(world)).await;
    }
    drive_for_ever(world).await;
}

async fn history(stage: &Stage, time: Duration) -> Result<MigrationReport, Violation> {
    let Stage { world, network, coordinators } = stage;
    let told = Told::default();
    let until = Instant::now() + time;
    let clients = (0..CLIENTS).map(|number| Box::pin(migrate(world, coordinators, &told, number, until)));
    let clients: Vec<_> = clients.collect();
    tokio::join!(
        biased;
        futures_util::future::join_all(clients),
        harm::do_harm(world, network, coordinators, until),
    );
    heal(world, network);
    let healed = Instant::now();
    while world.view_is_busy() {
        if healed.elapsed() > HEALING {
            return Err(Violation("an operation does not end".into()));
        }
        sleep(LOOK).await;
    }
    settled(world).await?;
    let told = std::mem::take(&mut *told.lock().expect("a panic ends the run"));
    let mut report = MigrationReport::default();
    for (number, outcome) in told {
        let is_there = check(coordinators, number).await?;
        let counted = match (outcome, is_there) {
            (Outcome::Applied, true) => &mut report.applied,
            (Outcome::NotApplied, false) => &mut report.refused,
            (Outcome::Unknown, true) => &mut report.found,
            (Outcome::Unknown, false) => &mut report.missing,
            _ => {
                return Err(Violation(format!("request {number} was told {outcome:?}: there is {is_there}")));
            }
        };
        *counted += 1;
    }
    settled(world).await?;
    Ok(report)
}

/// A client that makes tables with rows until then.
async fn migrate(world: &World, coordinators: &Coordinators, told: &Told, client: i64, until: Instant) {
    let mut number = client * NUMBERS;
    while Instant::now() < until {
        number += 1;
        let (place, pause) = {
            let random = &mut world.state().random;
            (random.random_range(0..COORDINATORS), random.random_range(0..200))
        };
        sleep(Duration::from_millis(pause)).await;
        let coordinator = coordinators.at(place);
        let options = options();
        let work = |session: Arc<Session>| async move { make_with_rows(&session, number).await };
        let made = coordinator.serve(in_database(&coordinator.gateway, ROWS, &options, work));
        let outcome = match timeout(ANSWER, made).await {
            Ok(Ok(_)) => Outcome::Applied,
            Ok(Err(error)) => error.outcome,
            Err(_) => Outcome::Unknown,
        };
        told.lock().expect("a panic ends the run").insert(number, outcome);
    }
}

/// On every partition a row of a table that is there, a table that is new, and a row of that.
async fn make_with_rows(session: &Session, number: i64) -> Result<Vec<Vec<StatementResult>>> {
    let database = session.planner.database();
    let columns = json!([{"name": "x", "data_type": "INTEGER"}]);
    let change = declare_tables(database, &json!([{"name": format!("made_{number}"), "columns": columns}]))?;
    let items = |index: usize| {
        let row = number * NUMBERS + i64::try_from(index).expect("few partitions");
        let step = SchemaStep { version: change.schema.version, statements: change.statements.clone() };
        vec![
            WorkItem::Statement(statement("INSERT INTO audits VALUES (?, 1)", &[row])),
            WorkItem::Schema(step),
            WorkItem::Statement(statement(&format!("INSERT INTO made_{number} VALUES (?)"), &[row])),
        ]
    };
    let work = (0..database.partition_count()).map(|index| (index, items(index))).collect();
    session.access.change_schema_and_rows(change.clone(), work, 10).await
}

/// Whether all of a request is there. A part of it alone is a violation.
async fn check(coordinators: &Coordinators, number: i64) -> Result<bool, Violation> {
    let gateway = &coordinators.at(0).gateway;
    let (least, most) = (number * NUMBERS, (number + 1) * NUMBERS);
    let count = "SELECT count(*) FROM audits WHERE id >= ? AND id < ?";
    let rows = counted(gateway, count, &[least, most]).await?.unwrap_or_default();
    let in_new = counted(gateway, &format!("SELECT count(*) FROM made_{number}"), &[]).await?;
    let partitions = coordinators.catalog().databases[ROWS].partition_count();
    match (rows, in_new) {
        (0, None) => Ok(false),
        (rows, Some(new)) if rows == new && usize::try_from(rows).is_ok_and(|rows| rows == partitions) => {
            Ok(true)
        }
        parts => Err(Violation(format!("of request {number} there is a part: {parts:?}"))),
    }
}

/// What a statement counts; nothing if there is no such table.
async fn counted(
    gateway: &coordinator::gateway::Gateway,
    sql: &str,
    values: &[i64],
) -> Result<Option<i64>, Violation> {
    match run_sql(gateway, ROWS, vec![statement(sql, values)], &options()).await {
        Ok(results) => {
            let found = numbers(&results[0]).map_err(|error| Violation(error.to_string()))?;
            Ok(Some(found[0][0]))
        }
        Err(error) if error.message.starts_with("no such table") => Ok(None),
        Err(error) => Err(Violation(format!("{sql}: {error}"))),
    }
}

impl World {
    /// Whether an operation of the catalog is open.
    fn view_is_busy(&self) -> bool {
        self.state().catalog.operations.values().any(is_open)
    }
}
