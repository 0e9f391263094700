//! Plans of UPDATE, DELETE, and of INSERT where it may meet rows that are there.

use std::sync::Arc;

use common::Value;
use common::catalog::Database;

use super::{Footprint, Narrowed, Partitions, PlanNode, Source};
use crate::ast::{
    self, As, Expr, FromClause, JoinOperator, JoinType, OneSelect, QualifiedName, ResolveType, ResultColumn,
    Select, SelectBody, SelectTable, Stmt,
};
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
    /// What the text needs if it runs at the coordinator.
    pub(crate) footprint: Footprint,
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

    /// Keeps it from running on the partitions.
    pub(crate) fn into_computed(self) -> Footprint {
        self.footprint
    }

    pub(crate) fn describe(&self, database: &Database, params: &[Value]) -> PlanNode {
        match self.buckets(database, params) {
            Some(buckets) if buckets.len() == 1 => PlanNode::single(database, buckets[0]),
            Some(buckets) => PlanNode::new("SCATTER", "").on(Partitions::of(database, buckets)),
            None => self.footprint.describe(database, params),
        }
    }
}

/// Plans an UPDATE or a DELETE; `None` if the statement is neither.
/// `footprint` makes the footprint with what the statement itself needs of its table; `named_once` says that
/// nothing but the statement itself looks through that table; `narrowed` what the SELECT needs that looks for the
/// rows of a statement over several tables.
pub(crate) fn plan_change(
    statement: &Stmt,
    target: &Arc<Table>,
    checked: &Checked,
    named_once: bool,
    narrowed: &dyn Fn(&Select) -> Option<Narrowed>,
    footprint: &dyn Fn(Narrowed, bool) -> Footprint,
) -> Option<Change> {
    let parts = Parts::of(statement)?;
    if parts.other_tables || !parts.simple {
        let found = looks_for(statement).and_then(|select| narrowed(&select));
        if found.is_some() || parts.other_tables || !named_once {
            let mut needed = found.unwrap_or_else(|| Narrowed::to(Source::whole(target)));
            let own = needed.sources.iter_mut().filter(|source| source.table.name == target.name);
            own.for_each(|source| source.columns = target.stored().collect());
            return Some(Change {
                target: Arc::clone(target),
                in_place: InPlace::Never,
                route: Route::default(),
                footprint: footprint(needed, meets_rows(parts.conflict)),
            });
        }
    }
    let scope = Scope::single(Arc::clone(target), parts.alias);
    let conditions = parts.condition.map(ast::conjuncts).unwrap_or_default();
    let resolve = |expression: &Expr| scope.resolve(expression).map(|(_, column)| column);
    let route = Route::of(target, &conditions, &resolve);
    let filters = conditions.iter().filter_map(|condition| Filter::of(condition, &scope, 0)).collect();
    let own = Source { route: route.clone(), filters, ..Source::whole(target) };
    Some(Change {
        target: Arc::clone(target),
        in_place: if parts.simple { in_place(&parts, target, checked) } else { InPlace::Never },
        route,
        footprint: footprint(Narrowed::to(own), meets_rows(parts.conflict)),
    })
}

/// Whether a conflict with a row that is there is anything but an error.
pub(crate) fn meets_rows(conflict: Option<ResolveType>) -> bool {
    matches!(conflict, Some(ResolveType::Replace | ResolveType::Ignore | ResolveType::Fail))
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

/// The SELECT that looks for what an UPDATE or a DELETE needs; `None` if there is a doubt.
fn looks_for(statement: &Stmt) -> Option<Select> {
    let (with, name, indexed, condition, returning) = match statement {
        Stmt::Update(update) => {
            (&update.with, &update.tbl_name, &update.indexed, &update.where_clause, &update.returning)
        }
        Stmt::Delete { with, tbl_name, indexed, where_clause, returning } => {
            (with, tbl_name, indexed, where_clause, returning)
        }
        _ => return None,
    };
    let table = QualifiedName { alias: None, ..name.clone() };
    let target = SelectTable::Table(table, name.alias.clone().map(As::As), indexed.clone());
    let mut from = FromClause { select: Box::new(target), joins: Vec::new() };
    let result = |expression: &Expr| ResultColumn::Expr(Box::new(expression.clone()), None);
    let mut columns: Vec<ResultColumn> = result_expressions(returning).into_iter().map(result).collect();
    if let Stmt::Update(update) = statement {
        columns.extend(update.sets.iter().map(|set| result(&set.expr)));
        if let Some(others) = &update.from {
            // A join that keeps rows of its right side would keep them of the target too.
            let keeps_right = |operator: &JoinOperator| match operator {
                JoinOperator::TypedJoin(Some(kind)) => kind.intersects(JoinType::RIGHT | JoinType::NATURAL),
                JoinOperator::TypedJoin(None) | JoinOperator::Comma => false,
            };
            if others.joins.iter().any(|join| keeps_right(&join.operator)) {
                return None;
            }
            from.joins.push(ast::JoinedSelectTable {
                operator: JoinOperator::Comma,
                table: others.select.clone(),
                constraint: None,
            });
            from.joins.extend(others.joins.iter().cloned());
        }
    }
    if columns.is_empty() {
        columns.push(result(&ast::parameter(1)));
    }
    Some(Select {
        with: with.clone(),
        body: SelectBody {
            select: OneSelect::Select {
                distinctness: None,
                columns,
                from: Some(from),
                where_clause: condition.clone(),
                group_by: None,
                window_clause: Vec::new(),
            },
            compounds: Vec::new(),
        },
        order_by: Vec::new(),
        limit: None,
    })
}

/// What matters of an UPDATE or a DELETE.
struct Parts<'a> {
    alias: Option<&'a str>,
    condition: Option<&'a Expr>,
    /// Columns that UPDATE sets; `None` for DELETE.
    assigned: Option<Vec<&'a str>>,
    conflict: Option<ResolveType>,
    /// No subquery.
    simple: bool,
    /// FROM or WITH.
    other_tables: bool,
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
            simple: !has(&ast::is_subquery),
            other_tables,
            names_time: has(&ast::is_time),
        })
    }
}
