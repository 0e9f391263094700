//! Single moments that a history may or may not come to: one message is lost, one node loses power.

use std::time::Duration;

use common::catalog::Database;
use common::idempotency::{IdempotencyKey, KeyedRequest};
use common::partition_map::bucket_of_key;
use common::protocol::{JointPurpose, Statement, StorageRequest};
use common::{Error, ErrorCode, PartitionId, Result, Value};
use coordinator::operations::cluster::Cluster as _;
use storage_node::replica::machine::PlantedBug;
use tokio::time::{Instant, sleep};

use super::clients::{in_time, numbers, options, run_sql};
use super::coordinator::Coordinator;
use super::database::{ROWS, statement};
use super::keyed::{Attempt, attempt};
pub use super::network::Interference;
use super::recorded::{ACCOUNTS, BALANCE};
use super::{Settings, Stage, on_stage};
use crate::simulated_cluster::Violation;

/// What is moved.
const AMOUNT: i64 = 7;
/// How long it is read after a leader was lost.
const READING: Duration = Duration::from_secs(10);
/// Between two reads, or looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What a client was told of a write, and what there is.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub answer: Result<(), Error>,
    /// Whether the write is there.
    pub is_applied: bool,
}

/// A client writes over two partitions, with an idempotency key or without one, and something becomes of the request that
/// commits it, each time that it is sent.
pub fn write_whose_commit_is(
    interference: Interference,
    has_key: bool,
    bug: Option<PlantedBug>,
) -> Result<Told, Violation> {
    on_stage(settings(bug), async |stage| {
        let apart = Apart::find(&stage);
        stage.network.interfere(Box::new(move |request| {
            let commits = match request {
                StorageRequest::Joint(joint) => matches!(joint.purpose, JointPurpose::Commit { .. }),
                StorageRequest::DecideKeyed { .. } => true,
                _ => false,
            };
            commits.then_some(interference)
        }));
        let coordinator = stage.coordinators.at(0);
        let answer = match has_key {
            true => apart.transfer_once(&coordinator).await,
            false => apart.transfer(&coordinator).await,
        };
        stage.network.heal();
        let balances = balances(&stage.coordinators.at(1)).await.map_err(unread)?;
        Ok(Told { answer, is_applied: apart.is_applied(&balances)? })
    })
}

/// What was read after the leader of a partition was lost that knew of a commit and had not yet told its log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Read {
    /// Reads of the account in that partition, and of all accounts, that were answered.
    pub answered: [usize; 2],
    /// Reads of both kinds that were begun while another leader had the part prepared.
    pub begun_in_doubt: [usize; 2],
    /// Reads that failed.
    pub failed: usize,
}

/// A transfer between two partitions is acknowledged, and the leader of the one that has not decided loses power before any other
/// replica hears of the commit. Its partition and all partitions are read all the while through another coordinator. An
/// error is an answer without the transfer, or with half of it.
pub fn reads_after_a_leader_is_lost(bug: Option<PlantedBug>) -> Result<Read, Violation> {
    on_stage(settings(bug), async |stage| {
        let apart = Apart::find(&stage);
        let world = stage.world.clone();
        stage.network.interfere(Box::new(move |request| {
            if matches!(request, StorageRequest::CarryOut { .. }) {
                // From now on no replica hears of another.
                world.state().message_loss = 1_000_000;
            }
            None
        }));
        let (first, second) = (stage.coordinators.at(0), stage.coordinators.at(1));
        let answer = apart.transfer(&first).await;
        answer.map_err(|error| Violation(format!("the transfer has failed: {error:?}")))?;
        crash_leader(&stage, apart.told_last());
        stage.network.heal();
        stage.world.state().message_loss = 0;
        let (alone, all) = tokio::join!(
            biased;
            read_for_a_while(&stage, &apart, async || apart.told_last_only(&second).await),
            read_for_a_while(&stage, &apart, async || Ok(apart.is_applied(&balances(&second).await?)?)),
        );
        let (alone, all) = (alone?, all?);
        Ok(Read { answered: [alone.0, all.0], begun_in_doubt: [alone.1, all.1], failed: alone.2 + all.2 })
    })
}

/// Reads again and again: how many were answered, how many of these were begun in doubt, how many failed.
async fn read_for_a_while(
    stage: &Stage,
    apart: &Apart,
    read: impl AsyncFn() -> Result<bool, Unread>,
) -> Result<(usize, usize, usize), Violation> {
    let (until, mut counts) = (Instant::now() + READING, (0, 0, 0));
    while Instant::now() < until {
        let in_doubt = is_prepared(stage, apart.told_last());
        match read().await {
            Ok(true) => {
                counts.0 += 1;
                counts.1 += usize::from(in_doubt);
            }
            Ok(false) => return Err(Violation("a read missed an acknowledged transfer".into())),
            Err(Unread::Wrong(violation)) => return Err(violation),
            Err(Unread::Failed) => counts.2 += 1,
        }
        sleep(PAUSE).await;
    }
    Ok(counts)
}

/// Why a read has no answer that says whether the transfer is there.
enum Unread {
    Failed,
    Wrong(Violation),
}

impl From<Error> for Unread {
    fn from(_: Error) -> Unread {
        Unread::Failed
    }
}

impl From<Violation> for Unread {
    fn from(violation: Violation) -> Unread {
        Unread::Wrong(violation)
    }
}

/// Two accounts in two partitions.
#[derive(Clone, Copy)]
struct Apart {
    from: i64,
    to: i64,
    partitions: [PartitionId; 2],
}

impl Apart {
    fn find(stage: &Stage) -> Apart {
        let catalog = stage.world.view();
        let database: &Database = &catalog.databases[ROWS];
        let partition = |account: i64| {
            let bucket = bucket_of_key(&database.buckets, &[Value::Integer(account)]);
            database.buckets[bucket].partitions[0]
        };
        let mut others = 1..i64::try_from(ACCOUNTS).expect("few");
        let to = others.find(|other| partition(*other) != partition(0)).expect("accounts lie apart");
        Apart { from: 0, to, partitions: [partition(0), partition(to)] }
    }

    /// The partition that does not decide.
    fn told_last(&self) -> PartitionId {
        self.partitions[0].min(self.partitions[1])
    }

    fn statements(&self) -> Vec<Statement> {
        let sql = "UPDATE accounts SET balance = balance + ? WHERE id = ?";
        vec![statement(sql, &[-AMOUNT, self.from]), statement(sql, &[AMOUNT, self.to])]
    }

    async fn transfer(&self, coordinator: &Coordinator) -> Result<()> {
        let options = options();
        let written = run_sql(&coordinator.gateway, ROWS, self.statements(), &options);
        in_time(coordinator.serve(written)).await.map(drop)
    }

    /// One attempt at the same with a key.
    async fn transfer_once(&self, coordinator: &Coordinator) -> Result<()> {
        let key = IdempotencyKey::parse(b"transfer").expect("a key");
        let request = KeyedRequest { key, digest: 1 };
        let attempted = attempt(&coordinator.gateway, &request, self.statements());
        match in_time(coordinator.serve(attempted)).await? {
            Attempt::Done | Attempt::DoneBefore => Ok(()),
            Attempt::Again => Err(Error::new(ErrorCode::SerializationFailure, "it came to nothing")),
        }
    }

    /// Whether the transfer is there in the partition that does not decide, which is read alone.
    async fn told_last_only(&self, coordinator: &Coordinator) -> Result<bool, Unread> {
        let (account, moved) = match self.partitions[0] < self.partitions[1] {
            true => (self.from, -AMOUNT),
            false => (self.to, AMOUNT),
        };
        let one = statement("SELECT balance FROM accounts WHERE id = ?", &[account]);
        let options = options();
        let read = run_sql(&coordinator.gateway, ROWS, vec![one], &options);
        let answers = in_time(coordinator.serve(read)).await?;
        Ok(numbers(&answers[0])?.concat() == [BALANCE + moved])
    }

    /// Whether the transfer is there, or nothing of it.
    fn is_applied(&self, balances: &[i64]) -> Result<bool, Violation> {
        let of = |account: i64| balances[usize::try_from(account).expect("not negative")];
        match (of(self.from) - BALANCE, of(self.to) - BALANCE) {
            (0, 0) => Ok(false),
            (from, to) if (from, to) == (-AMOUNT, AMOUNT) => Ok(true),
            _ => Err(Violation(format!("half of a transfer: {balances:?}"))),
        }
    }
}

fn settings(bug: Option<PlantedBug>) -> Settings {
    Settings { seed: 1, time: Duration::ZERO, bug }
}

async fn balances(coordinator: &Coordinator) -> Result<Vec<i64>> {
    let all = statement("SELECT balance FROM accounts ORDER BY id", &[]);
    let options = options();
    let answers =
        in_time(coordinator.serve(run_sql(&coordinator.gateway, ROWS, vec![all], &options))).await?;
    Ok(numbers(&answers[0])?.concat())
}

/// The node that leads a partition loses power.
fn crash_leader(stage: &Stage, partition: PartitionId) {
    let leader = stage.world.presumed_leader(partition).expect("it has had one");
    let node = {
        let mut state = stage.world.state();
        let node = state.places[&(partition, leader)].on;
        state.crash_node(node);
        node
    };
    stage.network.cut(|_, of| of == node);
}

/// Whether a replica of the partition that runs has something prepared.
fn is_prepared(stage: &Stage, partition: PartitionId) -> bool {
    let state = stage.world.state();
    let mut nodes = state.places.iter().filter(|((of, _), _)| *of == partition);
    nodes.any(|(_, place)| place.node.as_ref().is_some_and(|node| node.has_prepared()))
}

fn unread(error: Error) -> Violation {
    Violation(format!("what is there cannot be read: {error:?}"))
}
