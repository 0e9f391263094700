//! Small clusters for tests of placement.

use common::catalog::Catalog;
use common::partition_map::{PartitionMethod, hash_ranges};
use common::protocol::ReplicaReport;
use common::schema::{DatabaseKind, PartitionType, Schema};
use common::{NodeId, PartitionId, ReplicaId};

use super::{Measured, choose_nodes};
use crate::catalog::{Answer, Command, NewDatabase, NewPartition, apply};

/// Nodes `n1`, `n2`, … that have reported.
pub(crate) fn cluster(nodes: usize) -> Catalog {
    let mut catalog = Catalog::default();
    let found = Command::FoundCluster {
        cluster: "c".into(),
        replica: ReplicaId(1),
        host: "h".into(),
        port: 1,
        instance: "i".into(),
    };
    run(&mut catalog, &found);
    for number in 1..=nodes {
        add_node(&mut catalog, &format!("n{number}"));
    }
    catalog
}

/// Carries a command out at the next version.
pub(crate) fn run(catalog: &mut Catalog, command: &Command) -> Answer {
    catalog.version += 1;
    apply(catalog, 1_000 * catalog.version, command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

pub(crate) fn add_node(catalog: &mut Catalog, id: &str) -> NodeId {
    let port = 5_000 + u16::try_from(catalog.nodes.len()).unwrap();
    let instance = Some(format!("instance of {id}"));
    run(catalog, &Command::RegisterNode { node: Some(id.into()), instance, host: "localhost".into(), port });
    NodeId::from(id)
}

/// A database that is not in the catalog yet.
pub(crate) fn new_database(catalog: &Catalog, name: &str, partitions: u32, factor: u32) -> NewDatabase {
    let nodes = choose_nodes(catalog, &Measured::new(), partitions as usize, factor).unwrap();
    let partitions = hash_ranges(partitions).into_iter().zip(nodes).enumerate();
    NewDatabase {
        name: name.into(),
        kind: DatabaseKind::Sql,
        partition_type: PartitionType::Horizontal,
        partition_key: None,
        method: PartitionMethod::Hash,
        replication_factor: factor,
        schema: Schema { version: 1, ..Schema::default() },
        statements: vec!["CREATE TABLE t (id INTEGER PRIMARY KEY)".into()],
        group_statements: Vec::new(),
        column_groups: common::catalog::one_column_group(),
        attribute_groups: Vec::new(),
        partitions: partitions
            .map(|(number, (range, nodes))| NewPartition { uuid: format!("{name}-{number}"), range, nodes })
            .collect(),
    }
}

/// Enters a database and answers its operation.
pub(crate) fn begin_create(catalog: &mut Catalog, name: &str, partitions: u32, factor: u32) -> String {
    let new = new_database(catalog, name, partitions, factor);
    operation(run(catalog, &Command::CreateDatabase(Box::new(new))))
}

/// Enters a database and finishes it.
pub(crate) fn create(catalog: &mut Catalog, name: &str, partitions: u32, factor: u32) {
    let operation = begin_create(catalog, name, partitions, factor);
    run(catalog, &Command::FinishOperation { operation });
}

pub(crate) fn operation(answer: Answer) -> String {
    let Answer::Operation(operation) = answer else { panic!("not an operation: {answer:?}") };
    operation
}

/// What a replica reports of itself that knows a leader.
pub(crate) fn report(
    partition: PartitionId,
    replica: ReplicaId,
    leader: ReplicaId,
    applied: u64,
) -> ReplicaReport {
    ReplicaReport {
        partition,
        replica,
        leader: Some(leader),
        term: 2,
        applied,
        committed: applied,
        schema_version: 1,
        rows: 0,
        table_rows: Vec::new(),
        bytes: 0,
        configuration_index: 1,
        voters: Vec::new(),
        learners: Vec::new(),
        in_doubt: 0,
        writable: replica == leader,
        digest: None,
        quarantined: None,
        used_bytes: 0,
        requests: 0,
    }
}
