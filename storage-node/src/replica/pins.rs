//! Snapshots that are kept for a while: reads of several partitions, and several reads in a row, see one state.
//!
//! SQLite's snapshot belongs to a connection, so a pinned one has a few connections, opened at the same state;
//! each read borrows one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use common::protocol::{PinId, PinRequest, Pinned, ReadLevel, encode};
use common::{Error, ErrorCode, Hlc, Result};
use parking_lot::{Condvar, Mutex};
use polylite_client::peer::StreamSink;
use sqlite::{PinnedReader, ReaderPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use super::Replica;
use super::machine::{not_leader, stale_partition_map};
use super::promises::{Promises, Unpromised};
use super::reading::{Deadline, check_snapshot};
use crate::config::PINNED_READERS_PER_REPLICA;

/// Most reads of a pinned snapshot at once.
const READERS_MAX: u32 = 32;
/// How often a snapshot's connections are opened before they are at the same state.
const ATTEMPTS_MAX: usize = 100;
/// Idle connections that are kept open for the next snapshots.
const READERS_KEPT: usize = 8;

/// The pinned snapshots of a replica.
#[derive(Default)]
pub(super) struct Pins {
    open: Mutex<HashMap<PinId, Arc<Pin>>>,
}

/// A pinned snapshot.
pub(super) struct Pin {
    index: u64,
    idle: Mutex<Vec<PinnedReader>>,
    returned: Condvar,
}

/// A connection that is borrowed for a read.
pub(super) struct LentReader {
    pin: Arc<Pin>,
    reader: Option<PinnedReader>,
}

impl Pins {
    /// The snapshot of that name.
    pub(super) fn get(&self, id: PinId) -> Result<Arc<Pin>> {
        self.open.lock().get(&id).cloned().ok_or_else(|| {
            Error::new(ErrorCode::SerializationFailure, "the snapshot that was read is gone")
                .with_hint("send the request again")
        })
    }

    fn enter(self: &Arc<Self>, id: PinId, pin: Pin) -> Entered {
        self.open.lock().insert(id, Arc::new(pin));
        Entered { pins: Arc::clone(self), id }
    }
}

/// Keeps a snapshot among the pinned ones.
struct Entered {
    pins: Arc<Pins>,
    id: PinId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.pins.open.lock().remove(&self.id);
    }
}

impl Pin {
    /// Log index of the snapshot.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Borrows a connection, if one is idle.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<LentReader> {
        let reader = self.idle.lock().pop()?;
        Some(LentReader { pin: Arc::clone(self), reader: Some(reader) })
    }

    /// Borrows a connection; waits for one until the deadline.
    pub(super) fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<LentReader> {
        let mut idle = self.idle.lock();
        loop {
            if let Some(reader) = idle.pop() {
                return Ok(LentReader { pin: Arc::clone(self), reader: Some(reader) });
            }
            if self.returned.wait_until(&mut idle, deadline).timed_out() {
                let text = "too many reads of one snapshot are under way";
                return Err(Error::new(ErrorCode::Timeout, text));
            }
        }
    }
}

impl LentReader {
    /// The connection.
    pub(super) fn reader(&self) -> &PinnedReader {
        self.reader.as_ref().expect("present until dropped")
    }
}

impl Drop for LentReader {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.pin.idle.lock().push(reader);
            self.pin.returned.notify_one();
        }
    }
}

impl Replica {
    /// Pins a snapshot until the stream is cancelled.
    pub async fn pin(&self, request: PinRequest, sink: StreamSink) {
        let (_turn, pin, pinned) = match self.open_pin(&request).await {
            Ok(opened) => opened,
            Err(error) => return sink.fail(encode(&error)).await,
        };
        // Whoever learns that it is open finds it.
        let entered = self.pins.enter(request.pin, pin);
        let open = self.open_streams.enter();
        if sink.send(encode(&pinned)).await.is_err() {
            return;
        }
        if let Err(error) = open.while_open(sink.cancelled()).await {
            drop(entered);
            sink.fail(encode(&error)).await;
        }
    }

    async fn open_pin(&self, request: &PinRequest) -> Result<(OwnedSemaphorePermit, Pin, Pinned)> {
        let deadline = Deadline::after(request.target.timeout_ms);
        let readers = request.readers.clamp(1, READERS_MAX);
        let turn = turns(&self.pinned_readers, readers, deadline).await?;
        if let Some(at) = request.at {
            self.clock.observe(at);
        }
        // Before the round of messages that confirms leadership: it spreads the promise.
        let promised = self.clock.now();
        self.reach(&request.target, ReadLevel::Linearizable, request.at_least, deadline).await?;
        let pool = self
            .published
            .pinning_readers()
            .ok_or_else(|| Error::new(ErrorCode::Unavailable, "the replica is waiting for a snapshot"))?;
        let published = Arc::clone(&self.published);
        let (target, at) = (request.target.clone(), request.at);
        let leader = self.group.status().leader;
        let opened = tokio::task::spawn_blocking(move || {
            let readers = (0..readers).map(|_| Ok(pool.acquire()?)).collect::<Result<Vec<_>>>()?;
            let mut readers: Vec<PinnedReader> = readers.into_iter().map(PinnedReader::new).collect();
            let until =
                open_alike(published.promises(), &mut readers, at, promised, deadline).map_err(|error| {
                    if error.code == ErrorCode::NotLeader { not_leader(leader) } else { error }
                })?;
            let index = check_snapshot(&readers[0].snapshot(), &target)?;
            // Promised after others had taken the partition's place, it would not bind them.
            let epoch = published.epoch();
            if epoch > target.epoch {
                return Err(stale_partition_map(epoch));
            }
            let since = readers[0].snapshot().system().position()?.committed;
            let pin = Pin { index, idle: Mutex::new(readers), returned: Condvar::new() };
            Ok((pin, Pinned { index, since, until }))
        });
        let (pin, pinned) = opened.await.unwrap_or_else(|panic| Err(Error::internal(panic.to_string())))?;
        Ok((turn, pin, pinned))
    }
}

/// Opens the connections' snapshots at the same state. Answers until when it holds.
fn open_alike(
    promises: &Promises,
    readers: &mut [PinnedReader],
    at: Option<Hlc>,
    promised: Hlc,
    deadline: Deadline,
) -> Result<Hlc> {
    for _ in 0..ATTEMPTS_MAX {
        let opening = promises.open(at, promised, deadline.instant.into_std()).map_err(unpromised)?;
        let mut indexes = Vec::with_capacity(readers.len());
        for reader in readers.iter_mut() {
            reader.open()?;
            indexes.push(reader.snapshot().system().position()?.index);
        }
        if indexes.iter().all(|index| *index == indexes[0]) {
            return Ok(opening.until());
        }
    }
    Err(Error::new(ErrorCode::Unavailable, "the partition kept changing while it was read"))
}

/// The error of a read for which nothing is promised.
pub(super) fn unpromised(why: Unpromised) -> Error {
    match why {
        Unpromised::NotLeader => not_leader(None),
        Unpromised::TimedOut => {
            Error::new(ErrorCode::Timeout, "a transaction kept the read waiting for too long")
        }
    }
}

/// Waits until so many more connections may be pinned.
async fn turns(places: &Arc<Semaphore>, count: u32, deadline: Deadline) -> Result<OwnedSemaphorePermit> {
    debug_assert!(count as usize <= PINNED_READERS_PER_REPLICA);
    match timeout_at(deadline.instant, places.clone().acquire_many_owned(count)).await {
        Ok(Ok(turns)) => Ok(turns),
        Ok(Err(_)) => Err(Error::new(ErrorCode::Unavailable, "the replica is stopping")),
        Err(_) => Err(Error::new(ErrorCode::Timeout, "too many snapshots of the partition are pinned")
            .with_hint("end read-only transactions that are not needed any more")),
    }
}

/// A pool of connections that snapshots are pinned by.
pub(super) fn pinning_readers(location: &sqlite::Location) -> ReaderPool {
    ReaderPool::new(location.clone(), PINNED_READERS_PER_REPLICA, READERS_KEPT)
}
