//! A query in FROM, a view or the only name of a WITH that picks rows and computes columns of one table is put
//! together with the query around it, so that the rules for one table apply. SQLite does the same
//! (<https://sqlite.org/optoverview.html#subquery_flattening>), so that neither types nor collations change.

use std::sync::Arc;

use super::expression::{check, is_constant};
use crate::ast::{
    self, As, CommonTableExpr, Distinctness, Expr, FromClause, Name, OneSelect, Operator, QualifiedName,
    ResultColumn, Select, SelectTable, SortedColumn,
};
use crate::plan::join::Objects;
use crate::table::Table;

/// Queries within queries, deeper than this, are left as they are.
const DEPTH_MAX: usize = 8;

/// The SELECT as one of a base table, if that is what it comes to and it is not one yet.
pub(crate) fn flattened<'a>(select: &'a Select, objects: Objects<'a>) -> Option<Select> {
    let with = match &select.with {
        None => None,
        Some(with) if with.recursive => return None,
        Some(with) => match with.ctes.as_slice() {
            [only] => Some(only),
            _ => return None,
        },
    };
    let OneSelect::Select { columns, from: Some(from), where_clause, group_by, distinctness, .. } =
        &select.body.select
    else {
        return None;
    };
    if with.is_none() && is_base_table(from, objects) || has_windows_or_compounds(select) {
        return None;
    }
    let finder = Finder { objects, with, depth: 0 };
    let inner = finder.relation(from)?;
    let rewritten = |expression: &Expr| inner.rewritten(expression).map(Box::new);
    let group_by = match group_by {
        None => None,
        Some(group_by) => {
            let mut group_by = group_by.clone();
            for term in &mut group_by.exprs {
                *term = rewritten(term)?;
            }
            if let Some(having) = &mut group_by.having {
                *having = rewritten(having)?;
            }
            Some(group_by)
        }
    };
    let aliases: Vec<&str> = columns.iter().filter_map(alias).collect();
    let names_result = |term: &SortedColumn| match ast::bare(&term.expr) {
        Expr::Id(name) => aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name.as_str())),
        _ => false,
    };
    let mut flat = select.clone();
    for term in &mut flat.order_by {
        if !names_result(term) {
            term.expr = rewritten(&term.expr)?;
        }
    }
    flat.with = None;
    flat.body.select = OneSelect::Select {
        distinctness: *distinctness,
        columns: inner.results(columns)?,
        from: Some(inner.from()),
        where_clause: inner.condition_and(where_clause.as_deref())?.map(Box::new),
        group_by,
        window_clause: Vec::new(),
    };
    Some(flat)
}

fn has_windows_or_compounds(select: &Select) -> bool {
    let OneSelect::Select { window_clause, .. } = &select.body.select else { return true };
    !window_clause.is_empty() || !select.body.compounds.is_empty()
}

/// The name that a client gave to a result.
fn alias(column: &ResultColumn) -> Option<&str> {
    match column {
        ResultColumn::Expr(_, Some(alias)) if alias.is_explicit() => Some(alias.name().as_str()),
        _ => None,
    }
}

fn is_of_main(name: &QualifiedName) -> bool {
    name.namespace.as_ref().is_none_or(|space| space.as_str().eq_ignore_ascii_case("main"))
}

fn is_base_table(from: &FromClause, objects: Objects<'_>) -> bool {
    matches!(&*from.select, SelectTable::Table(name, ..) if (objects.table)(name.name.as_str()).is_some())
}

/// Rows of one table, and columns computed from them.
struct Picked {
    table: Arc<Table>,
    /// What a query around it calls it.
    called: Option<String>,
    /// Whether it is the table itself, with all its names.
    is_table: bool,
    /// Names, where they are known, and what they stand for, in the table's own names.
    columns: Vec<(Option<String>, Expr)>,
    condition: Option<Expr>,
}

/// What names may stand for.
#[derive(Clone, Copy)]
struct Finder<'a> {
    objects: Objects<'a>,
    with: Option<&'a CommonTableExpr>,
    depth: usize,
}

impl<'a> Finder<'a> {
    /// What a FROM clause of one thing gives.
    fn relation(self, from: &'a FromClause) -> Option<Picked> {
        if !from.joins.is_empty() || self.depth > DEPTH_MAX {
            return None;
        }
        let called = |alias: &Option<As>| alias.as_ref().map(|alias| alias.name().as_str().to_owned());
        match &*from.select {
            SelectTable::Select { select, alias, lateral: false } => {
                Some(Picked { called: called(alias), ..self.picked(select)? })
            }
            SelectTable::Table(name, alias, None) => {
                let own = || Some(name.name.as_str().to_owned());
                Some(Picked { called: called(alias).or_else(own), ..self.named(name)? })
            }
            _ => None,
        }
    }

    fn named(self, name: &'a QualifiedName) -> Option<Picked> {
        let text = name.name.as_str();
        let given = self.with.filter(|with| with.tbl_name.as_str().eq_ignore_ascii_case(text));
        if let Some(with) = given.filter(|_| name.namespace.is_none()) {
            let names = with.columns.iter().map(|column| column.col_name.as_str().to_owned());
            return Finder { with: None, ..self }.picked(&with.select)?.renamed(names.collect());
        }
        if !is_of_main(name) {
            return None;
        }
        if let Some(table) = (self.objects.table)(text) {
            return Some(Picked::of(table));
        }
        let view = (self.objects.view)(text)?;
        Finder { with: None, ..self }.picked(&view.select)?.renamed(view.columns.clone())
    }

    /// What a query gives that does nothing but pick.
    fn picked(self, select: &'a Select) -> Option<Picked> {
        let OneSelect::Select {
            distinctness: None | Some(Distinctness::All),
            columns,
            from: Some(from),
            where_clause,
            group_by: None,
            ..
        } = &select.body.select
        else {
            return None;
        };
        let is_plain = select.with.is_none() && select.order_by.is_empty() && select.limit.is_none();
        if !is_plain || has_windows_or_compounds(select) {
            return None;
        }
        let inner = Finder { depth: self.depth + 1, ..self }.relation(from)?;
        let mut picked = Vec::with_capacity(columns.len());
        for column in columns {
            match column {
                ResultColumn::Expr(expression, _) => {
                    let computed = inner.rewritten(expression)?;
                    // A constant might be read as the number of a result.
                    if check(&computed, false).is_err() || is_constant(&computed) {
                        return None;
                    }
                    let name = alias(column).map(str::to_owned).or_else(|| own_name(&computed));
                    picked.push((name, computed));
                }
                ResultColumn::Star | ResultColumn::TableStar(_) => {
                    picked.extend(inner.all_columns(column)?);
                }
            }
        }
        let condition = inner.condition_and(where_clause.as_deref())?;
        if condition.as_ref().is_some_and(|condition| check(condition, false).is_err()) {
            return None;
        }
        Some(Picked { called: None, is_table: false, columns: picked, condition, table: inner.table })
    }
}

/// The name of a result that is a column.
fn own_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Id(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

impl Picked {
    /// All rows of a table.
    fn of(table: Arc<Table>) -> Picked {
        let column = |name: &String| (Some(name.clone()), Expr::Id(ast::quoted_name(name)));
        let columns = table.columns.iter().map(|own| column(&own.name)).collect();
        Picked { table, called: None, is_table: true, columns, condition: None }
    }

    /// With other names for its columns, unless there are none.
    fn renamed(mut self, names: Vec<String>) -> Option<Picked> {
        if names.is_empty() {
            return Some(self);
        }
        if names.len() != self.columns.len() {
            return None;
        }
        for (column, name) in self.columns.iter_mut().zip(names) {
            column.0 = Some(name);
        }
        self.is_table = false;
        Some(self)
    }

    /// What a name means; `None` if that is in doubt.
    fn meaning(&self, name: &str) -> Option<Meaning<'_>> {
        let is_called = |(own, _): &&(Option<String>, Expr)| {
            own.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        let mut found = self.columns.iter().filter(is_called);
        match (found.next(), found.next()) {
            (Some((_, expression)), None) => Some(Meaning::Column(expression)),
            (Some(_), Some(_)) => None,
            (None, _) if self.table.column(name).is_some() => None,
            (None, _) if self.table.names_rowid(name) => {
                self.is_table.then_some(self.table.rowid_name?).map(Meaning::Rowid)
            }
            (None, _) => Some(Meaning::Other),
        }
    }

    /// An expression of the query around it in the table's own names; `None` if a name is in doubt.
    fn rewritten(&self, expression: &Expr) -> Option<Expr> {
        // Names inside other queries would stay what they are.
        if ast::any(expression, &ast::is_subquery) {
            return None;
        }
        let (mut rewritten, mut is_clear) = (expression.clone(), true);
        ast::rewrite(&mut rewritten, &mut |part| {
            let name = match part {
                Expr::Id(name) | Expr::Name(name) => name,
                Expr::Qualified(qualifier, name) => {
                    let is_own = |own: &String| own.eq_ignore_ascii_case(qualifier.as_str());
                    is_clear &= self.called.as_ref().is_some_and(is_own);
                    name
                }
                Expr::DoublyQualified(..) => {
                    is_clear = false;
                    return None;
                }
                _ => return None,
            };
            match self.meaning(name.as_str()) {
                Some(Meaning::Column(column @ Expr::Id(_))) => Some(column.clone()),
                Some(Meaning::Column(column)) => Some(ast::bracketed(column.clone())),
                Some(Meaning::Rowid(name)) => Some(Expr::Id(Name::from_string(name))),
                // It may be what the client calls a result.
                Some(Meaning::Other) => {
                    is_clear &= !matches!(part, Expr::Qualified(..));
                    None
                }
                None => {
                    is_clear = false;
                    None
                }
            }
        });
        is_clear.then_some(rewritten)
    }

    /// Its own condition and another one.
    fn condition_and(&self, other: Option<&Expr>) -> Option<Option<Expr>> {
        let other = match other {
            Some(other) => Some(self.rewritten(other)?),
            None => None,
        };
        Some(match (self.condition.clone(), other) {
            (Some(own), Some(other)) => Some(ast::joined(Some(ast::bracketed(own)), Operator::And, other)),
            (own, other) => own.or(other),
        })
    }

    /// The columns that a star stands for.
    fn all_columns(&self, star: &ResultColumn) -> Option<Vec<(Option<String>, Expr)>> {
        if let ResultColumn::TableStar(qualifier) = star
            && !self.called.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(qualifier.as_str()))
        {
            return None;
        }
        Some(self.columns.clone())
    }

    /// The results of the query around it.
    fn results(&self, columns: &[ResultColumn]) -> Option<Vec<ResultColumn>> {
        let mut results = Vec::with_capacity(columns.len());
        for column in columns {
            match column {
                ResultColumn::Expr(expression, alias) => {
                    results.push(ResultColumn::Expr(Box::new(self.rewritten(expression)?), alias.clone()));
                }
                star => {
                    let columns = self.all_columns(star)?.into_iter();
                    results.extend(
                        columns.map(|(_, expression)| ResultColumn::Expr(Box::new(expression), None)),
                    );
                }
            }
        }
        Some(results)
    }

    /// The table itself.
    fn from(&self) -> FromClause {
        let name = QualifiedName { namespace: None, name: ast::quoted_name(&self.table.name), alias: None };
        FromClause { select: Box::new(SelectTable::Table(name, None, None)), joins: Vec::new() }
    }
}

/// What a name of the query around stands for.
enum Meaning<'a> {
    Column(&'a Expr),
    /// The rowid, by a name that no column has.
    Rowid(&'static str),
    /// Nothing that is picked.
    Other,
}
