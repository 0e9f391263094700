//! Commands about schema changes. One at a time per database; each compares and sets the schema's version.

use common::catalog::{Catalog, OperationWork};
use common::schema::Schema;
use common::{Error, ErrorCode, Result};

use super::{operations, ready_database, replacing};
use crate::catalog::Answer;

pub(super) fn change(
    catalog: &mut Catalog,
    at: u64,
    name: &str,
    expected_version: u64,
    version: u64,
    work: OperationWork,
) -> Result<Answer> {
    replacing::check_none(catalog, name)?;
    let database = ready_database(catalog, name)?;
    if let Some(pending) = &database.schema_change {
        let message = format!("the schema of '{name}' is being changed by operation {pending}");
        return Err(stale(message, database.schema.version + 1));
    }
    if database.schema.version != expected_version || version != expected_version + 1 {
        let message = format!("the schema of '{name}' has changed meanwhile");
        return Err(stale(message, database.schema.version));
    }
    let operation = operations::begin(catalog, at, work);
    ready_database(catalog, name)?.schema_change = Some(operation.clone());
    Ok(Answer::Operation(operation))
}

fn stale(message: String, version: u64) -> Error {
    let mut error = Error::new(ErrorCode::StaleSchema, message);
    error.version = Some(version);
    error
}

/// From here on the change is undone, whichever coordinator leads.
pub(super) fn refuse(catalog: &mut Catalog, id: &str, error: &Error) -> Result<Answer> {
    if let Some(operation) = operations::open(catalog, id)?
        && let OperationWork::ChangeSchema { refused: refused @ None, .. } = &mut operation.work
    {
        *refused = Some(Box::new(error.clone()));
    }
    Ok(Answer::Done)
}

/// Every partition has the schema.
pub(super) fn publish(catalog: &mut Catalog, name: &str, mut schema: Schema) {
    let Some(database) = catalog.databases.get_mut(name) else { return };
    for (key, table) in &mut schema.tables {
        match database.schema.tables.get(key) {
            // Rowids were handed out while the change was under way.
            Some(before) => {
                table.next_rowid = table.next_rowid.max(before.next_rowid);
                table.rowids_set_by_client |= before.rowids_set_by_client;
            }
            // A table under a new name that has rows: those handed out since the plan are not in `schema`.
            None => table.rowids_set_by_client |= table.next_rowid > 1,
        }
    }
    database.schema = schema;
    database.schema_change = None;
}

/// The transaction that was to make a change has come to nothing, so there is nothing to undo.
pub(super) fn drop_change(catalog: &mut Catalog, name: &str) {
    if let Some(database) = catalog.databases.get_mut(name) {
        database.schema_change = None;
    }
}

/// A change to `version` is undone on every partition: they are one version further, with the objects that
/// they had before.
pub(super) fn withdraw(catalog: &mut Catalog, name: &str, version: u64) {
    let Some(database) = catalog.databases.get_mut(name) else { return };
    database.schema.version = undone_version(version);
    database.schema_change = None;
}

/// The version of a schema after a change to `version` was undone.
#[must_use]
pub const fn undone_version(version: u64) -> u64 {
    version + 1
}
