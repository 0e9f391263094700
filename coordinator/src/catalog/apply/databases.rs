//! Commands that create and drop databases.

use std::collections::{BTreeMap, BTreeSet};

use common::catalog::{
    Catalog, Database, DatabaseState, OperationState, OperationWork, Partition, Replica, ReplicaRole,
};
use common::limits::PARTITIONS_MAX;
use common::names::check_database_name;
use common::partition_division::first_homes;
use common::partition_map::Bucket;
use common::{Error, ErrorCode, PartitionId, ReplicaId, Result};

use super::{operations, placement_changed};
use crate::catalog::{Answer, NewDatabase, NewPartition};

/// The epoch of a bucket that has never been moved, split or merged.
const FIRST_EPOCH: u64 = 1;

pub(super) fn create(catalog: &mut Catalog, at: u64, new: &NewDatabase) -> Result<Answer> {
    check_database_name("database", &new.name)?;
    if catalog.databases.contains_key(&new.name) {
        return Err(database_exists(&new.name));
    }
    check_partitions(catalog, new)?;
    let ids: Vec<PartitionId> =
        new.partitions.iter().map(|partition| insert_partition(catalog, &new.name, partition)).collect();
    let count = new.partitions.len() / new.column_groups.len();
    let ranges: Vec<_> = new.partitions[..count].iter().map(|anchor| anchor.range.clone()).collect();
    let homes = first_homes(&ranges);
    let buckets = ranges.into_iter().zip(homes).enumerate().map(|(bucket, (range, homes))| Bucket {
        range,
        homes,
        partitions: ids.iter().skip(bucket).step_by(count).copied().collect(),
        epoch: FIRST_EPOCH,
    });
    let database = Database {
        name: new.name.clone(),
        kind: new.kind,
        partition_type: new.partition_type,
        partition_key: new.partition_key.clone(),
        method: new.method,
        replication_factor: new.replication_factor,
        state: DatabaseState::Creating,
        schema: new.schema.clone(),
        schema_change: None,
        buckets: buckets.collect(),
        column_groups: new.column_groups.clone(),
        attribute_groups: new.attribute_groups.clone(),
        created_at: at,
        retired: Vec::new(),
        successors: BTreeMap::new(),
        buckets_asked: count,
    };
    catalog.databases.insert(new.name.clone(), database);
    placement_changed(catalog);
    let work = OperationWork::CreateDatabase {
        database: new.name.clone(),
        statements: new.statements.clone(),
        group_statements: new.group_statements.clone(),
    };
    Ok(Answer::Operation(operations::begin(catalog, at, work)))
}

/// The nodes were chosen before the command had its place in the log; they must still be there.
fn check_partitions(catalog: &Catalog, new: &NewDatabase) -> Result<()> {
    let (partitions, groups) = (new.partitions.len(), new.column_groups.len());
    if partitions == 0 || partitions > PARTITIONS_MAX as usize {
        return Err(Error::bad_request(format!("a database has 1 to {PARTITIONS_MAX} partitions")));
    }
    if groups == 0 || partitions % groups != 0 {
        return Err(Error::internal("each column group has as many partitions as there are buckets"));
    }
    check_nodes(catalog, &new.partitions)
}

/// The nodes of new partitions are there, and a different one for each replica.
pub(super) fn check_nodes(catalog: &Catalog, new: &[NewPartition]) -> Result<()> {
    for partition in new {
        let distinct: BTreeSet<_> = partition.nodes.iter().collect();
        if distinct.is_empty() || distinct.len() != partition.nodes.len() {
            return Err(Error::internal("the replicas of a partition need different nodes"));
        }
        if let Some(gone) = distinct.into_iter().find(|node| !catalog.nodes.contains_key(node)) {
            let message = format!("Storage node '{gone}' has left while partitions were made on it");
            return Err(Error::new(ErrorCode::Unavailable, message));
        }
    }
    Ok(())
}

pub(super) fn insert_partition(catalog: &mut Catalog, database: &str, new: &NewPartition) -> PartitionId {
    let id = PartitionId(catalog.next_partition);
    catalog.next_partition += 1;
    let replicas = new.nodes.iter().map(|node| {
        let id = ReplicaId(catalog.next_replica);
        catalog.next_replica += 1;
        Replica { id, node: node.clone(), role: ReplicaRole::Voter }
    });
    let partition = Partition {
        id,
        uuid: new.uuid.clone(),
        database: database.to_owned(),
        replicas: replicas.collect(),
        bootstrapped: false,
    };
    catalog.partitions.insert(id, partition);
    id
}

/// Whatever else is done to the database ends; its partitions go when the operation finishes.
pub(super) fn drop(catalog: &mut Catalog, at: u64, name: &str) -> Result<Answer> {
    let database = catalog
        .databases
        .get_mut(name)
        .filter(|database| database.state != DatabaseState::Dropping)
        .ok_or_else(|| {
            Error::new(ErrorCode::DatabaseNotFound, format!("Database '{name}' does not exist"))
        })?;
    database.state = DatabaseState::Dropping;
    database.schema_change = None;
    let dropped = Error::new(ErrorCode::DatabaseNotFound, format!("Database '{name}' was dropped"));
    operations::end_all_of(catalog, at, name, OperationState::Cancelled, &dropped);
    let work = OperationWork::DropDatabase { database: name.to_owned() };
    Ok(Answer::Operation(operations::begin(catalog, at, work)))
}

/// The database and its partitions are no longer assigned to anybody.
pub(super) fn remove(catalog: &mut Catalog, name: &str) {
    catalog.databases.remove(name);
    catalog.partitions.retain(|_, partition| partition.database != name);
    placement_changed(catalog);
}

fn database_exists(name: &str) -> Error {
    Error::new(ErrorCode::DatabaseExists, format!("Database '{name}' already exists"))
}
