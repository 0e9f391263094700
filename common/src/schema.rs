//! A database's schema, as the catalog keeps it. The SQL text of each object is the authority; columns,
//! affinities and constraints are read from an empty SQLite database that holds the text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The face that a database shows by default. Any database holds tables and collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatabaseKind {
    /// Tables.
    #[serde(rename = "SQL")]
    Sql,
    /// Collections of documents.
    #[serde(rename = "NOSQL")]
    NoSql,
}

/// Which way a database is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PartitionType {
    /// By rows.
    Horizontal,
    /// By columns.
    Vertical,
    /// By both.
    Mixed,
}

impl DatabaseKind {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DatabaseKind::Sql => "SQL",
            DatabaseKind::NoSql => "NOSQL",
        }
    }
}

impl PartitionType {
    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PartitionType::Horizontal => "HORIZONTAL",
            PartitionType::Vertical => "VERTICAL",
            PartitionType::Mixed => "MIXED",
        }
    }
}

/// Tables, indexes and views.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Grows by one with each change.
    pub version: u64,
    /// The client's objects in order of creation.
    pub objects: Vec<SchemaObject>,
    /// How each table is spread, by its name in lower case.
    pub tables: BTreeMap<String, TableSpec>,
}

impl Schema {
    /// The table of that name, in any letter case.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&TableSpec> {
        self.tables.get(&name.to_ascii_lowercase())
    }
}

/// What a schema object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A table.
    Table,
    /// An index made by CREATE INDEX.
    Index,
    /// A view.
    View,
    /// A trigger.
    Trigger,
}

/// One object of the schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name as written.
    pub name: String,
    /// The table it belongs to; its own name for tables and views.
    pub table: String,
    /// The statement that makes it.
    pub sql: String,
}

/// What rows a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Rows of declared columns.
    #[default]
    Relational,
    /// Documents: `_id`, `doc` (JSONB) and their metadata, see [`collection_ddl`].
    Collection,
}

/// How a table is spread over the buckets of its database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableSpec {
    /// Its name as written.
    pub name: String,
    /// What its rows are.
    #[serde(default)]
    pub kind: TableKind,
    /// Columns whose stored values choose the bucket. Empty: the rowid does.
    pub partition_key: Vec<String>,
    /// A full copy of it lies in every bucket, so that what joins it never leaves a bucket.
    #[serde(default)]
    pub reference: bool,
    /// Uniqueness that the partition key does not imply: each has index rows in partitions of their own choice.
    #[serde(default)]
    pub global_indexes: Vec<GlobalIndex>,
    /// The next rowid to hand out, one more than the greatest so far.
    #[serde(default = "first_rowid")]
    pub next_rowid: i64,
    /// A client has set rowids itself since `next_rowid` was last brought up to date: the greatest must be
    /// looked up in the partitions before the next one is handed out.
    #[serde(default)]
    pub rowids_set_by_client: bool,
    /// By column group of the database, the columns that lie there besides the key columns, which lie in
    /// each: those of the partition key and of the primary key. A group without columns of its own does not
    /// have the table, the first one always has. Empty: all columns lie in the first.
    #[serde(default)]
    pub column_groups: Vec<Vec<String>>,
    /// The columns as given when the table was made by fields rather than by SQL; answered as they came.
    #[serde(default)]
    pub declared: Option<DeclaredTable>,
}

fn first_rowid() -> i64 {
    1
}

/// A UNIQUE or PRIMARY KEY constraint over values that do not choose the bucket. Its rows lie in the
/// bucket that the hash of the indexed values chooses, in a table of the system on the same partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalIndex {
    /// The system's table: `_unique_<n>`, holding the indexed columns and `_rowid` of the row.
    pub table: String,
    /// The indexed columns of the base table or, if its entries are computed, names that the hidden table has for
    /// what is computed.
    pub columns: Vec<String>,
    /// The CREATE INDEX statement's name, or `None` for a constraint of the table.
    pub index: Option<String>,
    /// Rows that were there before it are still being entered. Every writer maintains it already; the
    /// client's index is made when all rows are in. The next schema change drops what an interrupted build
    /// has left.
    #[serde(default)]
    pub building: bool,
    /// How its entries are computed from rows, if they are not just the values of columns.
    #[serde(default)]
    pub computed: Option<ComputedEntries>,
}

/// How the entries of a global index are computed: its key has expressions, generated columns or collations of its
/// own, or it leaves rows out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputedEntries {
    /// The query over a table of one row that answers the row's entry, and nothing for a row that has none.
    pub query: String,
    /// The collation of each value.
    pub collations: Vec<String>,
    /// How SQLite names the constraint when it is violated.
    pub violated: String,
}

/// A table as declared by fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeclaredTable {
    /// Columns in order.
    pub columns: Vec<DeclaredColumn>,
    /// Columns with an index each.
    #[serde(default)]
    pub indexes: Vec<String>,
}

/// A column as declared by fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclaredColumn {
    /// Its name.
    pub name: String,
    /// Its type, kept as written.
    pub data_type: String,
    /// Whether it is (part of) the primary key.
    #[serde(default)]
    pub primary_key: bool,
    /// Whether it may be NULL.
    #[serde(default = "default_nullable")]
    pub nullable: bool,
    /// Its default, as given.
    #[serde(default)]
    pub default: serde_json::Value,
}

fn default_nullable() -> bool {
    true
}

/// Column of a collection that holds the document's id: an integer or a text.
pub const DOCUMENT_ID: &str = "_id";

/// How the names of the columns begin that hold the attributes of documents by column group; the group's position
/// follows.
pub const ATTRIBUTES: &str = "_doc:";

/// The column that holds a column group's share of the attributes of documents.
#[must_use]
pub fn attributes_column(group: usize) -> String {
    format!("{ATTRIBUTES}{group}")
}

/// Column that tells, where attributes lie in several column groups, for each attribute of a document in their order the
/// position of its column group, as a byte.
pub const ATTRIBUTE_ORDER: &str = "_fields";

/// The statement that makes the table behind a collection in a database with so many column groups. The document lies in
/// `doc` as JSONB, without its `_id`; the other columns are its metadata (times are milliseconds since the Unix
/// epoch). Where there are several column groups, each has a column for its share of the document's attributes, and
/// `doc` is put together of these when it is read.
#[must_use]
pub fn collection_ddl(name: &str, column_groups: usize) -> String {
    use crate::names::quote_identifier;
    let is_divided = column_groups > 1;
    let mut columns = vec![
        format!("{DOCUMENT_ID} PRIMARY KEY NOT NULL"),
        if is_divided { "doc BLOB" } else { "doc BLOB NOT NULL" }.to_owned(),
        "_version INTEGER NOT NULL".to_owned(),
        "_created_at INTEGER NOT NULL".to_owned(),
        "_updated_at INTEGER NOT NULL".to_owned(),
    ];
    if is_divided {
        columns.push(format!("{ATTRIBUTE_ORDER} BLOB NOT NULL DEFAULT x''"));
        // An object without fields.
        let share =
            |group| format!("{} BLOB NOT NULL DEFAULT x'0C'", quote_identifier(&attributes_column(group)));
        columns.extend((0..column_groups).map(share));
    }
    format!("CREATE TABLE {} ({})", quote_identifier(name), columns.join(", "))
}
