//! Landing committed entries.

use common::entry::{Entry, EntryBody, EntryHeader};
use common::protocol::Verdict;
use common::{Error, Hlc, RequestId};
use consensus_runtime::{Committed, CommittedKind};
use sqlite::Failure;
use sqlite::system::Ownership;

use super::chunks::Gathered;
use super::flight::Fate;
use super::job::Reply;
use super::{Fault, Machine, store};

impl Machine {
    /// Lands committed entries, in order and without gaps, in as few SQLite transactions as possible.
    ///
    /// After a [`Fault`] the machine must not be used any more.
    ///
    /// # Panics
    /// If an entry is missing.
    pub fn committed(&mut self, entries: &[Committed]) -> Result<(), Fault> {
        for entry in entries {
            // A new replica's log begins at an index of the consensus' choice.
            assert!(
                self.received == 0 || entry.index == self.received + 1,
                "entry {} follows entry {}",
                entry.index,
                self.received
            );
            self.land(entry)?;
        }
        let must_write = self.store.is_applying() || self.store.has_new_configuration();
        if must_write && !self.store.is_executing() {
            self.store.flush(&self.state)?;
        }
        Ok(())
    }

    fn land(&mut self, entry: &Committed) -> Result<(), Fault> {
        self.gathering.enter_term(entry.term);
        if self.flight.as_ref().is_some_and(|flight| flight.is_superseded_by(entry.term)) {
            self.settle(&Fate::Superseded)?;
        }
        self.received = entry.index;
        self.received_term = entry.term;
        match &entry.kind {
            CommittedKind::Empty => self.advance(entry),
            CommittedKind::Configuration(configuration) => {
                self.configuration = configuration.clone();
                self.state.configuration = store::encode_configuration(configuration);
                self.store.configuration_changed();
                self.advance(entry);
            }
            CommittedKind::Normal => self.land_proposal(entry)?,
        }
        Ok(())
    }

    /// The applied index moves on, except inside a set of chunks: after a restart the set is gathered again.
    fn advance(&mut self, entry: &Committed) {
        if !self.gathering.is_unfinished() {
            self.state.position.index = entry.index;
            self.state.position.term = entry.term;
            self.store.position_moved();
        }
    }

    fn land_proposal(&mut self, entry: &Committed) -> Result<(), Fault> {
        let Entry { header, base, body } = Entry::decode(&entry.data)?;
        let own = self.flight.as_ref().is_some_and(|flight| flight.request == header.request);
        let body = match body {
            EntryBody::Chunk { sequence, last, bytes } => {
                match self.gathering.add(entry.term, header.request, sequence, last, bytes)? {
                    Gathered::Whole(body) => body,
                    Gathered::Incomplete => {
                        self.send_more(header.request);
                        return Ok(());
                    }
                    Gathered::Void => {
                        self.advance(entry);
                        // A piece of the set is missing, so the rest is of no use.
                        return if own { self.settle(&Fate::Superseded) } else { Ok(()) };
                    }
                }
            }
            body => {
                self.gathering.void();
                body
            }
        };
        self.state.position.hlc = self.state.position.hlc.max(header.hlc);
        self.advance(entry);
        if !self.is_based_on(base) {
            // Computed on another state than this: ignored, here and on every other replica.
            return if own { self.settle(&Fate::Superseded) } else { Ok(()) };
        }
        self.state.position.base = entry.index;
        if own && self.store.is_executing() {
            self.note_small_commit(header.hlc);
            return self.commit_executed(entry.index);
        }
        self.close_overtaken_batch()?;
        let answer = self.take_effect(entry.index, header, body)?;
        if own {
            let fate = match answer {
                None => Fate::Applied(entry.index),
                Some(answer) => Fate::Answered(answer),
            };
            self.settle(&fate)?;
        }
        Ok(())
    }

    /// Another leader's entry comes before the open batch's own, whose place is not known yet: the batch was
    /// computed on a state that is no longer the last.
    fn close_overtaken_batch(&mut self) -> Result<(), Fault> {
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.executed) {
            flight.executed = false;
            self.store.rollback()?;
        }
        Ok(())
    }

    fn is_based_on(&self, base: u64) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(super::PlantedBug::EffectsOnAnotherBase) {
            return true;
        }
        base == self.state.position.base
    }

    /// The open batch is in the log: its rows and the applied index become durable state together.
    fn commit_executed(&mut self, index: u64) -> Result<(), Fault> {
        if let Some(flight) = &self.flight {
            self.rows.add(&flight.rows_added);
        }
        self.store.commit(&self.state)?;
        self.settle(&Fate::Applied(index))
    }

    /// Rows changed in requests on this partition alone.
    fn note_small_commit(&mut self, at: Hlc) {
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(super::PlantedBug::SnapshotsKnowOnlyLargeTransactions) {
            return;
        }
        self.note_commit(at);
    }

    /// Rows changed in a transaction that committed at this moment. Commits of a partition are in the order of
    /// their moments.
    pub(super) fn note_commit(&mut self, at: Hlc) {
        self.state.position.committed = self.state.position.committed.max(at);
        self.state.position.hlc = self.state.position.hlc.max(at);
    }

    /// A piece of the own proposal is committed; the next ones follow.
    fn send_more(&mut self, request: RequestId) {
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.request == request) {
            flight.piece_committed();
            let pieces = flight.next_pieces();
            self.outbox.proposals.extend(pieces.into_iter().map(|piece| (request, piece)));
        }
    }

    /// Lands a whole body. Answers what the log says, where that is more than "done".
    fn take_effect(
        &mut self,
        index: u64,
        header: EntryHeader,
        body: EntryBody,
    ) -> Result<Option<Result<Reply, Error>>, Fault> {
        match body {
            EntryBody::Effects(effects) => {
                self.store.applier()?.apply(&effects)?;
                self.rows.add(&sqlite::maintenance::rows_added(&effects));
                self.note_small_commit(header.hlc);
                Ok(None)
            }
            EntryBody::Schema { version, statements } => self.change_schema(version, &statements, header.hlc),
            EntryBody::Prepare { transaction, decider, participants, effects } => {
                self.prepare(index, header, (transaction, decider, participants), effects)
            }
            EntryBody::Decision { transaction, verdict } => {
                self.decide(index, header, transaction, verdict, None)
            }
            EntryBody::KeyedDecision { transaction, participants, effects } => {
                let verdict = Verdict { commit: true, at: header.hlc };
                self.decide(index, header, transaction, verdict, Some((participants, effects)))
            }
            EntryBody::Forget { transactions } => {
                for transaction in transactions {
                    self.store.applier()?.system().remove_decision(transaction)?;
                }
                Ok(None)
            }
            EntryBody::Assign { epoch, range } => {
                if epoch > self.epoch() {
                    self.state.ownership = Some(Ownership { epoch, range });
                    self.store.ownership_changed();
                    self.store.applier()?;
                }
                Ok(None)
            }
            EntryBody::Chunk { .. } => unreachable!("a chunk is no whole body"),
        }
    }

    /// DDL that fails does so on every replica alike, because their rows are equal: the schema stays, and
    /// whoever asked is told.
    fn change_schema(
        &mut self,
        version: u64,
        statements: &[String],
        at: Hlc,
    ) -> Result<Option<Result<Reply, Error>>, Fault> {
        match self.store.applier()?.change_schema(version, statements) {
            Ok(changed) => {
                if changed {
                    self.note_commit(at);
                    self.state.schema_version = version;
                    // Dropped tables took their rows along; nothing else counts them. The counting connection
                    // sees what is committed, so the transaction ends here.
                    self.store.flush(&self.state)?;
                    self.rows = self.store.count_rows()?;
                }
                Ok(None)
            }
            Err(Failure::Refused(error)) => Ok(Some(Err(*error))),
            Err(storage) => Err(storage.into()),
        }
    }
}
