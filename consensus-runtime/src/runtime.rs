//! The handle to the worker.

use std::sync::Arc;
use std::thread::JoinHandle;

use common::ReplicaId;
use consensus::{Message, OpenError};
use parking_lot::Mutex;
use raft_engine::env::FileSystem;

use crate::group_handle::GroupHandle;
use crate::host::{GroupHost, GroupSpec};
use crate::inbox::{Event, Inbox};
use crate::metrics::{Metrics, add};
use crate::options::RuntimeOptions;
use crate::outbox::{Envelope, Transport};
use crate::reply::Reply;
use crate::shared_log::SharedLog;
use crate::worker::Worker;

/// Why a group could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It runs already.
    #[error("the group runs already")]
    Running,
    /// The log belongs to another replica of the group.
    #[error("the log is that of replica {found}")]
    OtherReplica {
        /// The log's replica.
        found: ReplicaId,
    },
    /// Log and state do not belong together, or the log is damaged: the replica must be rebuilt.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The worker has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The worker, or the group, has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group or its runtime has ended")]
pub struct Stopped;

/// All groups of a process. Cheap to clone; the worker ends with the last clone, or at [`Runtime::shutdown`].
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    inbox: Arc<Inbox>,
    metrics: Arc<Metrics>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Runtime {
    /// Starts the worker thread, named `consensus`, and the one that speaks for it while it writes.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn start<F: FileSystem + 'static>(
        log: SharedLog<F>,
        transport: Arc<dyn Transport>,
        options: RuntimeOptions,
    ) -> std::io::Result<Runtime> {
        let inbox = Arc::new(Inbox::new(options.inbox_events_max, options.inbox_bytes_max));
        let metrics = Arc::new(Metrics::default());
        let worker = Worker::new(log, transport, options, inbox.clone(), metrics.clone())?;
        let thread = std::thread::Builder::new().name("consensus".to_owned()).spawn(move || worker.run())?;
        Ok(Runtime { inner: Arc::new(Inner { inbox, metrics, worker: Mutex::new(Some(thread)) }) })
    }

    /// Starts a group: from the log if the log holds it, else as [`GroupSpec::initial`] says. The host may be
    /// called before the answer is there.
    pub fn start_group(
        &self,
        spec: GroupSpec,
        host: Box<dyn GroupHost>,
    ) -> Reply<Result<GroupHandle, StartError>> {
        let (sender, reply) = Reply::new(Err(StartError::Stopped(Stopped)));
        // Refused only by a worker that has ended; dropping the sender answers.
        drop(self.inner.inbox.push(Event::Start(Box::new(spec), host, sender)));
        reply
    }

    /// Messages have arrived from other nodes, which must have been authenticated. Never blocks: what the worker
    /// has no room for is dropped, which Raft repairs.
    pub fn deliver(&self, batch: Vec<Envelope>) {
        let metrics = &self.inner.metrics;
        add(&metrics.messages_received, batch.len() as u64);
        let mut dropped = 0;
        let mut events = Vec::with_capacity(batch.len());
        for envelope in batch {
            match open(&envelope) {
                Some(message) => events.push(Event::Message(envelope.group, message)),
                None => dropped += 1,
            }
        }
        dropped += self.inner.inbox.push_all(events.into_iter()).len() as u64;
        add(&metrics.messages_dropped, dropped);
    }

    /// The process at an address is gone, as far as can be told: its replicas are fed carefully until they answer, and
    /// where one of them led, another is elected soon.
    pub fn unreachable(&self, address: String) {
        drop(self.inner.inbox.push(Event::Unreachable(address)));
    }

    /// What the runtime has done so far.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.inner.metrics.clone()
    }

    /// Ends the worker after the round it is in and waits for it, unless called by the worker itself. Groups
    /// that still run are stopped; their logs stay.
    pub fn shutdown(&self) {
        self.inner.shutdown();
    }
}

impl Inner {
    fn shutdown(&self) {
        drop(self.inbox.push(Event::Shutdown));
        let Some(worker) = self.worker.lock().take() else { return };
        let is_worker = worker.thread().id() == std::thread::current().id();
        if !is_worker && !self.inbox.has_failed() && worker.join().is_err() {
            tracing::error!("the consensus worker ended by a panic");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The message in an envelope, if it is one and the envelope tells the truth about it.
fn open(envelope: &Envelope) -> Option<Message> {
    let message = Message::decode(&envelope.message).ok()?;
    (message.from() == envelope.from && message.to() == envelope.to).then_some(message)
}
