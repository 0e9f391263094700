//! Work that takes more than one command: databases made and dropped, schemas changed, replicas added.

use std::sync::Arc;
use std::time::Duration;

use common::Result;
use common::catalog::{Database, Operation};
use common::partition_map::{BucketRange, PartitionMethod};
use common::schema::{DatabaseKind, PartitionType, Schema};

use crate::catalog::CatalogStore;

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
    /// What each partition owns, in order; together every key.
    pub ranges: Vec<BucketRange>,
    /// How many replicas each partition is meant to have.
    pub replication_factor: u32,
    /// Its first schema.
    pub schema: Schema,
    /// DDL that makes it, for every partition.
    pub statements: Vec<String>,
}

/// Carries operations out and lets requests wait for them. Clones share it.
#[derive(Clone)]
pub struct Operations {
    catalog: CatalogStore,
}

impl Operations {
    /// Makes a database; answers when every partition has a leader that takes writes and has the schema.
    /// Fails with `no_storage_nodes` when no node is active.
    pub async fn create_database(&self, _spec: DatabaseSpec, _within: Duration) -> Result<Arc<Database>> {
        Err(common::Error::internal("not there yet"))
    }

    /// Drops a database; answers when no client can see it any more.
    pub async fn drop_database(&self, _name: &str, _within: Duration) -> Result<()> {
        Err(common::Error::internal("not there yet"))
    }

    /// Changes a schema that is at `expected_version`; answers when it is published everywhere. Fails with
    /// `stale_schema`, and the version to wait for, when another change came first; and with the partition's
    /// own error when the data do not allow it (the change is undone everywhere).
    pub async fn change_schema(
        &self,
        _database: &str,
        _expected_version: u64,
        _after: Schema,
        _statements: Vec<String>,
        _within: Duration,
    ) -> Result<()> {
        Err(common::Error::internal("not there yet"))
    }

    /// An operation by its id, confirmed.
    pub async fn get(&self, id: &str) -> Result<Operation> {
        let catalog = self.catalog.confirmed().await?;
        catalog.operations.get(id).cloned().ok_or_else(|| {
            common::Error::new(common::ErrorCode::NotFound, format!("Operation '{id}' not found"))
        })
    }
}
