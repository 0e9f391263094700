//! Queries within a statement that partitions can do, where they cannot do the statement around them: branches of a
//! compound, and subqueries, views and WITH that group, pick the first rows of an order, or tell rows apart. Each is
//! answered first, by whatever way is open to it, and the statement is evaluated over the answers.
//!
//! In the text such a query becomes one over a parameter that holds its rows. Its columns stay what they are to
//! SQLite: a column has the type and the collation of the column that it was, and what is computed has neither.

use std::sync::Arc;

use common::Result;
use common::hash::Collation;
use common::names::quote_identifier;
use common::value::Affinity;
use sqlite::shipped_rows::{SHIPPED_ROWS, VALUES_MAX, column};

use super::answers::Answer;
use super::is_aggregate;
use crate::ast::{
    self, As, Cmd, Expr, FromClause, JoinConstraint, OneSelect, ResultColumn, Select, SelectBody,
    SelectTable, SortedColumn, Stmt, UnaryOperator,
};
use crate::plan::join::Objects;
use crate::plan::{Action, Planned, Pushed};
use crate::table::Table;

/// Most queries of a statement that are answered first: each costs the time of a request.
const ANSWERS_MAX: usize = 16;

/// Functions that are no more to SQLite than their first argument.
const TRANSPARENT: [&str; 3] = ["likelihood", "likely", "unlikely"];

/// A statement that is evaluated over the answers of queries within it.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    /// Its text; the parameters behind the client's hold the answers.
    pub(crate) text: String,
}

/// Takes a SELECT apart; `None` if some table in it is read by nothing that partitions can do.
pub(crate) fn composed<'o>(
    select: &Select,
    parameters: usize,
    objects: Objects<'o>,
    prepare: &dyn Fn(&str) -> Result<Arc<Planned>>,
) -> Option<(Composed, Vec<Answer>)> {
    let mut composer = Composer { parameters, objects, prepare, answers: Vec::new() };
    let mut rewritten = select.clone();
    composer.whole(&mut rewritten, &[], true)?;
    let is_of_tables = !composer.answers.is_empty();
    is_of_tables.then(|| (Composed { text: rewritten.to_string() }, composer.answers))
}

/// Whether a SELECT answers groups of rows, of which there may be much fewer.
pub(crate) fn makes_groups(select: &Select) -> bool {
    let OneSelect::Select { columns, group_by, distinctness, .. } = &select.body.select else { return false };
    let is_computed = |column: &ResultColumn| match column {
        ResultColumn::Expr(expression, _) => is_aggregate(expression),
        ResultColumn::Star | ResultColumn::TableStar(_) => false,
    };
    group_by.is_some() || distinctness.is_some() || columns.iter().any(is_computed)
}

/// Where a query stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a FROM or WITH clause.
    From,
    /// A branch of a compound: of the statement itself, or of a query within, whose columns have the types that
    /// all branches come to.
    Branch { within: bool },
    /// In an expression; `one_row` where the first is enough.
    Expression { one_row: bool },
}

struct Composer<'p, 'o> {
    parameters: usize,
    objects: Objects<'o>,
    prepare: &'p dyn Fn(&str) -> Result<Arc<Planned>>,
    answers: Vec<Answer>,
}

impl Composer<'_, '_> {
    /// A query in whatever place.
    fn query(&mut self, select: &mut Select, names: &[String], place: Place) -> Option<()> {
        if let Some(answered) = self.answered(select, &[], names, place) {
            *select = answered;
            return Some(());
        }
        self.whole(select, names, false)
    }

    /// What a query is made of. `names` are those that WITH clauses give.
    fn whole(&mut self, select: &mut Select, names: &[String], is_statement: bool) -> Option<()> {
        let mut names = names.to_vec();
        if let Some(with) = &mut select.with {
            names.extend(with.ctes.iter().map(|query| query.tbl_name.as_str().to_owned()));
            for query in &mut with.ctes {
                self.query(&mut query.select, &names, Place::From)?;
            }
        }
        let limit = select.limit.iter().flat_map(|limit| std::iter::once(&limit.expr).chain(&limit.offset));
        if limit.into_iter().any(|bound| ast::any(bound, &ast::is_subquery)) {
            return None;
        }
        if select.body.compounds.is_empty() {
            for term in &mut select.order_by {
                self.expression(&mut term.expr, &names)?;
            }
            return self.core(&mut select.body.select, &names);
        }
        if !orders_by_results(&select.order_by, &select.body.select) {
            return None;
        }
        let branches = std::iter::once(&mut select.body.select)
            .chain(select.body.compounds.iter_mut().map(|compound| &mut compound.select));
        for branch in branches {
            self.branch(branch, &names, Place::Branch { within: !is_statement })?;
        }
        Some(())
    }

    fn branch(&mut self, branch: &mut OneSelect, names: &[String], place: Place) -> Option<()> {
        let body = SelectBody { select: branch.clone(), compounds: Vec::new() };
        let alone = Select { with: None, body, order_by: Vec::new(), limit: None };
        match self.answered(&alone, &[], names, place) {
            Some(answered) => {
                *branch = answered.body.select;
                Some(())
            }
            None => self.core(branch, names),
        }
    }

    fn core(&mut self, core: &mut OneSelect, names: &[String]) -> Option<()> {
        let OneSelect::Select { columns, from, where_clause, group_by, .. } = core else {
            // Whatever tables VALUES reads are not looked for.
            let OneSelect::Values(rows) = core else { return None };
            let reads = |value: &Expr| ast::any(value, &ast::is_subquery);
            return (!rows.iter().flatten().any(|value| reads(value))).then_some(());
        };
        if let Some(from) = from {
            self.from(from, names)?;
        }
        for column in columns {
            if let ResultColumn::Expr(expression, _) = column {
                self.expression(expression, names)?;
            }
        }
        if let Some(condition) = where_clause {
            self.expression(condition, names)?;
        }
        if let Some(group_by) = group_by {
            for term in &mut group_by.exprs {
                self.expression(term, names)?;
            }
            if let Some(having) = &mut group_by.having {
                self.expression(having, names)?;
            }
        }
        Some(())
    }

    fn from(&mut self, from: &mut FromClause, names: &[String]) -> Option<()> {
        self.item(&mut from.select, names)?;
        for join in &mut from.joins {
            self.item(&mut join.table, names)?;
            if let Some(JoinConstraint::On(condition)) = &mut join.constraint {
                self.expression(condition, names)?;
            }
        }
        Some(())
    }

    fn item(&mut self, item: &mut SelectTable, names: &[String]) -> Option<()> {
        match item {
            SelectTable::Table(name, alias, None) => {
                let own = name.name.as_str();
                if name.namespace.is_none() && names.iter().any(|known| known.eq_ignore_ascii_case(own)) {
                    return Some(());
                }
                let view = (self.objects.view)(own).filter(|_| (self.objects.table)(own).is_none())?;
                // A view sees no WITH of the statement that names it.
                let mut select = self.answered(&view.select, &view.columns, &[], Place::From);
                if select.is_none() && view.columns.is_empty() {
                    let mut inner = view.select.clone();
                    self.whole(&mut inner, &[], false)?;
                    select = Some(inner);
                }
                let alias = alias.clone().or_else(|| Some(As::As(name.name.clone())));
                *item = SelectTable::Select { select: select?, alias, lateral: false };
                Some(())
            }
            SelectTable::Select { select, lateral: false, .. } => self.query(select, names, Place::From),
            SelectTable::Sub(from, _) => self.from(from, names),
            SelectTable::TableCall(_, arguments, _) => {
                let reads = arguments.iter().any(|argument| ast::any(argument, &ast::is_subquery));
                (!reads).then_some(())
            }
            SelectTable::Table(..) | SelectTable::Select { .. } => None,
        }
    }

    /// The subqueries of an expression.
    fn expression(&mut self, expression: &mut Expr, names: &[String]) -> Option<()> {
        let mut is_clear = true;
        ast::rewrite(expression, &mut |part| {
            let mut part = part.clone();
            let done = match &mut part {
                Expr::Subquery(select) | Expr::Exists(select) => {
                    self.query(select, names, Place::Expression { one_row: true })
                }
                Expr::InSelect { lhs, rhs, .. } => {
                    let done = self.expression(lhs, names);
                    done.and_then(|()| self.query(rhs, names, Place::Expression { one_row: false }))
                }
                other if ast::is_subquery(other) => None,
                _ => return None,
            };
            is_clear &= done.is_some();
            Some(part)
        });
        is_clear.then_some(())
    }

    /// The query over the parameter that holds the answer, if partitions can do the query and its answer is small
    /// beside what it reads. `called` are names that a view gives its columns.
    fn answered(
        &mut self,
        select: &Select,
        called: &[String],
        names: &[String],
        place: Place,
    ) -> Option<Select> {
        let is_small = makes_groups(select) || select.limit.is_some();
        if self.answers.len() >= ANSWERS_MAX
            || !select.body.compounds.is_empty()
            || !is_small && place != (Place::Expression { one_row: true })
        {
            return None;
        }
        let text = select.to_string();
        // A name for a parameter counts from the first of the whole statement; one of a WITH means that.
        if text.contains([':', '@', '$']) || names.iter().any(|name| has_word(&text, name)) {
            return None;
        }
        // What names a column of the statement around it is no statement by itself.
        let planned = (self.prepare)(&text).ok()?;
        let Action::Read(read) = &planned.action else { return None };
        let is_pushed = matches!(read.pushed, Ok(Pushed::Ordered(_) | Pushed::Partial(_)));
        if !is_pushed || !planned.is_read || !planned.is_deterministic || planned.columns.len() > VALUES_MAX {
            return None;
        }
        let results = Results { select, planned: &planned, objects: self.objects }.texts(called, place)?;
        let parameter = self.parameters + self.answers.len() + 1;
        // With a LIMIT it is made once and not mixed with the query around it, which may join it.
        let limit = if place == Place::From { " LIMIT -1" } else { "" };
        let text = format!("SELECT {} FROM {SHIPPED_ROWS}(?{parameter}){limit}", results.join(", "));
        let Some(Cmd::Stmt(Stmt::Select(answered))) = ast::parse(&text) else { return None };
        let one_row = place == Place::Expression { one_row: true };
        self.answers.push(Answer { planned, one_row, stays: true });
        Some(answered)
    }
}

/// What a query answers, column by column.
struct Results<'r, 'o> {
    select: &'r Select,
    planned: &'r Planned,
    objects: Objects<'o>,
}

impl Results<'_, '_> {
    /// Each as an expression over the rows shipped, with its name.
    fn texts(&self, called: &[String], place: Place) -> Option<Vec<String>> {
        let OneSelect::Select { columns, from: Some(from), .. } = &self.select.body.select else {
            return None;
        };
        let tables = self.tables(from);
        let mut found: Vec<(String, String)> = Vec::new();
        for result in columns {
            match result {
                ResultColumn::Expr(expression, alias) => {
                    let at = found.len();
                    let own = self.planned.columns.get(at)?.as_str();
                    // The text that is sent to the partitions is not the client's to the letter.
                    let called = alias.as_ref().filter(|alias| alias.is_explicit() || !is_name(expression));
                    let name = called.map_or(own, |alias| alias.name().as_str()).to_owned();
                    found.push((self.text(expression, at, tables.as_deref(), place)?, name));
                }
                ResultColumn::Star | ResultColumn::TableStar(_) => {
                    // Of several tables NATURAL and USING leave columns out.
                    let [table] = tables.as_deref()? else { return None };
                    for own in &table.columns {
                        let at = found.len();
                        found.push((self.copy(&own.name, at, Some(&[Arc::clone(table)]))?, own.name.clone()));
                    }
                }
            }
        }
        if found.len() != self.planned.columns.len() || !called.is_empty() && called.len() != found.len() {
            return None;
        }
        let named = found.into_iter().enumerate().map(|(at, (text, own))| {
            let name = called.get(at).unwrap_or(&own);
            format!("{text} AS {}", quote_identifier(name))
        });
        Some(named.collect())
    }

    /// The tables of a FROM clause, if it names nothing else.
    fn tables(&self, from: &FromClause) -> Option<Vec<Arc<Table>>> {
        let items = std::iter::once(&from.select).chain(from.joins.iter().map(|join| &join.table));
        items
            .map(|item| match &**item {
                SelectTable::Table(name, ..) => (self.objects.table)(name.name.as_str()),
                _ => None,
            })
            .collect()
    }

    fn text(
        &self,
        expression: &Expr,
        at: usize,
        tables: Option<&[Arc<Table>]>,
        place: Place,
    ) -> Option<String> {
        let bare = ast::bare(expression);
        match bare {
            Expr::Id(name) | Expr::Name(name) | Expr::Qualified(_, name) => {
                self.copy(name.as_str(), at, tables)
            }
            Expr::Literal(_) => Some(bare.to_string()),
            // They are converted and compared as what is in them.
            Expr::Cast { .. }
            | Expr::Unary(UnaryOperator::Positive, _)
            | Expr::DoublyQualified(..)
            | Expr::Parenthesized(_)
            | Expr::Variable(_) => None,
            Expr::FunctionCall { name, .. }
                if TRANSPARENT.iter().any(|known| known.eq_ignore_ascii_case(name.as_str())) =>
            {
                None
            }
            _ if ast::any(bare, &|part| matches!(part, Expr::Collate(..)) || ast::is_subquery(part)) => None,
            // The types of a compound within follow from what all of its branches may give.
            Expr::FunctionCall { .. } | Expr::FunctionCallStar { .. } => Some(computed(at)),
            _ => (place != Place::Branch { within: true }).then(|| computed(at)),
        }
    }

    /// A column that is handed on.
    fn copy(&self, name: &str, at: usize, tables: Option<&[Arc<Table>]>) -> Option<String> {
        let is_binary = |table: &Table, position: usize| {
            table.columns[position].known_collation() == Some(Collation::Binary)
        };
        let declared = self.planned.types.get(at)?.as_str();
        match tables {
            Some(tables) => {
                let named = tables.iter().filter_map(|table| Some((table, table.column(name)?)));
                if !named.into_iter().all(|(table, position)| is_binary(table, position)) {
                    return None;
                }
            }
            None => {
                // It may have another name there.
                let tables = self.planned.tables.iter().map(|table| (self.objects.table)(table));
                let tables = tables.flatten().collect::<Vec<Arc<Table>>>();
                let all = |table: &Arc<Table>| (0..table.columns.len()).all(|at| is_binary(table, at));
                if declared.is_empty() || tables.is_empty() || !tables.iter().all(all) {
                    return None;
                }
            }
        }
        // ANY means another thing in STRICT tables.
        let is_clear = !declared.eq_ignore_ascii_case("ANY");
        is_clear.then(|| column(at, Affinity::of_declared_type(declared)))
    }
}

fn is_name(expression: &Expr) -> bool {
    matches!(ast::bare(expression), Expr::Id(_) | Expr::Name(_) | Expr::Qualified(..))
}

/// A value that has neither a type nor a collation.
fn computed(at: usize) -> String {
    format!("CASE WHEN 1 THEN {} END", column(at, Affinity::Blob))
}

/// Whether a compound is in no order, or one of its results by name or number: what else may be meant is found in
/// the branches as they were.
fn orders_by_results(terms: &[SortedColumn], first: &OneSelect) -> bool {
    let names: Vec<&str> = match first {
        OneSelect::Select { columns, .. } => columns.iter().filter_map(result_name).collect(),
        OneSelect::Values(_) => Vec::new(),
    };
    terms.iter().all(|term| {
        let mut expression = ast::bare(&term.expr);
        if let Expr::Collate(inner, _) = expression {
            expression = ast::bare(inner);
        }
        match expression {
            Expr::Literal(ast::Literal::Numeric(_)) => true,
            Expr::Id(name) => {
                let is_it = |own: &&&str| own.eq_ignore_ascii_case(name.as_str());
                names.iter().filter(is_it).count() == 1
            }
            _ => false,
        }
    })
}

/// What a result is called.
fn result_name(column: &ResultColumn) -> Option<&str> {
    match column {
        ResultColumn::Expr(_, Some(alias)) if alias.is_explicit() => Some(alias.name().as_str()),
        ResultColumn::Expr(expression, _) => match &**expression {
            Expr::Id(name) | Expr::Name(name) | Expr::Qualified(_, name) => Some(name.as_str()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a name is among the words of a text; one that is no word may be anywhere.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == '$';
    if !name.chars().all(is_part) {
        return true;
    }
    text.split(|character: char| !is_part(character)).any(|word| word.eq_ignore_ascii_case(name))
}
