//! What the partitions are like now, asked of the nodes that hold them.

use std::collections::BTreeMap;
use std::time::Duration;

use common::catalog::Catalog;
use common::protocol::{Reply, ReplicaReport, StorageReply, StorageRequest, decode, encode};
use common::{Error, ErrorCode, NodeId, PartitionId, ReplicaId, Result};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Gateway;

/// A node that takes longer than this is left out.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// A partition as its replicas report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// The node whose replica leads.
    pub leader: Option<NodeId>,
    /// Rows of the client's tables, by the replica that knows best.
    pub rows: u64,
    /// Size of that replica's file.
    pub bytes: u64,
    /// Transactions prepared and not decided.
    pub in_doubt: u32,
    /// Replicas that answered.
    pub answering: u32,
}

impl Gateway {
    /// Asks every node that holds one of these partitions.
    pub async fn inspect(
        &self,
        catalog: &Catalog,
        partitions: impl Iterator<Item = PartitionId>,
    ) -> BTreeMap<PartitionId, PartitionState> {
        let mut by_node: BTreeMap<&NodeId, Vec<PartitionId>> = BTreeMap::new();
        for id in partitions {
            for replica in catalog.partitions.get(&id).iter().flat_map(|partition| &partition.replicas) {
                by_node.entry(&replica.node).or_default().push(id);
            }
        }
        let questions = by_node.into_iter().filter_map(|(node, ids)| {
            let address = catalog.nodes.get(node)?.address();
            Some(async move { self.replicas_at(&address, ids).await })
        });
        let reports: Vec<ReplicaReport> = join_all(questions).await.into_iter().flatten().collect();
        states(catalog, &reports)
    }

    async fn replicas_at(&self, address: &str, ids: Vec<PartitionId>) -> Vec<ReplicaReport> {
        let payload = encode(&StorageRequest::Replicas(ids));
        let reply = match self.shared.peers.call(address, payload, ANSWER_TIME).await {
            Ok(reply) => decode::<Reply<StorageReply>>(&reply),
            Err(error) => Err(error.of_read()),
        };
        match reply {
            Ok(Ok(StorageReply::Replicas(reports))) => reports,
            Ok(Err(error)) | Err(error) => {
                tracing::debug!(address, %error, "a storage node did not report its replicas");
                Vec::new()
            }
            Ok(Ok(_)) => Vec::new(),
        }
    }

    /// Whether a storage node answers at an address, and what it calls itself.
    pub async fn identify(&self, address: &str) -> Result<(Option<NodeId>, String)> {
        let unreachable = |reason: String| {
            Error::new(ErrorCode::NodeUnreachable, format!("no storage node answers at {address}: {reason}"))
        };
        let payload = encode(&StorageRequest::Identify);
        let reply = self
            .shared
            .peers
            .call(address, payload, 2 * ANSWER_TIME)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        match decode::<Reply<StorageReply>>(&reply) {
            Ok(Ok(StorageReply::Identity { node, instance })) => Ok((node, instance)),
            Ok(Ok(_)) => Err(unreachable("it answered something else".to_owned())),
            Ok(Err(error)) | Err(error) => Err(unreachable(error.message)),
        }
    }

    /// Asks the leader of a partition to hand over to another replica.
    pub async fn transfer_leader(&self, partition: PartitionId, to: ReplicaId) -> Result<()> {
        use super::partition_call::{From, Repeat, Unanswered};
        let deadline = Instant::now() + 4 * ANSWER_TIME;
        let mut request = StorageRequest::TransferLeader { partition, to };
        match self.ask(partition, From::Leader, Repeat::Freely, deadline, &mut request).await {
            Ok(_) => {
                self.shared.leaders.set(partition, to);
                Ok(())
            }
            Err(Unanswered::Refused(error) | Unanswered::Stale(error)) => Err(error),
        }
    }
}

/// Sums reports up: the replica that leads in the greatest term knows best, then the one that applied most.
fn states(catalog: &Catalog, reports: &[ReplicaReport]) -> BTreeMap<PartitionId, PartitionState> {
    let mut best: BTreeMap<PartitionId, (&ReplicaReport, u32)> = BTreeMap::new();
    let rank = |report: &ReplicaReport| (leads(report), report.term, report.applied);
    for report in reports {
        let (known, answering) = best.entry(report.partition).or_insert((report, 0));
        *answering += 1;
        if rank(report) > rank(known) {
            *known = report;
        }
    }
    let node_of = |report: &ReplicaReport| {
        let partition = catalog.partitions.get(&report.partition)?;
        let leader = report.leader?;
        partition.replicas.iter().find(|replica| replica.id == leader).map(|replica| replica.node.clone())
    };
    best.into_iter()
        .map(|(partition, (report, answering))| {
            let state = PartitionState {
                leader: node_of(report),
                rows: report.rows,
                bytes: report.bytes,
                in_doubt: report.in_doubt,
                answering,
            };
            (partition, state)
        })
        .collect()
}

fn leads(report: &ReplicaReport) -> bool {
    report.leader == Some(report.replica)
}
