//! Nodes for the partitions of a new database.

use common::catalog::Catalog;
use common::{Error, ErrorCode, NodeId, Result};

use super::load::{Measured, Weights, loads};

/// Chooses the nodes of each of `partitions` new partitions: different ones for the replicas of a partition,
/// those that carry the least first, by number, size and requests of their replicas; as many as there are if they are
/// fewer than the factor. The first of each list is to lead, so that leaders are spread as evenly as replicas.
///
/// Fails with `no_storage_nodes` if no node takes replicas.
pub fn choose_nodes(
    catalog: &Catalog,
    measured: &Measured,
    partitions: usize,
    factor: u32,
) -> Result<Vec<Vec<NodeId>>> {
    let weights = Weights::new(measured);
    let mut loads = loads(catalog, &weights);
    if loads.is_empty() {
        return Err(Error::new(ErrorCode::NoStorageNodes, "no storage node is active")
            .with_hint("start one with: polylite storage-node --coordinator URL"));
    }
    let replicas = usize::try_from(factor.max(1)).unwrap_or(usize::MAX).min(loads.len());
    let mut chosen = Vec::with_capacity(partitions);
    for _ in 0..partitions {
        let mut nodes: Vec<NodeId> = loads.keys().cloned().collect();
        nodes.sort_by_key(|node| (loads[node].weight, loads[node].leaders));
        nodes.truncate(replicas);
        nodes.sort_by_key(|node| loads[node].leaders);
        for (position, node) in nodes.iter().enumerate() {
            let load = loads.get_mut(node).expect("chosen among the loads");
            load.weight += weights.of_new();
            load.leaders += usize::from(position == 0);
        }
        chosen.push(nodes);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use common::catalog::NodeStatus;

    use super::*;
    use crate::placement::{PartitionLoad, fixture};

    fn spread(nodes: usize, partitions: usize, factor: u32) -> Vec<Vec<NodeId>> {
        choose_nodes(&fixture::cluster(nodes), &Measured::new(), partitions, factor).unwrap()
    }

    fn counts<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> Vec<usize> {
        let mut counts = BTreeMap::new();
        for node in nodes {
            *counts.entry(node).or_insert(0) += 1;
        }
        counts.into_values().collect()
    }

    #[test]
    fn replicas_and_leaders_are_spread_evenly_over_different_nodes() {
        for (nodes, partitions, factor) in
            [(3, 4, 3), (5, 4, 3), (5, 17, 3), (7, 256, 3), (4, 6, 1), (6, 9, 5)]
        {
            let chosen = spread(nodes, partitions, factor);
            assert_eq!(chosen.len(), partitions);
            for replicas in &chosen {
                assert_eq!(replicas.len(), factor as usize);
                assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), replicas.len());
            }
            for counts in [counts(chosen.iter().flatten()), counts(chosen.iter().map(|nodes| &nodes[0]))] {
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 2, "{nodes} nodes, {partitions} × {factor}: {counts:?}");
            }
        }
    }

    #[test]
    fn with_fewer_nodes_than_the_factor_each_has_a_replica() {
        assert_eq!(spread(2, 3, 3).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn only_active_nodes_that_have_reported_are_chosen() {
        let mut catalog = fixture::cluster(4);
        catalog.nodes.get_mut(&NodeId::from("n1")).unwrap().status = NodeStatus::Suspected;
        catalog.nodes.get_mut(&NodeId::from("n2")).unwrap().instance = None;
        let chosen = choose_nodes(&catalog, &Measured::new(), 2, 3).unwrap();
        let used: BTreeSet<_> = chosen.iter().flatten().map(NodeId::as_str).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["n3", "n4"]);
    }

    #[test]
    fn without_active_nodes_the_error_says_so() {
        let error = choose_nodes(&fixture::cluster(0), &Measured::new(), 1, 3).unwrap_err();
        assert_eq!(error.code, ErrorCode::NoStorageNodes);
    }

    #[test]
    fn new_databases_go_where_little_is() {
        let mut catalog = fixture::cluster(3);
        fixture::create(&mut catalog, "busy", 2, 2);
        let node = fixture::add_node(&mut catalog, "n9");
        let chosen = choose_nodes(&catalog, &Measured::new(), 1, 1).unwrap();
        assert_eq!(chosen, [vec![node]]);
    }

    #[test]
    fn new_partitions_go_to_the_nodes_that_hold_and_do_the_least() {
        let mut catalog = fixture::cluster(4);
        fixture::create(&mut catalog, "d", 4, 1);
        let busy: Vec<_> = catalog.partitions.values().take(2).map(|partition| partition.id).collect();
        let load = |bytes, requests| PartitionLoad { bytes, requests };
        let mut measured: Measured =
            catalog.partitions.keys().map(|id| (*id, PartitionLoad::default())).collect();
        measured.insert(busy[0], load(8 << 30, 0));
        measured.insert(busy[1], load(0, 9_000));
        let chosen: BTreeSet<_> =
            choose_nodes(&catalog, &measured, 2, 1).unwrap().into_iter().flatten().collect();
        let avoided: BTreeSet<_> =
            busy.iter().map(|id| catalog.partitions[id].replicas[0].node.clone()).collect();
        assert!(chosen.len() == 2 && chosen.is_disjoint(&avoided), "{chosen:?}, {avoided:?}");
    }
}
