//! Plans of UPDATE, DELETE, and of INSERT where it may meet rows that are there.

use std::sync::Arc;

use common::Value;
use common::catalog::Database;

use super::{Partitions, PlanNode, Source, describe};
use crate::ast::{self, Expr, ResolveType, Stmt};
use crate::filter::Filter;
use crate::route::Route;
use crate::scope::{Scope, result_expressions};
use crate::shadow::Checked;
use crate::table::Table;

/// How rows are changed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) target: Arc<Table>,
    /// Whether the client's text may run on the partitions, each changing its own rows.
    in_place: InPlace,
    /// Where the rows are that it changes.
    route: Route,
    /// Whether the text deals with rows that are there already (an INSERT with a conflict clause).
    pub(crate) meets_rows: bool,
    /// What the text needs if it runs at the coordinator.
    pub(crate) sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InPlace {
    Never,
    /// Only if it is one bucket.
    Alone,
    Anywhere,
}

impl Change {
    /// The buckets that may each run the client's text, or `None` if it must run at the coordinator.
    pub(crate) fn buckets(&self, database: &Database, params: &[Value]) -> Option<Vec<usize>> {
        let buckets = || match self.target.reference {
            true => (0..database.buckets.len()).collect(),
            false => self.route.buckets(database, &self.target, params),
        };
        match self.in_place {
            InPlace::Never => None,
            InPlace::Anywhere => Some(buckets()),
            InPlace::Alone => Some(buckets()).filter(|buckets| buckets.len() == 1),
        }
    }

    pub(crate) fn describe(&self, database: &Database, params: &[Value]) -> PlanNode {
        match self.buckets(database, params) {
            Some(buckets) if buckets.len() == 1 => PlanNode::single(database, buckets[0]),
            Some(buckets) => PlanNode::new("SCATTER", "").on(Partitions::of(database, buckets)),
            None => describe::gather("WRITE BACK", &self.sources, database, params),
        }
    }

    /// A change that is computed at the coordinator over everything that it names.
    pub(crate) fn over_whole_tables(
        target: &Arc<Table>,
        checked: &Checked,
        find: &dyn Fn(&str) -> Option<Arc<Table>>,
    ) -> Change {
        let mut sources: Vec<Source> = checked
            .tables
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case(&target.name))
            .filter_map(|(name, usage)| {
                let table = find(name)?;
                Some(Source { columns: usage.positions(&table), ..Source::whole(&table) })
            })
            .collect();
        sources.push(Source::whole(target));
        Change {
            target: Arc::clone(target),
            meets_rows: true,
            in_place: InPlace::Never,
            route: Route::default(),
            sources,
        }
    }
}

/// Plans an UPDATE or a DELETE; `None` if the statement is neither.
pub(crate) fn plan_change(
    statement: &Stmt,
    target: &Arc<Table>,
    checked: &Checked,
    find: &dyn Fn(&str) -> Option<Arc<Table>>,
) -> Option<Change> {
    let parts = Parts::of(statement)?;
    let mut change = Change { meets_rows: false, ..Change::over_whole_tables(target, checked, find) };
    if !parts.simple || checked.tables.len() != 1 {
        return Some(change);
    }
    let scope = Scope::single(Arc::clone(target), parts.alias);
    let conditions = parts.condition.map(ast::conjuncts).unwrap_or_default();
    let resolve = |expression: &Expr| scope.resolve(expression).map(|(_, column)| column);
    change.route = Route::of(target, &conditions, &resolve);
    change.in_place = in_place(&parts, target, checked);
    let meets_other_rows = match parts.conflict {
        Some(conflict) => matches!(conflict, ResolveType::Replace | ResolveType::Ignore),
        None => target.resolves_conflicts,
    };
    if !meets_other_rows && let Some(source) = change.sources.last_mut() {
        source.route = change.route.clone();
        source.filters = conditions.iter().filter_map(|condition| Filter::of(condition, &scope, 0)).collect();
    }
    Some(change)
}

fn in_place(parts: &Parts<'_>, target: &Table, checked: &Checked) -> InPlace {
    let moves = match &parts.assigned {
        Some(columns) => columns.iter().any(|column| target.decides_place(column)),
        // A deleted row takes its rows in global indexes along.
        None => !target.global_indexes.is_empty(),
    };
    // Rows that REPLACE removes would leave theirs behind.
    let may_replace = match parts.conflict {
        Some(conflict) => conflict == ResolveType::Replace,
        None => target.resolves_conflicts && parts.assigned.is_some(),
    };
    let replaces = may_replace && !target.global_indexes.is_empty();
    if moves || replaces || target.is_split() {
        return InPlace::Never;
    }
    let stops_midway = matches!(parts.conflict, Some(ResolveType::Fail | ResolveType::Rollback));
    if stops_midway || !checked.is_deterministic() || parts.names_time {
        return InPlace::Alone;
    }
    InPlace::Anywhere
}

/// What matters of an UPDATE or a DELETE.
struct Parts<'a> {
    alias: Option<&'a str>,
    condition: Option<&'a Expr>,
    /// Columns that UPDATE sets; `None` for DELETE.
    assigned: Option<Vec<&'a str>>,
    conflict: Option<ResolveType>,
    /// Neither a subquery nor another table.
    simple: bool,
    /// CURRENT_TIMESTAMP and its like, which must be the same on all partitions.
    names_time: bool,
}

impl<'a> Parts<'a> {
    fn of(statement: &'a Stmt) -> Option<Parts<'a>> {
        let (name, condition, returning) = match statement {
            Stmt::Update(update) => (&update.tbl_name, &update.where_clause, &update.returning),
            Stmt::Delete { tbl_name, where_clause, returning, .. } => (tbl_name, where_clause, returning),
            _ => return None,
        };
        let mut expressions = result_expressions(returning);
        expressions.extend(condition.as_deref());
        let (mut assigned, mut conflict) = (None, None);
        let other_tables = match statement {
            Stmt::Update(update) => {
                expressions.extend(update.sets.iter().map(|set| set.expr.as_ref()));
                let columns = update.sets.iter().flat_map(|set| &set.col_names);
                assigned = Some(columns.map(ast::Name::as_str).collect());
                conflict = update.or_conflict;
                update.with.is_some() || update.from.is_some()
            }
            Stmt::Delete { with, .. } => with.is_some(),
            _ => true,
        };
        let has =
            |test: &dyn Fn(&Expr) -> bool| expressions.iter().any(|expression| ast::any(expression, &test));
        Some(Parts {
            alias: name.alias.as_ref().map(ast::Name::as_str),
            condition: condition.as_deref(),
            assigned,
            conflict,
            simple: !other_tables && !has(&ast::is_subquery),
            names_time: has(&ast::is_time),
        })
    }
}
