//! The worker's queue: bounded for what others send, open for what must not be lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use common::{PartitionId, ReplicaId};
use consensus::{MembershipChange, MembershipError, Message, ProposeError, Proposed, SnapshotDescription};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::group_handle::{GroupHandle, ReadError};
use crate::host::{GroupHost, GroupSpec, Installed, PeerAddress, SnapshotRefused};
use crate::runtime::{StartError, Stopped};

/// Answers a proposal, on the worker thread.
pub(crate) type ProposeCallback = Box<dyn FnOnce(Result<Proposed, ProposeError>) + Send>;

/// Something for the worker.
pub(crate) enum Event {
    Start(Box<GroupSpec>, Box<dyn GroupHost>, oneshot::Sender<Result<GroupHandle, StartError>>),
    Message(PartitionId, Message),
    Unreachable(String),
    Group(PartitionId, GroupEvent),
    Shutdown,
}

/// Something for one group.
pub(crate) enum GroupEvent {
    Propose(Bytes, ProposeCallback),
    Read(oneshot::Sender<Result<u64, ReadError>>),
    ChangeMembership(MembershipChange, u64, oneshot::Sender<Result<Proposed, MembershipError>>),
    TransferLeader(ReplicaId),
    Campaign,
    Peers(BTreeMap<ReplicaId, PeerAddress>),
    Truncate(u64),
    HostHasRoom,
    SnapshotReady(Option<SnapshotDescription>),
    SnapshotInstalled(Result<Installed, SnapshotRefused>),
    Stop { remove: bool, done: oneshot::Sender<Result<(), Stopped>> },
}

impl Event {
    /// Bytes that count against the bound; `None` for events that are never refused.
    fn bounded_bytes(&self) -> Option<usize> {
        match self {
            Event::Message(_, message) => Some(message.size()),
            Event::Group(_, GroupEvent::Propose(data, _)) => Some(data.len()),
            Event::Group(_, GroupEvent::Read(_)) => Some(0),
            _ => None,
        }
    }
}

/// The queue.
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Condvar,
    events_max: usize,
    bytes_max: usize,
    failed: AtomicBool,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    bounded_events: usize,
    bounded_bytes: usize,
    worker_waits: bool,
    closed: bool,
}

impl Inbox {
    pub(crate) fn new(events_max: usize, bytes_max: usize) -> Inbox {
        Inbox {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            events_max,
            bytes_max,
            failed: AtomicBool::new(false),
        }
    }

    /// Appends an event; gives it back if there is no room, or no worker any more.
    pub(crate) fn push(&self, event: Event) -> Result<(), Event> {
        self.push_all(std::iter::once(event)).pop().map_or(Ok(()), Err)
    }

    /// Appends events under one lock. Returns those that found no room.
    pub(crate) fn push_all(&self, events: impl Iterator<Item = Event>) -> Vec<Event> {
        let mut refused = Vec::new();
        let mut queue = self.queue.lock();
        for event in events {
            let bytes = event.bounded_bytes();
            let full = bytes.is_some_and(|bytes| {
                queue.bounded_events >= self.events_max || queue.bounded_bytes + bytes > self.bytes_max
            });
            if queue.closed || full {
                refused.push(event);
                continue;
            }
            queue.bounded_events += usize::from(bytes.is_some());
            queue.bounded_bytes += bytes.unwrap_or(0);
            queue.events.push_back(event);
        }
        if std::mem::take(&mut queue.worker_waits) {
            drop(queue);
            self.arrived.notify_one();
        }
        refused
    }

    /// Takes all events, waiting for the first one until the deadline.
    pub(crate) fn drain(&self, into: &mut VecDeque<Event>, deadline: Instant) {
        let mut queue = self.queue.lock();
        while queue.events.is_empty() && !queue.closed {
            queue.worker_waits = true;
            if self.arrived.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.worker_waits = false;
        queue.bounded_events = 0;
        queue.bounded_bytes = 0;
        std::mem::swap(into, &mut queue.events);
    }

    /// Shows the events that wait, but for so many of the oldest, and leaves them there. Returns how many wait.
    pub(crate) fn look(&self, skipped: usize, see: impl FnMut(&Event)) -> usize {
        let queue = self.queue.lock();
        queue.events.iter().skip(skipped).for_each(see);
        queue.events.len()
    }

    /// The worker will not come back: see [`Inbox::close`].
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Whether the worker has failed, and is not to be waited for.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Refuses events from now on and drops those that wait, which answers whoever waits for them.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.events)
        };
        drop(dropped);
        self.arrived.notify_all();
    }
}
