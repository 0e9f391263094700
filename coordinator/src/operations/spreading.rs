//! Leaders go where few are: a node that has come back, or has joined, is given its share again.
//!
//! Moving a leader costs its partition a moment, so it is done only in a cluster that is at rest: nothing is under
//! way, everybody reports, and leaders were uneven for a while. Nothing of it is in the catalog: a hand-over that
//! fails is found again by the next look.

use std::collections::BTreeMap;
use std::time::Duration;

use common::catalog::Catalog;
use common::protocol::ReplicaReport;
use common::{PartitionId, ReplicaId};
use tokio::time::Instant;

use super::{Operations, is_open, partition_leader};
use crate::catalog::Command;
use crate::health::PartitionFacts;
use crate::placement::{is_settled, next_leader};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Looks in a row that must find leaders uneven, and the cluster at rest.
const PATIENCE: u32 = 2;
/// Hand-overs after one look.
const STEPS_MAX: usize = 16;
/// Entries that a replica may lack, by reports up to a second old, and be handed a partition all the same.
const LAG_MAX: u64 = 5_000;

/// What was seen so far.
pub(super) struct Spreading {
    looked: Instant,
    uneven: u32,
}

impl Spreading {
    pub(super) fn new() -> Spreading {
        Spreading { looked: Instant::now(), uneven: 0 }
    }

    /// Hands leaders over, if it is time and they should be elsewhere.
    pub(super) async fn look(&mut self, operations: &Operations, catalog: &Catalog) {
        if self.looked.elapsed() < INTERVAL {
            return;
        }
        self.looked = Instant::now();
        let Ok(nodes) = operations.health.nodes().await else { return };
        let facts = facts(nodes.into_iter().flat_map(|node| node.replicas));
        let moves = if is_at_rest(catalog) { hand_overs(catalog, &facts) } else { Vec::new() };
        self.uneven = if moves.is_empty() { 0 } else { self.uneven + 1 };
        if self.uneven < PATIENCE {
            return;
        }
        for HandOver { partition, from, to } in moves {
            tracing::info!(%partition, %to, "a leader is handed over, so that nodes lead equally many");
            if let Err(error) = partition_leader::hand_over(operations, partition, from, to).await {
                tracing::debug!(%partition, %error, "a leader was not handed over");
            }
        }
    }
}

/// A leader that should be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HandOver {
    partition: PartitionId,
    from: ReplicaId,
    to: ReplicaId,
}

fn facts(reports: impl Iterator<Item = ReplicaReport>) -> BTreeMap<PartitionId, PartitionFacts> {
    let mut by_partition: BTreeMap<PartitionId, Vec<ReplicaReport>> = BTreeMap::new();
    for report in reports {
        by_partition.entry(report.partition).or_default().push(report);
    }
    by_partition.into_iter().map(|(partition, reports)| (partition, PartitionFacts::merge(reports))).collect()
}

fn is_at_rest(catalog: &Catalog) -> bool {
    !catalog.operations.values().any(is_open) && is_settled(catalog)
}

/// The next hand-overs. None while a partition has no leader.
fn hand_overs(catalog: &Catalog, facts: &BTreeMap<PartitionId, PartitionFacts>) -> Vec<HandOver> {
    let leads = |id: &PartitionId| Some((*id, facts.get(id).filter(|facts| facts.writable)?.leader?));
    let leaders: Option<BTreeMap<PartitionId, ReplicaId>> = catalog.partitions.keys().map(leads).collect();
    let Some(mut leaders) = leaders else { return Vec::new() };
    let mut moves = Vec::new();
    while moves.len() < STEPS_MAX
        && let Some(Command::TransferLeader { partition, replica: to }) = next_leader(catalog, &leaders)
        && is_near(&facts[&partition], to)
        && let Some(from) = leaders.insert(partition, to)
    {
        moves.push(HandOver { partition, from, to });
    }
    moves
}

/// Whether the replica serves, and could take over in a moment.
fn is_near(facts: &PartitionFacts, replica: ReplicaId) -> bool {
    facts
        .replicas
        .get(&replica)
        .is_some_and(|report| report.quarantined.is_none() && report.applied + LAG_MAX >= facts.applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::fixture;

    /// All partitions led by their replicas on one node, which has applied 9,000 entries, the others fewer.
    fn all_led_by(catalog: &Catalog, node: &str, others: u64) -> BTreeMap<PartitionId, PartitionFacts> {
        let reports = catalog.partitions.values().flat_map(|partition| {
            let leader = partition.replicas.iter().find(|replica| replica.node == node.into()).unwrap().id;
            let applied = move |replica| if replica == leader { 9_000 } else { others };
            partition
                .replicas
                .iter()
                .map(move |one| fixture::report(partition.id, one.id, leader, applied(one.id)))
        });
        facts(reports.collect::<Vec<_>>().into_iter())
    }

    #[test]
    fn leaders_that_have_gathered_on_one_node_are_handed_to_those_that_are_near() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "d", 6, 3);
        let moves = hand_overs(&catalog, &all_led_by(&catalog, "n1", 8_990));
        assert_eq!(moves.len(), 4);
        assert_eq!(hand_overs(&catalog, &all_led_by(&catalog, "n1", 10)), [], "nobody has caught up");
        let mut facts = all_led_by(&catalog, "n1", 8_990);
        facts.pop_first();
        assert_eq!(hand_overs(&catalog, &facts), [], "a partition has no leader");
    }
}
