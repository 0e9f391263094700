//! The two writing connections of a replica and what is noted but not yet written.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use common::entry::{DecodeError, Effects};
use common::protocol::{StatementResult, WorkItem};
use common::tries::{Tried, TryRequest};
use common::{Error, Hlc, PartitionId, TransactionId};
use consensus_runtime::{AppliedConfiguration, LogError};
use sqlite::applier::FileContents;
use sqlite::system::{Decision, Identity};
use sqlite::{
    Applier, BatchPlace, Budget, Digest, Executor, Failure, Location, Maintenance, Prepared, System,
    SystemState, TableSums, TouchedKeys, WatchList,
};

#[cfg(feature = "planted-bugs")]
use super::PlantedBug;

/// The replica cannot go on: its file or its log cannot be read, or contradict each other. It must be rebuilt
/// from another replica.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// SQLite or the disk.
    #[error(transparent)]
    Storage(Failure),
    /// An entry of the log.
    #[error(transparent)]
    Entry(#[from] DecodeError),
    /// The log cannot be read any more.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// An entry of the log is not what was committed there.
    #[error("entry {index} is another one than was committed")]
    Changed {
        /// Its index.
        index: u64,
    },
    /// Something else that was encoded by this program.
    #[error("malformed: {0}")]
    Malformed(#[from] postcard::Error),
    /// The file is missing although the log says that there was one.
    #[error("the replica's file is missing")]
    Missing,
    /// The file belongs to another partition.
    #[error("the file holds partition {0}")]
    Foreign(PartitionId),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Fault {
        Fault::Storage(failure)
    }
}

/// What a new replica's file begins with.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The database's name.
    pub database: String,
    /// The members that found the group; empty in tests that have none.
    pub configuration: AppliedConfiguration,
}

/// What is done with the write-ahead log.
#[derive(Clone, Copy, Debug)]
pub struct WalTidying {
    /// Up to this size, in bytes, it is left as it is.
    pub bytes_max: u64,
    /// How long readers are waited for that keep it from beginning anew; `None` where no write is to be expected, so
    /// that it can be emptied.
    pub patience: Option<Duration>,
}

/// What system tables have to be told with the next commit.
#[derive(Clone, Debug, Default)]
struct Unwritten {
    position: bool,
    configuration: bool,
    ownership: bool,
    /// Tables whose sums have changed.
    tables: BTreeSet<String>,
    /// Tables were made, dropped or changed: all sums are written anew.
    all_tables: bool,
}

/// Executor, applier, and what they share.
pub(super) struct Store {
    executor: Executor,
    applier: Applier,
    maintenance: Maintenance,
    unwritten: Unwritten,
    /// Applied index of the last commit.
    written: u64,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<PlantedBug>,
}

impl Store {
    pub(super) fn open(
        location: &Location,
        partition: PartitionId,
        origin: Option<&Origin>,
    ) -> Result<(Store, SystemState), Fault> {
        let (applier, state) = match (Applier::inspect(location)?, origin) {
            (FileContents::Replica(state), _) => (Applier::open(location)?, *state),
            (FileContents::Absent | FileContents::Unformed, Some(origin)) => {
                let identity = Identity { database: origin.database.clone(), partition };
                let configuration = encode_configuration(&origin.configuration);
                let state = SystemState { identity, configuration, ..SystemState::default() };
                (Applier::create(location, &state)?, state)
            }
            (FileContents::Absent | FileContents::Unformed, None) => return Err(Fault::Missing),
        };
        if state.identity.partition != partition {
            return Err(Fault::Foreign(state.identity.partition));
        }
        let store = Store {
            executor: Executor::open(location)?,
            applier,
            maintenance: Maintenance::open(location)?,
            unwritten: Unwritten::default(),
            written: state.position.index,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        };
        Ok((store, state))
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn plant(&mut self, bug: PlantedBug) {
        self.planted_bug = Some(bug);
    }

    /// Opens the executor's transaction, whose entry will carry this clock. Foreign keys are checked where the
    /// partition owns every row.
    pub(super) fn begin(&mut self, state: &SystemState, clock: Hlc) -> Result<(), Fault> {
        self.executor.expect_at(BatchPlace { clock, index: state.position.index + 1 });
        let owns_all = state.ownership.as_ref().is_none_or(|ownership| ownership.range.is_everything());
        self.executor.enforce_foreign_keys(owns_all)?;
        Ok(self.executor.begin()?)
    }

    /// Whether the executor's transaction is open. Nothing can be applied meanwhile.
    pub(super) fn is_executing(&self) -> bool {
        self.executor.is_open()
    }

    /// Runs one request's work; the inner error is the request's own.
    pub(super) fn run(
        &mut self,
        work: &[WorkItem],
        budget: &Budget<'_>,
    ) -> Result<Result<Vec<StatementResult>, Error>, Fault> {
        #[cfg(feature = "planted-bugs")]
        let ran = self.run_in_parts(work, budget);
        #[cfg(not(feature = "planted-bugs"))]
        let ran = self.executor.run(work, budget);
        match ran {
            Ok(results) => Ok(Ok(results)),
            Err(Failure::Refused(error)) => Ok(Err(*error)),
            Err(storage) => Err(storage.into()),
        }
    }

    /// Runs a request, or each of its items as if it were one.
    #[cfg(feature = "planted-bugs")]
    fn run_in_parts(
        &mut self,
        work: &[WorkItem],
        budget: &Budget<'_>,
    ) -> Result<Vec<StatementResult>, Failure> {
        if self.planted_bug != Some(PlantedBug::RefusedRequestStaysInPart) {
            return self.executor.run(work, budget);
        }
        let mut results = Vec::new();
        for item in work.chunks(1) {
            results.extend(self.executor.run(item, budget)?);
        }
        Ok(results)
    }

    /// Tries work on top of what its transaction has changed; the inner error is the work's own.
    pub(super) fn attempt(
        &mut self,
        request: &TryRequest,
        budget: &Budget<'_>,
    ) -> Result<Result<Tried, Error>, Fault> {
        match self.executor.attempt(request, budget) {
            Ok(tried) => Ok(Ok(tried)),
            Err(Failure::Refused(error)) => Ok(Err(*error)),
            Err(storage) => Err(storage.into()),
        }
    }

    pub(super) fn take_effects(&mut self) -> Effects {
        self.executor.take_effects()
    }

    /// What the batch has changed, what that does to the tables' sums, and the keys that it has touched.
    pub(super) fn take_changes(&mut self) -> (Effects, TableSums, TouchedKeys) {
        let (effects, sums) = self.executor.take_changes();
        (effects, sums, self.executor.take_touched())
    }

    /// Notes which keys of some columns are touched, from now on.
    pub(super) fn watch(&mut self, list: &WatchList) {
        self.executor.watch(list);
        self.applier.watch(list);
    }

    pub(super) fn effect_count(&self) -> usize {
        self.executor.effect_count()
    }

    /// Commits what the executor did, together with what the system tables have to be told.
    pub(super) fn commit(&mut self, state: &SystemState, sums: &TableSums) -> Result<(), Fault> {
        let unwritten = mem::take(&mut self.unwritten);
        #[cfg(feature = "planted-bugs")]
        if self.planted_bug == Some(PlantedBug::AppliedIndexOutsideTransaction) {
            self.executor.commit(|_| Ok(()))?;
            self.applier.begin()?;
            record(&self.applier.system(), &unwritten, state, sums)?;
            self.applier.commit()?;
            self.written = state.position.index;
            return Ok(());
        }
        self.executor.commit(|system| record(system, &unwritten, state, sums))?;
        self.written = state.position.index;
        Ok(())
    }

    /// Drops what the executor did.
    pub(super) fn rollback(&mut self) -> Result<(), Fault> {
        if self.executor.is_open() {
            self.executor.rollback();
        }
        Ok(())
    }

    /// The applier in a transaction.
    pub(super) fn applier(&mut self) -> Result<&mut Applier, Fault> {
        if !self.applier.is_open() {
            self.applier.begin()?;
        }
        Ok(&mut self.applier)
    }

    /// Whether the applier's transaction is open.
    pub(super) fn is_applying(&self) -> bool {
        self.applier.is_open()
    }

    pub(super) fn position_moved(&mut self) {
        self.unwritten.position = true;
    }

    pub(super) fn configuration_changed(&mut self) {
        self.unwritten.configuration = true;
    }

    pub(super) fn ownership_changed(&mut self) {
        self.unwritten.ownership = true;
    }

    pub(super) fn sums_changed(&mut self, changed: &TableSums) {
        let tables = &mut self.unwritten.tables;
        for table in changed.names() {
            if !tables.contains(table) {
                tables.insert(table.to_owned());
            }
        }
    }

    pub(super) fn tables_changed(&mut self) {
        self.unwritten.all_tables = true;
    }

    /// Whether the file does not say yet how far it goes, or who the members are.
    pub(super) fn has_unwritten(&self) -> bool {
        self.unwritten.position || self.unwritten.configuration
    }

    /// Commits what was applied, together with what the system tables have to be told.
    pub(super) fn flush(&mut self, state: &SystemState, sums: &TableSums) -> Result<(), Fault> {
        let unwritten = mem::take(&mut self.unwritten);
        if !self.applier.is_open() {
            if !unwritten.position && !unwritten.configuration && !unwritten.ownership {
                return Ok(());
            }
            self.applier.begin()?;
        }
        #[cfg(feature = "planted-bugs")]
        if self.planted_bug == Some(PlantedBug::AppliedIndexOutsideTransaction) {
            self.applier.commit()?;
            self.applier.begin()?;
        }
        record(&self.applier.system(), &unwritten, state, sums)?;
        self.applier.commit()?;
        self.written = state.position.index;
        Ok(())
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The transaction that is prepared here. There is at most one, because it keeps others out.
    pub(super) fn prepared(&self) -> Result<Option<Prepared>, Fault> {
        Ok(self.applier.system().all_prepared()?.into_iter().next())
    }

    /// What was decided about a transaction, as far as it is remembered.
    pub(super) fn decision(&self, transaction: TransactionId) -> Result<Option<Decision>, Fault> {
        Ok(self.applier.system().decision(transaction)?)
    }

    pub(super) fn decisions(&self) -> Result<Vec<Decision>, Fault> {
        Ok(self.applier.system().all_decisions()?)
    }

    /// The tables' sums as they were written last.
    pub(super) fn table_sums(&self) -> Result<TableSums, Fault> {
        Ok(self.applier.system().table_sums()?)
    }

    /// Digest of everything that is replicated, as the applier's transaction or the last commit has it.
    pub(super) fn digest(&self, sums: &TableSums) -> Result<Digest, Fault> {
        Ok(self.applier.digest(sums)?)
    }

    /// The connection for checkpoints, copies and sizes.
    pub(super) fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }
}

fn record(
    system: &System<'_>,
    unwritten: &Unwritten,
    state: &SystemState,
    sums: &TableSums,
) -> Result<(), Failure> {
    system.set_position(state.position)?;
    if unwritten.all_tables {
        system.remove_table_sums()?;
        sums.names().try_for_each(|table| system.put_table_sum(table, sums.get(table)))?;
    } else {
        unwritten.tables.iter().try_for_each(|table| system.put_table_sum(table, sums.get(table)))?;
    }
    if unwritten.configuration {
        system.set_configuration(&state.configuration)?;
    }
    if let Some(ownership) = state.ownership.as_ref().filter(|_| unwritten.ownership) {
        system.set_ownership(ownership)?;
    }
    Ok(())
}

/// A configuration as it is kept in the system tables.
pub(super) fn encode_configuration(configuration: &AppliedConfiguration) -> Bytes {
    Bytes::from(postcard::to_stdvec(configuration).expect("a configuration has an encoding"))
}

/// The configuration that the system tables hold; none before the first one.
pub(crate) fn decode_configuration(bytes: &Bytes) -> Result<AppliedConfiguration, Fault> {
    if bytes.is_empty() {
        return Ok(AppliedConfiguration::default());
    }
    Ok(postcard::from_bytes(bytes)?)
}
