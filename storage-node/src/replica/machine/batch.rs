//! Running waiting jobs on the leader and proposing what they change.

use common::entry::{EntryBody, EntryHeader};
use common::limits::EFFECTS_MAX;
use common::protocol::{StatementResult, WorkItem, WriteReply};
use common::{Error, ErrorCode, Hlc, RequestId};
use sqlite::Budget;

use super::chunks::Pieces;
use super::flight::{Flight, Held};
use super::job::{Answer, Job, Reply, Ticket, nobody_waits, stale_partition_map, stale_schema};
use super::{Fault, Machine, Queued, chunks};

/// What a request may take in a shared batch, in microseconds; one that needs more runs again alone, so
/// that its neighbours do not wait for it.
const SHARED_REQUEST_US: u64 = 5_000;
/// A shared batch takes no further request after this long, in microseconds.
const SHARED_BATCH_US: u64 = 10_000;
/// Most requests in a batch.
const REQUESTS_MAX: usize = 1_024;
/// A batch takes no further request once it has changed this many rows.
const ROWS_MAX: usize = 16_384;

/// What a turn of execution is given.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// The clock of the entry that may come of it.
    pub hlc: Hlc,
    /// The name of the proposal that may come of it: random, never used before.
    pub request: RequestId,
    /// The driver's clock in microseconds, of which [`super::Pending::deadline_ms`] is a thousandth.
    pub clock_us: &'a dyn Fn() -> u64,
    /// Whether anybody still waits for a job's answer. Work that waits for nobody is not begun: a transaction
    /// prepared for a coordinator that is gone would keep everybody else out until it is found to be aborted.
    pub is_awaited: &'a dyn Fn(Ticket) -> bool,
}

pub(super) enum Ran {
    Answered(Result<Vec<StatementResult>, Error>),
    /// It took too long for a shared batch and is to run alone.
    Overran,
}

impl Machine {
    /// Runs the next batch, if one is waiting and may begin. Says whether anything ran.
    pub fn execute(&mut self, turn: &Turn<'_>) -> Result<bool, Fault> {
        if !self.may_execute() {
            return Ok(false);
        }
        let Some(next) = self.next_job(turn, |_| true) else { return Ok(false) };
        self.watch_keys();
        self.run_job(next, turn)?;
        Ok(true)
    }

    /// Notes the changes of all keys that somebody has asked for. No batch is on its way, so that none is missed.
    fn watch_keys(&mut self) {
        if let Some(list) = self.key_changes.begin(self.watched, self.state.position.base) {
            self.watched = list.len();
            self.store.watch(&list);
        }
    }

    /// Whether the next batch is a job that is only tried, which leaves nothing of it.
    #[must_use]
    pub fn next_is_tried(&self) -> bool {
        let next = self.queue.iter().find(|queued| !self.must_wait(&queued.pending.job));
        next.is_some_and(|queued| matches!(queued.pending.job, Job::Try(_)))
    }

    /// As [`Machine::execute`], but runs nothing else than a job that is only tried. If there was none after all, those
    /// in the queue before the next one were answered.
    pub fn execute_tried(&mut self, turn: &Turn<'_>) -> Result<bool, Fault> {
        if !self.may_execute() {
            return Ok(false);
        }
        match self.next_job(turn, |queued| matches!(queued.pending.job, Job::Try(_))) {
            Some(next) => self.run_job(next, turn).map(|()| true),
            None => Ok(false),
        }
    }

    fn run_job(&mut self, next: Queued, turn: &Turn<'_>) -> Result<(), Fault> {
        if matches!(next.pending.job, Job::Write(_)) {
            return self.run_writes(next, turn);
        }
        match next.pending.job.clone() {
            Job::Write(_) => unreachable!("it was run above"),
            Job::Joint(joint) => self.run_joint(next, &joint, turn)?,
            Job::Try(request) => self.run_try(next, &request, turn)?,
            Job::Unlock { transaction } => {
                self.release_lock(transaction);
                let ticket = next.pending.ticket;
                self.outbox.answers.push(Answer { ticket, result: Ok(Reply::Done) });
            }
            Job::Decide { transaction, verdict, decides } => {
                self.run_decision(next, transaction, verdict, decides, turn)?;
            }
            Job::CarryOut { transaction, at } => self.run_carry_out(next, transaction, at, turn)?,
            Job::DecideKeyed { transaction, participants, keyed, prepared_at } => {
                self.run_keyed_decision(next, transaction, participants, (keyed, prepared_at), turn)?;
            }
            Job::Schema { version, .. } if version <= self.state.schema_version => self.confirm_done(next),
            Job::Schema { version, statements } => {
                self.propose(EntryBody::Schema { version, statements }, next.held(Ok(Reply::Done)), turn);
            }
            Job::Assign { epoch, .. } if epoch <= self.epoch() => self.confirm_done(next),
            Job::Assign { epoch, range } => {
                self.propose(EntryBody::Assign { epoch, range }, next.held(Ok(Reply::Done)), turn);
            }
            Job::Compare => {
                let digest = self.digest()?.0;
                self.propose(EntryBody::Digest { digest }, next.held(Ok(Reply::Done)), turn);
            }
            Job::Forget { transactions } => {
                self.propose(EntryBody::Forget { transactions }, next.held(Ok(Reply::Done)), turn);
            }
        }
        Ok(())
    }

    /// Takes the first job that need not wait and that is wanted. Jobs planned on an older schema or map are
    /// refused on the way: that is true whoever leads. So are those that nobody waits for any more.
    fn next_job(&mut self, turn: &Turn<'_>, wanted: impl Fn(&Queued) -> bool) -> Option<Queued> {
        let mut position = 0;
        while let Some(queued) = self.queue.get(position) {
            let (ticket, job) = (queued.pending.ticket, &queued.pending.job);
            let abandoned = || (!(turn.is_awaited)(ticket)).then(nobody_waits);
            let refusal = self.refusal(job).or_else(|| self.deadlock(job)).or_else(|| self.impatience(job));
            if let Some(error) = refusal.or_else(abandoned) {
                self.outbox.answers.push(Answer { ticket, result: Err(error) });
                self.queue.remove(position);
            } else if self.must_wait(job) {
                position += 1;
            } else if wanted(queued) {
                return self.queue.remove(position);
            } else {
                return None;
            }
        }
        None
    }

    fn refusal(&self, job: &Job) -> Option<Error> {
        let target = job.target()?;
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(super::PlantedBug::EpochNotChecked) {
            return None;
        }
        if target.epoch < self.epoch() {
            return Some(stale_partition_map(self.epoch()));
        }
        if target.schema_version < self.state.schema_version {
            return Some(stale_schema(self.state.schema_version));
        }
        // What a batch of several requests has done to the schema could not be told from what the others have done.
        job.changes_schema_in_batch().then(|| Error::internal("the schema is changed without a transaction"))
    }

    /// A job waits for a prepared transaction's decision, and for the schema and the map it was planned on.
    fn must_wait(&self, job: &Job) -> bool {
        let early = job.target().is_some_and(|target| {
            target.epoch > self.epoch() || target.schema_version > self.state.schema_version
        });
        // What is prepared here is decided before others take the partition's place.
        let closes =
            matches!(job, Job::Assign { range, .. } if range.is_nothing()) && self.prepared.is_some();
        self.is_kept_by_others(job) || early || closes
    }

    /// Whether another transaction is prepared here, or has locked the partition.
    fn is_kept_by_others(&self, job: &Job) -> bool {
        let gated = self.prepared.as_ref().is_some_and(|prepared| match job.is_part_of() {
            Some(transaction) => transaction != prepared.transaction,
            None => job.waits_for_gate(),
        });
        gated || self.is_locked_out(job)
    }

    /// Some would rather not be than wait for others.
    fn impatience(&self, job: &Job) -> Option<Error> {
        let refused = job.never_waits() && self.is_kept_by_others(job);
        refused
            .then(|| Error::new(ErrorCode::SerializationFailure, "another transaction keeps the partition"))
    }

    fn run_writes(&mut self, first: Queued, turn: &Turn<'_>) -> Result<(), Fault> {
        let start = (turn.clock_us)();
        let alone = first.alone;
        let (mut ran, mut held, mut overran) = (Vec::new(), Vec::new(), Vec::new());
        self.store.begin(&self.state, turn.hlc)?;
        let mut next = Some(first);
        while let Some(mut queued) = next.take() {
            let Job::Write(write) = &queued.pending.job else { unreachable!("only writes share a batch") };
            let deadline_ms = queued.pending.deadline_ms;
            match self.run_request(&write.work, write.max_rows, queued.alone, deadline_ms, turn)? {
                Ran::Answered(result) => {
                    let result = self.as_reply(result);
                    held.push(Held { ticket: queued.pending.ticket, deadline_ms, result });
                    ran.push(queued);
                }
                Ran::Overran => {
                    queued.alone = true;
                    overran.push(queued);
                }
            }
            let room = !alone
                && held.len() < REQUESTS_MAX
                && self.store.effect_count() < ROWS_MAX
                && (turn.clock_us)() - start < SHARED_BATCH_US;
            if room {
                next = self
                    .next_job(turn, |queued| !queued.alone && matches!(queued.pending.job, Job::Write(_)));
            }
        }
        for queued in overran.into_iter().rev() {
            self.queue.push_front(queued);
        }
        self.finish_writes(ran, held, turn)
    }

    /// Proposes what the batch changed, or asks for confirmation if it changed nothing.
    fn finish_writes(&mut self, ran: Vec<Queued>, held: Vec<Held>, turn: &Turn<'_>) -> Result<(), Fault> {
        let (effects, sums, touched) = self.store.take_changes();
        if effects.rows.is_empty() {
            self.store.rollback()?;
            self.confirm(held);
            return Ok(());
        }
        let tables = effects.tables.clone();
        let keys = self.keys_to_note(&effects);
        let pieces = self.pieces(EntryBody::Effects(effects), turn);
        if pieces.bytes() > EFFECTS_MAX {
            self.store.rollback()?;
            self.refuse_large(ran, turn);
            return Ok(());
        }
        #[cfg(feature = "planted-bugs")]
        let held = self.tell_too_early(held);
        self.launch(pieces, held, turn);
        if let Some(flight) = &mut self.flight {
            flight.executed = true;
            (flight.sums, flight.tables) = (sums, tables);
            (flight.touched, flight.keys) = (touched, keys);
        }
        Ok(())
    }

    /// One request is refused; several run again, each alone, because only one of them may be at fault.
    fn refuse_large(&mut self, mut ran: Vec<Queued>, _turn: &Turn<'_>) {
        if ran.len() == 1 {
            let error = Error::new(ErrorCode::BodyTooLarge, "the request changes more than 1 GiB of rows")
                .with_hint("send it in several requests");
            let held = ran.remove(0).held(Err(error));
            self.confirm(held);
            return;
        }
        for mut queued in ran.into_iter().rev() {
            queued.alone = true;
            self.queue.push_front(queued);
        }
    }

    #[cfg(feature = "planted-bugs")]
    fn tell_too_early(&mut self, held: Vec<Held>) -> Vec<Held> {
        let (errors, successes) = (
            self.has_bug(super::PlantedBug::ErrorToldFromUncommittedNeighbour),
            self.has_bug(super::PlantedBug::ToldBeforeCommitted),
        );
        let is_told = |held: &Held| if held.result.is_err() { errors } else { successes };
        let (told, held): (Vec<_>, Vec<_>) = held.into_iter().partition(is_told);
        self.outbox.answers.extend(told.into_iter().map(Held::into_answer));
        held
    }

    /// Runs one request in the open transaction.
    pub(super) fn run_request(
        &mut self,
        work: &[WorkItem],
        max_rows: u32,
        alone: bool,
        deadline_ms: u64,
        turn: &Turn<'_>,
    ) -> Result<Ran, Fault> {
        let deadline_us = deadline_ms.saturating_mul(1_000);
        let limit_us = if alone {
            deadline_us
        } else {
            deadline_us.min((turn.clock_us)().saturating_add(SHARED_REQUEST_US))
        };
        let interrupted = || (turn.clock_us)() >= limit_us;
        let budget =
            Budget { interrupted: Some(&interrupted), rows: u64::from(max_rows), ..Budget::default() };
        Ok(match self.store.run(work, &budget)? {
            Err(error) if error.code == ErrorCode::StatementTimeout && limit_us < deadline_us => Ran::Overran,
            result => Ran::Answered(result),
        })
    }

    fn as_reply(&self, result: Result<Vec<StatementResult>, Error>) -> Result<Reply, Error> {
        let index = self.received;
        result.map(|results| Reply::Written(WriteReply { results, index, hlc: Hlc::default() }))
    }

    pub(super) fn confirm_done(&mut self, queued: Queued) {
        self.confirm(queued.held(Ok(Reply::Done)));
    }

    /// Holds answers until leadership is confirmed by a round of messages that begins from now on.
    pub(super) fn confirm(&mut self, held: Vec<Held>) {
        if held.is_empty() {
            return;
        }
        self.next_confirmation += 1;
        self.confirming.insert(self.next_confirmation, held);
        self.outbox.confirmations.push(self.next_confirmation);
    }

    pub(super) fn propose(&mut self, body: EntryBody, held: Vec<Held>, turn: &Turn<'_>) {
        let pieces = self.pieces(body, turn);
        self.launch(pieces, held, turn);
    }

    fn pieces(&self, body: EntryBody, turn: &Turn<'_>) -> Pieces {
        chunks::split(self.header(turn), self.state.position.base, body, self.entry_bytes_max)
    }

    pub(super) fn header(&self, turn: &Turn<'_>) -> EntryHeader {
        EntryHeader {
            hlc: turn.hlc.max(Hlc(self.state.position.hlc.0 + 1)),
            schema_version: self.state.schema_version,
            request: turn.request,
        }
    }

    fn launch(&mut self, pieces: Pieces, held: Vec<Held>, turn: &Turn<'_>) {
        let flight = self.flight.insert(Flight::new(turn.request, pieces, held));
        let pieces = flight.next_pieces();
        self.outbox.proposals.extend(pieces.into_iter().map(|piece| (turn.request, piece)));
    }
}

impl Queued {
    /// Its answer, to be told later.
    pub(super) fn held(self, result: Result<Reply, Error>) -> Vec<Held> {
        vec![Held { ticket: self.pending.ticket, deadline_ms: self.pending.deadline_ms, result }]
    }
}
