//! Whoever changes the cluster: asks for operations, drives them, and does harm.

use std::pin::pin;
use std::time::Duration;

use common::catalog::{Database, OperationWork, ReplicaRole};
use common::partition_division::{SplitPoint, merged, split};
use common::partition_map::{PartitionMethod, hash_ranges};
use common::schema::{DatabaseKind, ObjectKind, PartitionType, Schema, SchemaObject, TableSpec};
use common::{PartitionId, ReplicaId};
use coordinator::catalog::{Command, NewDatabase, is_open};
use coordinator::operations::{carry_out, new_partitions};
use coordinator::placement::Measured;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use tokio::time::Instant;

use super::clients::TABLE;
use super::world::{NODES, State, World};

/// The database under test.
pub(crate) const DATABASE: &str = "d";
/// Partitions at the beginning.
const PARTITIONS: u32 = 2;
/// Most partitions.
const PARTITIONS_MAX: usize = 5;
/// How often a coordinator looks for operations.
const LOOK: Duration = Duration::from_millis(20);

/// Makes the database, and waits until it is there.
pub(crate) async fn found(world: &World) {
    {
        let mut state = world.state();
        let catalog = state.catalog.clone();
        let statement = format!("CREATE TABLE {TABLE} (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)");
        let table = TableSpec {
            name: TABLE.into(),
            kind: common::schema::TableKind::Relational,
            partition_key: Vec::new(),
            reference: false,
            global_indexes: Vec::new(),
            next_rowid: 1,
            rowids_set_by_client: true,
            column_groups: Vec::new(),
            declared: None,
        };
        let object = SchemaObject {
            kind: ObjectKind::Table,
            name: TABLE.into(),
            table: TABLE.into(),
            sql: statement.clone(),
        };
        let schema = Schema { version: 1, objects: vec![object], tables: [(TABLE.to_owned(), table)].into() };
        let ranges = hash_ranges(PARTITIONS);
        let nodes = coordinator::placement::choose_nodes(&catalog, &Measured::new(), ranges.len(), 3)
            .expect("there are nodes");
        let partitions = ranges.into_iter().zip(nodes).enumerate();
        let new = NewDatabase {
            name: DATABASE.into(),
            kind: DatabaseKind::Sql,
            partition_type: PartitionType::Horizontal,
            partition_key: None,
            method: PartitionMethod::Hash,
            replication_factor: 3,
            schema,
            statements: vec![statement],
            group_statements: Vec::new(),
            column_groups: common::catalog::one_column_group(),
            attribute_groups: Vec::new(),
            partitions: partitions
                .map(|(number, (range, nodes))| coordinator::catalog::NewPartition {
                    uuid: format!("first {number}"),
                    range,
                    nodes,
                })
                .collect(),
        };
        state.propose(&Command::CreateDatabase(Box::new(new))).expect("a database is made");
    }
    while !world.is_at_rest() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks for splits, merges, moves and other leaders, at random.
pub(crate) async fn ask_for_changes(world: &World, until: Instant) {
    while Instant::now() < until {
        let pause = world.state().random.random_range(20..400);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut state = world.state();
        let Some(command) = drawn(&mut state) else { continue };
        // What is under way may stand in its way.
        let _ = state.propose(&command);
    }
}

fn drawn(state: &mut State) -> Option<Command> {
    let catalog = state.catalog.clone();
    let database = catalog.databases.get(DATABASE)?;
    let count = database.buckets.len();
    let place = state.random.random_range(0..count);
    match state.random.random_range(0..10) {
        0..4 if count < PARTITIONS_MAX => {
            let ranges = split(&database.buckets[place].range, &SplitPoint::Middle).ok()?;
            replace(state, database, &[place], &ranges)
        }
        4..7 if count > 2 && place + 1 < count => {
            let range = merged(&database.buckets[place].range, &database.buckets[place + 1].range)?;
            replace(state, database, &[place, place + 1], &[range])
        }
        7 | 8 => {
            let partition = &catalog.partitions[&database.buckets[place].partitions[0]];
            let voters = partition.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
            let voters: Vec<ReplicaId> = voters.map(|replica| replica.id).collect();
            let holds =
                |node: &common::NodeId| partition.replicas.iter().any(|replica| replica.node == *node);
            let free: Vec<_> = state.active().into_iter().filter(|node| !holds(node)).collect();
            let replaces = voters.choose(&mut state.random).copied();
            let node = free.choose(&mut state.random)?.clone();
            Some(Command::AddReplica { partition: partition.id, node, replaces })
        }
        _ => {
            let partition = &catalog.partitions[&database.buckets[place].partitions[0]];
            let replica = partition.replicas.choose(&mut state.random)?.id;
            Some(Command::TransferLeader { partition: partition.id, replica })
        }
    }
}

fn replace(
    state: &State,
    database: &Database,
    places: &[usize],
    ranges: &[common::partition_map::BucketRange],
) -> Option<Command> {
    let sources: Vec<PartitionId> =
        places.iter().map(|place| database.buckets[*place].partitions[0]).collect();
    let targets = new_partitions(&state.catalog, &Measured::new(), database, ranges).ok()?;
    Some(Command::ReplaceBuckets { database: DATABASE.into(), sources, targets, automatic: false })
}

/// Cuts the power of storage nodes.
pub(crate) async fn harm(world: &World, until: Instant) {
    let every = world.state().random.random_range(500..6_000);
    while Instant::now() < until {
        let pause = world.state().random.random_range(every / 4..every * 2);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut state = world.state();
        let node = state.random.random_range(0..NODES);
        state.crash_node(node);
    }
}

/// Drives operations as a coordinator does that leads, and dies from time to time at any of their steps.
pub(crate) async fn drive_with_deaths(world: &World, until: Instant) {
    let every = world.state().random.random_range(200..8_000);
    while Instant::now() < until {
        let life = Duration::from_millis(world.state().random.random_range(every / 4..every * 2));
        let mut driving = pin!(drive_for_ever(world));
        tokio::select! {
            biased;
            () = &mut driving => {}
            () = tokio::time::sleep(life) => {}
        }
        let pause = {
            let mut state = world.state();
            let interrupted = state.catalog.operations.values().any(is_open) && Instant::now() < until;
            state.report.drivers_lost += u64::from(interrupted);
            state.random.random_range(5..300)
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    drive_for_ever(world).await;
}

/// Drives operations as a coordinator does that leads.
pub(crate) async fn drive_for_ever(world: &World) {
    let mut driven = std::collections::BTreeSet::new();
    let mut running = FuturesUnordered::new();
    loop {
        let open: Vec<_> = {
            let state = world.state();
            state.catalog.operations.values().filter(|operation| is_open(operation)).cloned().collect()
        };
        for operation in open {
            if driven.insert(operation.id.clone()) {
                running.push(async move {
                    // After an error it is taken up again.
                    let _ = carry_out(world, &operation).await;
                    operation
                });
            }
        }
        tokio::select! {
            biased;
            Some(ended) = running.next(), if !running.is_empty() => {
                count(world, &ended.id);
                driven.remove(&ended.id);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Counts what has come to its end.
fn count(world: &World, id: &str) {
    let mut state = world.state();
    let catalog = state.catalog.clone();
    let Some(operation) = catalog.operations.get(id).filter(|operation| !is_open(operation)) else { return };
    let completed = u64::from(operation.state == common::catalog::OperationState::Completed);
    match &operation.work {
        OperationWork::ReplaceBuckets { attempt, .. } => {
            state.report.replaced += completed;
            state.report.attempts_lost += u64::from(attempt.saturating_sub(1));
        }
        OperationWork::AddReplica { .. } => state.report.moved += completed,
        OperationWork::TransferLeader { .. } => state.report.handed_over += completed,
        _ => {}
    }
}
