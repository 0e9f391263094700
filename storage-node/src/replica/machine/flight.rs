//! What was proposed and is not yet seen in the log, and the answers that wait for it.

use std::collections::VecDeque;

use bytes::Bytes;
use common::{Error, Outcome, RequestId};
use sqlite::{TableSums, TouchedKeys};

use super::chunks::Pieces;
use super::job::{Answer, Reply, Ticket, leadership_lost};
use super::row_changes::ChangedKeys;
use super::{Fault, Machine};

/// Bytes of one proposal that may wait for commit at a time; more pieces follow as these are committed.
/// Stays below the consensus' own limit.
const WINDOW: usize = 4 << 20;

/// An answer that may not be told yet.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) ticket: Ticket,
    pub(super) deadline_ms: u64,
    pub(super) result: Result<Reply, Error>,
}

impl Held {
    pub(super) fn into_answer(self) -> Answer {
        Answer { ticket: self.ticket, result: self.result }
    }

    /// Another answer in its place.
    pub(super) fn fail(self, error: Error) -> Answer {
        Answer { ticket: self.ticket, result: Err(error) }
    }
}

/// Takes out those whose time is up.
pub(super) fn take_late(held: &mut Vec<Held>, now_ms: u64) -> Vec<Held> {
    if held.iter().all(|held| held.deadline_ms > now_ms) {
        return Vec::new();
    }
    let (late, waiting) = std::mem::take(held).into_iter().partition(|held| held.deadline_ms <= now_ms);
    *held = waiting;
    late
}

/// A proposal under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// Its name.
    pub(super) request: RequestId,
    /// The term in which its first piece was appended to the log, once that is known. It may be later than
    /// the one that it was executed in: a leader can be deposed and elected again while it executes.
    pub(super) placed: Option<u64>,
    /// Whether the executor holds the SQLite transaction that the proposal describes.
    pub(super) executed: bool,
    /// What it does to the tables' sums; only of use while `executed`.
    pub(super) sums: TableSums,
    /// The tables that it changes; only of use while `executed`.
    pub(super) tables: Vec<String>,
    /// The keys that it touches, of those that are watched; only of use while `executed`.
    pub(super) touched: TouchedKeys,
    /// The rows that it changes, if these are noted; only of use while `executed`.
    pub(super) keys: ChangedKeys,
    /// Who waits.
    pub(super) held: Vec<Held>,
    /// Pieces that were not handed out yet.
    unsent: Pieces,
    /// Sizes of the pieces handed out and not committed.
    outstanding: VecDeque<usize>,
}

impl Flight {
    pub(super) fn new(request: RequestId, pieces: Pieces, held: Vec<Held>) -> Flight {
        Flight {
            request,
            placed: None,
            executed: false,
            sums: TableSums::default(),
            tables: Vec::new(),
            touched: TouchedKeys::default(),
            keys: ChangedKeys::new(),
            held,
            unsent: pieces,
            outstanding: VecDeque::new(),
        }
    }

    /// The pieces to hand out now.
    pub(super) fn next_pieces(&mut self) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut waiting: usize = self.outstanding.iter().sum();
        while waiting == 0 || waiting + self.unsent.next_bytes() <= WINDOW {
            let Some(piece) = self.unsent.next() else { break };
            waiting += piece.len();
            self.outstanding.push_back(piece.len());
            pieces.push(piece);
        }
        pieces
    }

    /// Whether it is certain that it is not in the log and will not be, now that the log has come to a term:
    /// terms only grow along the log, and a set of pieces lies within one term.
    pub(super) fn is_superseded_by(&self, term: u64) -> bool {
        self.placed.is_some_and(|placed| placed < term)
    }

    /// A piece is committed.
    pub(super) fn piece_committed(&mut self) {
        self.outstanding.pop_front();
    }

    /// Whether the last piece was handed out, so that the log may yet complete it.
    pub(super) fn is_proposed_whole(&self) -> bool {
        self.unsent.is_empty()
    }
}

/// What became of a proposal.
#[derive(Debug)]
pub(super) enum Fate {
    /// It took effect at this index; those who wait get what was held for them.
    Applied(u64),
    /// It took effect, or was refused, and the log says what to answer.
    Answered(Result<Reply, Error>),
    /// It has no effect, and never will.
    Superseded,
}

impl Machine {
    /// Ends the flight: rolls an open transaction back unless it was committed, and answers.
    pub(super) fn settle(&mut self, fate: &Fate) -> Result<(), Fault> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        self.noted_from_now();
        if flight.executed && !matches!(fate, Fate::Applied(_)) {
            self.store.rollback()?;
        }
        for held in flight.held {
            let answer = match (fate, held.result) {
                (Fate::Applied(index), Ok(Reply::Written(mut reply))) => {
                    reply.index = *index;
                    Answer { ticket: held.ticket, result: Ok(Reply::Written(reply)) }
                }
                (Fate::Applied(index), Ok(Reply::Joint(mut reply))) => {
                    reply.index = *index;
                    Answer { ticket: held.ticket, result: Ok(Reply::Joint(reply)) }
                }
                (Fate::Applied(_), result) => Answer { ticket: held.ticket, result },
                (Fate::Answered(result), _) => Answer { ticket: held.ticket, result: result.clone() },
                (Fate::Superseded, _) => {
                    let error = leadership_lost(Outcome::NotApplied);
                    Answer { ticket: held.ticket, result: Err(error) }
                }
            };
            self.outbox.answers.push(answer);
        }
        Ok(())
    }
}
