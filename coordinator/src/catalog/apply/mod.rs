//! Carrying out commands: a pure function of the catalog, the command and the time inside it, so that every
//! coordinator comes to the same catalog. A refused command changes nothing.

mod coordinators;
mod databases;
mod nodes;
mod operations;
mod partitioning;
mod replacing;
mod replicas;
mod rowids;
mod schemas;
#[cfg(test)]
mod tests;

use common::catalog::{Catalog, Database, DatabaseState, OperationWork};
use common::{Error, ErrorCode, Result};

use super::command::{Answer, Command};
use super::kept_answers;

pub use operations::is_open;
pub use replacing::{filling_epoch, serving_epoch};
pub use schemas::undone_version;

/// Carries out a command that was proposed at `at` (milliseconds since the Unix epoch). The caller has set
/// [`Catalog::version`] to the command's place in the log.
pub fn apply(catalog: &mut Catalog, at: u64, command: &Command) -> Result<Answer> {
    coordinators::check_not_leaving(catalog, command)?;
    match command {
        Command::FoundCluster { cluster, replica, host, port, instance } => {
            coordinators::found(catalog, cluster, *replica, host, *port, instance)
        }
        Command::RegisterNode { node, instance, host, port } => {
            nodes::register(catalog, at, node.as_ref(), instance.as_deref(), host, *port)
        }
        Command::SetNodeStatus { node, instance, status } => {
            nodes::set_status(catalog, at, node, instance.as_deref(), *status)
        }
        Command::RemoveNode { node } => nodes::remove(catalog, node),
        Command::CreateDatabase(new) => databases::create(catalog, at, new),
        Command::DropDatabase { database } => databases::drop(catalog, at, database),
        Command::ChangeSchema {
            database,
            expected_version,
            schema,
            statements,
            group_statements,
            undo,
            transaction,
        } => {
            let work = OperationWork::ChangeSchema {
                database: database.clone(),
                schema: schema.clone(),
                statements: statements.clone(),
                group_statements: group_statements.clone(),
                undo: undo.clone(),
                refused: None,
                transaction: *transaction,
            };
            schemas::change(catalog, at, database, *expected_version, schema.version, work)
        }
        Command::RefuseSchemaChange { operation, error } => schemas::refuse(catalog, operation, error),
        Command::AddReplica { partition, node, replaces } => {
            replicas::add(catalog, at, *partition, node, *replaces)
        }
        Command::DrainNode { node } => nodes::drain(catalog, at, node),
        Command::ReplaceBuckets { database, sources, targets, automatic } => {
            replacing::begin(catalog, at, database, sources, targets, *automatic)
        }
        Command::AdvanceReplacing { operation, attempt, stage } => {
            replacing::advance(catalog, operation, *attempt, *stage)
        }
        Command::RestartReplacing { operation, attempt, targets } => {
            replacing::restart(catalog, operation, *attempt, targets)
        }
        Command::FinishReplacing { operation, attempt } => {
            replacing::finish(catalog, at, operation, *attempt)
        }
        Command::ForgetRetired { database, partition } => replacing::forget(catalog, database, *partition),
        Command::Rebalance => operations::rebalance(catalog, at),
        Command::ReplicateDatabase { database, node } => replicas::add_all(catalog, at, database, node),
        Command::RemoveReplica { partition, replica } => replicas::remove(catalog, at, *partition, *replica),
        Command::TransferLeader { partition, replica } => {
            replicas::transfer_leader(catalog, at, *partition, *replica)
        }
        Command::CancelOperation { operation } => operations::cancel(catalog, at, operation),
        Command::StartOperation { operation } => operations::start(catalog, operation),
        Command::FinishOperation { operation } => operations::finish(catalog, at, operation),
        Command::FailOperation { operation, error } => operations::fail(catalog, at, operation, error),
        Command::AllocateRowids { database, table, count, greatest } => {
            rowids::allocate(catalog, database, table, *count, *greatest)
        }
        Command::ReleaseRowids { database, table, first, count } => {
            rowids::release(catalog, database, table, *first, *count)
        }
        Command::RowidsSetByClient { database, table } => rowids::set_by_client(catalog, database, table),
        Command::AddCoordinator { host, port, instance } => coordinators::add(catalog, host, *port, instance),
        Command::SetCoordinatorRole { replica, role } => coordinators::set_role(catalog, *replica, *role),
        Command::MoveCoordinator { replica, host, port } => {
            coordinators::relocate(catalog, *replica, host, *port)
        }
        Command::RemoveCoordinator { replica } => coordinators::remove(catalog, *replica),
        Command::ConfigureCache { enabled, entries, bytes, expiration_seconds } => {
            let limits = &mut catalog.cache;
            limits.enabled = enabled.unwrap_or(limits.enabled);
            limits.entries = entries.unwrap_or(limits.entries);
            limits.bytes = bytes.unwrap_or(limits.bytes);
            limits.expiration_seconds = expiration_seconds.unwrap_or(limits.expiration_seconds);
            Ok(Answer::Done)
        }
        Command::ConfigurePartitioning { .. } => partitioning::configure(catalog, command),
        Command::LeaveCluster => coordinators::leave(catalog),
        Command::StayInCluster => coordinators::stay(catalog),
        Command::KeepAnswer { key, digest, answer } => {
            kept_answers::keep(catalog, at, key, digest, answer).map(|()| Answer::Done)
        }
    }
}

/// Storage nodes must be told anew what to run or where to find each other.
fn placement_changed(catalog: &mut Catalog) {
    catalog.placement_version = catalog.version;
}

/// A database that clients can see.
fn ready_database<'a>(catalog: &'a mut Catalog, name: &str) -> Result<&'a mut Database> {
    catalog
        .databases
        .get_mut(name)
        .filter(|database| database.state == DatabaseState::Ready)
        .ok_or_else(|| database_not_found(name))
}

/// The error for a database that is not there.
#[must_use]
pub fn database_not_found(name: &str) -> Error {
    Error::new(ErrorCode::DatabaseNotFound, format!("Database '{name}' not found"))
}
