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
use super::{Operations, partition_leader, undo};
use crate::catalog::{Command, undone_version};

struct Change {
    database: Database,
    schema: Schema,
    /// By column group.
    statements: Vec<Vec<String>>,
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
    take_back(operations, &change).await?;
    fail(operations, id, refusal).await
}

fn find(operations: &Operations, id: &str) -> Option<Change> {
    let catalog = operations.catalog.view();
    let OperationWork::ChangeSchema { database, schema, statements, group_statements, undo, refused, .. } =
        catalog.operations.get(id)?.work.clone()
    else {
        return None;
    };
    let statements = std::iter::once(statements).chain(group_statements).collect();
    let database = catalog.databases.get(&database)?.clone();
    Some(Change { database, schema, statements, undo, refused })
}

/// Waits for every partition's answer, also after a refusal: only then is it known what has to be undone.
async fn make(operations: &Operations, change: &Change) -> Result<()> {
    let partitions = change.database.partitions().map(|(group, _, partition)| {
        let statements = change.statements.get(group).map(Vec::as_slice).unwrap_or_default();
        partition_leader::change_schema(operations, partition, change.schema.version, statements)
    });
    join_all(partitions).await.into_iter().collect()
}

async fn take_back(operations: &Operations, change: &Change) -> Result<()> {
    let partitions = change
        .database
        .partitions()
        .map(|(group, _, partition)| take_back_on(operations, change, group, partition));
    join_all(partitions).await.into_iter().collect()
}

async fn take_back_on(
    operations: &Operations,
    change: &Change,
    group: usize,
    partition: PartitionId,
) -> Result<()> {
    let made = change.schema.version;
    let undone = undone_version(made);
    let has_made = partition_leader::report(operations, partition).await?.schema_version == made;
    let statements = if has_made { undo::on_group(&change.undo, group) } else { Vec::new() };
    match partition_leader::change_schema(operations, partition, undone, &statements).await {
        Err(error) if !statements.is_empty() => {
            // Better a partition with an object too many than one that refuses every request for its version.
            tracing::error!(%partition, %error, "a schema change could not be undone");
            partition_leader::change_schema(operations, partition, undone, &[]).await
        }
        result => result,
    }
}
