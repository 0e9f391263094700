//! A partition's state machine: SQLite under a Raft log.
//!
//! It is driven: jobs, committed entries and changes of leadership go in as calls; proposals, requests to
//! confirm leadership, and answers come out through [`Machine::drain`]. It knows no thread, timer or random
//! source, and a clock only as numbers handed in, so a simulation drives exactly this code.
//!
//! The life of a write on the leader:
//!
//! 1. [`Machine::submit`] puts the job into the queue, or refuses it because this replica does not lead.
//! 2. [`Machine::execute`] runs the waiting writes in one open SQLite transaction, each in its savepoint, and
//!    captures the rows they changed. Changes become one entry, handed out as a proposal; the transaction stays
//!    open and no further batch begins. A batch without changes asks for leadership to be confirmed instead.
//! 3. [`Machine::committed`] meets the entry in the log and commits the open transaction together with the
//!    applied index. If another leader's entry comes first, the transaction is rolled back, and the log says
//!    what became of the entry.
//! 4. Only then is anything answered, errors included: an error may be due to a neighbour in the batch that
//!    never came to be.
//!
//! Followers, and leaders for every other kind of entry, land entries through the applier connection, several
//! in one SQLite transaction. An entry takes effect only on the state that it was computed on: the index of
//! the last state-changing entry that its proposer had applied must be that of this replica.

mod apply;
mod batch;
mod chunks;
mod flight;
mod job;
mod joint;
mod key_changes;
mod locks;
mod row_changes;
mod store;
mod table_changes;
#[cfg(test)]
mod tests;
mod transactions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use common::limits::ENTRY_CHUNK_MAX;
use common::{ErrorCode, Outcome, PartitionId, ReplicaId, RequestId, TransactionId};
use consensus_runtime::{AppliedConfiguration, Proposed, Role, RoleChange};
use sqlite::{Digest, Location, Prepared, SystemState, TableSums};

pub use batch::Turn;
use chunks::Gathering;
use flight::{Fate, Flight, Held};
pub use job::{Answer, Job, Pending, Reply, Ticket, not_leader, stale_partition_map, stale_schema};
use job::{leadership_lost, no_quorum};
pub use key_changes::KeyChanges;
use locks::Lock;
use row_changes::RowChanges;
use store::Store;
pub(crate) use store::decode_configuration;
pub use store::{Fault, Origin, WalTidying};
pub use table_changes::TableChanges;

/// Faults that a simulation plants to prove that it would find them.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlantedBug {
    /// The applied index is written in a SQLite transaction of its own, after the rows.
    AppliedIndexOutsideTransaction,
    /// A leader executes on whatever state it has, before it knows all that was committed, and effects land on
    /// whatever state is there, not only on the one they were computed on.
    EffectsOnAnotherBase,
    /// An error is told at once, though it may be due to a neighbour's write that is then lost.
    ErrorToldFromUncommittedNeighbour,
    /// Snapshots know only the moments of transactions over several partitions.
    SnapshotsKnowOnlyLargeTransactions,
    /// What a transaction was computed from is not checked when it is prepared.
    ReadsNotGuarded,
    /// Of some entries the last row is not landed.
    RowNotLanded,
    /// A coordinator's commit is told to have won, though its transaction was aborted before.
    LateCommitWins,
    /// Success is told when a batch is proposed, before it is committed.
    ToldBeforeCommitted,
    /// Whoever waits too long for the log is told that nothing was applied, and so may ask again.
    UnknownToldAsNotApplied,
    /// The log is let go up to what the file has, whether or not the disk has it.
    TruncatedBeforeSynced,
    /// What a request did before it was refused stays.
    RefusedRequestStaysInPart,
    /// Reads do not wait for a commit that was told.
    CommitReadTooEarly,
    /// A part that several requests share is committed without those that it refuses.
    RefusedRequestLeftOut,
    /// A request that was planned on an older partition map is carried out all the same.
    EpochNotChecked,
    /// A replica that has become the leader says that it has noted all changes, and lacks those of its predecessor.
    ChangesForgotten,
}

/// What the driver should do next. Nothing in it may be lost or reordered.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Entries to propose in order, each with the name of its proposal, to be reported by
    /// [`Machine::proposed`] or [`Machine::proposal_refused`].
    pub proposals: Vec<(RequestId, Bytes)>,
    /// Batches that wait for a confirmation of leadership begun from now on, to be reported by
    /// [`Machine::leadership_confirmed`] or [`Machine::leadership_unconfirmed`].
    pub confirmations: Vec<u64>,
    /// Answers that may be told.
    pub answers: Vec<Answer>,
    /// Digests as of entries that have been applied.
    pub compared: Vec<Compared>,
}

/// What the log asked to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The index of the entry.
    pub index: u64,
    /// This replica's digest there.
    pub own: u128,
    /// The digest of the replica that led.
    pub leaders: u128,
}

/// A job in the queue.
#[derive(Debug)]
struct Queued {
    pending: Pending,
    /// It took too long for a shared batch.
    alone: bool,
}

/// The state machine of one replica. See the module.
pub struct Machine {
    partition: PartitionId,
    store: Store,
    state: SystemState,
    configuration: AppliedConfiguration,
    /// Index of the last entry received; ahead of the applied one inside a set of chunks.
    received: u64,
    gathering: Gathering,
    /// The transaction that is prepared here; it keeps other writers out.
    prepared: Option<Prepared>,
    /// A transaction whose coordinator was told that its commit is known here.
    told: Option<TransactionId>,
    /// Index of the first entry of the term that this replica leads in, once it was received.
    led_from: Option<u64>,
    /// The lock that a transaction holds while this replica leads.
    lock: Option<Lock>,
    /// Rows and digests of the tables.
    sums: TableSums,
    changes: TableChanges,
    key_changes: Arc<KeyChanges>,
    /// Of how many keys in it the changes are noted.
    watched: usize,
    /// Rows that have changed, while somebody copies them.
    row_changes: Option<RowChanges>,
    /// The term that this replica leads in.
    leading: Option<u64>,
    /// The term of the last entry received.
    received_term: u64,
    leader: Option<ReplicaId>,
    queue: VecDeque<Queued>,
    flight: Option<Flight>,
    confirming: BTreeMap<u64, Vec<Held>>,
    next_confirmation: u64,
    /// A proposal larger than this travels as a set of chunks.
    entry_bytes_max: usize,
    outbox: Outbox,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<PlantedBug>,
}

impl Machine {
    /// Opens a replica's file. With an [`Origin`] an absent file is founded; without one it must be there.
    pub fn open(
        location: &Location,
        partition: PartitionId,
        origin: Option<&Origin>,
    ) -> Result<Machine, Fault> {
        let (store, state) = Store::open(location, partition, origin)?;
        let configuration = decode_configuration(&state.configuration)?;
        let prepared = store.prepared()?;
        let sums = store.table_sums()?;
        Ok(Machine {
            partition,
            changes: TableChanges::since(state.position.base),
            key_changes: Arc::default(),
            watched: 0,
            row_changes: None,
            received: state.position.index,
            received_term: state.position.term,
            store,
            state,
            configuration,
            gathering: Gathering::default(),
            prepared,
            told: None,
            led_from: None,
            lock: None,
            sums,
            leading: None,
            leader: None,
            queue: VecDeque::new(),
            flight: None,
            confirming: BTreeMap::new(),
            next_confirmation: 0,
            entry_bytes_max: ENTRY_CHUNK_MAX,
            outbox: Outbox::default(),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        })
    }

    /// Notes from now on in `changes` which keys change.
    pub fn note_keys_in(&mut self, changes: Arc<KeyChanges>) {
        changes.stop();
        self.key_changes = changes;
        self.watched = 0;
    }

    /// Lets smaller proposals than usual travel as sets of chunks: for simulations.
    pub fn limit_entries(&mut self, bytes_max: usize) {
        self.entry_bytes_max = bytes_max;
    }

    /// Plants a fault.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: PlantedBug) {
        self.planted_bug = Some(bug);
        self.store.plant(bug);
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn has_bug(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }

    /// What the replica's own tables say, as of the last entry applied.
    #[must_use]
    pub fn state(&self) -> &SystemState {
        &self.state
    }

    /// The members of the group as of the last entry received.
    #[must_use]
    pub fn configuration(&self) -> &AppliedConfiguration {
        &self.configuration
    }

    /// Index up to which the log's effects can be read. Inside a set of chunks it is ahead of the applied
    /// index, because nothing of the set has an effect yet.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Rows of the client's tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.sums.rows()
    }

    /// Rows and digests of the tables.
    #[must_use]
    pub fn table_sums(&self) -> &TableSums {
        &self.sums
    }

    /// When each table last changed.
    #[must_use]
    pub fn table_changes(&self) -> &TableChanges {
        &self.changes
    }

    /// Digest of everything that is replicated, as of the last entry applied: equal on all replicas.
    pub fn digest(&self) -> Result<Digest, Fault> {
        self.store.digest(&self.sums)
    }

    /// The transaction that is prepared here and not decided.
    #[must_use]
    pub fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }

    /// Whether what is prepared here may have been told to be committed. A leader says so before its log does, so this
    /// counts for what a leader before this one left prepared as well: reads wait for the decision.
    #[must_use]
    pub fn owes_commit(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(PlantedBug::CommitReadTooEarly) {
            return false;
        }
        self.prepared.as_ref().is_some_and(|prepared| {
            let is_inherited = self.led_from.is_none_or(|first| prepared.index < first);
            is_inherited || self.told == Some(prepared.transaction)
        })
    }

    /// Whether writes are taken now: this replica leads and has applied an entry of its own term, so that it
    /// knows everything that was committed before.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(PlantedBug::EffectsOnAnotherBase) {
            return self.leading.is_some();
        }
        self.leading.is_some_and(|term| term == self.received_term)
    }

    /// Whether a batch could begin now.
    #[must_use]
    pub fn may_execute(&self) -> bool {
        self.is_writable() && self.flight.is_none() && !self.queue.is_empty()
    }

    /// Whether anybody waits for anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flight.is_none() && self.confirming.is_empty()
    }

    /// Whether a proposal is on its way, until whose end no other job can begin.
    #[must_use]
    pub fn has_batch_under_way(&self) -> bool {
        self.flight.is_some()
    }

    /// What the driver should do now.
    #[must_use]
    pub fn drain(&mut self) -> Outbox {
        std::mem::take(&mut self.outbox)
    }

    /// Takes a job; its answer comes in due time.
    pub fn submit(&mut self, pending: Pending) {
        if self.leading.is_some() {
            self.queue.push_back(Queued { pending, alone: false });
        } else {
            let error = not_leader(self.leader);
            self.outbox.answers.push(Answer { ticket: pending.ticket, result: Err(error) });
        }
    }

    /// A proposal, or the next piece of it, was appended to the leader's log.
    pub fn proposed(&mut self, request: RequestId, at: Proposed) -> Result<(), Fault> {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.request == request) else {
            return Ok(());
        };
        flight.placed.get_or_insert(at.term);
        // The log may have gone on before this was told.
        if flight.is_superseded_by(self.received_term) {
            self.settle(&Fate::Superseded)?;
        }
        Ok(())
    }

    /// A proposal did not reach the log, and will not.
    pub fn proposal_refused(&mut self, request: RequestId) -> Result<(), Fault> {
        // A set of chunks of which one is missing has no effect, so in every case nothing is applied.
        if self.flight.as_ref().is_some_and(|flight| flight.request == request) {
            self.outbox.proposals.retain(|(name, _)| *name != request);
            self.settle(&Fate::Superseded)?;
        }
        Ok(())
    }

    /// The replica's part in its group has changed.
    pub fn role_changed(&mut self, change: RoleChange) -> Result<(), Fault> {
        self.leader = change.leader;
        let leading = (change.role == Role::Leader).then_some(change.term);
        if self.leading != leading {
            if self.leading.is_some() {
                self.lose_leadership()?;
            }
            self.leading = leading;
            self.led_from = None;
        }
        Ok(())
    }

    /// Rolls the open transaction back; what was proposed waits for the log to say what became of it.
    fn lose_leadership(&mut self) -> Result<(), Fault> {
        self.lock = None;
        for queued in std::mem::take(&mut self.queue) {
            let result = Err(not_leader(self.leader));
            self.outbox.answers.push(Answer { ticket: queued.pending.ticket, result });
        }
        for batch in self.confirming.keys().copied().collect::<Vec<_>>() {
            self.leadership_unconfirmed(batch);
        }
        if let Some(flight) = &mut self.flight {
            if std::mem::take(&mut flight.executed) {
                self.store.rollback()?;
            }
            let was_proposed = flight.is_proposed_whole();
            let request = flight.request;
            let unsent = self.outbox.proposals.iter().any(|(name, _)| *name == request);
            self.outbox.proposals.retain(|(name, _)| *name != request);
            if !was_proposed || unsent {
                self.settle(&Fate::Superseded)?;
            }
        }
        Ok(())
    }

    /// This replica was still the leader after the batch ran.
    pub fn leadership_confirmed(&mut self, batch: u64) {
        for held in self.confirming.remove(&batch).unwrap_or_default() {
            self.outbox.answers.push(held.into_answer());
        }
    }

    /// It is not known whether this replica was still the leader; the batch changed nothing.
    pub fn leadership_unconfirmed(&mut self, batch: u64) {
        for held in self.confirming.remove(&batch).unwrap_or_default() {
            self.outbox.answers.push(held.fail(leadership_lost(Outcome::NotApplied)));
        }
    }

    /// Answers for those whose time is up. What reached the log may be applied yet, so its outcome is unknown.
    pub fn expire(&mut self, now_ms: u64) {
        self.expire_lock(now_ms);
        // This is asked at every turn, and hardly ever is anybody late.
        if self.queue.iter().any(|queued| queued.pending.deadline_ms <= now_ms) {
            let (late, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue)
                .into_iter()
                .partition(|queued| queued.pending.deadline_ms <= now_ms);
            self.queue = waiting.into();
            for queued in late {
                let result = Err(self.reason_for_waiting(&queued.pending.job));
                self.outbox.answers.push(Answer { ticket: queued.pending.ticket, result });
            }
        }
        for held in self.confirming.values_mut() {
            let late = flight::take_late(held, now_ms);
            let fail = |held: Held| held.fail(no_quorum(Outcome::NotApplied));
            self.outbox.answers.extend(late.into_iter().map(fail));
        }
        if let Some(flight) = &mut self.flight {
            let late = flight::take_late(&mut flight.held, now_ms);
            #[cfg(feature = "planted-bugs")]
            let outcome = match self.planted_bug {
                Some(PlantedBug::UnknownToldAsNotApplied) => Outcome::NotApplied,
                _ => Outcome::Unknown,
            };
            #[cfg(not(feature = "planted-bugs"))]
            let outcome = Outcome::Unknown;
            let fail = |held: Held| held.fail(no_quorum(outcome));
            self.outbox.answers.extend(late.into_iter().map(fail));
        }
    }

    fn reason_for_waiting(&self, job: &Job) -> common::Error {
        if let Some(target) = job.target() {
            if target.schema_version > self.state.schema_version {
                return stale_schema(target.schema_version);
            }
            if target.epoch > self.epoch() {
                return stale_partition_map(target.epoch);
            }
        }
        if self.prepared.is_some() && job.waits_for_gate() {
            return common::Error::new(
                ErrorCode::SerializationFailure,
                "a transaction over several partitions kept this one too long",
            );
        }
        no_quorum(Outcome::NotApplied)
    }

    /// Gives everything up, because the replica's file is to be replaced: what reached the log has an
    /// unknown outcome.
    pub fn abandon(&mut self) -> Outbox {
        let leader = self.leader;
        let mut answers = std::mem::take(&mut self.outbox.answers);
        let refuse =
            |queued: Queued| Answer { ticket: queued.pending.ticket, result: Err(not_leader(leader)) };
        answers.extend(std::mem::take(&mut self.queue).into_iter().map(refuse));
        for held in std::mem::take(&mut self.confirming).into_values().flatten() {
            answers.push(held.fail(leadership_lost(Outcome::NotApplied)));
        }
        for held in self.flight.take().map(|flight| flight.held).unwrap_or_default() {
            answers.push(held.fail(leadership_lost(Outcome::Unknown)));
        }
        Outbox { answers, ..Outbox::default() }
    }

    fn epoch(&self) -> u64 {
        self.state.ownership.as_ref().map_or(0, |ownership| ownership.epoch)
    }

    /// Whether others have taken the partition's place.
    fn is_closed(&self) -> bool {
        self.state.ownership.as_ref().is_some_and(|ownership| ownership.range.is_nothing())
    }

    /// Whether others have taken the partition's place, and no transaction will need a decision of its log any more:
    /// nothing is prepared, and every commit decided here is known to be carried out.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_open =
            |decision: &sqlite::system::Decision| decision.commit && !decision.participants.is_empty();
        self.is_closed()
            && self.prepared.is_none()
            && self.decisions().is_ok_and(|decisions| !decisions.iter().any(is_open))
    }

    /// Writes what was only noted so far (members, the applied index over entries without effect), unless a
    /// batch is open; then it is written with the batch.
    pub fn flush(&mut self) -> Result<(), Fault> {
        if self.store.is_executing() { Ok(()) } else { self.store.flush(&self.state, &self.sums) }
    }

    /// Makes everything applied so far survive a power cut, and does with the write-ahead log what `tidying` says. Answers
    /// the log index below which the Raft log is not needed any more. An open batch is left alone.
    pub fn checkpoint(&mut self, tidying: WalTidying) -> Result<u64, Fault> {
        self.flush()?;
        let written = self.store.written();
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(PlantedBug::TruncatedBeforeSynced) {
            return Ok(written);
        }
        self.store.maintenance().sync_wal()?;
        let maintenance = self.store.maintenance();
        if !self.store.is_executing() && maintenance.wal_bytes()? > tidying.bytes_max {
            match tidying.patience {
                Some(patience) => maintenance.checkpoint(patience)?,
                None => maintenance.empty_wal()?,
            };
        }
        Ok(written)
    }

    /// Applied index of the last commit: what another connection to the file finds there.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.store.written()
    }

    /// Size of the write-ahead log in bytes: what the next start would have to read.
    pub fn wal_bytes(&self) -> Result<u64, Fault> {
        Ok(self.store.maintenance().wal_bytes()?)
    }

    /// Size of the file's pages in use.
    pub fn used_bytes(&self) -> Result<u64, Fault> {
        Ok(self.store.maintenance().used_bytes()?)
    }
}
