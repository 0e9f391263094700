//! Raft messages of all groups over the connections between nodes.

use common::protocol::{Envelope, RaftBatch};
use consensus_runtime::{PeerAddress, Runtime, Transport};
use polylite_client::node::send_raft;
use polylite_client::peer::PeerPool;

use crate::clock::Clock;

/// Sends what the consensus worker hands out. Batches that must overtake have a lane of their own.
pub struct PeerTransport {
    /// The connections.
    pub pool: PeerPool,
    /// Every batch carries its reading.
    pub clock: Clock,
}

impl Transport for PeerTransport {
    fn send(&self, to: &PeerAddress, batch: Vec<consensus_runtime::Envelope>) {
        let urgent = batch.first().is_some_and(|envelope| envelope.urgent);
        let convert = |envelope: consensus_runtime::Envelope| Envelope {
            group: envelope.group,
            from: envelope.from,
            to: envelope.to,
            message: envelope.message,
        };
        let batch = RaftBatch { hlc: self.clock.now(), envelopes: batch.into_iter().map(convert).collect() };
        send_raft(&self.pool, &to.address, &batch, urgent);
    }
}

/// Hands a batch that came in to the consensus worker.
pub fn deliver(runtime: &Runtime, clock: &Clock, batch: RaftBatch) {
    clock.observe(batch.hlc);
    let convert = |envelope: Envelope| consensus_runtime::Envelope {
        group: envelope.group,
        from: envelope.from,
        to: envelope.to,
        urgent: false,
        message: envelope.message,
    };
    runtime.deliver(batch.envelopes.into_iter().map(convert).collect());
}
