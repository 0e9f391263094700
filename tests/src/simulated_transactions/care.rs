//! What storage nodes do about transactions that nobody finishes: see `storage_node::replica::worker::transactions`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::protocol::{StorageReply, Verdict};
use common::{PartitionId, TransactionId};
use coordinator::operations::cluster::Cluster as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use storage_node::replica::machine::Job;
use tokio::time::{Instant, sleep, timeout};

use super::network::Network;
use super::storage::StorageService;
use crate::simulated_placement::world::{Name, World};

/// How long a prepared transaction is left alone.
const IN_DOUBT_AFTER: Duration = Duration::from_secs(1);
/// How often leaders look.
const LOOK: Duration = Duration::from_millis(20);
/// How long a decider is waited for.
const ANSWER: Duration = Duration::from_secs(2);
/// The same for what a node asks of itself, in milliseconds.
const OWN_MS: u64 = 2_000;

/// A transaction that is in doubt at a replica.
type Doubt = (Name, TransactionId);

/// Has leaders ask deciders about what is prepared. A leader that has inherited it asks at once. Never ends.
pub(super) async fn look_after_transactions(world: &World, network: &Network) {
    let services = network.services();
    let mut seen: BTreeMap<Doubt, Instant> = BTreeMap::new();
    let mut asked: BTreeSet<Doubt> = BTreeSet::new();
    let mut asking = FuturesUnordered::new();
    loop {
        let doubts = doubts(world);
        seen.retain(|doubt, _| doubts.contains_key(doubt));
        for (doubt, (decider, is_owed)) in doubts {
            let since = *seen.entry(doubt).or_insert_with(Instant::now);
            if (is_owed || since.elapsed() >= IN_DOUBT_AFTER) && asked.insert(doubt) {
                asking.push(resolve(world, services, doubt, decider));
            }
        }
        tokio::select! {
            biased;
            Some(doubt) = asking.next(), if !asking.is_empty() => {
                asked.remove(&doubt);
            }
            () = sleep(LOOK) => {}
        }
    }
}

/// What is in doubt at leaders, with who decides and whether reads wait for it.
fn doubts(world: &World) -> BTreeMap<Doubt, (PartitionId, bool)> {
    let state = world.state();
    let running = state.places.iter().filter_map(|(name, place)| Some((*name, place.node.as_ref()?)));
    let doubts = running.filter_map(|(name, node)| {
        let (transaction, decider) = node.in_doubt()?;
        Some(((name, transaction), (decider, node.owes_commit())))
    });
    doubts.collect()
}

/// Asks who decides, and carries out what it says. Where nothing is answered, it is asked again.
async fn resolve(
    world: &World,
    services: &[Arc<StorageService>],
    doubt: Doubt,
    decider: PartitionId,
) -> Doubt {
    let ((partition, _), transaction) = doubt;
    let decide = Job::Decide { transaction, verdict: Verdict::ABORT, decides: true };
    let decided = ask(world, services, decider, decide).await;
    if let (Some(verdict), true) = (decided, decider != partition) {
        let carry_out = Job::Decide { transaction, verdict, decides: false };
        ask(world, services, partition, carry_out).await;
    }
    sleep(LOOK).await;
    doubt
}

/// Asks the leader of a partition, if it can be reached.
async fn ask(
    world: &World,
    services: &[Arc<StorageService>],
    partition: PartitionId,
    job: Job,
) -> Option<Verdict> {
    let leader = world.presumed_leader(partition)?;
    let (on, delay) = {
        let mut state = world.state();
        let on = state.places.get(&(partition, leader))?.on;
        (on, state.delay())
    };
    sleep(Duration::from_micros(delay)).await;
    if world.state().loses_request() {
        return None;
    }
    match timeout(ANSWER, services[on].job(partition, job, OWN_MS)).await {
        Ok(Ok(StorageReply::Decided(verdict))) => Some(verdict),
        _ => None,
    }
}
