//! Query objects: the JSON form of the commonest statements, as `POST /query/{db}` and query files take it.
//!
//! `null`, `{}` for `where`, and an absent field mean the same.

mod parse;
mod statement;

use serde_json::{Map, Value as Json};

use crate::Value;
use crate::protocol::Statement;

/// A query object, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryObject {
    /// On a table.
    Table(TableQuery),
    /// On a collection.
    Collection(CollectionQuery),
    /// SQL text: `{"operation":"sql","sql":…,"params":…}`.
    Sql(Statement),
}

/// A query object on a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableQuery {
    /// The table.
    pub table: String,
    /// What to do.
    pub operation: TableOperation,
}

/// What a query object does with a table.
#[derive(Clone, Debug, PartialEq)]
pub enum TableOperation {
    /// Insert a row.
    Insert {
        /// Columns and their values.
        values: Vec<(String, Value)>,
    },
    /// Answer rows.
    Select {
        /// Columns by name; empty: all.
        columns: Vec<String>,
        /// Which rows.
        conditions: Vec<Condition>,
        /// Columns to sort by; `true`: descending.
        order_by: Vec<(String, bool)>,
        /// Most rows.
        limit: Option<u64>,
    },
    /// Change rows.
    Update {
        /// Columns and their new values.
        values: Vec<(String, Value)>,
        /// Which rows.
        conditions: Vec<Condition>,
    },
    /// Delete rows.
    Delete {
        /// Which rows; none: all.
        conditions: Vec<Condition>,
    },
}

/// A condition on a column. All conditions of a query object must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The column.
    pub column: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what. NULL with [`Comparison::Equal`] means IS NULL.
    pub value: Value,
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// No operator.
    Equal,
    /// `$ne`.
    NotEqual,
    /// `$lt`.
    Less,
    /// `$lte`.
    LessOrEqual,
    /// `$gt`.
    Greater,
    /// `$gte`.
    GreaterOrEqual,
}

/// A query object on a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionQuery {
    /// The collection.
    pub collection: String,
    /// What to do.
    pub operation: CollectionOperation,
}

/// What a query object does with a collection.
#[derive(Clone, Debug, PartialEq)]
pub enum CollectionOperation {
    /// Insert a document.
    Insert {
        /// The document.
        document: Map<String, Json>,
    },
    /// Answer documents.
    Find {
        /// Which.
        which: Which,
    },
    /// Change documents: the fields given replace those of the same name.
    Update {
        /// Which; never all.
        which: Which,
        /// The fields.
        document: Map<String, Json>,
    },
    /// Delete documents.
    Delete {
        /// Which; never all.
        which: Which,
    },
}

/// Which documents.
#[derive(Clone, Debug, PartialEq)]
pub enum Which {
    /// The one with this id, an integer or a text.
    Id(Value),
    /// Those that match a filter; an empty one matches all.
    Matching(Map<String, Json>),
}

impl QueryObject {
    /// Whether it only reads; `None` if its SQL text decides that.
    #[must_use]
    pub fn is_read(&self) -> Option<bool> {
        match self {
            QueryObject::Table(query) => Some(matches!(query.operation, TableOperation::Select { .. })),
            QueryObject::Collection(query) => {
                Some(matches!(query.operation, CollectionOperation::Find { .. }))
            }
            QueryObject::Sql(_) => None,
        }
    }
}
