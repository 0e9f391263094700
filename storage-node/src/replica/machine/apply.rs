//! Landing committed entries.

use bytes::Bytes;
use common::body_stream::{BodyHead, BodyReader, encode_body, encode_head};
use common::entry::{Effects, Entry, EntryBody, EntryHeader};
use common::{Error, Hlc, RequestId};
use consensus_runtime::{Committed, CommittedKind, CommittedLog};
use sqlite::system::Ownership;
use sqlite::{Failure, Landed, TableSums, TouchedKeys};

use super::chunks::{Gathered, SetInLog};
use super::flight::Fate;
use super::job::Reply;
use super::{Compared, Fault, Machine, store};

/// A body that is whole in the log.
enum Body<'l> {
    AtHand(EntryBody),
    /// To be read back.
    Set(BodyReader<SetInLog<'l>>),
}

impl Body<'_> {
    fn changes_state(&self) -> bool {
        match self {
            Body::AtHand(body) => body.changes_state(),
            Body::Set(_) => true,
        }
    }
}

impl Machine {
    /// Lands committed entries, in order and without gaps, in as few SQLite transactions as possible. `log` has
    /// all of them that are not applied yet, so that sets of chunks are read back from it.
    ///
    /// After a [`Fault`] the machine must not be used any more.
    ///
    /// # Panics
    /// If an entry is missing.
    pub fn committed(&mut self, entries: &[Committed], log: &dyn CommittedLog) -> Result<(), Fault> {
        for entry in entries {
            // A new replica's log begins at an index of the consensus' choice.
            assert!(
                self.received == 0 || entry.index == self.received + 1,
                "entry {} follows entry {}",
                entry.index,
                self.received
            );
            self.land(entry, log)?;
        }
        // Also what changes no rows: whoever fetches a copy waits for a file that says how far it goes.
        let must_write = self.store.is_applying() || self.store.has_unwritten();
        if must_write && !self.store.is_executing() {
            self.store.flush(&self.state, &self.sums)?;
        }
        Ok(())
    }

    fn land(&mut self, entry: &Committed, log: &dyn CommittedLog) -> Result<(), Fault> {
        self.gathering.enter_term(entry.term);
        if self.flight.as_ref().is_some_and(|flight| flight.is_superseded_by(entry.term)) {
            self.settle(&Fate::Superseded)?;
        }
        self.received = entry.index;
        self.received_term = entry.term;
        if self.leading == Some(entry.term) {
            self.led_from.get_or_insert(entry.index);
        }
        match &entry.kind {
            CommittedKind::Empty => self.advance(entry),
            CommittedKind::Configuration(configuration) => {
                self.configuration = configuration.clone();
                self.state.configuration = store::encode_configuration(configuration);
                self.store.configuration_changed();
                self.advance(entry);
            }
            CommittedKind::Normal => self.land_proposal(entry, log)?,
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

    fn land_proposal(&mut self, entry: &Committed, log: &dyn CommittedLog) -> Result<(), Fault> {
        let Entry { header, base, body } = Entry::decode(&entry.data)?;
        let own = self.flight.as_ref().is_some_and(|flight| flight.request == header.request);
        let body = match body {
            EntryBody::Chunk { sequence, last, .. } => {
                match self.gathering.add((entry.index, entry.term), header.request, sequence, last) {
                    Gathered::Whole(indexes) => Body::Set(BodyReader::new(SetInLog::new(log, indexes))),
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
                Body::AtHand(body)
            }
        };
        self.state.position.hlc = self.state.position.hlc.max(header.hlc);
        self.advance(entry);
        if !self.is_based_on(base) {
            // Computed on another state than this: ignored, here and on every other replica.
            return if own { self.settle(&Fate::Superseded) } else { Ok(()) };
        }
        if body.changes_state() {
            self.state.position.base = entry.index;
        }
        if own && self.store.is_executing() {
            self.note_small_commit(header.hlc);
            return self.commit_executed(entry.index);
        }
        self.close_overtaken_batch()?;
        let answer = match body {
            Body::AtHand(body) => self.take_effect(entry.index, header, body)?,
            Body::Set(set) => self.take_effect_of_set(entry.index, header, set)?,
        };
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
        if let Some(flight) = &mut self.flight {
            self.sums.add(&flight.sums);
            self.store.sums_changed(&flight.sums);
            let (tables, touched) = (std::mem::take(&mut flight.tables), std::mem::take(&mut flight.touched));
            let keys = std::mem::take(&mut flight.keys);
            self.note_changes(&tables, &touched, index);
            self.note_keys(keys, index);
        }
        self.store.commit(&self.state, &self.sums)?;
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
                #[cfg(feature = "planted-bugs")]
                let effects = self.lose_a_row(index, effects);
                self.land_rows(index, &effects)?;
                self.note_small_commit(header.hlc);
                Ok(None)
            }
            EntryBody::Schema { version, statements } => {
                self.change_schema(index, version, &statements, header.hlc)
            }
            EntryBody::Prepare { transaction, decider, participants, effects } => {
                let mut body = Some(Bytes::from(encode_body(EntryBody::Effects(effects))));
                self.prepare(index, header, (transaction, decider, participants), || Ok(body.take()))
            }
            EntryBody::Decision { transaction, verdict } => self.decide(index, header, transaction, verdict),
            EntryBody::Commit { transaction, participants, effects } => {
                self.commit(index, header, (transaction, participants), |machine| {
                    machine.land_rows(index, &effects)
                })
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
                    // What it holds is the database's from here on, or is no longer.
                    self.note_commit(header.hlc);
                }
                Ok(None)
            }
            EntryBody::Digest { digest: leaders } => {
                let own = self.digest()?.0;
                self.outbox.compared.push(Compared { index, own, leaders });
                Ok(None)
            }
            EntryBody::Chunk { .. } => unreachable!("a chunk is no whole body"),
        }
    }

    fn land_rows(&mut self, index: u64, effects: &Effects) -> Result<(), Fault> {
        let applier = self.store.applier()?;
        let (landed, touched) = (applier.land(effects, &self.sums)?, applier.take_touched());
        self.note_landed(landed, &effects.tables, &touched, index);
        self.note_rows(effects, index);
        Ok(())
    }

    #[cfg(feature = "planted-bugs")]
    fn lose_a_row(&self, index: u64, mut effects: Effects) -> Effects {
        if self.has_bug(super::PlantedBug::RowNotLanded) && index.is_multiple_of(16) {
            effects.rows.pop();
        }
        effects
    }

    /// Lands a body that was too large for one entry, reading it from the log as it goes.
    fn take_effect_of_set(
        &mut self,
        index: u64,
        header: EntryHeader,
        mut set: BodyReader<SetInLog<'_>>,
    ) -> Result<Option<Result<Reply, Error>>, Fault> {
        match set.head()? {
            BodyHead::Effects { tables } => {
                self.land_effects(index, &tables, &mut set)?;
                self.note_small_commit(header.hlc);
                Ok(None)
            }
            BodyHead::Commit { transaction, participants, tables } => {
                self.commit(index, header, (transaction, participants), |machine| {
                    machine.land_effects(index, &tables, &mut set)
                })
            }
            BodyHead::Prepare { transaction, decider, participants, tables } => {
                let mut head = Some(encode_head(&BodyHead::Effects { tables }));
                self.prepare(index, header, (transaction, decider, participants), || match head.take() {
                    Some(head) => Ok(Some(Bytes::from(head))),
                    None => set.next_bytes(),
                })
            }
            BodyHead::Whole(body) => self.take_effect(index, header, body),
        }
    }

    /// Lands rows as they come.
    fn land_effects(
        &mut self,
        index: u64,
        tables: &[String],
        body: &mut BodyReader<SetInLog<'_>>,
    ) -> Result<(), Fault> {
        let noted = &mut self.row_changes;
        let mut rows = std::iter::from_fn(|| body.next_effect().transpose()).inspect(|row| {
            if let (Some(changes), Ok(effect)) = (noted.as_mut(), row) {
                changes.note_effect(tables, effect, index);
            }
        });
        let applier = self.store.applier()?;
        let landed = applier.land_each(tables, &mut rows, &self.sums)?;
        let touched = applier.take_touched();
        self.note_landed(landed, tables, &touched, index);
        Ok(())
    }

    /// Some tables have changed, and rows of theirs with some keys.
    pub(super) fn note_changes(&mut self, tables: &[String], touched: &TouchedKeys, index: u64) {
        self.changes.note(tables, index);
        self.key_changes.note(touched, index);
    }

    /// Changes were landed, of these tables and maybe of the schema.
    pub(super) fn note_landed(
        &mut self,
        landed: Landed,
        tables: &[String],
        touched: &TouchedKeys,
        index: u64,
    ) {
        match landed {
            Landed::Rows(changed) => {
                self.sums.add(&changed);
                self.store.sums_changed(&changed);
                self.note_changes(tables, touched, index);
            }
            Landed::Schema { version, sums } => self.note_schema(version, sums, index),
        }
    }

    /// The schema has changed, and with it anything may have.
    fn note_schema(&mut self, version: u64, sums: TableSums, index: u64) {
        self.changes.note_all(index);
        self.key_changes.note_all(index);
        self.state.schema_version = version;
        self.sums = sums;
        self.store.tables_changed();
    }

    /// DDL that fails does so on every replica alike, because their rows are equal: the schema stays, and
    /// whoever asked is told.
    fn change_schema(
        &mut self,
        index: u64,
        version: u64,
        statements: &[String],
        at: Hlc,
    ) -> Result<Option<Result<Reply, Error>>, Fault> {
        match self.store.applier()?.change_schema(version, statements, &self.sums) {
            Ok(changed) => {
                if let Some(sums) = changed {
                    self.note_commit(at);
                    self.note_schema(version, sums, index);
                }
                Ok(None)
            }
            Err(Failure::Refused(error)) => Ok(Some(Err(*error))),
            Err(storage) => Err(storage.into()),
        }
    }
}
