//! The same commands make the same catalog, whatever they are.

use proptest::prelude::*;

use super::*;
use crate::catalog::{CatalogState, Proposal};

/// Commands over few names, so that they meet.
fn any_command() -> impl Strategy<Value = Command> {
    let name = prop::sample::select(vec!["a", "b"]);
    let node = prop::sample::select(vec!["n1", "n2", "n3"]);
    let operation = (1u64..12).prop_map(|number| format!("op-{number}"));
    let partition = (1u64..5).prop_map(PartitionId);
    let nodes = cluster(3);
    prop_oneof![
        (prop::option::of(node.clone()), prop::option::of(0u8..3), 5_000u16..5_004).prop_map(
            |(id, instance, port)| register(
                id,
                instance.map(|i| i.to_string()).as_deref(),
                "localhost",
                port
            )
        ),
        (node.clone(), any::<bool>()).prop_map(|(node, up)| Command::SetNodeStatus {
            node: node.into(),
            instance: Some(format!("instance of {node}")),
            status: if up { NodeStatus::Active } else { NodeStatus::Inactive },
        }),
        node.clone().prop_map(|node| Command::RemoveNode { node: node.into() }),
        (name.clone(), 1u32..3, 1u32..4).prop_map(move |(name, partitions, factor)| {
            Command::CreateDatabase(Box::new(fixture::new_database(&nodes, name, partitions, factor)))
        }),
        name.clone().prop_map(|name| Command::DropDatabase { database: name.into() }),
        operation.clone().prop_map(|operation| Command::FinishOperation { operation }),
        operation.prop_map(|operation| Command::FailOperation { operation, error: Error::internal("x") }),
        (partition.clone(), node).prop_map(|(partition, node)| Command::AddReplica {
            partition,
            node: node.into(),
            replaces: None
        }),
        (partition, 1u64..12)
            .prop_map(|(partition, id)| Command::RemoveReplica { partition, replica: ReplicaId(id) }),
        (name, 1u64..4).prop_map(|(database, count)| Command::AllocateRowids {
            database: database.into(),
            table: "t".into(),
            count,
            greatest: None,
        }),
    ]
}

/// What must hold of every catalog.
fn check(catalog: &Catalog) {
    for database in catalog.databases.values() {
        for (_, _, id) in database.partitions() {
            let partition = &catalog.partitions[&id];
            assert_eq!(partition.database, database.name);
        }
    }
    let mut ids = std::collections::BTreeSet::new();
    for partition in catalog.partitions.values() {
        assert!(catalog.databases.contains_key(&partition.database), "a partition without its database");
        let living = partition.replicas.iter().filter(|replica| replica.role != ReplicaRole::Lost);
        let nodes: Vec<&NodeId> = living.map(|replica| &replica.node).collect();
        let distinct: std::collections::BTreeSet<_> = nodes.iter().collect();
        assert_eq!(distinct.len(), nodes.len(), "two replicas of a partition on one node");
        for node in nodes {
            assert!(catalog.nodes.contains_key(node), "a living replica without its node");
        }
        for replica in &partition.replicas {
            assert!(replica.id.0 < catalog.next_replica && ids.insert(replica.id), "a replica id used twice");
        }
    }
}

proptest! {
    #[test]
    fn the_same_commands_make_the_same_catalog_also_over_a_snapshot(
        commands in prop::collection::vec(any_command(), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let fresh = || {
            let mut state = CatalogState::default();
            state.catalog = cluster(3);
            state
        };
        let proposals: Vec<Proposal> = (0u128..).zip(&commands).map(|(number, command)| Proposal {
            format: 1,
            request: common::RequestId(number),
            at: 7 * u64::try_from(number).unwrap(),
            command: command.clone(),
        }).collect();
        let cut = cut.index(proposals.len());
        let (mut one, mut other) = (fresh(), fresh());
        for (index, proposal) in (100u64..).zip(&proposals) {
            let before = one.catalog.clone();
            let answer = one.apply(index, proposal);
            if answer.is_err() {
                let unmoved = Catalog { version: index, ..before };
                prop_assert_eq!(&one.catalog, &unmoved, "a refused command changes nothing");
            }
            check(&one.catalog);
            // The other one has each command from the log's bytes, and restarts once.
            let read = Proposal::decode(&proposal.encode().unwrap()).unwrap();
            prop_assert_eq!(other.apply(index, &read), answer);
            if usize::try_from(index - 100).unwrap() == cut {
                other = CatalogState::decode(&other.encode()).unwrap();
            }
        }
        prop_assert_eq!(&one.catalog, &other.catalog);
        // Whatever is proposed again is answered as before and changes nothing.
        let before = Catalog { version: 1_000, ..one.catalog.clone() };
        for proposal in &proposals {
            let remembered = other.apply(1_000, proposal);
            prop_assert_eq!(one.apply(1_000, proposal), remembered);
        }
        prop_assert_eq!(one.catalog, before);
    }
}
