//! The rest of the cluster, as a storage node speaks to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::protocol::{Assignment, PeerAddress, Verdict};
use common::{Error, ErrorCode, Hlc, NodeId, Outcome, PartitionId, ReplicaId, Result, TransactionId};
use parking_lot::RwLock;
use polylite_client::node::{CoordinatorClient, StorageClient};
use polylite_client::peer::PeerPool;

/// How long one question to another node may take.
const QUESTION: Duration = Duration::from_secs(2);

/// Other nodes. Clones share what is learned.
#[derive(Clone)]
pub struct Neighbours {
    storage: StorageClient,
    coordinator: CoordinatorClient,
    coordinators: Arc<RwLock<Vec<String>>>,
    /// Where the replicas are of the partitions that this node hosts.
    hosted: Arc<RwLock<BTreeMap<PartitionId, Vec<String>>>>,
}

impl Neighbours {
    /// Speaks through a pool's connections; the coordinators' addresses are those known at the start.
    #[must_use]
    pub fn new(pool: PeerPool, coordinators: Vec<String>) -> Neighbours {
        Neighbours {
            storage: StorageClient::new(pool.clone()),
            coordinator: CoordinatorClient::new(pool),
            coordinators: Arc::new(RwLock::new(coordinators)),
            hosted: Arc::default(),
        }
    }

    /// Requests to storage nodes.
    #[must_use]
    pub fn storage(&self) -> &StorageClient {
        &self.storage
    }

    /// Requests to coordinators.
    #[must_use]
    pub fn coordinator(&self) -> &CoordinatorClient {
        &self.coordinator
    }

    /// The connections below.
    #[must_use]
    pub fn pool(&self) -> &PeerPool {
        self.storage.pool()
    }

    /// Addresses of the coordinators, the one that answered last first.
    #[must_use]
    pub fn coordinators(&self) -> Vec<String> {
        self.coordinators.read().clone()
    }

    /// A coordinator has answered and named them all. Those given at the start stay known: the list may be
    /// that of a coordinator that was cut off.
    pub fn learn_coordinators(&self, answered: &str, all: Vec<String>) {
        let mut known = self.coordinators.write();
        let mut fresh = vec![answered.to_owned()];
        for address in all.into_iter().chain(std::mem::take(&mut *known)) {
            if !fresh.contains(&address) {
                fresh.push(address);
            }
        }
        *known = fresh;
    }

    /// This node hosts a partition, whose replicas are there. Thus much is known without asking a coordinator,
    /// which may be the one whose end left the question.
    pub fn learn_replicas(&self, assignment: &Assignment) {
        let addresses = assignment.peers.values().map(|peer| peer.address.clone()).collect();
        self.hosted.write().insert(assignment.partition, addresses);
    }

    /// This node does not host the partition any more.
    pub fn forget_replicas(&self, partition: PartitionId) {
        self.hosted.write().remove(&partition);
    }

    /// Where the replicas of a partition are, from whichever coordinator answers.
    pub async fn locate(&self, partition: PartitionId) -> Result<BTreeMap<ReplicaId, PeerAddress>> {
        let mut last = Error::new(ErrorCode::Unavailable, "no coordinator is known");
        for address in self.coordinators() {
            match self.coordinator.locate(&address, partition, QUESTION).await {
                Ok(replicas) => return Ok(replicas),
                // A coordinator has made sure of that.
                Err(gone) if gone.code == ErrorCode::PartitionNotFound => return Err(gone),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks for a replica of every partition of a database on a node. Answers the operations that make them.
    pub async fn replicate(&self, database: &str, node: &NodeId) -> Result<Vec<String>> {
        let mut last = Error::new(ErrorCode::Unavailable, "no coordinator is known");
        for address in self.coordinators() {
            let asked = self.coordinator.replicate(&address, database.to_owned(), node.clone(), QUESTION);
            match asked.await {
                // Only a coordinator that knows nothing of the request leaves it to the next one.
                Err(error) if error.code.retryable() && error.outcome == Outcome::NotApplied => last = error,
                answer => return answer,
            }
        }
        Err(last)
    }

    /// Asks a transaction's decider what became of it, at whichever replica leads there. A decider that is gone for
    /// ever, because other partitions have taken its place, had no commit left that anybody had to be told of.
    pub async fn resolve(&self, decider: PartitionId, transaction: TransactionId) -> Result<Verdict> {
        self.at_leader(decider, Verdict::ABORT, |address| {
            let storage = self.storage.clone();
            async move { storage.resolve(&address, decider, transaction, QUESTION).await }
        })
        .await
    }

    /// Has a participant carry a commit out; answers once it has. One that is gone for ever had done so before.
    pub async fn carry_out(
        &self,
        participant: PartitionId,
        transaction: TransactionId,
        committed: Hlc,
    ) -> Result<Verdict> {
        let verdict = Verdict { commit: true, at: committed };
        self.at_leader(participant, verdict, |address| {
            let storage = self.storage.clone();
            async move { storage.decide(&address, participant, transaction, verdict, false, QUESTION).await }
        })
        .await
    }

    async fn at_leader<F>(
        &self,
        partition: PartitionId,
        if_gone: Verdict,
        ask: impl Fn(String) -> F,
    ) -> Result<Verdict>
    where
        F: Future<Output = Result<Verdict>>,
    {
        let hosted = self.hosted.read().get(&partition).cloned().unwrap_or_default();
        if let Ok(answer) = first_answer(hosted, &ask).await {
            return Ok(answer);
        }
        let located = match self.locate(partition).await {
            Err(gone) if gone.code == ErrorCode::PartitionNotFound => return Ok(if_gone),
            located => located?,
        };
        first_answer(located.into_values().map(|peer| peer.address).collect(), &ask).await
    }
}

/// Asks one after the other until one answers.
async fn first_answer<F>(addresses: Vec<String>, ask: &impl Fn(String) -> F) -> Result<Verdict>
where
    F: Future<Output = Result<Verdict>>,
{
    let mut last = Error::new(ErrorCode::PartitionNotFound, "the partition has no replicas");
    for address in addresses {
        match ask(address).await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}
