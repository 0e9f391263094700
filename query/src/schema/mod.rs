//! Changes of a schema: from SQL text and from declarations by fields.

use common::schema::Schema;

/// A checked change, ready to be carried out on every partition and then published.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaChange {
    /// The schema afterwards; its version is one more than before.
    pub schema: Schema,
    /// DDL for every partition, run in order in one transaction, the system's tables included.
    pub statements: Vec<String>,
}

/// The change that creates tables declared by fields (`tables` of `POST /databases`, or one table of
/// `POST /databases/{db}/tables` in an array). `database` is as it is before, for a new one with an empty schema.
pub fn declare_tables(
    database: &common::catalog::Database,
    tables: &serde_json::Value,
) -> common::Result<SchemaChange> {
    let _ = (database, tables);
    Err(common::Error::internal("not written yet"))
}

/// The change that creates a collection.
pub fn create_collection(database: &common::catalog::Database, name: &str) -> common::Result<SchemaChange> {
    let _ = (database, name);
    Err(common::Error::internal("not written yet"))
}

/// The change that drops a table or a collection.
pub fn drop_table(database: &common::catalog::Database, name: &str) -> common::Result<SchemaChange> {
    let _ = (database, name);
    Err(common::Error::internal("not written yet"))
}
