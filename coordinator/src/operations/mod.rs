//! Work that takes more than one command: databases made and dropped, schemas changed, replicas added.
//!
//! Each piece of work is an operation in the catalog. [`driver`] runs on whichever coordinator leads and rolls
//! open operations forward; every step may be repeated, so a new leader simply begins again. Requests propose
//! an operation and wait for its end in their own view of the catalog.

pub mod cluster;
mod create_database;
mod drain;
mod driver;
mod leader_transfer;
mod partition_leader;
mod rebalance;
mod replacing;
mod replicas;
mod resizing;
mod schema_change;
mod schema_transaction;
mod spreading;
mod undo;

pub use driver::carry_out;
pub use replacing::new_partitions;

use std::sync::Arc;
use std::time::Duration;

use common::catalog::{Catalog, Database, Operation, OperationState};
use common::partition_division::{self, SplitPoint};
use common::partition_map::{BucketRange, PartitionMethod};
use common::schema::{DatabaseKind, PartitionType, Schema};
use common::{Error, ErrorCode, Outcome, PartitionId, ReplicaId, Result};
use polylite_client::node::StorageClient;
use query::schema::SchemaChange;
use tokio::time::Instant;

use crate::catalog::{Answer, CatalogStore, Command, NewDatabase, NewPartition, is_open, random};
use crate::health::ClusterHealth;
use crate::placement::{Measured, choose_nodes};

/// How long an operation that a client watches itself may take to be entered.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that is inactive for so long has its replicas made anew on others, unless another time is set.
pub const REPAIR_AFTER: Duration = Duration::from_secs(300);
/// How often nodes are chosen again because one left before its choice was entered.
const PLACEMENT_ATTEMPTS: usize = 3;

/// A database as asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseSpec {
    /// Its name.
    pub name: String,
    /// Its default face.
    pub kind: DatabaseKind,
    /// Which way it is divided.
    pub partition_type: PartitionType,
    /// The column that spreads the rows of each table that has it.
    pub partition_key: Option<String>,
    /// How keys choose a bucket.
    pub method: PartitionMethod,
    /// What each bucket owns, in order; together every key.
    pub ranges: Vec<BucketRange>,
    /// Names of its column groups, the anchor's first.
    pub column_groups: Vec<String>,
    /// Attributes of documents by column group, as far as it was said.
    pub attribute_groups: Vec<Vec<String>>,
    /// How many replicas each partition is meant to have.
    pub replication_factor: u32,
    /// Its first schema.
    pub schema: Schema,
    /// DDL that makes it, for every partition of the first column group.
    pub statements: Vec<String>,
    /// The same for the other column groups.
    pub group_statements: Vec<Vec<String>>,
}

/// Carries operations out and lets requests wait for them. Clones share it.
#[derive(Clone)]
pub struct Operations {
    catalog: CatalogStore,
    health: ClusterHealth,
    storage: StorageClient,
    repair_after: Duration,
}

impl Operations {
    /// Operations over the parts that they need.
    #[must_use]
    pub fn new(catalog: CatalogStore, health: ClusterHealth, storage: StorageClient) -> Operations {
        Operations { catalog, health, storage, repair_after: REPAIR_AFTER }
    }

    /// The same, where a node that is inactive for so long has its replicas made anew on others.
    #[must_use]
    pub fn with_repair_after(self, repair_after: Duration) -> Operations {
        Operations { repair_after, ..self }
    }

    /// Rolls operations forward for as long as this coordinator leads; runs until it is dropped.
    pub async fn drive(self) {
        driver::run(self).await;
    }

    /// Makes a database; answers when every partition has a leader that takes writes and has the schema.
    /// Fails with `no_storage_nodes` when no node is active.
    pub async fn create_database(&self, spec: DatabaseSpec, within: Duration) -> Result<Arc<Database>> {
        let deadline = Instant::now() + within;
        let name = spec.name.clone();
        let operation = self.begin_create(spec, deadline).await?;
        self.end_of(&operation, deadline).await?;
        let catalog = self.catalog.view();
        let database = catalog.databases.get(&name).cloned();
        // Another request may drop it right away.
        database.map(Arc::new).ok_or_else(|| crate::catalog::database_not_found(&name))
    }

    /// Chooses nodes and enters the database; answers the operation.
    async fn begin_create(&self, spec: DatabaseSpec, deadline: Instant) -> Result<String> {
        let mut attempt = 1;
        loop {
            // As new as possible: nodes that registered through another coordinator are to be used.
            let catalog = self.catalog.confirmed_within(remaining(deadline)).await?;
            let measured = self.health.measured().await;
            let command = Command::CreateDatabase(Box::new(placed(&catalog, &measured, spec.clone())?));
            match self.propose_operation(command, deadline).await {
                Err(error) if error.code == ErrorCode::Unavailable && attempt < PLACEMENT_ATTEMPTS => {
                    attempt += 1
                }
                result => return result,
            }
        }
    }

    /// Drops a database; answers when no client can see it any more. Its files are removed soon after.
    pub async fn drop_database(&self, name: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        let command = Command::DropDatabase { database: name.to_owned() };
        let operation = self.propose_operation(command, deadline).await?;
        self.end_of(&operation, deadline).await
    }

    /// Changes a schema that is at `expected_version`; answers when it is published everywhere. Fails with
    /// `stale_schema`, and the version to wait for, when another change came first; and with the partition's
    /// own error when the data do not allow it (the change is undone everywhere).
    pub async fn change_schema(
        &self,
        database: &str,
        expected_version: u64,
        change: SchemaChange,
        within: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        let catalog = self.catalog.confirmed_within(remaining(deadline)).await?;
        let before =
            catalog.databases.get(database).ok_or_else(|| crate::catalog::database_not_found(database))?;
        let undo = undo::statements(&before.schema, &change.schema, &change.statements);
        let command = Command::ChangeSchema {
            database: database.to_owned(),
            expected_version,
            schema: change.schema,
            statements: change.statements,
            group_statements: change.group_statements,
            undo,
            transaction: None,
        };
        let operation = self.propose_operation(command, deadline).await?;
        self.end_of(&operation, deadline).await
    }

    /// Begins to have another replica lead a partition; answers the operation.
    pub async fn transfer_leader(&self, partition: PartitionId, replica: ReplicaId) -> Result<String> {
        let deadline = Instant::now() + BEGIN_TIMEOUT;
        self.propose_operation(Command::TransferLeader { partition, replica }, deadline).await
    }

    /// Begins to move a partition's replica to another node; answers the operation.
    pub async fn move_replica(
        &self,
        partition: PartitionId,
        from: ReplicaId,
        node: common::NodeId,
    ) -> Result<String> {
        let deadline = Instant::now() + BEGIN_TIMEOUT;
        let command = Command::AddReplica { partition, node, replaces: Some(from) };
        self.propose_operation(command, deadline).await
    }

    /// Begins to have a node give its replicas away; answers the operation.
    pub async fn drain(&self, node: common::NodeId) -> Result<String> {
        self.propose_operation(Command::DrainNode { node }, Instant::now() + BEGIN_TIMEOUT).await
    }

    /// Begins to spread replicas and leaders evenly; answers the operation.
    pub async fn rebalance(&self) -> Result<String> {
        self.propose_operation(Command::Rebalance, Instant::now() + BEGIN_TIMEOUT).await
    }

    /// Begins to split a partition's bucket; answers the operation.
    pub async fn split(&self, partition: PartitionId, at: &SplitPoint) -> Result<String> {
        let catalog = self.catalog.confirmed_within(BEGIN_TIMEOUT).await?;
        let (database, bucket) = replacing::bucket_of(&catalog, partition)?;
        let ranges = partition_division::split(&bucket.range, at)?;
        self.replace(&catalog, database, vec![partition], &ranges, false).await
    }

    /// Begins to merge the buckets of two partitions, of which the right one begins where the left one ends; answers the
    /// operation.
    pub async fn merge(&self, left: PartitionId, right: PartitionId) -> Result<String> {
        self.merge_as(left, right, false).await
    }

    async fn merge_as(&self, left: PartitionId, right: PartitionId, automatic: bool) -> Result<String> {
        let catalog = self.catalog.confirmed_within(BEGIN_TIMEOUT).await?;
        let (database, first) = replacing::bucket_of(&catalog, left)?;
        let (other, second) = replacing::bucket_of(&catalog, right)?;
        let merged = partition_division::merged(&first.range, &second.range);
        let merged = merged.filter(|_| database.name == other.name).ok_or_else(|| {
            Error::bad_request("only neighbours can be merged: 'right' begins where 'left' ends")
        })?;
        self.replace(&catalog, database, vec![left, right], &[merged], automatic).await
    }

    async fn replace(
        &self,
        catalog: &Catalog,
        database: &Database,
        sources: Vec<PartitionId>,
        ranges: &[BucketRange],
        automatic: bool,
    ) -> Result<String> {
        let measured = self.health.measured().await;
        let targets = new_partitions(catalog, &measured, database, ranges)?;
        let database = database.name.clone();
        let command = Command::ReplaceBuckets { database, sources, targets, automatic };
        self.propose_operation(command, Instant::now() + BEGIN_TIMEOUT).await
    }

    /// Gives an operation up. Fails if it has ended, or cannot be given up.
    pub async fn cancel(&self, id: &str) -> Result<()> {
        self.catalog.propose(Command::CancelOperation { operation: id.to_owned() }).await.map(drop)
    }

    /// An operation by its id, confirmed.
    pub async fn get(&self, id: &str) -> Result<Operation> {
        let catalog = self.catalog.confirmed().await?;
        let not_found = || Error::new(ErrorCode::NotFound, format!("Operation '{id}' not found"));
        catalog.operations.get(id).cloned().ok_or_else(not_found)
    }

    async fn propose_operation(&self, command: Command, deadline: Instant) -> Result<String> {
        match self.catalog.propose_within(command, remaining(deadline)).await? {
            Answer::Operation(operation) => Ok(operation),
            _ => Err(Error::internal("an operation was answered with something else")),
        }
    }

    /// Waits for the end of an operation and answers its outcome.
    async fn end_of(&self, id: &str, deadline: Instant) -> Result<()> {
        let ended = |catalog: &Catalog| match catalog.operations.get(id) {
            Some(operation) if is_open(operation) => None,
            Some(operation) => Some(outcome(operation)),
            // The view lags behind its beginning.
            None => None,
        };
        let late = || {
            Error::new(ErrorCode::Timeout, format!("operation {id} has not ended in time and goes on"))
                .with_hint(format!("watch it at /cluster/operations/{id}"))
                .with_outcome(Outcome::Unknown)
        };
        self.catalog.wait_until(remaining(deadline), ended).await.unwrap_or_else(|| Err(late()))
    }
}

fn outcome(operation: &Operation) -> Result<()> {
    match (&operation.state, &operation.error) {
        (OperationState::Completed, _) => Ok(()),
        (_, Some(error)) => Err(error.clone()),
        (_, None) => Err(Error::internal(format!("operation {} was given up", operation.id))),
    }
}

/// The database with nodes for its partitions.
fn placed(catalog: &Catalog, measured: &Measured, spec: DatabaseSpec) -> Result<NewDatabase> {
    let count = spec.ranges.len() * spec.column_groups.len();
    let nodes = choose_nodes(catalog, measured, count, spec.replication_factor)?;
    let partitions = spec.ranges.iter().cycle().cloned().zip(nodes);
    Ok(NewDatabase {
        name: spec.name,
        kind: spec.kind,
        partition_type: spec.partition_type,
        partition_key: spec.partition_key,
        method: spec.method,
        replication_factor: spec.replication_factor,
        schema: spec.schema,
        statements: spec.statements,
        group_statements: spec.group_statements,
        column_groups: spec.column_groups,
        attribute_groups: spec.attribute_groups,
        partitions: partitions
            .map(|(range, nodes)| NewPartition { uuid: random::uuid(), range, nodes })
            .collect(),
    })
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
