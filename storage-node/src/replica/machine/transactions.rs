//! Transactions over several partitions: prepared effects are state, and so are decisions.
//!
//! A prepare stores the effects and keeps other writers out until the decision. The decider is one of the
//! participants; the first decision in its log wins, and one that comes after the deadline in the
//! transaction's id can only be to abort, so that tombstones of aborted transactions need not be kept for
//! ever.

use bytes::Bytes;
use common::body_stream::{BodyHead, BodyReader, BodySource};
use common::entry::{Effect, EntryBody, EntryHeader};
use common::idempotency::Keyed;
use common::protocol::{Verdict, WorkItem};
use common::tries::{Tried, TryRequest};
use common::{Error, ErrorCode, Hlc, PartitionId, TransactionId};
use sqlite::system::Decision;
use sqlite::{Applier, Budget, Landed, Prepared, System, TableSums};

use super::batch::Turn;
use super::flight::Held;
use super::job::Reply;
use super::{Fault, Machine, Queued};

/// A transaction, its decider and its participants.
type Parties = (TransactionId, PartitionId, Vec<PartitionId>);

impl Machine {
    /// Every decision that is remembered.
    pub fn decisions(&self) -> Result<Vec<Decision>, Fault> {
        self.store.decisions()
    }

    #[cfg(feature = "planted-bugs")]
    fn let_late_commit_win(&self, known: Verdict, late: Verdict, decides: bool) -> Verdict {
        let wins = self.has_bug(super::PlantedBug::LateCommitWins) && decides && late.commit;
        if wins { late } else { known }
    }

    /// On the leader: runs a part of a transaction that has not ended, and leaves nothing of it.
    pub(super) fn run_try(
        &mut self,
        queued: Queued,
        request: &TryRequest,
        turn: &Turn<'_>,
    ) -> Result<(), Fault> {
        if let Some(claim) = request.lock {
            self.take_lock(claim, (turn.clock_us)() / 1_000);
        }
        let deadline_us = queued.pending.deadline_ms.saturating_mul(1_000);
        let interrupted = || (turn.clock_us)() >= deadline_us;
        let rows = u64::from(request.write.max_rows);
        let budget = Budget { interrupted: Some(&interrupted), rows, ..Budget::default() };
        self.store.begin(&self.state, turn.hlc)?;
        let tried = self.store.attempt(request, &budget)?;
        self.store.rollback()?;
        let index = self.received;
        self.confirm(queued.held(tried.map(|tried| Reply::Tried(Box::new(Tried { index, ..tried })))));
        Ok(())
    }

    pub(super) fn prepare_refusal(
        &self,
        transaction: TransactionId,
        now: Hlc,
    ) -> Result<Option<Error>, Fault> {
        let refuse = |text: &str| Ok(Some(Error::new(ErrorCode::SerializationFailure, text)));
        if now > transaction.deadline {
            return refuse("the transaction's time is up");
        }
        if self.store.decision(transaction)?.is_some() {
            return refuse("the transaction was decided already");
        }
        if self.prepared.is_some() {
            return refuse("another transaction is prepared on the partition");
        }
        Ok(None)
    }

    /// Lands a prepare: deterministic, because it looks at replicated state and the entry alone.
    /// The effects come as the pieces of a body, which are put away as they are.
    pub(super) fn prepare(
        &mut self,
        index: u64,
        header: EntryHeader,
        parties: Parties,
        mut next_piece: impl FnMut() -> Result<Option<Bytes>, Fault>,
    ) -> Result<Option<Result<Reply, Error>>, Fault> {
        let (transaction, decider, participants) = parties;
        if let Some(error) = self.prepare_refusal(transaction, header.hlc)? {
            return Ok(Some(Err(error)));
        }
        let (schema_version, hlc) = (header.schema_version, header.hlc);
        let prepared = Prepared { transaction, decider, participants, schema_version, index, hlc };
        let system = self.store.applier()?.system();
        system.put_prepared(&prepared)?;
        let mut sequence = 0;
        while let Some(piece) = next_piece()? {
            system.put_prepared_piece(transaction, sequence, &piece)?;
            sequence += 1;
        }
        self.prepared = Some(prepared);
        Ok(None)
    }

    /// On the leader: what to propose, or what is known already.
    pub(super) fn run_decision(
        &mut self,
        queued: Queued,
        transaction: TransactionId,
        verdict: Verdict,
        decides: bool,
        turn: &Turn<'_>,
    ) -> Result<(), Fault> {
        let commit = verdict.commit;
        let known = self.store.decision(transaction)?.as_ref().map(verdict_of);
        #[cfg(feature = "planted-bugs")]
        let known = known.map(|known| self.let_late_commit_win(known, verdict, decides));
        let prepared = self.prepared.as_ref().is_some_and(|prepared| prepared.transaction == transaction);
        // A participant without the preparation has carried out the commit and forgotten it: the decider
        // commits only what all have prepared.
        let known = known.or((commit && !decides && !prepared).then_some(verdict));
        if let Some(verdict) = known {
            self.confirm(queued.held(Ok(Reply::Decided(verdict))));
            return Ok(());
        }
        // The commit is later than every prepare, and at one moment on all participants.
        let hlc = if decides { turn.hlc.max(Hlc(verdict.at.0.saturating_add(1))) } else { turn.hlc };
        let turn = &Turn { hlc, ..*turn };
        let at = if decides { self.header(turn).hlc } else { verdict.at };
        let verdict = Verdict { commit: commit && prepared, at };
        let held = queued.held(Ok(Reply::Decided(verdict)));
        self.propose(EntryBody::Decision { transaction, verdict }, held, turn);
        Ok(())
    }

    /// On a participant's leader: says at once that the commit is known, and proposes it. The decider's log has it, and
    /// from here on no read misses it, whoever leads.
    pub(super) fn run_carry_out(
        &mut self,
        queued: Queued,
        transaction: TransactionId,
        at: Hlc,
        turn: &Turn<'_>,
    ) -> Result<(), Fault> {
        let verdict = Verdict { commit: true, at };
        if self.prepared.as_ref().is_none_or(|prepared| prepared.transaction != transaction) {
            return self.run_decision(queued, transaction, verdict, false, turn);
        }
        self.told = Some(transaction);
        let held = queued.held(Ok(Reply::Decided(verdict)));
        self.outbox.answers.extend(held.into_iter().map(Held::into_answer));
        self.propose(EntryBody::Decision { transaction, verdict }, Vec::new(), turn);
        Ok(())
    }

    /// On the decider's leader: proposes to commit and to keep the answers, or to abort if one is kept.
    pub(super) fn run_keyed_decision(
        &mut self,
        queued: Queued,
        transaction: TransactionId,
        participants: Vec<PartitionId>,
        (keyed, prepared_at): (Vec<Keyed>, Hlc),
        turn: &Turn<'_>,
    ) -> Result<(), Fault> {
        if let Some(decision) = self.store.decision(transaction)? {
            let known = verdict_of(&decision);
            #[cfg(feature = "planted-bugs")]
            let known = self.let_late_commit_win(known, Verdict { commit: true, at: prepared_at }, true);
            self.confirm(queued.held(Ok(Reply::Decided(known))));
            return Ok(());
        }
        // An answer that a closed partition kept would be found by nobody.
        if turn.hlc > transaction.deadline || self.is_closed() {
            self.propose_abort(queued, transaction, turn);
            return Ok(());
        }
        self.store.begin(&self.state, turn.hlc)?;
        let kept = self.keep_answers(keyed)?;
        let effects = self.store.take_effects();
        self.store.rollback()?;
        match kept {
            Err(refusal) => self.confirm(queued.held(Err(refusal))),
            Ok(false) => self.propose_abort(queued, transaction, turn),
            Ok(true) => {
                // Later than every prepare, as without a key.
                let turn = &Turn { hlc: turn.hlc.max(Hlc(prepared_at.0.saturating_add(1))), ..*turn };
                let verdict = Verdict { commit: true, at: self.header(turn).hlc };
                let held = queued.held(Ok(Reply::Decided(verdict)));
                self.propose(EntryBody::Commit { transaction, participants, effects }, held, turn);
            }
        }
        Ok(())
    }

    /// Keeps answers in the open batch. Says no if another attempt at one of the requests came first: its answer is the
    /// one that counts.
    fn keep_answers(&mut self, keyed: Vec<Keyed>) -> Result<Result<bool, Error>, Fault> {
        for keyed in keyed {
            match self.store.run(&[WorkItem::Key(keyed)], &Budget::default())? {
                Ok(results) if results.iter().all(|result| result.rows.rows == 0) => {}
                Ok(_) => return Ok(Ok(false)),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Ok(Ok(true))
    }

    fn propose_abort(&mut self, queued: Queued, transaction: TransactionId, turn: &Turn<'_>) {
        let held = queued.held(Ok(Reply::Decided(Verdict::ABORT)));
        self.propose(EntryBody::Decision { transaction, verdict: Verdict::ABORT }, held, turn);
    }

    /// Lands a decision. The first one stays.
    pub(super) fn decide(
        &mut self,
        index: u64,
        header: EntryHeader,
        transaction: TransactionId,
        verdict: Verdict,
    ) -> Result<Option<Result<Reply, Error>>, Fault> {
        if let Some(decision) = self.store.decision(transaction)? {
            return Ok(decided(&decision));
        }
        let mut decision =
            Decision { transaction, commit: false, participants: Vec::new(), index, at: verdict.at };
        self.carry_out(header, verdict.commit, &mut decision)?;
        self.remember(header, &decision)?;
        Ok(decided(&decision))
    }

    /// Lands a commit that brings along who carries it out, and rows: its decider need not be prepared. Another decision
    /// that came first stays.
    pub(super) fn commit(
        &mut self,
        index: u64,
        header: EntryHeader,
        (transaction, participants): (TransactionId, Vec<PartitionId>),
        land: impl FnOnce(&mut Machine) -> Result<(), Fault>,
    ) -> Result<Option<Result<Reply, Error>>, Fault> {
        if let Some(decision) = self.store.decision(transaction)? {
            return Ok(decided(&decision));
        }
        let commit = header.hlc <= transaction.deadline;
        let mut decision = Decision { transaction, commit, participants: Vec::new(), index, at: header.hlc };
        self.carry_out(header, commit, &mut decision)?;
        decision.commit = commit;
        if commit {
            (decision.participants, decision.at) = (participants, header.hlc);
            land(self)?;
            self.note_commit(header.hlc);
        }
        self.remember(header, &decision)?;
        Ok(if commit { None } else { decided(&decision) })
    }

    /// Lands what is prepared, or drops it.
    fn carry_out(&mut self, header: EntryHeader, commit: bool, decision: &mut Decision) -> Result<(), Fault> {
        let (transaction, index) = (decision.transaction, decision.index);
        let Some(prepared) = self.prepared.take_if(|prepared| prepared.transaction == transaction) else {
            return Ok(());
        };
        let decides = prepared.decider == self.partition;
        decision.commit = commit && !(decides && header.hlc > transaction.deadline);
        if decides {
            decision.at = header.hlc;
        }
        if decides && decision.commit {
            decision.participants = prepared.participants;
        }
        let applier = self.store.applier()?;
        let noted = &mut self.row_changes;
        let mut note = |tables: &[String], effect: &Effect| {
            noted.iter_mut().for_each(|changes| changes.note_effect(tables, effect, index));
        };
        let landed = match decision.commit {
            true => Some(land_prepared(applier, transaction, &self.sums, &mut note)?),
            false => None,
        };
        applier.system().remove_prepared(transaction)?;
        let touched = applier.take_touched();
        if let Some((landed, tables)) = landed {
            self.note_landed(landed, &tables, &touched, index);
            self.note_commit(decision.at);
        }
        Ok(())
    }

    /// Keeps a decision for those who will ask.
    fn remember(&mut self, header: EntryHeader, decision: &Decision) -> Result<(), Fault> {
        let transaction = decision.transaction;
        self.release_lock(transaction.unique);
        self.forget_before(header.hlc)?;
        // Past its deadline a transaction can no longer be prepared, so an abort needs no tombstone.
        if decision.commit || header.hlc <= transaction.deadline {
            self.store.applier()?.system().put_decision(decision)?;
        }
        Ok(())
    }

    /// Forgets what nobody asks for any more: aborts past their deadline, and commits that were decided by
    /// another partition. A commit decided here stays until every participant has confirmed it.
    fn forget_before(&mut self, now: Hlc) -> Result<(), Fault> {
        let system = self.store.applier()?.system();
        for decision in system.decisions_before(now)? {
            let kept_for_others = decision.commit && !decision.participants.is_empty();
            if !kept_for_others {
                system.remove_decision(decision.transaction)?;
            }
        }
        Ok(())
    }
}

/// What the log says, as an answer.
fn decided(decision: &Decision) -> Option<Result<Reply, Error>> {
    Some(Ok(Reply::Decided(verdict_of(decision))))
}

fn verdict_of(decision: &Decision) -> Verdict {
    Verdict { commit: decision.commit, at: decision.at }
}

/// Lands the effects of a prepared transaction, one at a time, given the tables' sums before them. Answers what they have
/// made of these, and the tables.
fn land_prepared(
    applier: &Applier,
    transaction: TransactionId,
    before: &TableSums,
    note: &mut dyn FnMut(&[String], &Effect),
) -> Result<(Landed, Vec<String>), Fault> {
    let mut body = BodyReader::new(PreparedBody { system: applier.system(), transaction, next: 0 });
    let BodyHead::Effects { tables } = body.head()? else {
        return Err(postcard::Error::DeserializeBadEnum.into());
    };
    let rows = std::iter::from_fn(|| body.next_effect().transpose());
    let mut rows = rows.inspect(|row| row.iter().for_each(|effect| note(&tables, effect)));
    let landed = applier.land_each(&tables, &mut rows, before)?;
    Ok((landed, tables))
}

/// The pieces of a prepared transaction's effects.
struct PreparedBody<'a> {
    system: System<'a>,
    transaction: TransactionId,
    next: u32,
}

impl BodySource for PreparedBody<'_> {
    type Error = Fault;

    fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let piece = self.system.prepared_piece(self.transaction, self.next)?;
        self.next += 1;
        Ok(piece.map(Bytes::from))
    }
}
