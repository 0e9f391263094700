//! Changing a schema on every partition.
//!
//! All partitions are brought to the next version. If the data of one do not allow it (a UNIQUE index over rows
//! that are not unique), that is entered first; from then on, whoever leads undoes the change: every
//! partition goes one version further, those that had made the change by taking it back.

use common::catalog::{Database, OperationWork};
use common::schema::Schema;
use common::{Error, PartitionId, Result};
use futures_util::future::join_all;

use super::driver::{fail, finish};
use super::{Operations, partition_leader};
use crate::catalog::{Command, undone_version};

struct Change {
    database: Database,
    schema: Schema,
    statements: Vec<String>,
    undo: Vec<String>,
    refused: Option<Box<Error>>,
}

pub(super) async fn drive(operations: &Operations, id: &str) -> Result<()> {
    // It ended meanwhile if there is none.
    let Some(change) = find(operations, id) else { return Ok(()) };
    let refusal = match &change.refused {
        Some(refusal) => (**refusal).clone(),
        None => match make(operations, &change).await {
            Ok(()) => return finish(operations, id).await,
            Err(refusal) => {
                let command =
                    Command::RefuseSchemaChange { operation: id.to_owned(), error: refusal.clone() };
                operations.catalog.propose(command).await?;
                refusal
            }
        },
    };
    undo(operations, &change).await?;
    fail(operations, id, refusal).await
}

fn find(operations: &Operations, id: &str) -> Option<Change> {
    let catalog = operations.catalog.view();
    let OperationWork::ChangeSchema { database, schema, statements, undo, refused } =
        catalog.operations.get(id)?.work.clone()
    else {
        return None;
    };
    let database = catalog.databases.get(&database)?.clone();
    Some(Change { database, schema, statements, undo, refused })
}

/// Waits for every partition's answer, also after a refusal: only then is it known what has to be undone.
async fn make(operations: &Operations, change: &Change) -> Result<()> {
    let partitions = change.database.buckets.iter().map(|bucket| {
        partition_leader::change_schema(
            operations,
            bucket.partition,
            change.schema.version,
            &change.statements,
        )
    });
    join_all(partitions).await.into_iter().collect()
}

async fn undo(operations: &Operations, change: &Change) -> Result<()> {
    let partitions =
        change.database.buckets.iter().map(|bucket| undo_on(operations, change, bucket.partition));
    join_all(partitions).await.into_iter().collect()
}

async fn undo_on(operations: &Operations, change: &Change, partition: PartitionId) -> Result<()> {
    let made = change.schema.version;
    let undone = undone_version(made);
    let has_made = partition_leader::report(operations, partition).await?.schema_version == made;
    let statements: &[String] = if has_made { &change.undo } else { &[] };
    match partition_leader::change_schema(operations, partition, undone, statements).await {
        Err(error) if !statements.is_empty() => {
            // Better a partition with an object too many than one that refuses every request for its version.
            tracing::error!(%partition, %error, "a schema change could not be undone");
            partition_leader::change_schema(operations, partition, undone, &[]).await
        }
        result => result,
    }
}
