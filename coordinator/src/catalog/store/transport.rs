//! Raft messages between coordinators. Each batch names its cluster: an address that now belongs to another
//! cluster must not mix the two, whose replica ids are alike.

use std::sync::Arc;

use common::Hlc;
use common::protocol::{Envelope, RaftBatch, decode, encode};
use consensus_runtime::{PeerAddress, Runtime, Transport};
use parking_lot::RwLock;
use polylite_client::peer::PeerPool;
use serde::{Deserialize, Serialize};

/// What coordinators send each other one way.
#[derive(Serialize, Deserialize)]
struct ClusterBatch {
    cluster: String,
    batch: RaftBatch,
}

/// Sends the catalog's Raft messages over the connections between nodes.
pub(super) struct CatalogTransport {
    pub(super) pool: PeerPool,
    pub(super) cluster: Arc<RwLock<String>>,
}

impl Transport for CatalogTransport {
    fn send(&self, to: &PeerAddress, batch: Vec<consensus_runtime::Envelope>) {
        let urgent = batch.iter().any(|envelope| envelope.urgent);
        let envelopes = batch
            .into_iter()
            .map(|consensus_runtime::Envelope { group, from, to, message, .. }| Envelope {
                group,
                from,
                to,
                message,
            })
            .collect();
        let cluster = self.cluster.read().clone();
        let batch = ClusterBatch { cluster, batch: RaftBatch { hlc: Hlc::default(), envelopes } };
        self.pool.send(&to.address, encode(&batch), urgent);
    }
}

/// Hands a batch from the network to the runtime, if it is of the same cluster.
pub(super) fn deliver(runtime: &Runtime, cluster: &str, payload: &[u8]) {
    let batch: ClusterBatch = match decode(payload) {
        Ok(batch) => batch,
        Err(error) => {
            tracing::warn!(%error, "a message from a coordinator was dropped");
            return;
        }
    };
    if batch.cluster != cluster {
        tracing::warn!(from = batch.cluster, "a message from a coordinator of another cluster was dropped");
        return;
    }
    let envelopes = batch.batch.envelopes.into_iter().map(|Envelope { group, from, to, message }| {
        // Only a sender's queue distinguishes urgent messages.
        consensus_runtime::Envelope { group, from, to, urgent: false, message }
    });
    runtime.deliver(envelopes.collect());
}

#[cfg(test)]
pub(super) mod tests {
    use common::{PartitionId, ReplicaId};

    use super::*;

    /// A batch as it comes from the network, with one message that says nothing.
    pub(in super::super) fn batch_with_one_message(cluster: &str) -> bytes::Bytes {
        let envelope = Envelope {
            group: PartitionId::CATALOG,
            from: ReplicaId(2),
            to: ReplicaId(1),
            message: bytes::Bytes::new(),
        };
        let batch = RaftBatch { hlc: Hlc::default(), envelopes: vec![envelope] };
        encode(&ClusterBatch { cluster: cluster.to_owned(), batch })
    }
}
