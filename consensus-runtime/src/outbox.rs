//! Messages on their way out: all groups' messages to one node leave together.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::{PartitionId, ReplicaId};
use consensus::Message;
use serde::{Deserialize, Serialize};

use crate::host::PeerAddress;

/// A message of a group, addressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The group.
    pub group: PartitionId,
    /// The sender.
    pub from: ReplicaId,
    /// The addressee.
    pub to: ReplicaId,
    /// Whether it has to overtake entries that wait to be sent. Equal for all envelopes of one batch.
    pub urgent: bool,
    /// The message, encoded.
    pub message: Bytes,
}

/// Carries envelopes to other nodes, where they are given to [`crate::Runtime::deliver`].
pub trait Transport: Send + Sync {
    /// Sends a batch. Must not block; may drop, delay and reorder. Called on the worker thread and on the one that
    /// speaks for it while it writes.
    fn send(&self, to: &PeerAddress, batch: Vec<Envelope>);
}

/// Collects the messages of a round.
pub(crate) struct Outbox {
    batches: BTreeMap<(Arc<PeerAddress>, bool), Vec<Envelope>>,
    bytes_max: usize,
}

impl Outbox {
    pub(crate) fn new(bytes_max: usize) -> Outbox {
        Outbox { batches: BTreeMap::new(), bytes_max }
    }

    pub(crate) fn push(&mut self, group: PartitionId, to: &Arc<PeerAddress>, message: &Message) {
        let urgent = message.is_urgent();
        let envelope =
            Envelope { group, from: message.from(), to: message.to(), urgent, message: message.encode() };
        self.batches.entry((to.clone(), urgent)).or_default().push(envelope);
    }

    /// Gives everything to the transport, urgent batches first. Returns how many batches, messages and bytes
    /// that were.
    pub(crate) fn flush(&mut self, transport: &dyn Transport) -> (u64, u64, u64) {
        let (mut frames, mut messages, mut bytes) = (0, 0, 0);
        let mut send = |to: &PeerAddress, batch: Vec<Envelope>| {
            frames += 1;
            messages += batch.len() as u64;
            bytes += batch.iter().map(|envelope| envelope.message.len() as u64).sum::<u64>();
            transport.send(to, batch);
        };
        let batches = std::mem::take(&mut self.batches);
        let (urgent, bulk): (Vec<_>, Vec<_>) = batches.into_iter().partition(|((_, urgent), _)| *urgent);
        for ((to, _), batch) in urgent.into_iter().chain(bulk) {
            for part in split(batch, self.bytes_max) {
                send(&to, part);
            }
        }
        (frames, messages, bytes)
    }
}

/// Cuts a batch into parts of at most so many bytes, or of one message.
fn split(batch: Vec<Envelope>, bytes_max: usize) -> Vec<Vec<Envelope>> {
    let mut parts: Vec<Vec<Envelope>> = Vec::with_capacity(1);
    let mut room = 0;
    for envelope in batch {
        let size = envelope.message.len();
        match parts.last_mut() {
            Some(part) if size <= room => {
                room -= size;
                part.push(envelope);
            }
            _ => {
                room = bytes_max.saturating_sub(size);
                parts.push(vec![envelope]);
            }
        }
    }
    parts
}
