//! What each command does, and that the same commands make the same catalog.

mod coordinators;
mod databases;
mod nodes;
mod property;
mod replacing;
mod replicas;
mod rowids;
mod schemas;

use super::apply;
use crate::catalog::{Answer, Command};
use crate::placement::fixture::{self, cluster, create, operation, run};
use common::catalog::{Catalog, DatabaseState, NodeStatus, OperationState, OperationWork, ReplicaRole};
use common::schema::{ObjectKind, SchemaObject, TableKind, TableSpec};
use common::{Error, ErrorCode, NodeId, PartitionId, ReplicaId};

/// A refused command, which must not have changed anything.
fn refused(catalog: &mut Catalog, command: &Command) -> Error {
    let before = catalog.clone();
    let error = apply(catalog, 1, command).expect_err("the command is refused");
    assert_eq!(*catalog, before, "a refused command changes nothing");
    error
}

fn register(id: Option<&str>, instance: Option<&str>, host: &str, port: u16) -> Command {
    Command::RegisterNode {
        node: id.map(NodeId::from),
        instance: instance.map(str::to_owned),
        host: host.into(),
        port,
    }
}

fn registered(catalog: &mut Catalog, command: &Command) -> String {
    let Answer::Node(id) = run(catalog, command) else { panic!("not a node") };
    id.0
}

fn set_status(catalog: &mut Catalog, id: &str, status: NodeStatus) {
    let instance = catalog.nodes[&NodeId::from(id)].instance.clone();
    run(catalog, &Command::SetNodeStatus { node: id.into(), instance, status });
}

fn status(catalog: &Catalog, id: &str) -> NodeStatus {
    catalog.nodes[&NodeId::from(id)].status
}

fn lost(catalog: &Catalog) -> usize {
    let replicas = catalog.partitions.values().flat_map(|partition| &partition.replicas);
    replicas.filter(|replica| replica.role == ReplicaRole::Lost).count()
}

fn table(name: &str) -> TableSpec {
    TableSpec {
        name: name.into(),
        kind: TableKind::Relational,
        partition_key: vec![],
        reference: false,
        global_indexes: vec![],
        next_rowid: 1,
        rowids_set_by_client: false,
        column_groups: Vec::new(),
        declared: None,
    }
}

/// A cluster with database `d` that has the table `T`.
fn with_table() -> Catalog {
    let mut catalog = cluster(1);
    create(&mut catalog, "d", 1, 1);
    catalog.databases.get_mut("d").unwrap().schema.tables.insert("t".into(), table("T"));
    catalog
}

#[test]
fn a_cluster_is_founded_once_and_takes_five_coordinators() {
    let mut catalog = cluster(0);
    let found = Command::FoundCluster {
        cluster: "again".into(),
        replica: ReplicaId(1),
        host: "h".into(),
        port: 1,
        instance: "i".into(),
    };
    refused(&mut catalog, &found);
    let add = |port: u16, instance: &str| Command::AddCoordinator {
        host: "h".into(),
        port,
        instance: instance.into(),
    };
    for port in 2..=5 {
        run(&mut catalog, &add(port, &port.to_string()));
    }
    assert_eq!(refused(&mut catalog, &add(6, "6")).code, ErrorCode::NotSupported);
    assert_eq!(run(&mut catalog, &add(7, "5")), Answer::Coordinator(ReplicaId(5)), "a repeated join");
}

#[test]
fn ended_operations_are_forgotten_after_a_while() {
    let mut catalog = cluster(1);
    create(&mut catalog, "a", 1, 1);
    assert_eq!(catalog.operations.len(), 1);
    catalog.version += 4_000;
    create(&mut catalog, "b", 1, 1);
    assert_eq!(catalog.operations.len(), 1);
}
