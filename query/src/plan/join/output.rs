//! What a query hands out: which of its columns are plain copies of columns of tables, and whether a condition
//! on them may already choose rows of those tables.

use crate::ast::{self, As, CompoundOperator, Expr, ResultColumn, Select};
use crate::functions;
use crate::route::KeyColumn;
use crate::table::Table;

use super::Reference;
use super::names::{Column, Names, Relation};

/// Names that a result list gives its columns.
pub(super) fn aliases(columns: &[ResultColumn]) -> Vec<String> {
    let given = columns.iter().filter_map(|column| match column {
        ResultColumn::Expr(_, Some(alias)) if alias.is_explicit() => Some(alias.name().as_str().to_owned()),
        _ => None,
    });
    given.collect()
}

/// Whether an expression is computed from one joined row alone: neither an aggregate nor a window, and no
/// query, in which an aggregate of this one could stand.
pub(super) fn is_of_one_row(expression: &Expr) -> bool {
    !ast::any(expression, &|part| match part {
        Expr::FunctionCall { name, args, filter_over, .. } => {
            !functions::is_scalar(name.as_str(), args.len()) || filter_over.over_clause.is_some()
        }
        Expr::FunctionCallStar { .. } => true,
        other => ast::is_subquery(other),
    })
}

/// What a SELECT hands out.
pub(super) fn of_core(columns: &[ResultColumn], names: &Names) -> Relation {
    Relation { columns: handed_out(columns, names), base: None }
}

fn handed_out(columns: &[ResultColumn], names: &Names) -> Option<Vec<Column>> {
    let mut given = Vec::new();
    for column in columns {
        match column {
            ResultColumn::Expr(expression, alias) => {
                let mut column = match names.column(ast::bare(expression)) {
                    Some((item, column)) => copied(&column, item, names),
                    None => Column::default(),
                };
                if let Some(alias) = alias.as_ref().filter(|alias| As::is_explicit(alias)) {
                    column.name = Some(alias.name().as_str().to_owned());
                } else if !is_name(expression) {
                    column.name = None;
                }
                given.push(column);
            }
            ResultColumn::Star => {
                // Columns that a join makes one are handed out once.
                if names.natural || !names.merged.is_empty() {
                    return None;
                }
                for (index, item) in names.items.iter().enumerate() {
                    let columns = item.relation.columns.as_ref()?;
                    given.extend(columns.iter().map(|column| copied(column, index, names)));
                }
            }
            ResultColumn::TableStar(qualifier) => {
                let is_called = |alias: &String| alias.eq_ignore_ascii_case(qualifier.as_str());
                let mut called = names
                    .items
                    .iter()
                    .enumerate()
                    .filter(|(_, item)| item.alias.as_ref().is_some_and(is_called));
                let (Some((index, item)), None) = (called.next(), called.next()) else { return None };
                let columns = item.relation.columns.as_ref()?;
                given.extend(columns.iter().map(|column| copied(column, index, names)));
            }
        }
    }
    Some(given)
}

fn is_name(expression: &Expr) -> bool {
    matches!(expression, Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..))
}

/// A column of an item, as the query hands it out.
fn copied(column: &Column, item: usize, names: &Names) -> Column {
    // Of a join, one branch of one item cannot be told from the others.
    let alone = names.items.len() == 1;
    let is_one = column.origins.len() <= 1;
    let origins = if is_one || alone { column.origins.clone() } else { Vec::new() };
    let filterable = column.filterable && !names.items[item].nullable && !origins.is_empty();
    Column { name: column.name.clone(), origins, filterable }
}

/// What a query hands out of which no row may be left out before it is complete.
pub(super) fn unfilterable(mut relation: Relation) -> Relation {
    relation.columns.iter_mut().flatten().for_each(|column| column.filterable = false);
    relation
}

/// What a compound SELECT hands out.
pub(super) fn compound(select: &Select, branches: Vec<Relation>, references: &[Reference]) -> Relation {
    let is_union_all =
        select.body.compounds.iter().all(|compound| compound.operator == CompoundOperator::UnionAll);
    let is_plain = is_union_all && select.limit.is_none();
    let width =
        branches.iter().map(|branch| branch.columns.as_ref().map(Vec::len)).collect::<Option<Vec<_>>>();
    let Some(width) = width.and_then(|widths| widths.first().copied()) else { return Relation::default() };
    let lists: Vec<Vec<Column>> = branches.into_iter().filter_map(|branch| branch.columns).collect();
    let columns = (0..width).map(|position| {
        let of_branches: Option<Vec<&Column>> = lists.iter().map(|list| list.get(position)).collect();
        let of_branches = of_branches.unwrap_or_default();
        let name = of_branches.first().and_then(|column| column.name.clone());
        let origins: Vec<super::Place> =
            of_branches.iter().flat_map(|column| column.origins.iter().copied()).collect();
        let mut comparisons =
            origins.iter().map(|place| comparison(&references[place.reference].table, place.column));
        let first = comparisons.next();
        let alike = first.is_some() && comparisons.all(|comparison| Some(comparison) == first);
        let filterable = is_plain && alike && of_branches.iter().all(|column| column.filterable);
        // Without all branches' origins the others cannot be told apart by their numbers.
        Column { name, origins: if filterable { origins } else { Vec::new() }, filterable }
    });
    Relation { columns: Some(columns.collect()), base: None }
}

/// How a column compares with values that have no affinity and no collation of their own.
fn comparison(table: &Table, column: KeyColumn) -> (common::value::Affinity, String) {
    match column {
        KeyColumn::Rowid => (common::value::Affinity::Integer, "BINARY".to_owned()),
        KeyColumn::Position(position) => {
            let column = &table.columns[position];
            (column.affinity, column.collation.to_ascii_uppercase())
        }
    }
}

/// A relation whose columns have other names.
pub(super) fn renamed(mut relation: Relation, names: Vec<&str>) -> Relation {
    if !names.is_empty() {
        match &mut relation.columns {
            Some(columns) if columns.len() == names.len() => {
                for (column, name) in columns.iter_mut().zip(names) {
                    column.name = Some(name.to_owned());
                }
            }
            other => *other = None,
        }
    }
    // The rowid of a table is not handed out.
    relation.base = None;
    relation
}
