//! Changes of a schema: from SQL text ([`statement`]) and from declarations by fields ([`declaration`]).
//! [`spread`] and [`column_groups`] decide how a table's rows are spread and what keeps its uniqueness over partitions.

mod column_groups;
mod declaration;
mod group_ddl;
mod group_declaration;
mod spread;
mod statement;

use common::catalog::Database;
use common::schema::{ObjectKind, Schema, TableKind, attributes_column, collection_ddl};
use common::{Error, ErrorCode, Result, names};
use serde_json::Value as Json;

pub use column_groups::columns_of_groups;
pub(crate) use group_ddl::typed_column;
pub use group_declaration::{declare_attribute_groups, declare_column_groups};
pub(crate) use spread::term_column;
pub(crate) use statement::{Build, Defined, Definition, define, define_all};
use statement::{Said, define_with};

/// A checked change, ready to be carried out on every partition and then published.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaChange {
    /// The schema afterwards; its version is one more than before.
    pub schema: Schema,
    /// DDL for every partition of the first column group, run in order in one transaction, the system's
    /// tables included.
    pub statements: Vec<String>,
    /// The same for each other column group.
    pub group_statements: Vec<Vec<String>>,
}

impl SchemaChange {
    /// Adds statements behind those that are there.
    fn append(&mut self, statements: Vec<String>, group_statements: Vec<Vec<String>>) {
        self.statements.extend(statements);
        let groups = self.group_statements.len().max(group_statements.len());
        self.group_statements.resize(groups, Vec::new());
        for (all, more) in self.group_statements.iter_mut().zip(group_statements) {
            all.extend(more);
        }
    }
}

/// The change that creates tables declared by fields (`tables` of `POST /databases`, or one table of
/// `POST /databases/{db}/tables` in an array). `database` is as it is before, for a new one with an empty
/// schema.
pub fn declare_tables(database: &Database, tables: &Json) -> Result<SchemaChange> {
    let declared = declaration::parse(tables)?;
    declaration::change(database, &declared)
}

/// The change that creates a collection.
pub fn create_collection(database: &Database, name: &str) -> Result<SchemaChange> {
    names::check_database_name("collection", name)?;
    let (mut said, groups) = (Said::default(), database.column_groups.len());
    let lower = name.to_ascii_lowercase();
    if groups > 1 {
        let share = |(group, name): (usize, &String)| (name.clone(), vec![attributes_column(group)]);
        let shares = database.column_groups.iter().enumerate().map(share);
        said.column_groups.insert(lower.clone(), shares.collect());
    }
    said.collections.insert(lower);
    let definition = define_with(database, &collection_ddl(name, groups), &said)?
        .ok_or_else(|| Error::internal("a collection was made by a statement without effect"))?;
    Ok(definition.change)
}

/// The change that drops a table or a collection.
pub fn drop_table(database: &Database, name: &str) -> Result<SchemaChange> {
    let Some(spec) = database.schema.table(name) else {
        return Err(Error::new(ErrorCode::TableNotFound, format!("no such table: {name}")));
    };
    let sql = format!("DROP TABLE {}", names::quote_identifier(&spec.name));
    let definition =
        define(database, &sql)?.ok_or_else(|| Error::internal("dropping a table had no effect"))?;
    Ok(definition.change)
}

/// The names of the tables of a kind, in order of creation.
#[must_use]
pub fn table_names(schema: &Schema, kind: TableKind) -> Vec<String> {
    schema
        .objects
        .iter()
        .filter(|object| object.kind == ObjectKind::Table)
        .filter(|object| schema.table(&object.name).is_some_and(|spec| spec.kind == kind))
        .map(|object| object.name.clone())
        .collect()
}
