//! One copy of a partition: a SQLite file under a Raft group, with a thread of its own.
//!
//! [`machine`] is the deterministic part; [`worker`] is the thread around it; [`reading`] answers reads beside it, and
//! `freshness` tells how stale they are;
//! [`pins`] keeps snapshots that several reads are to see, and [`promises`] tells of which moments they are; [`leases`]
//! lets coordinators rely on the state for a while;
//! [`published`] is what the worker tells everybody; [`snapshots`] moves files between nodes.

pub mod brief;
mod event_queue;
mod freshness;
mod inbox;
pub mod judgement;
pub mod leases;
pub mod machine;
pub mod missed_entries;
mod open_streams;
mod pins;
pub mod promises;
pub mod published;
pub mod reading;
mod replacing;
pub mod running;
pub mod scrub_counts;
pub mod snapshots;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io};

use common::limits::SQL_STACK;
use common::protocol::{Assignment, ReplicaReport};
use common::{Error, ErrorCode, Outcome, PartitionId, ReplicaId};
use consensus_runtime::{AppliedConfiguration, Configuration, GroupHandle, GroupSpec, Runtime, StartError};
use parking_lot::{Mutex, RwLock};
use polylite_client::peer::Caller;
use sqlite::Location;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use self::event_queue::{EventSender, event_queue};
use self::freshness::Freshness;
use self::inbox::{Event, Host};
use self::machine::{Job, Machine, Origin, Reply};
use self::open_streams::OpenStreams;
use self::pins::Pins;
use self::published::Published;
use self::running::StatementCounts;
use self::worker::{Parts, Worker};
use crate::clock::{Clock, monotonic_us};
use crate::config::{PINNED_READERS_PER_REPLICA, READS_PER_REPLICA, STREAMS_PER_REPLICA};
use crate::layout::{ReplicaDir, write_durably};
use crate::neighbours::Neighbours;
use crate::upkeep::Upkeep;

/// How much later than the worker itself its answer is given up.
const GRACE: Duration = Duration::from_secs(1);

/// What all replicas of a node share.
#[derive(Clone)]
pub struct Surroundings {
    /// Runs their groups.
    pub runtime: Runtime,
    /// The node's clock.
    pub clock: Clock,
    /// The rest of the cluster.
    pub neighbours: Neighbours,
    /// Runs what waits for other nodes.
    pub tokio: Handle,
    /// How the node looks after its replicas.
    pub upkeep: Arc<Upkeep>,
}

/// What the log knew about a replica when the node started.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Whose log it is.
    pub replica: ReplicaId,
    /// The generation of the file that belongs to it.
    pub generation: u64,
    /// Index of the last entry that the log no longer holds.
    pub start: u64,
}

/// A replica cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its folder.
    #[error("the replica's folder: {0}")]
    Io(#[from] io::Error),
    /// What it is could not be written down or read.
    #[error("the replica's description: {0}")]
    Description(#[from] serde_json::Error),
    /// Its group.
    #[error(transparent)]
    Group(#[from] StartError),
}

/// A running replica.
pub struct Replica {
    partition: PartitionId,
    replica: ReplicaId,
    dir: ReplicaDir,
    assignment: RwLock<Arc<Assignment>>,
    published: Arc<Published>,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    statements: Arc<StatementCounts>,
    /// Requests of clients that it was asked.
    requests: AtomicU64,
    open_streams: Arc<OpenStreams>,
    pins: Arc<Pins>,
    pinned_readers: Arc<Semaphore>,
    clock: Clock,
    group: GroupHandle,
    neighbours: Neighbours,
    upkeep: Arc<Upkeep>,
    freshness: Freshness,
    inbox: EventSender,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// Writes down what a replica is, before anything of it exists, so that the next start finds it.
pub fn describe(dir: &ReplicaDir, assignment: &Assignment) -> Result<(), ReplicaError> {
    fs::create_dir_all(dir.root())?;
    write_durably(&dir.description(), &serde_json::to_vec_pretty(assignment)?)?;
    Ok(())
}

/// What a replica is, as last written down; `None` if its making did not get that far.
pub fn description(dir: &ReplicaDir) -> Result<Option<Assignment>, ReplicaError> {
    match fs::read(dir.description()) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Replica {
    /// Starts a replica: from its file and the log where they exist, as a founder of its group, or waiting for
    /// a snapshot. A damaged file does not keep it from starting: it votes, and serves nothing.
    pub async fn start(
        assignment: Assignment,
        dir: ReplicaDir,
        known: Option<Known>,
        around: &Surroundings,
    ) -> Result<Replica, ReplicaError> {
        describe(&dir, &assignment)?;
        let generation = known.map_or(0, |known| known.generation);
        remove_other_generations(&dir, generation)?;
        let published = Arc::new(Published::new());
        let (inbox, queue) = event_queue();
        let open_streams = Arc::new(OpenStreams::default());
        let opened = open_machine(&assignment, &dir, generation, known).await?;
        let damaged = matches!(opened, Opened::Damaged);
        let machine = if let Opened::Sound(machine) = opened { Some(*machine) } else { None };
        // Without a sound file the replica still votes and acknowledges, so its group must start.
        let log_start = known.map_or(0, |known| known.start);
        let applied = machine.as_ref().map_or(log_start, |machine| machine.state().position.index);
        let founders = assignment.founders.clone();
        let spec = GroupSpec {
            group: assignment.partition,
            replica: assignment.replica,
            peers: peers_of(&assignment),
            initial: founders.map(Configuration::of_voters),
            applied,
            campaign_now: assignment.stands_first && known.is_none(),
        };
        if let Some(machine) = &machine {
            published.serve(generation, &Location::file(dir.database(generation)));
            published.update(machine);
        }
        let group = around.runtime.start_group(spec, Box::new(Host { inbox: inbox.clone() })).await?;
        let worker = Worker::new(Parts {
            group: group.clone(),
            assignment: assignment.clone(),
            dir: dir.clone(),
            generation,
            machine,
            applied,
            damaged,
            published: published.clone(),
            open_streams: open_streams.clone(),
            clock: around.clock.clone(),
            neighbours: around.neighbours.clone(),
            tokio: around.tokio.clone(),
            upkeep: around.upkeep.clone(),
            inbox: queue,
            sender: inbox.clone(),
        });
        let name = format!("partition-{}", assignment.partition);
        let fate = (published.clone(), group.clone());
        let thread = std::thread::Builder::new().name(name).stack_size(SQL_STACK);
        let thread = thread.spawn(move || run_guarded(worker, &fate.0, &fate.1))?;
        Ok(Replica {
            partition: assignment.partition,
            replica: assignment.replica,
            dir,
            assignment: RwLock::new(Arc::new(assignment)),
            published,
            reads: Arc::new(Semaphore::new(READS_PER_REPLICA)),
            streams: Arc::new(Semaphore::new(STREAMS_PER_REPLICA)),
            statements: Arc::default(),
            requests: AtomicU64::new(0),
            open_streams,
            pins: Arc::default(),
            pinned_readers: Arc::new(Semaphore::new(PINNED_READERS_PER_REPLICA)),
            clock: around.clock.clone(),
            group,
            neighbours: around.neighbours.clone(),
            upkeep: around.upkeep.clone(),
            freshness: Freshness::default(),
            inbox,
            worker: Mutex::new(Some(thread)),
        })
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The replica's id.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &ReplicaDir {
        &self.dir
    }

    /// What the coordinators say of it.
    #[must_use]
    pub fn assignment(&self) -> Arc<Assignment> {
        self.assignment.read().clone()
    }

    /// How its node looks after it.
    #[must_use]
    pub fn upkeep(&self) -> &Arc<Upkeep> {
        &self.upkeep
    }

    /// What its worker tells.
    #[must_use]
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Its reading statements.
    #[must_use]
    pub fn statements(&self) -> &StatementCounts {
        &self.statements
    }

    /// Notes that a client's request has come.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &GroupHandle {
        &self.group
    }

    /// Has the replica do a job; answers what became of it, in time. A job whose caller goes away is not begun
    /// any more.
    pub async fn submit(&self, job: Job, timeout: Duration, caller: Caller) -> Result<Reply, Error> {
        let (answer, reply) = oneshot::channel();
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = (monotonic_us() / 1_000).saturating_add(timeout_ms);
        let event = Event::Job { job, deadline_ms, caller: caller.clone(), answer };
        if self.inbox.send(event).is_err() {
            return Err(Error::new(ErrorCode::Unavailable, "the replica is stopping"));
        }
        let answered = tokio::select! {
            biased;
            answered = tokio::time::timeout(timeout.saturating_add(GRACE), reply) => answered,
            () = caller.gone() => {
                let error = Error::new(ErrorCode::Unavailable, "the connection that the request came by has ended");
                return Err(error.with_outcome(Outcome::Unknown));
            }
        };
        match answered {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                Err(Error::new(ErrorCode::Unavailable, "the replica has stopped")
                    .with_outcome(Outcome::Unknown))
            }
            Err(_) => Err(Error::new(ErrorCode::Timeout, "the partition is busy with another request")
                .with_outcome(Outcome::Unknown)),
        }
    }

    /// Ends the stream that was opened first, as its worker does when the write-ahead log has grown too much.
    #[cfg(test)]
    pub(crate) fn end_oldest_stream(&self) -> bool {
        self.open_streams.end_oldest()
    }

    /// Takes over what the coordinators say of the replica now.
    pub fn reassign(&self, assignment: &Assignment) -> Result<(), ReplicaError> {
        if **self.assignment.read() == *assignment {
            return Ok(());
        }
        describe(&self.dir, assignment)?;
        *self.assignment.write() = Arc::new(assignment.clone());
        self.group.update_peers(peers_of(assignment));
        // A worker that has ended needs nothing.
        let _ = self.inbox.send(Event::Assigned(Box::new(assignment.clone())));
        Ok(())
    }

    /// What the replica reports to the coordinators.
    #[must_use]
    pub fn report(&self) -> ReplicaReport {
        // Before the index, which the worker tells first: whoever sees the rows sees the index that made them.
        let rows = self.published.rows();
        let status = self.group.status();
        let matched = |id: ReplicaId| {
            status.peers.iter().find(|peer| peer.replica == id).map_or(0, |peer| peer.matched)
        };
        ReplicaReport {
            partition: self.partition,
            replica: self.replica,
            leader: status.leader,
            term: status.term,
            applied: self.published.applied(),
            committed: status.commit,
            schema_version: self.published.schema_version(),
            rows,
            table_rows: self.published.table_rows(),
            bytes: self.bytes(),
            configuration_index: status.configuration_index,
            voters: status.configuration.voters.iter().copied().collect(),
            learners: status.configuration.learners.iter().map(|id| (*id, matched(*id))).collect(),
            in_doubt: self.published.in_doubt(),
            writable: self.published.is_writable(),
            digest: self.published.digest(),
            quarantined: self.published.quarantined(),
            used_bytes: self.published.used_bytes(),
            requests: self.requests.load(Ordering::Relaxed),
        }
    }

    /// Size of the file and its write-ahead log.
    fn bytes(&self) -> u64 {
        let database = self.dir.database(self.published.generation());
        let log = database.with_extension("db-wal");
        [database, log].iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
    }

    /// The term in which this replica leads and could hand over to another one.
    #[must_use]
    pub fn leads_in(&self) -> Option<u64> {
        let status = self.group.status();
        status.heir().map(|_| status.term)
    }

    /// Has another replica lead, if this one does and another can.
    pub fn hand_over(&self) {
        if let Some(heir) = self.group.status().heir() {
            self.group.transfer_leader(heir);
        }
    }

    /// Ends the replica in this process; its file and its log stay.
    pub async fn stop(&self) {
        // A group that has ended already is as good.
        let _ = self.group.stop().await;
        self.end_worker().await;
        self.published.withdraw();
    }

    /// Ends the replica for ever and removes its log and its files.
    pub async fn remove(&self) -> io::Result<()> {
        let _ = self.group.remove().await;
        self.end_worker().await;
        self.published.withdraw();
        let root = self.dir.root().to_owned();
        tokio::task::spawn_blocking(move || fs::remove_dir_all(root)).await.map_err(io::Error::other)?
    }

    async fn end_worker(&self) {
        let _ = self.inbox.send(Event::Stop);
        let Some(worker) = self.worker.lock().take() else { return };
        let joined = tokio::task::spawn_blocking(move || worker.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!(partition = %self.partition, "a replica's worker ended by a panic");
        }
    }
}

/// Runs a worker. If it breaks one of its own rules, its replica neither serves nor votes any more until the
/// node is started again: its state is in doubt, and another replica can lead. The other replicas of the node
/// are not concerned.
fn run_guarded(worker: Worker, published: &Published, group: &GroupHandle) {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run()));
    if ended.is_err() {
        tracing::error!(partition = %group.group(), "a replica's worker has panicked; the replica is stopped");
        published.withdraw();
        if let Err(error) = group.stop().wait() {
            tracing::error!(partition = %group.group(), %error, "its group could not be stopped");
        }
    }
}

/// What a replica's folder holds.
enum Opened {
    /// A file to go on with.
    Sound(Box<Machine>),
    /// Nothing yet: the replica waits for its first snapshot.
    Waiting,
    /// Not what the log was written for: another replica's copy has to take its place.
    Damaged,
}

/// Opens the replica's file; a founder's is made.
async fn open_machine(
    assignment: &Assignment,
    dir: &ReplicaDir,
    generation: u64,
    known: Option<Known>,
) -> Result<Opened, ReplicaError> {
    let partition = assignment.partition;
    // A founder's file is made before its log: where there is a log, there must be a file.
    let founders = assignment.founders.clone().filter(|_| known.is_none());
    // A log without a beginning is that of a replica that has not yet received its first snapshot.
    let has_begun = known.is_some_and(|known| known.start > 0);
    if founders.is_none() && !has_begun && !dir.database(generation).exists() {
        return Ok(Opened::Waiting);
    }
    fs::create_dir_all(dir.generation(generation))?;
    let location = Location::file(dir.database(generation));
    let database = assignment.database.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let origin = founders.map(|founders| Origin {
            database,
            configuration: AppliedConfiguration {
                index: consensus_runtime::BOOTSTRAP_INDEX,
                configuration: Configuration::of_voters(founders),
            },
        });
        Machine::open(&location, partition, origin.as_ref())
    })
    .await
    .map_err(io::Error::other)?;
    Ok(match opened {
        Ok(machine) => Opened::Sound(Box::new(machine)),
        Err(fault) => {
            let replica = assignment.replica;
            tracing::error!(%partition, %replica, %fault, "a replica's file is damaged: it votes, and serves nothing");
            Opened::Damaged
        }
    })
}

/// Files of generations that the log does not name were never in use, or are no longer.
fn remove_other_generations(dir: &ReplicaDir, generation: u64) -> io::Result<()> {
    for other in dir.generations()?.into_iter().filter(|other| *other != generation) {
        fs::remove_dir_all(dir.generation(other))?;
    }
    Ok(())
}

fn peers_of(
    assignment: &Assignment,
) -> std::collections::BTreeMap<ReplicaId, consensus_runtime::PeerAddress> {
    let convert = |peer: &common::protocol::PeerAddress| consensus_runtime::PeerAddress {
        node: peer.node.clone(),
        address: peer.address.clone(),
    };
    assignment.peers.iter().map(|(id, peer)| (*id, convert(peer))).collect()
}
