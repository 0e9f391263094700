//! What a new database looks like: its tables, and how it is divided.

use std::collections::BTreeMap;

pub use common::schema::{DatabaseKind, PartitionType};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A database to create.
///
/// ```
/// use polylite_client::{Column, CreateDatabase, Table};
///
/// let shop = CreateDatabase::sql("shop").partitions(8).table(
///     Table::new("users")
///         .column(Column::new("id", "INTEGER").primary_key())
///         .column(Column::new("name", "TEXT").not_null())
///         .index("name"),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateDatabase {
    name: String,
    db_type: DatabaseKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition_type: Option<PartitionType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition_method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split_points: Option<Vec<Json>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replication_factor: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    column_groups: BTreeMap<String, Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tables: Vec<Table>,
}

impl CreateDatabase {
    /// A database whose face is SQL tables.
    #[must_use]
    pub fn sql(name: impl Into<String>) -> CreateDatabase {
        CreateDatabase::of_kind(name, DatabaseKind::Sql)
    }

    /// A database whose face is documents.
    #[must_use]
    pub fn nosql(name: impl Into<String>) -> CreateDatabase {
        CreateDatabase::of_kind(name, DatabaseKind::NoSql)
    }

    /// A database of either face.
    #[must_use]
    pub fn of_kind(name: impl Into<String>, kind: DatabaseKind) -> CreateDatabase {
        CreateDatabase {
            name: name.into(),
            db_type: kind,
            partition_type: None,
            partition_key: None,
            partitions: None,
            partition_method: None,
            split_points: None,
            replication_factor: None,
            column_groups: BTreeMap::new(),
            tables: Vec::new(),
        }
    }

    /// Which way it is divided: by rows, by columns, or both.
    #[must_use]
    pub fn partition_type(mut self, partition_type: PartitionType) -> CreateDatabase {
        self.partition_type = Some(partition_type);
        self
    }

    /// The column or attribute that decides where a row lives; if not said, a table's primary key.
    #[must_use]
    pub fn partition_key(mut self, column: impl Into<String>) -> CreateDatabase {
        self.partition_key = Some(column.into());
        self
    }

    /// Number of horizontal partitions, 1 to 256.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> CreateDatabase {
        self.partitions = Some(partitions);
        self
    }

    /// Divides by ranges of the key instead of by hash: k points make k + 1 partitions, and a point belongs
    /// to the partition at its right.
    #[must_use]
    pub fn split_points(mut self, points: Vec<Json>) -> CreateDatabase {
        self.partition_method = Some("range".to_owned());
        self.split_points = Some(points);
        self
    }

    /// Copies of each partition.
    #[must_use]
    pub fn replication_factor(mut self, replicas: u32) -> CreateDatabase {
        self.replication_factor = Some(replicas);
        self
    }

    /// Columns or attributes that live together in a database that is divided by columns.
    #[must_use]
    pub fn column_group<C: Into<String>>(
        mut self,
        name: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> CreateDatabase {
        self.column_groups.insert(name.into(), columns.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a table.
    #[must_use]
    pub fn table(mut self, table: Table) -> CreateDatabase {
        self.tables.push(table);
        self
    }

    /// Adds tables.
    #[must_use]
    pub fn tables(mut self, tables: impl IntoIterator<Item = Table>) -> CreateDatabase {
        self.tables.extend(tables);
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// Columns with an index of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<String>,
    /// Its own partition key, if it differs from the database's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Whether every partition has a full copy of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reference: bool,
    /// Its own column groups.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub column_groups: BTreeMap<String, Vec<String>>,
}

impl Table {
    /// A table without columns yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Table {
        Table { name: name.into(), ..Table::default() }
    }

    /// Adds a column.
    #[must_use]
    pub fn column(mut self, column: Column) -> Table {
        self.columns.push(column);
        self
    }

    /// Adds an index on a column.
    #[must_use]
    pub fn index(mut self, column: impl Into<String>) -> Table {
        self.indexes.push(column.into());
        self
    }

    /// Gives it a partition key of its own.
    #[must_use]
    pub fn partition_key(mut self, column: impl Into<String>) -> Table {
        self.partition_key = Some(column.into());
        self
    }

    /// Puts a full copy of it beside every partition.
    #[must_use]
    pub fn reference(mut self) -> Table {
        self.reference = true;
        self
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its declared type.
    pub data_type: String,
    /// Whether it belongs to the primary key.
    #[serde(default)]
    pub primary_key: bool,
    /// Whether it may be NULL.
    #[serde(default = "yes")]
    pub nullable: bool,
    /// Its default; text is taken as SQL where it is a constant or in parentheses.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub default: Json,
}

fn yes() -> bool {
    true
}

impl Column {
    /// A column that may be NULL.
    #[must_use]
    pub fn new(name: impl Into<String>, data_type: impl Into<String>) -> Column {
        let (name, data_type) = (name.into(), data_type.into());
        Column { name, data_type, primary_key: false, nullable: true, default: Json::Null }
    }

    /// Makes it a part of the primary key, which is not NULL.
    #[must_use]
    pub fn primary_key(mut self) -> Column {
        self.primary_key = true;
        self.nullable = false;
        self
    }

    /// Forbids NULL.
    #[must_use]
    pub fn not_null(mut self) -> Column {
        self.nullable = false;
        self
    }

    /// Gives it a default.
    #[must_use]
    pub fn default(mut self, value: impl Into<Json>) -> Column {
        self.default = value.into();
        self
    }
}
