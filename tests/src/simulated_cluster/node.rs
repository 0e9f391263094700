//! One simulated storage node: a disk that outlives crashes, and while it runs the production log, group and
//! state machine of its replica, driven as the production threads drive them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use common::protocol::PinId;
use common::{Error, Hlc, PartitionId, ReplicaId, RequestId, TransactionId};
use consensus::{
    AppliedConfiguration, BOOTSTRAP_INDEX, Configuration, Group, GroupOptions, LogView as _, MembershipStep,
    Message, Released, Role, RoleChange, SnapshotDescription, Token,
};
use consensus_runtime::{Committed, GroupView, LogBatch, LogOptions, SharedLog};
use sqlite::simulated::SimulatedDisk;
use sqlite::{Location, Maintenance, Reader, ReaderPool};
use storage_node::replica::machine::{Answer, Compared, Fault, Machine, Origin, Pending, Turn, not_leader};
use storage_node::replica::promises::Promises;

mod care;
mod clock;
mod quarantine;
mod reads;
mod remote;
mod service;

use super::PlantedBug;
use super::log_files::{self, LogFiles};
use care::database_path;
pub use clock::NodeClock;
use quarantine::Quarantine;
use reads::{Question, Reads};
pub use remote::PinnedState;
use service::Pin;
pub use service::{Asked, Found};

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
    /// What a coordinator has asked.
    Served {
        /// Names the question.
        operation: u64,
        /// The answer.
        outcome: Result<Found, Error>,
    },
    /// This replica has found that its file is not what was written.
    Condemned,
    /// It has another file.
    Rebuilt,
    /// It has read its file again, which is what was written.
    FoundSound,
    /// A copy of another replica's file.
    WantCopy {
        /// Whose.
        of: ReplicaId,
        /// It must hold at least this index.
        at_least: u64,
    },
    /// The copy.
    Copy {
        /// For whom.
        to: ReplicaId,
        /// What it holds.
        index: u64,
        /// The file.
        bytes: Bytes,
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
    /// A coordinator asks for rows.
    Ask {
        /// Names the question.
        operation: u64,
        /// The question.
        asked: Asked,
    },
    /// A snapshot need not stay any longer.
    Unpin(PinId),
    /// The process of another replica is gone, as it seems.
    Gone(ReplicaId),
    /// Most of the others have a digest that is not this replica's.
    Divergent(Compared),
    /// Another replica asks for a copy of the file.
    CopyWanted {
        /// Which.
        by: ReplicaId,
        /// It must hold at least this index.
        at_least: u64,
    },
    /// The copy that was asked for.
    Copy {
        /// What it holds.
        index: u64,
        /// The file.
        bytes: Bytes,
    },
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
    /// The clock that the replicas of its storage node share. Without one, it has no other time than the wall clock's.
    pub clock: Option<NodeClock>,
    /// Whether the file is read again now and then.
    pub scrubs: bool,
    /// Whether its file is not what was written.
    pub harmed: bool,
    /// A fault in the program under test.
    pub bug: Option<PlantedBug>,
}

/// More connections than anybody needs at once: nothing can be waited for in one thread.
const READERS_MAX: usize = 10_000;
/// Connections that are kept open.
const READERS_KEPT: usize = 4;

/// A sound file, and who works with it.
struct Sound {
    machine: Machine,
    reader: Reader,
    maintenance: Maintenance,
    promises: Promises,
    readers: ReaderPool,
    pins: BTreeMap<PinId, Pin>,
    /// The digest that was asked for last.
    compared: Option<Compared>,
}

impl Sound {
    fn open(setup: &NodeSetup, location: &Location, origin: Option<&Origin>) -> Result<Sound, Fault> {
        let mut machine = Machine::open(location, setup.partition, origin)?;
        machine.limit_entries(setup.entry_bytes);
        if let Some(PlantedBug::Machine(bug)) = setup.bug {
            machine.plant(bug);
        }
        let (reader, maintenance) = (Reader::open(location)?, Maintenance::open(location)?);
        let (promises, pins) = (Promises::default(), BTreeMap::new());
        let readers = ReaderPool::new(location.clone(), READERS_MAX, READERS_KEPT);
        Ok(Sound { machine, reader, maintenance, promises, readers, pins, compared: None })
    }
}

/// A running node.
pub struct Node {
    setup: NodeSetup,
    disk: SimulatedDisk,
    log: SharedLog<LogFiles>,
    group: Group<GroupView<LogFiles>>,
    /// Nothing while the replica is in quarantine.
    sound: Option<Sound>,
    quarantine: Quarantine,
    /// The last entry that the log has handed out as committed.
    delivered: u64,
    role: RoleChange,
    location: Location,
    generation: u64,
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
        let is_new = log.record(partition).is_none();
        if is_new {
            let mut batch = LogBatch::default();
            let voters = Configuration::of_voters(setup.voters.iter().copied());
            batch.create(partition, setup.replica, Some(voters));
            log.write(batch, true).map_err(|error| broken("create the group")(&error))?;
        }
        let view = log.view(partition).ok_or_else(|| Broken("the log has lost the group".into()))?;
        let generation = view.generation();
        let location = disk.location(&database_path(generation));
        // Only the first generation begins empty; a later one was staged before the log named it. One that was harmed was
        // there.
        let origin = (generation == 0 && (is_new || !setup.harmed)).then(|| Origin {
            database: "simulated".into(),
            configuration: AppliedConfiguration {
                index: BOOTSTRAP_INDEX,
                configuration: Configuration::of_voters(setup.voters.iter().copied()),
            },
        });
        let sound = match Sound::open(setup, &location, origin.as_ref()) {
            Ok(sound) => Some(sound),
            Err(_) if setup.harmed => None,
            Err(fault) => return Err(broken("open the state")(&fault)),
        };
        // Without a sound file the replica votes and acknowledges.
        let log_start = view.start().index;
        let applied = sound.as_ref().map_or(log_start, |sound| sound.machine.state().position.index);
        let mut options =
            GroupOptions::new(partition, setup.replica, setup.seed ^ incarnation.rotate_left(32));
        options.truncation_lag_max = setup.log_entries;
        // With small entries a few of them fill the host, so that the rest is read from the log again.
        options.backlog_bytes_max = 4 * setup.entry_bytes as u64;
        options.election_ticks_max = options.election_ticks_min + setup.election_ticks_spread;
        if let Some(PlantedBug::Consensus(bug)) = setup.bug {
            options.planted_bug = Some(bug);
        }
        let group = Group::new(options, view, applied).map_err(|error| broken("start the group")(&error))?;
        let role = RoleChange { term: 0, role: Role::Follower, leader: None };
        Ok(Node {
            setup: setup.clone(),
            disk: disk.clone(),
            log,
            group,
            sound,
            quarantine: Quarantine::default(),
            delivered: applied,
            role,
            location,
            generation,
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
                if let Some(sound) = &mut self.sound {
                    sound.machine.expire(self.now_us / 1_000);
                }
                self.ask_again();
            }
            Input::Message(message) => self.step(message)?,
            Input::Write(pending) => self.submit(pending),
            Input::Read { operation, register } => self.ask(Question::Register { operation, register }),
            Input::Maintain => self.maintain()?,
            Input::Pin { operation } => self.ask(Question::State { operation }),
            Input::ChangeMembers(step, index) => self.change_members(step, index),
            Input::Transfer(to) => self.hand_over(to),
            Input::Ask { operation, asked } => self.ask_for_rows(operation, asked),
            Input::Unpin(pin) => self.unpin(pin),
            Input::Gone(replica) => self.group.unreachable(replica),
            Input::Divergent(found) => self.diverges(found)?,
            Input::CopyWanted { by, at_least } => self.send_copy(by, at_least)?,
            Input::Copy { index, bytes } => self.keep_copy(index, bytes)?,
        }
        Ok(())
    }

    fn submit(&mut self, pending: Pending) {
        match &mut self.sound {
            Some(sound) => sound.machine.submit(pending),
            None => {
                let result = Err(not_leader(self.role.leader));
                self.wishes.push(Wish::Answer(Answer { ticket: pending.ticket, result }));
            }
        }
    }

    fn view(&self) -> Result<GroupView<LogFiles>, Broken> {
        self.log.view(self.setup.partition).ok_or_else(|| Broken("the log has lost the group".into()))
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
            self.role = role;
            self.with_machine("change the role", |machine| machine.role_changed(role))?;
            if role.role != Role::Leader {
                self.refuse_reads();
            } else if self.sound.is_none() {
                self.give_leadership_away();
            }
        }
        for entry in &released.committed {
            self.wishes.push(Wish::Committed(entry.index, entry.term, entry.data.clone()));
        }
        self.land(released.committed)?;
        for read in released.reads {
            self.answered(read.context, read.index);
        }
        if released.snapshot_needed.is_some() {
            self.make_snapshot()?;
        }
        Ok(())
    }

    /// Tells the machine what was committed, or notes it for the time after the quarantine.
    fn land(&mut self, committed: Vec<Committed>) -> Result<(), Broken> {
        let Some(last) = committed.last().map(|entry| entry.index) else { return Ok(()) };
        self.delivered = last;
        if self.sound.is_none() {
            self.miss(committed);
            self.take_copy_if_covered()?;
        } else {
            let view = self.view()?;
            self.with_machine("land committed entries", |machine| machine.committed(&committed, &view))?;
        }
        match &self.sound {
            Some(Sound { machine, .. }) => {
                self.observe(machine.state().position.hlc);
                self.group.taken_over(machine.received());
                self.group.applied(machine.state().position.index);
            }
            None => self.group.taken_over(last),
        }
        Ok(())
    }

    /// Runs waiting writes and passes on what comes of them.
    fn execute(&mut self) -> Result<(), Broken> {
        while let Some(Sound { machine, promises, .. }) = &self.sound {
            let now_us = self.now_us;
            // What is on its way keeps its moment.
            let begins = machine.may_execute();
            let hlc = if begins { promises.begin_batch(|| self.clock_now()) } else { Hlc::default() };
            let turn = Turn {
                hlc,
                request: RequestId(u128::from(self.setup.replica.0) << 64 | u128::from(self.requests)),
                clock_us: &|| now_us,
                is_awaited: &|_| true,
            };
            let executed = self.with_machine("execute", |machine| {
                let ran = machine.execute(&turn)?;
                Ok((ran, machine.drain()))
            })?;
            let Some((ran, outbox)) = executed else { return Ok(()) };
            self.requests += u64::from(ran);
            let quiet = outbox.proposals.is_empty() && outbox.confirmations.is_empty();
            self.wishes.extend(outbox.answers.into_iter().map(Wish::Answer));
            for compared in outbox.compared {
                self.sound.as_mut().expect("it was there a moment ago").compared = Some(compared);
                self.wishes.push(Wish::Compared(compared));
            }
            for (request, bytes) in outbox.proposals {
                let proposed = self.group.propose(bytes);
                self.with_machine("note a proposal's fate", |machine| match proposed {
                    Ok(at) => machine.proposed(request, at),
                    Err(_) => machine.proposal_refused(request),
                })?;
            }
            for batch in outbox.confirmations {
                self.ask(Question::Leadership { batch });
            }
            if quiet && !ran {
                return Ok(());
            }
        }
        Ok(())
    }

    fn clock_now(&self) -> Hlc {
        let wall_ms = self.now_us / 1_000 + self.setup.clock_ahead_ms;
        self.setup.clock.as_ref().map_or_else(|| Hlc::default().next(wall_ms), |clock| clock.now(wall_ms))
    }

    fn observe(&self, reading: Hlc) {
        if let Some(clock) = &self.setup.clock {
            clock.observe(reading);
        }
    }

    /// The transaction that is prepared here and not decided, and who decides, if this replica leads.
    #[must_use]
    pub fn in_doubt(&self) -> Option<(TransactionId, PartitionId)> {
        let machine = self.sound.as_ref().map(|sound| &sound.machine)?;
        let prepared = machine.prepared().filter(|_| machine.is_writable())?;
        Some((prepared.transaction, prepared.decider))
    }

    /// Whether a transaction is prepared here, whoever leads.
    #[must_use]
    pub fn has_prepared(&self) -> bool {
        self.sound.as_ref().is_some_and(|sound| sound.machine.prepared().is_some())
    }

    /// Whether its reads wait for a commit that may have been told.
    #[must_use]
    pub fn owes_commit(&self) -> bool {
        self.sound.as_ref().is_some_and(|sound| sound.machine.owes_commit())
    }

    /// Index applied, and a digest of every row and of the schema.
    pub fn digest(&mut self) -> Result<(u64, u128), Broken> {
        let sound = self.sound.as_ref().ok_or_else(|| Broken("no sound file".into()))?;
        let digest = sound.maintenance.digest().map_err(|error| broken("digest")(&error))?;
        Ok((sound.machine.received(), digest.0))
    }

    /// The log index applied, if nothing more is to come: nobody waits, and the log holds nothing beyond.
    #[must_use]
    pub fn at_rest(&self) -> Option<u64> {
        let machine = &self.sound.as_ref()?.machine;
        let applied = machine.received();
        (machine.is_idle() && self.group.status().last_index == applied).then_some(applied)
    }

    /// Version of the schema applied.
    #[must_use]
    pub fn schema_version(&self) -> u64 {
        self.sound.as_ref().map_or(0, |sound| sound.machine.state().schema_version)
    }

    /// Whether it leads and takes writes.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.sound.as_ref().is_some_and(|sound| sound.machine.is_writable())
    }
}

fn open_log(setup: &NodeSetup, disk: &SimulatedDisk) -> Result<SharedLog<LogFiles>, Broken> {
    let files = LogFiles::open(disk.clone(), &setup.names, LOG_DIRECTORY)
        .map_err(|error| broken("prepare the log's folder")(&error))?;
    SharedLog::open_with_file_system(&setup.names, &LogOptions::small(), Arc::new(files))
        .map_err(|error| broken("open the log")(&error))
}
