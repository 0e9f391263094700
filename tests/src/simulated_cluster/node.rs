//! One simulated storage node: a disk that outlives crashes, and while it runs the production log, group and
//! state machine of its replica, driven as the production threads drive them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use common::{Hlc, PartitionId, ReplicaId, RequestId};
use consensus::{
    AppliedConfiguration, BOOTSTRAP_INDEX, Configuration, Group, GroupOptions, MembershipStep, Message,
    Released, Role, SnapshotDescription, Token,
};
use consensus_runtime::{GroupView, LogBatch, LogOptions, SharedLog};
use sqlite::simulated::SimulatedDisk;
use sqlite::{Location, Maintenance, Reader};
use storage_node::replica::machine::{Answer, Compared, Machine, Origin, Pending, Turn};

mod care;
mod reads;
mod remote;

use super::PlantedBug;
use super::log_files::{self, LogFiles};
use care::database_path;
use reads::{Question, Reads};
pub use remote::PinnedState;

/// The partition under test, where there is one.
pub const PARTITION: PartitionId = PartitionId(1);
const LOG_DIRECTORY: &str = "log";

/// What a node wants from the world outside.
#[derive(Debug)]
pub enum Wish {
    /// A message to another replica.
    Send(Message),
    /// Tell it when a sync that starts now is over.
    Sync,
    /// A write's answer.
    Answer(Answer),
    /// A read's answer: the register's value, or nothing if this replica cannot say.
    Read {
        /// Names the read.
        operation: u64,
        /// What it saw.
        outcome: Result<Option<u64>, ()>,
    },
    /// This replica became leader of a term.
    Leads(u64),
    /// An entry was committed: index, term, content.
    Committed(u64, u64, Bytes),
    /// This replica was asked by the log for its digest.
    Compared(Compared),
    /// A snapshot of the newest state, or nothing if this replica does not lead.
    Pinned {
        /// Names the request.
        operation: u64,
        /// The snapshot.
        outcome: Option<Box<PinnedState>>,
    },
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// One tick of its clock.
    Tick,
    /// A message arrives.
    Message(Message),
    /// A client's write arrives.
    Write(Pending),
    /// A client's read arrives.
    Read {
        /// Names the read.
        operation: u64,
        /// The register.
        register: u64,
    },
    /// Time for checkpoints and truncation.
    Maintain,
    /// A snapshot of the newest state is asked for.
    Pin {
        /// Names the request.
        operation: u64,
    },
    /// The members are to change, if the configuration is still that of the index.
    ChangeMembers(MembershipStep, u64),
    /// Another replica is to lead, or this one, if nobody does.
    Transfer(ReplicaId),
}

/// How a node is set up; the same at every start.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// Its partition.
    pub partition: PartitionId,
    /// Its replica.
    pub replica: ReplicaId,
    /// The founders of the group.
    pub voters: Vec<ReplicaId>,
    /// A folder of the operating system in which the log's file names stand; their contents are on the disk.
    pub names: PathBuf,
    /// Seed of this replica's random choices.
    pub seed: u64,
    /// Election time-outs differ by at most this many ticks.
    pub election_ticks_spread: u32,
    /// Entries kept in the log below the state on disk.
    pub log_entries: u64,
    /// Proposals larger than this travel as sets of chunks.
    pub entry_bytes: usize,
    /// How far its wall clock is ahead, in milliseconds.
    pub clock_ahead_ms: u64,
    /// A fault in the program under test.
    pub bug: Option<PlantedBug>,
}

/// A running node.
pub struct Node {
    setup: NodeSetup,
    disk: SimulatedDisk,
    log: SharedLog<LogFiles>,
    group: Group<GroupView<LogFiles>>,
    machine: Machine,
    location: Location,
    generation: u64,
    reader: Reader,
    maintenance: Maintenance,
    syncing: Option<Token>,
    inbox: VecDeque<Input>,
    reads: Reads,
    /// A snapshot received and staged as the next generation, until the group takes it.
    staged: Option<(u64, SnapshotDescription)>,
    now_us: u64,
    requests: u64,
    wishes: Vec<Wish>,
}

/// Why a node could not start or go on. On a disk that only forgets what was not synced this never happens to
/// a correct program.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

fn broken(context: &str) -> impl Fn(&dyn std::fmt::Display) -> Broken {
    move |error| Broken(format!("{context}: {error}"))
}

impl Node {
    /// Starts the node on its disk: founds the replica on an empty one, else recovers.
    pub fn start(setup: &NodeSetup, disk: &SimulatedDisk, incarnation: u64) -> Result<Node, Broken> {
        let log = open_log(setup, disk)?;
        let partition = setup.partition;
        if log.record(partition).is_none() {
            let mut batch = LogBatch::default();
            let voters = Configuration::of_voters(setup.voters.iter().copied());
            batch.create(partition, setup.replica, Some(voters));
            log.write(batch, true).map_err(|error| broken("create the group")(&error))?;
        }
        let view = log.view(partition).ok_or_else(|| Broken("the log has lost the group".into()))?;
        let generation = view.generation();
        let location = disk.location(&database_path(generation));
        // Only the first generation begins empty; a later one was staged before the log named it.
        let origin = (generation == 0).then(|| Origin {
            database: "simulated".into(),
            configuration: AppliedConfiguration {
                index: BOOTSTRAP_INDEX,
                configuration: Configuration::of_voters(setup.voters.iter().copied()),
            },
        });
        let mut machine = Machine::open(&location, partition, origin.as_ref())
            .map_err(|error| broken("open the state")(&error))?;
        machine.limit_entries(setup.entry_bytes);
        if let Some(PlantedBug::Machine(bug)) = setup.bug {
            machine.plant(bug);
        }
        let mut options =
            GroupOptions::new(partition, setup.replica, setup.seed ^ incarnation.rotate_left(32));
        options.truncation_lag_max = setup.log_entries;
        // With small entries a few of them fill the host, so that the rest is read from the log again.
        options.backlog_bytes_max = 4 * setup.entry_bytes as u64;
        options.election_ticks_max = options.election_ticks_min + setup.election_ticks_spread;
        if let Some(PlantedBug::Consensus(bug)) = setup.bug {
            options.planted_bug = Some(bug);
        }
        let group = Group::new(options, view, machine.state().position.index)
            .map_err(|error| broken("start the group")(&error))?;
        let reader = Reader::open(&location).map_err(|error| broken("open a reader")(&error))?;
        let maintenance =
            Maintenance::open(&location).map_err(|error| broken("open for maintenance")(&error))?;
        Ok(Node {
            setup: setup.clone(),
            disk: disk.clone(),
            log,
            group,
            machine,
            location,
            generation,
            reader,
            maintenance,
            syncing: None,
            inbox: VecDeque::new(),
            reads: Reads::default(),
            staged: None,
            now_us: 0,
            requests: incarnation << 32,
            wishes: Vec::new(),
        })
    }

    /// Something happens to the node. Returns what it wants of the world.
    pub fn input(&mut self, now_us: u64, input: Input) -> Result<Vec<Wish>, Broken> {
        self.now_us = now_us;
        self.inbox.push_back(input);
        self.run()
    }

    /// The sync that was wished for is over.
    pub fn synced(&mut self, now_us: u64) -> Result<Vec<Wish>, Broken> {
        self.now_us = now_us;
        if let Some(token) = self.syncing.take() {
            log_files::sync(&self.disk, LOG_DIRECTORY).map_err(|error| broken("sync the log")(&error))?;
            self.release(token)?;
        }
        self.run()
    }

    /// Works until everything waits: for a sync, or for the next input.
    fn run(&mut self) -> Result<Vec<Wish>, Broken> {
        while self.syncing.is_none() {
            self.execute()?;
            self.serve_reads()?;
            if self.work()? {
                continue;
            }
            let Some(input) = self.inbox.pop_front() else { break };
            self.take(input)?;
        }
        Ok(std::mem::take(&mut self.wishes))
    }

    fn take(&mut self, input: Input) -> Result<(), Broken> {
        match input {
            Input::Tick => {
                self.group.tick();
                self.machine.expire(self.now_us / 1_000);
                self.ask_again();
            }
            Input::Message(message) => self.step(message)?,
            Input::Write(pending) => self.machine.submit(pending),
            Input::Read { operation, register } => self.ask(Question::Register { operation, register }),
            Input::Maintain => self.maintain()?,
            Input::Pin { operation } => self.ask(Question::State { operation }),
            Input::ChangeMembers(step, index) => self.change_members(step, index),
            Input::Transfer(to) => self.hand_over(to),
        }
        Ok(())
    }

    fn step(&mut self, message: Message) -> Result<(), Broken> {
        // What is refused is dropped, as a lossy network would.
        let Ok(Some(offer)) = self.group.step(message) else { return Ok(()) };
        match self.stage(&offer.description) {
            Ok(()) => self.install(),
            Err(_) => {
                self.group.decline_snapshot(offer.from);
                Ok(())
            }
        }
    }

    /// Asks the group to hand out work, and does it. Says whether there was any.
    fn work(&mut self) -> Result<bool, Broken> {
        let Some(work) = self.group.take_work() else { return Ok(false) };
        self.wishes.extend(work.messages.into_iter().map(Wish::Send));
        let must_sync = work.persist.must_sync;
        if !work.persist.is_empty() {
            let mut batch = LogBatch::default();
            let generation = self.staged.as_ref().map_or(self.generation, |(generation, _)| *generation);
            batch.persist(self.setup.partition, work.persist, generation);
            self.log.write(batch, false).map_err(|error| broken("write the log")(&error))?;
        }
        if must_sync {
            self.syncing = Some(work.token);
            self.wishes.push(Wish::Sync);
        } else {
            self.release(work.token)?;
        }
        Ok(true)
    }

    fn release(&mut self, token: Token) -> Result<(), Broken> {
        let released: Released = self.group.persisted(token);
        self.wishes.extend(released.messages.into_iter().map(Wish::Send));
        if released.snapshot_adopted.is_some() {
            self.switch_generation()?;
        }
        if let Some(role) = released.role {
            if role.role == Role::Leader {
                self.wishes.push(Wish::Leads(role.term));
            }
            let fault = self.machine.role_changed(role);
            fault.map_err(|error| broken("change the role")(&error))?;
            if role.role != Role::Leader {
                self.refuse_reads();
            }
        }
        for entry in &released.committed {
            self.wishes.push(Wish::Committed(entry.index, entry.term, entry.data.clone()));
        }
        let view =
            self.log.view(self.setup.partition).ok_or_else(|| Broken("the log has lost the group".into()))?;
        let fault = self.machine.committed(&released.committed, &view);
        fault.map_err(|error| broken("land committed entries")(&error))?;
        self.group.taken_over(self.machine.received());
        self.group.applied(self.machine.state().position.index);
        for read in released.reads {
            self.answered(read.context, read.index);
        }
        if released.snapshot_needed.is_some() {
            self.make_snapshot()?;
        }
        Ok(())
    }

    /// Runs waiting writes and passes on what comes of them.
    fn execute(&mut self) -> Result<(), Broken> {
        loop {
            let now_us = self.now_us;
            let turn = Turn {
                hlc: Hlc::default().next(now_us / 1_000 + self.setup.clock_ahead_ms),
                request: RequestId(u128::from(self.setup.replica.0) << 64 | u128::from(self.requests)),
                clock_us: &|| now_us,
                is_awaited: &|_| true,
            };
            let ran = self.machine.execute(&turn).map_err(|error| broken("execute")(&error))?;
            self.requests += u64::from(ran);
            let outbox = self.machine.drain();
            let quiet = outbox.proposals.is_empty() && outbox.confirmations.is_empty();
            self.wishes.extend(outbox.answers.into_iter().map(Wish::Answer));
            self.wishes.extend(outbox.compared.into_iter().map(Wish::Compared));
            for (request, bytes) in outbox.proposals {
                let noted = match self.group.propose(bytes) {
                    Ok(at) => self.machine.proposed(request, at),
                    Err(_) => self.machine.proposal_refused(request),
                };
                noted.map_err(|error| broken("note a proposal's fate")(&error))?;
            }
            for batch in outbox.confirmations {
                self.ask(Question::Leadership { batch });
            }
            if quiet && !ran {
                return Ok(());
            }
        }
    }

    /// Index applied, and a digest of every row and of the schema.
    pub fn digest(&mut self) -> Result<(u64, u128), Broken> {
        let digest = self.maintenance.digest().map_err(|error| broken("digest")(&error))?;
        Ok((self.machine.received(), digest.0))
    }

    /// The log index applied, if nothing more is to come: nobody waits, and the log holds nothing beyond.
    #[must_use]
    pub fn at_rest(&self) -> Option<u64> {
        let applied = self.machine.received();
        (self.machine.is_idle() && self.group.status().last_index == applied).then_some(applied)
    }

    /// Version of the schema applied.
    #[must_use]
    pub fn schema_version(&self) -> u64 {
        self.machine.state().schema_version
    }

    /// Whether it leads and takes writes.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.machine.is_writable()
    }
}

fn open_log(setup: &NodeSetup, disk: &SimulatedDisk) -> Result<SharedLog<LogFiles>, Broken> {
    let files = LogFiles::open(disk.clone(), &setup.names, LOG_DIRECTORY)
        .map_err(|error| broken("prepare the log's folder")(&error))?;
    SharedLog::open_with_file_system(&setup.names, &LogOptions::small(), Arc::new(files))
        .map_err(|error| broken("open the log")(&error))
}
