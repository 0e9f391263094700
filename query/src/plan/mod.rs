//! What is to be done for a statement, as data. A plan depends on the text and the schema alone and is kept
//! for the next request with the same text; parameters decide, when it runs, which buckets it touches.
//!
//! The ladder, first legal level wins: no table (the merging SQLite alone); one bucket (the client's text
//! goes there unchanged); the same text to several buckets (writes); gather what is needed and run the
//! client's text over it at the coordinator, which is always legal.

mod change;
mod describe;
mod footprint;
mod groups;
mod insert;
mod join;
mod piece;
mod push;
mod read;
mod rules;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use common::catalog::Database;
use common::protocol::Params;
use common::{Error, Result, Value};
use sqlite::schema::IndexTerm;

pub(crate) use change::{Change, plan_change};
pub use describe::{Partitions, PlanNode, PlanRow};
pub(crate) use footprint::{Footprint, Narrowed};
pub(crate) use insert::{Insert, InsertSource, Place, plan_insert};
pub(crate) use join::{Objects, Shipment, Step, View};
pub(crate) use piece::Piece;
pub(crate) use push::{Answer, OrderedRun, Partial, PartialRun, Pushed, SortKey};
pub(crate) use read::{Read, Sent, narrowed, plan_read};
pub use rules::{Rule, Rules};

use crate::deferral::Deferral;
use crate::filter::Filter;
use crate::route::Route;
use crate::table::Table;

/// A statement that was checked and planned.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The client's text.
    pub(crate) text: String,
    /// Names of the parameters by number, without their first character; `None` for a nameless one.
    pub(crate) parameters: Vec<Option<String>>,
    /// Names of the columns that it answers.
    pub(crate) columns: Vec<String>,
    /// Their declared types; empty for expressions.
    pub(crate) types: Vec<String>,
    /// Whether it only reads.
    pub(crate) is_read: bool,
    /// Whether the client's text orders its rows.
    pub(crate) is_ordered: bool,
    /// Whether it answers the same each time as long as the rows are the same.
    pub(crate) is_deterministic: bool,
    /// Whether it asks what statements before it in the same request have changed.
    pub(crate) asks_of_statements_before: bool,
    /// All tables that its rows depend on, or none where these cannot be named.
    pub(crate) tables: Vec<String>,
    /// What is to be done.
    pub(crate) action: Action,
    /// What it touches if it could be left to the only bucket, and is computed together with statements that
    /// cannot.
    pub(crate) footprint_beside_others: Option<Footprint>,
    /// The rows that it may touch, by table, if it only reads and is left to the only bucket. Found out when somebody
    /// asks.
    pub(crate) sources_in_one_bucket: OnceLock<Vec<Source>>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// No table is touched: the merging SQLite evaluates it.
    Evaluate,
    /// It says whether foreign keys wait for the end of the request, or asks whether they do.
    DeferForeignKeys(Deferral),
    /// The schema answers.
    Schema,
    /// The schema answers, with AUTOINCREMENT's counters, which the partitions hold.
    Sequences,
    /// It tells how another statement would be run.
    Explain(Arc<Planned>),
    /// There is only one bucket: the text goes there as it is.
    OneBucket,
    /// Rows are read.
    Read(Read),
    /// Rows are changed in place, or else as [`Action::Compute`] says.
    Change(Box<Change>),
    /// The changes of rows, or an answer over rows and the schema, are computed at the coordinator.
    Compute(Box<Footprint>),
    /// Rows are made.
    Insert(Box<Insert>),
    /// The schema changes.
    Definition,
}

/// What a gathering statement needs of one table.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) table: Arc<Table>,
    /// Positions of the columns that are needed, in order.
    pub(crate) columns: Vec<usize>,
    pub(crate) route: Route,
    pub(crate) filters: Vec<Filter>,
    /// Columns, with collations, by which gathered rows are looked up again and again: by subqueries, for each row of
    /// the query around.
    pub(crate) lookups: Vec<IndexTerm>,
}

impl Source {
    /// Everything of a table.
    pub(crate) fn whole(table: &Arc<Table>) -> Source {
        Source {
            table: Arc::clone(table),
            columns: table.stored().collect(),
            route: Route::default(),
            filters: Vec::new(),
            lookups: Vec::new(),
        }
    }

    /// The partitions, by index, that may be asked for its rows.
    pub(crate) fn partitions(&self, database: &Database, params: &[Value]) -> BTreeSet<usize> {
        let buckets = self.route.buckets(database, &self.table, params);
        let groups = self.pieces().into_iter().map(|piece| piece.group);
        groups
            .flat_map(|group| buckets.iter().map(move |&bucket| database.partition_index(group, bucket)))
            .collect()
    }

    /// How many reads of one partition may be under way for it at once.
    pub(crate) fn reads_at_once(&self) -> usize {
        // Rows whose parts lie in several column groups are read again by their keys meanwhile.
        if self.table.is_split() { 2 } else { 1 }
    }
}

impl Action {
    /// What it touches if it is computed at the coordinator; `None` if it cannot be.
    pub(crate) fn footprint(&self) -> Option<Footprint> {
        match self {
            Action::Evaluate | Action::DeferForeignKeys(_) | Action::Explain(_) => Some(Footprint::default()),
            Action::Schema => Some(Footprint::of_schema(false)),
            Action::Sequences => Some(Footprint::of_schema(true)),
            Action::Read(read) => Some(Footprint::of_read(&read.sources)),
            Action::Change(change) => Some(change.footprint.clone()),
            Action::Compute(footprint) => Some(footprint.as_ref().clone()),
            Action::Insert(insert) => Some(insert.footprint.clone()),
            Action::OneBucket | Action::Definition => None,
        }
    }
}

impl Planned {
    /// The request's parameters by number.
    pub(crate) fn values(&self, params: &Params) -> Result<Vec<Value>> {
        let wrong = |given: usize| {
            let expected = self.parameters.len();
            Error::bad_request(format!("the statement has {expected} parameters, {given} were given"))
        };
        match params {
            Params::None if self.parameters.is_empty() => Ok(Vec::new()),
            Params::None => Err(wrong(0)),
            Params::Positional(values) if values.len() == self.parameters.len() => Ok(values.clone()),
            Params::Positional(values) => Err(wrong(values.len())),
            Params::Named(named) => {
                let values = self
                    .parameters
                    .iter()
                    .map(|name| named_value(name.as_deref(), named))
                    .collect::<Result<Vec<Value>>>()?;
                if values.len() < named.len() {
                    return Err(Error::bad_request("a parameter is given that the statement does not have"));
                }
                Ok(values)
            }
        }
    }

    /// What it touches if it is computed at the coordinator; `None` if it cannot be.
    pub(crate) fn footprint(&self) -> Option<Footprint> {
        match &self.action {
            Action::OneBucket => self.footprint_beside_others.clone(),
            other => other.footprint(),
        }
    }

    /// What it says of foreign keys that wait, if that is what it is about.
    pub(crate) fn deferral(&self) -> Option<Deferral> {
        match self.action {
            Action::DeferForeignKeys(deferral) => Some(deferral),
            _ => None,
        }
    }

    /// Names and types of its columns as one file shows them; relations that are gathered may show the rowid
    /// otherwise.
    pub(crate) fn names(&self) -> (Vec<String>, Vec<String>) {
        (self.columns.clone(), self.types.clone())
    }

    /// The plan as a tree of steps.
    pub(crate) fn describe(&self, database: &Database, params: &[Value]) -> PlanNode {
        match &self.action {
            Action::Evaluate => PlanNode::new("EVALUATE", "at the coordinator"),
            Action::DeferForeignKeys(_) => PlanNode::new("FOREIGN KEYS", "wait for the end of the request"),
            Action::Schema => PlanNode::new("SCHEMA", "of the catalog"),
            Action::Sequences => {
                PlanNode::new("SCHEMA", "of the catalog, with the counters of AUTOINCREMENT")
            }
            Action::Explain(other) => PlanNode::new("EXPLAIN", "").over([other.describe(database, params)]),
            Action::OneBucket => PlanNode::single(database, 0),
            Action::Definition => PlanNode::new("CHANGE SCHEMA", "on every partition"),
            Action::Read(read) => read.describe(database, params),
            Action::Change(change) => change.describe(database, params),
            Action::Compute(footprint) => footprint.describe(database, params),
            Action::Insert(insert) => insert.describe(database, params),
        }
    }
}

fn named_value(name: Option<&str>, named: &[(String, Value)]) -> Result<Value> {
    let Some(name) = name else {
        return Err(Error::bad_request("the statement has a parameter without a name"));
    };
    named
        .iter()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.clone())
        .ok_or_else(|| Error::bad_request(format!("the parameter '{name}' is missing")))
}
