//! What is known of the storage nodes beside the catalog: who reports, and how their replicas run.
//!
//! Reports stay in the memory of the catalog's leader; only changed opinions become commands. Other
//! coordinators pass reports on and ask the leader. Who needs the truth of this moment asks the nodes.

mod facts;
mod rates;
mod verdict;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::catalog::{Catalog, Node, NodeStatus};
use common::protocol::{CoordinatorReply, CoordinatorRequest, Heartbeat, NodeHealth, ReplicaReport};
use common::{Error, ErrorCode, NodeId, PartitionId, Result};
use futures_util::future::join_all;
use parking_lot::Mutex;
use polylite_client::node::StorageClient;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::catalog::{CatalogStore, Command};
use crate::gateway::Leaders;
use crate::placement::{Measured, assignments};
use rates::Rates;

pub use facts::PartitionFacts;
pub use verdict::{INACTIVE_AFTER, SUSPECTED_AFTER};

/// How long a node may take to say how its replicas run.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a coordinator waits for the leader when it passes a report on.
const RELAY_TIMEOUT: Duration = Duration::from_secs(1);

/// What a node said last.
struct Heard {
    at: Instant,
    instance: String,
    replicas: Vec<ReplicaReport>,
    rates: Rates,
}

/// The storage nodes as heard of. Clones share it.
#[derive(Clone)]
pub struct ClusterHealth {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: CatalogStore,
    storage: StorageClient,
    heard: Mutex<BTreeMap<NodeId, Heard>>,
    /// Who leads each partition, by the reports that came to this coordinator.
    leaders: Arc<Leaders>,
    /// A report came that may change an opinion.
    news: Notify,
}

impl ClusterHealth {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(catalog: CatalogStore, storage: StorageClient) -> ClusterHealth {
        let (heard, leaders, news) = (Mutex::default(), Arc::default(), Notify::new());
        let inner = Inner { catalog, storage, heard, leaders, news };
        ClusterHealth { inner: Arc::new(inner) }
    }

    /// Who leads each partition as far as is known, for whoever sends requests there.
    #[must_use]
    pub fn leaders(&self) -> Arc<Leaders> {
        self.inner.leaders.clone()
    }

    /// Watches over the nodes for as long as this coordinator leads; runs until it is dropped.
    pub async fn watch(self) {
        watch::run(self).await;
    }

    /// A storage node reports here. Answers what it should run, if it does not know yet. The leader is told.
    pub(crate) async fn report(&self, heartbeat: Heartbeat) -> Result<CoordinatorReply> {
        let catalog = self.inner.catalog.view();
        check_identity(&catalog, &heartbeat)?;
        heartbeat.replicas.iter().for_each(|report| self.inner.leaders.heard(report));
        let newer = catalog.placement_version > heartbeat.assignments_version;
        let reply = CoordinatorReply::Heartbeat {
            assignments: newer.then(|| assignments(&catalog, &heartbeat.node)),
            coordinators: self.inner.catalog.coordinator_addresses().into_values().collect(),
        };
        if self.inner.catalog.is_leader() {
            self.hear(heartbeat).await?;
        } else if let Some(leader) = self.inner.catalog.leader_address() {
            let relayed = CoordinatorRequest::RelayedHeartbeat(heartbeat);
            let told = self.inner.catalog.client().request(&leader, relayed, RELAY_TIMEOUT).await;
            if let Err(error) = told {
                tracing::debug!(%error, leader, "a report could not be passed on");
            }
        }
        Ok(reply)
    }

    /// A report that another coordinator passes on.
    pub(crate) async fn relayed(&self, heartbeat: Heartbeat) -> Result<CoordinatorReply> {
        if !self.inner.catalog.is_leader() {
            return Err(self.inner.catalog.not_leader(false));
        }
        check_identity(&self.inner.catalog.view(), &heartbeat)?;
        self.hear(heartbeat).await?;
        Ok(CoordinatorReply::Heartbeat { assignments: None, coordinators: Vec::new() })
    }

    async fn hear(&self, heartbeat: Heartbeat) -> Result<()> {
        let Heartbeat { node, instance, replicas, stopping, .. } = heartbeat;
        if stopping {
            self.inner.heard.lock().remove(&node);
            let command =
                Command::SetNodeStatus { node, instance: Some(instance), status: NodeStatus::Inactive };
            self.inner.catalog.propose(command).await?;
            return Ok(());
        }
        let avoided = self.inner.catalog.view().nodes.get(&node).is_some_and(is_avoided);
        let mut heard = self.inner.heard.lock();
        let (at, before) = (Instant::now(), heard.remove(&node));
        let mut rates = before.map(|last| last.rates).unwrap_or_default();
        rates.note(at.into_std(), &replicas);
        heard.insert(node, Heard { at, instance, replicas, rates });
        drop(heard);
        if avoided {
            self.inner.news.notify_one();
        }
        Ok(())
    }

    /// What the leader has heard of the storage nodes. Fails with `no_quorum` if nobody leads.
    pub async fn nodes(&self) -> Result<Vec<NodeHealth>> {
        if self.inner.catalog.is_leader() {
            return Ok(self.heard_here());
        }
        let nobody = || Error::new(ErrorCode::NoQuorum, "no coordinator leads at the moment");
        let leader = self.inner.catalog.leader_address().ok_or_else(nobody)?;
        self.inner.catalog.client().health(&leader, ASK_TIMEOUT).await
    }

    /// The same for another coordinator. Fails with `not_leader` if this one does not lead.
    pub(crate) fn nodes_here(&self) -> Result<CoordinatorReply> {
        if !self.inner.catalog.is_leader() {
            return Err(self.inner.catalog.not_leader(false));
        }
        Ok(CoordinatorReply::Health(self.heard_here()))
    }

    fn heard_here(&self) -> Vec<NodeHealth> {
        let catalog = self.inner.catalog.view();
        let heard = self.inner.heard.lock();
        let health = |node: &Node| {
            let last = heard.get(&node.id);
            let silent = last.map_or(u128::MAX, |last| last.at.elapsed().as_millis());
            NodeHealth {
                node: node.id.clone(),
                status: node.status,
                silent_ms: u64::try_from(silent).unwrap_or(u64::MAX),
                replicas: last.map(|last| last.replicas.clone()).unwrap_or_default(),
                requests_per_second: last.map(|last| last.rates.per_second()).unwrap_or_default(),
            }
        };
        catalog.nodes.values().map(health).collect()
    }

    /// What the partitions hold and do, as far as the leader has heard. Nothing is known while nobody leads.
    pub async fn measured(&self) -> Measured {
        let mut measured = Measured::new();
        if self.inner.catalog.is_leader() {
            // Looked at every second, of every replica: nothing is copied for it.
            let catalog = self.inner.catalog.view();
            let heard = self.inner.heard.lock();
            for (_, last) in heard.iter().filter(|(node, _)| catalog.nodes.contains_key(*node)) {
                measure(&mut measured, &last.replicas, &last.rates.per_second());
            }
            return measured;
        }
        match self.nodes().await {
            Ok(nodes) => nodes
                .iter()
                .for_each(|node| measure(&mut measured, &node.replicas, &node.requests_per_second)),
            Err(error) => tracing::debug!(%error, "nothing is known of what partitions hold and do"),
        }
        measured
    }

    /// How a partition runs according to the reports that came to this coordinator, up to a second old; nothing
    /// is known on coordinators that do not lead.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> PartitionFacts {
        let heard = self.inner.heard.lock();
        let reports = heard.values().flat_map(|heard| &heard.replicas);
        PartitionFacts::merge(reports.filter(|report| report.partition == id).cloned())
    }

    /// How partitions run at this moment: every node that holds a replica of them is asked. Nodes that do not
    /// answer within a second are left out.
    pub async fn ask(&self, partitions: &[PartitionId]) -> BTreeMap<PartitionId, PartitionFacts> {
        let catalog = self.inner.catalog.view();
        let asked = holders(&catalog, partitions).into_iter().map(|(address, partitions)| async move {
            let reports = self.inner.storage.replicas(&address, partitions, ASK_TIMEOUT).await;
            reports.unwrap_or_else(|error| {
                tracing::debug!(%error, address, "a storage node did not say how its replicas run");
                Vec::new()
            })
        });
        let mut reports: BTreeMap<PartitionId, Vec<ReplicaReport>> =
            partitions.iter().map(|partition| (*partition, Vec::new())).collect();
        for report in join_all(asked).await.into_iter().flatten() {
            reports.entry(report.partition).or_default().push(report);
        }
        reports.into_iter().map(|(partition, reports)| (partition, PartitionFacts::merge(reports))).collect()
    }

    /// Somebody says that a node is gone. It is probed: if it answers, it stays as it is. Answers its status.
    pub async fn hint_inactive(&self, id: &NodeId) -> Result<NodeStatus> {
        let catalog = self.inner.catalog.confirmed().await?;
        let node = catalog
            .nodes
            .get(id)
            .ok_or_else(|| Error::new(ErrorCode::NodeNotFound, format!("Storage node '{id}' not found")))?;
        let answered = self.inner.storage.identify(&node.address(), ASK_TIMEOUT).await;
        // A foreign node at the address is not the one that is asked about.
        let is_ours = |cluster: Option<String>| cluster.is_none_or(|theirs| theirs == catalog.cluster);
        let lives = answered.is_ok_and(|(_, instance, cluster)| {
            is_ours(cluster) && node.instance.as_ref().is_none_or(|known| *known == instance)
        });
        if lives {
            return Ok(node.status);
        }
        let instance = node.instance.clone();
        let command = Command::SetNodeStatus { node: id.clone(), instance, status: NodeStatus::Inactive };
        self.inner.catalog.propose(command).await?;
        Ok(NodeStatus::Inactive)
    }
}

/// Adds what a node's replicas hold and do.
fn measure(measured: &mut Measured, replicas: &[ReplicaReport], requests_per_second: &[(PartitionId, u64)]) {
    for report in replicas {
        let load = measured.entry(report.partition).or_default();
        load.bytes = load.bytes.max(report.used_bytes);
    }
    for (partition, requests) in requests_per_second {
        measured.entry(*partition).or_default().requests += requests;
    }
}

fn is_avoided(node: &Node) -> bool {
    matches!(node.status, NodeStatus::Suspected | NodeStatus::Inactive)
}

/// A storage node of another cluster must not be taken in: it holds that cluster's data, and runs nothing else.
pub(crate) fn check_cluster(ours: &str, theirs: &str) -> Result<()> {
    if ours.is_empty() {
        return Err(Error::new(ErrorCode::Unavailable, "the coordinator does not know its cluster yet"));
    }
    if ours == theirs {
        return Ok(());
    }
    let message =
        format!("the storage node belongs to cluster {theirs}, and this coordinator to cluster {ours}");
    Err(Error::new(ErrorCode::Forbidden, message).with_hint(
        "point the node at its own coordinators, or give it an empty data directory to join this cluster",
    ))
}

/// A node that the catalog does not know, or knows as another instance, has to register again.
fn check_identity(catalog: &Catalog, heartbeat: &Heartbeat) -> Result<()> {
    check_cluster(&catalog.cluster, &heartbeat.cluster)?;
    let id = &heartbeat.node;
    let Some(node) = catalog.nodes.get(id) else {
        return Err(Error::new(ErrorCode::NodeNotFound, format!("Storage node '{id}' not found")));
    };
    if node.instance.as_ref() != Some(&heartbeat.instance) {
        let message = format!("Storage node '{id}' is another data directory");
        return Err(Error::new(ErrorCode::NodeNotFound, message));
    }
    Ok(())
}

/// The addresses to ask, each with the partitions that are asked for there.
fn holders(catalog: &Catalog, partitions: &[PartitionId]) -> BTreeMap<String, Vec<PartitionId>> {
    let mut holders: BTreeMap<String, Vec<PartitionId>> = BTreeMap::new();
    for partition in partitions.iter().filter_map(|id| catalog.partitions.get(id)) {
        for replica in &partition.replicas {
            let node = catalog.nodes.get(&replica.node);
            if let Some(node) = node.filter(|node| node.status != NodeStatus::Inactive) {
                holders.entry(node.address()).or_default().push(partition.id);
            }
        }
    }
    holders
}
