//! Plans of INSERT.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use common::catalog::Database;
use common::{Error, Result, Value};

use super::change::meets_rows;
use super::{Action, Footprint, Narrowed, PlanNode, Planned};
use crate::ast::{self, Expr, InsertBody, OneSelect, ResolveType, Select, Stmt, Upsert, UpsertDo};
use crate::route::Operand;
use crate::scope::result_expressions;
use crate::table::Table;

/// Most texts that are kept of one plan: a batch comes to a few numbers of rows.
const TEXTS_MAX: usize = 8;

/// Where a value of an inserted row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The rowid, where no column shows it.
    Rowid,
    /// A column.
    Column(usize),
}

/// Texts of a statement by the places that its rows fill, and their number.
type Texts = HashMap<(Vec<Place>, usize), String>;

/// How rows are made: they are computed at the coordinator, once, and each is sent to its bucket.
#[derive(Clone, Debug)]
pub(crate) struct Insert {
    pub(crate) target: Arc<Table>,
    /// Where the values of a row go, in order.
    pub(crate) places: Vec<Place>,
    pub(crate) source: InsertSource,
    /// The statement, of which everything but columns and values is kept.
    statement: Stmt,
    /// Texts of it that were made, by places and number of rows.
    texts: Arc<Mutex<Texts>>,
    /// Whether it answers rows.
    pub(crate) returns_rows: bool,
    /// What it needs if it is computed together with others, or because of what it sets off.
    pub(crate) footprint: Footprint,
}

/// Where the rows come from.
#[derive(Clone, Debug)]
pub(crate) enum InsertSource {
    /// Constants and parameters.
    Rows(Vec<Vec<Operand>>),
    /// A query, which may be without a table.
    Query(Arc<Planned>),
    /// One row of defaults.
    Defaults,
}

/// Plans an INSERT, or answers the change that it must be computed as.
pub(crate) fn plan_insert(
    statement: &Stmt,
    target: &Arc<Table>,
    prepare: &dyn Fn(&str) -> Result<Arc<Planned>>,
    footprint: &dyn Fn(Narrowed, bool) -> Footprint,
) -> Result<Option<Insert>> {
    let Stmt::Insert { with, or_conflict, columns, body, returning, .. } = statement else {
        return Ok(None);
    };
    let (select, upsert) = match body {
        InsertBody::Select(select, upsert) => (Some(select), upsert.as_deref()),
        InsertBody::DefaultValues => (None, None),
    };
    let returning = result_expressions(returning);
    if !routable(target, *or_conflict, upsert) || !self_contained(&returning) {
        return Ok(None);
    }
    let Some(places) = places(target, columns) else { return Ok(None) };
    let source = match select {
        None => InsertSource::Defaults,
        Some(select) => match constant_rows(select).filter(|_| with.is_none()) {
            Some(rows) => InsertSource::Rows(rows),
            None => {
                let mut select = select.clone();
                if let Some(with) = with {
                    if select.with.is_some() {
                        return Ok(None);
                    }
                    select.with = Some(with.clone());
                }
                InsertSource::Query(prepare(&select.to_string())?)
            }
        },
    };
    if let InsertSource::Rows(rows) = &source
        && rows.iter().any(|row| row.len() != places.len())
    {
        return Err(Error::internal("a row of values has another width than its columns"));
    }
    let narrowed = match &source {
        InsertSource::Query(query) => match &query.action {
            // The rows that RETURNING or a conflict clause looks at are not the query's.
            Action::Read(read) if upsert.is_none() && returning.is_empty() => {
                Narrowed { sources: read.sources.clone(), steps: read.steps.clone() }
            }
            _ => Narrowed::default(),
        },
        _ => Narrowed::default(),
    };
    Ok(Some(Insert {
        footprint: footprint(narrowed, meets_rows(*or_conflict) || upsert.is_some()),
        target: Arc::clone(target),
        places: if select.is_none() { Vec::new() } else { places },
        source,
        statement: statement.clone(),
        texts: Arc::default(),
        returns_rows: !returning.is_empty()
            || matches!(statement, Stmt::Insert { returning, .. } if !returning.is_empty()),
    }))
}

/// Whether each row's fate is decided by rows of its own bucket, so that the conflict clause may be left
/// to the partition.
fn routable(target: &Table, conflict: Option<ResolveType>, upsert: Option<&Upsert>) -> bool {
    match (conflict, upsert) {
        (Some(ResolveType::Abort), None) => true,
        (None, _) if target.resolves_conflicts => false,
        (None, None) => true,
        (Some(ResolveType::Fail | ResolveType::Rollback), _) => false,
        _ if !target.global_indexes.is_empty() || target.is_split() => false,
        (Some(ResolveType::Replace), _) if replaces_nulls_that_decide(target) => false,
        (_, None) => true,
        // What it sets might come out differently for each copy.
        (_, Some(_)) if target.reference => false,
        (_, Some(upsert)) => upsert_is_local(target, upsert),
    }
}

/// Whether OR REPLACE puts defaults in the place of NULLs on which it depends where a row goes, or in which its
/// copies must not differ.
fn replaces_nulls_that_decide(target: &Table) -> bool {
    let has_default = |column: &usize| {
        let column = &target.columns[*column];
        column.not_null && column.default.is_some()
    };
    target.key_columns().iter().any(has_default)
        || target.reference && target.stored().any(|at| has_default(&at))
}

fn upsert_is_local(target: &Table, upsert: &Upsert) -> bool {
    let local = match &upsert.do_clause {
        UpsertDo::Nothing => true,
        UpsertDo::Set { sets, where_clause } => {
            let columns = sets.iter().flat_map(|set| &set.col_names);
            let mut expressions: Vec<&Expr> = sets.iter().map(|set| set.expr.as_ref()).collect();
            expressions.extend(where_clause.as_deref());
            columns.into_iter().all(|column| !target.decides_place(column.as_str()))
                && self_contained(&expressions)
        }
    };
    let target_condition = upsert.index.iter().flat_map(|index| index.where_clause.as_deref());
    local
        && self_contained(&target_condition.collect::<Vec<_>>())
        && upsert.next.as_deref().is_none_or(|next| upsert_is_local(target, next))
}

/// Neither a subquery nor a parameter, whose number would change with the values.
fn self_contained(expressions: &[&Expr]) -> bool {
    let bound = |expression: &Expr| {
        ast::is_subquery(expression) || matches!(expression, Expr::Variable(_)) || ast::is_time(expression)
    };
    !expressions.iter().any(|expression| ast::any(expression, &bound))
}

/// Where the values go, by the column list or, without one, the table.
fn places(target: &Table, columns: &[ast::Name]) -> Option<Vec<Place>> {
    if columns.is_empty() {
        return Some(
            (0..target.columns.len())
                .filter(|&position| !target.columns[position].is_generated())
                .map(Place::Column)
                .collect(),
        );
    }
    let rowid = target.rowid_alias.map_or(Place::Rowid, Place::Column);
    let places: Vec<Place> = columns
        .iter()
        .map(|name| match target.column(name.as_str()) {
            Some(position) => Some(Place::Column(position)),
            None => target.names_rowid(name.as_str()).then_some(rowid),
        })
        .collect::<Option<_>>()?;
    // SQLite has its own idea of which of several values is the rowid.
    let rowids = places.iter().filter(|place| **place == rowid).count();
    (rowids <= 1).then_some(places)
}

/// The rows of VALUES made of constants and parameters alone.
fn constant_rows(select: &Select) -> Option<Vec<Vec<Operand>>> {
    if !select.body.compounds.is_empty() || select.limit.is_some() || select.with.is_some() {
        return None;
    }
    let OneSelect::Values(rows) = &select.body.select else { return None };
    rows.iter().map(|row| row.iter().map(|value| Operand::of(value)).collect()).collect()
}

impl Insert {
    /// The statement with other columns and `rows` rows of parameters. Everything else is the client's.
    pub(crate) fn statement(&self, places: &[Place], rows: usize) -> String {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (places.to_vec(), rows);
        if let Some(text) = texts.get(&key) {
            return text.clone();
        }
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        texts.entry(key).or_insert(self.text(places, rows)).clone()
    }

    fn text(&self, places: &[Place], rows: usize) -> String {
        let mut statement = self.statement.clone();
        let Stmt::Insert { with, columns, body, .. } = &mut statement else {
            unreachable!("the plan of an INSERT holds one");
        };
        *with = None;
        if places.is_empty() {
            // A row of defaults alone.
            columns.clear();
            *body = InsertBody::DefaultValues;
            return statement.to_string();
        }
        *columns = places.iter().map(|&place| self.name(place)).collect();
        let values = (0..rows)
            .map(|row| {
                (0..places.len()).map(|column| ast::parameter(row * places.len() + column + 1)).collect()
            })
            .collect();
        let upsert = match body {
            InsertBody::Select(_, upsert) => upsert.take(),
            InsertBody::DefaultValues => None,
        };
        *body = InsertBody::Select(ast::values(values), upsert);
        statement.to_string()
    }

    fn name(&self, place: Place) -> ast::Name {
        match place {
            Place::Column(position) => ast::quoted_name(&self.target.columns[position].name),
            Place::Rowid => ast::Name::from_string(self.target.rowid_name.unwrap_or("rowid")),
        }
    }

    /// Whether a conflict with a row that is there is anything but an error.
    pub(crate) fn meets_rows(&self) -> bool {
        self.footprint.meets_rows
    }

    pub(crate) fn describe(&self, database: &Database, params: &[Value]) -> PlanNode {
        let insert = |rows: &str| {
            let place = if self.target.reference { "in every partition" } else { "each by its key" };
            PlanNode::new("INSERT", format!("{rows} into {}, {place}", self.target.name))
        };
        match &self.source {
            InsertSource::Defaults => insert("a row of defaults"),
            InsertSource::Rows(rows) => insert(&format!("{} rows", rows.len())),
            InsertSource::Query(query) => {
                insert("the rows of a query").over([query.describe(database, params)])
            }
        }
    }
}
