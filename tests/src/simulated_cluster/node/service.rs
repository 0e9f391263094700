//! What coordinators read of a replica, as [`storage_node::replica`] answers it: after leadership was confirmed, once there
//! is enough, and with what the partition promises of the moments that it shows.

use std::time::Instant;

use common::protocol::{
    BriefAnswer, BriefTarget, PartitionTarget, PinId, PinRequest, Pinned, ReadRequest, Statement,
    StatementResult,
};
use common::{Error, ErrorCode, Hlc, Result};
use sqlite::{Budget, Failure, PinnedReader, Snapshot};
use storage_node::replica::machine::{not_leader, stale_partition_map, stale_schema};
use storage_node::replica::promises::Unpromised;

use super::reads::Question;
use super::{Node, Sound, Wish};

/// A question about rows.
#[derive(Clone, Debug)]
pub enum Asked {
    /// A read that takes a moment only.
    Briefly(Statement, BriefTarget),
    /// Any read.
    Read(ReadRequest),
    /// A snapshot that stays.
    Pin(PinRequest),
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Found {
    /// To [`Asked::Briefly`].
    Brief(BriefAnswer),
    /// To [`Asked::Read`], with the log index of the snapshot.
    Rows(StatementResult, u64),
    /// To [`Asked::Pin`].
    Pinned(Pinned),
}

/// A question that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) operation: u64,
    asked: Asked,
    /// A reading of the clock before leadership is confirmed.
    promised: Hlc,
    until_us: u64,
}

/// A snapshot that stays.
pub(super) struct Pin {
    reader: PinnedReader,
    index: u64,
}

impl Asked {
    fn target(&self) -> &PartitionTarget {
        match self {
            Asked::Briefly(_, asked) => &asked.target,
            Asked::Read(read) => &read.target,
            Asked::Pin(pin) => &pin.target,
        }
    }

    fn at(&self) -> Option<Hlc> {
        match self {
            Asked::Briefly(_, asked) => asked.at,
            Asked::Pin(pin) => pin.at,
            Asked::Read(_) => None,
        }
    }

    fn at_least(&self) -> u64 {
        match self {
            Asked::Briefly(_, asked) => asked.at_least,
            Asked::Read(read) => read.at_least,
            Asked::Pin(pin) => pin.at_least,
        }
    }
}

impl Node {
    pub(super) fn ask_for_rows(&mut self, operation: u64, asked: Asked) {
        if let Asked::Read(ReadRequest { pin: Some(pin), statement, .. }) = &asked {
            let outcome = self.read_pinned(*pin, statement);
            return self.wishes.push(Wish::Served { operation, outcome });
        }
        if let Some(at) = asked.at() {
            self.observe(at);
        }
        let until_us = self.now_us + asked.target().timeout_ms * 1_000;
        let waiting = Waiting { operation, promised: self.clock_now(), until_us, asked };
        self.ask(Question::Rows(waiting));
    }

    /// Nobody needs the snapshot any more.
    pub(super) fn unpin(&mut self, pin: PinId) {
        if let Some(sound) = &mut self.sound {
            sound.pins.remove(&pin);
        }
    }

    pub(super) fn refuse_rows(&mut self, waiting: &Waiting) {
        let outcome = Err(not_leader(self.group.status().leader));
        self.wishes.push(Wish::Served { operation: waiting.operation, outcome });
    }

    /// Answers, if there is enough.
    pub(super) fn rows_for(&mut self, waiting: &Waiting) -> Option<Result<Found>> {
        if self.now_us > waiting.until_us {
            return Some(Err(Error::new(ErrorCode::Timeout, "the replica did not catch up in time")));
        }
        let (target, at_least) = (waiting.asked.target(), waiting.asked.at_least());
        let epoch = self.epoch();
        let Some(Sound { machine, .. }) = &self.sound else {
            return Some(Err(not_leader(self.group.status().leader)));
        };
        let is_seen = machine.received() >= at_least
            && machine.prepared().is_none_or(|prepared| prepared.index > at_least);
        if machine.owes_commit() || !is_seen || epoch < target.epoch {
            return None;
        }
        if epoch > target.epoch {
            return Some(Err(stale_partition_map(epoch)));
        }
        let sound = self.sound.as_mut().expect("it was there a moment ago");
        match sound.open_and_read(waiting) {
            // It waits for what has begun before.
            Err(Closed::NotYet) => None,
            Err(Closed::Failed(error)) => Some(Err(error)),
            Ok(found) => Some(Ok(found)),
        }
    }

    fn read_pinned(&self, pin: PinId, statement: &Statement) -> Result<Found> {
        let gone = || Error::new(ErrorCode::SerializationFailure, "the snapshot that was read is gone");
        let pin = self.sound.as_ref().and_then(|sound| sound.pins.get(&pin)).ok_or_else(gone)?;
        let rows = pin.reader.snapshot().query(statement, &Budget::unlimited())?;
        Ok(Found::Rows(rows, pin.index))
    }
}

impl Sound {
    fn open_and_read(&mut self, waiting: &Waiting) -> Result<Found, Closed> {
        let promises = &self.promises;
        // In one thread nothing can be waited for: what is not possible now is tried again.
        let open = |at| promises.open(at, waiting.promised, Instant::now()).map_err(unpromised);
        match &waiting.asked {
            Asked::Read(request) => {
                let mut reader = self.readers.acquire()?;
                let snapshot = reader.snapshot()?;
                let index = checked(&snapshot, &request.target)?;
                Ok(Found::Rows(snapshot.query(&request.statement, &budget(request.max_rows))?, index))
            }
            Asked::Briefly(statement, asked) => {
                let opening = open(asked.at)?;
                let mut reader = self.readers.acquire()?;
                let snapshot = reader.snapshot()?;
                checked(&snapshot, &asked.target)?;
                let position = snapshot.system().position()?;
                let shows =
                    Pinned { index: position.index, since: position.committed, until: opening.until() };
                let rows = snapshot.rows(statement, &budget(Some(1_000)))?;
                Ok(Found::Brief(BriefAnswer { rows, shows }))
            }
            Asked::Pin(request) => {
                let opening = open(request.at)?;
                let mut reader = PinnedReader::new(self.readers.acquire()?);
                reader.open()?;
                let index = checked(&reader.snapshot(), &request.target)?;
                let since = reader.snapshot().system().position()?.committed;
                let shows = Pinned { index, since, until: opening.until() };
                drop(opening);
                self.pins.insert(request.pin, Pin { reader, index });
                Ok(Found::Pinned(shows))
            }
        }
    }
}

/// Why there is no answer.
enum Closed {
    NotYet,
    Failed(Error),
}

impl From<Error> for Closed {
    fn from(error: Error) -> Self {
        Closed::Failed(error)
    }
}

impl From<Failure> for Closed {
    fn from(failure: Failure) -> Self {
        Closed::Failed(failure.into())
    }
}

fn budget(max_rows: Option<u32>) -> Budget<'static> {
    Budget { rows: max_rows.map_or(u64::MAX, u64::from), ..Budget::unlimited() }
}

fn checked(snapshot: &Snapshot<'_>, target: &PartitionTarget) -> Result<u64> {
    let version = snapshot.system().schema_version()?;
    if version != target.schema_version {
        return Err(stale_schema(version.max(target.schema_version)));
    }
    Ok(snapshot.system().position()?.index)
}

/// What `open` says when nothing is promised.
fn unpromised(why: Unpromised) -> Closed {
    match why {
        Unpromised::NotLeader => Closed::Failed(not_leader(None)),
        Unpromised::TimedOut => Closed::NotYet,
    }
}
