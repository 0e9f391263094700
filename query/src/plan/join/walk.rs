//! The walk through all queries of a statement.

use std::sync::Arc;

use super::names::{Column, Level, Relation};
use super::{Objects, Reference, output};
use crate::ast::{self, Expr, OneSelect, QualifiedName, Select, With};
use crate::route::Route;
use crate::table::Table;

/// A statement that names more tables than this is not looked into.
const REFERENCES_MAX: usize = 200;

/// Views within views, and queries within queries, deeper than this are not looked into.
const DEPTH_MAX: usize = 60;

/// What the walk has found so far.
pub(super) struct Walk<'a> {
    objects: Objects<'a>,
    pub(super) references: Vec<Reference>,
    depth: usize,
}

/// The WITH clauses around a query, innermost first.
#[derive(Clone, Copy)]
pub(super) struct Ctes<'a, 'p> {
    with: &'a With,
    /// The one whose body this is, which there means the rows found so far.
    inside: Option<usize>,
    outer: Option<&'p Ctes<'a, 'p>>,
}

/// The query is the body of an EXISTS that must be true: which items of the query around it the condition is
/// one for.
#[derive(Clone, Copy)]
pub(super) struct Exists<'p>(pub(super) &'p [bool]);

impl<'a> Walk<'a> {
    pub(super) fn new(objects: Objects<'a>) -> Walk<'a> {
        Walk { objects, references: Vec::new(), depth: 0 }
    }

    /// Walks a query and tells what it gives; `None` if part of it is not understood.
    pub(super) fn select(
        &mut self,
        select: &'a Select,
        ctes: Option<&Ctes<'a, '_>>,
        outer: Option<&Level<'_>>,
        exists: Option<Exists<'_>>,
    ) -> Option<Relation> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let own = select.with.as_ref().map(|with| Ctes { with, inside: None, outer: ctes });
        let relation = self.body(select, own.as_ref().or(ctes), outer, exists);
        self.depth -= 1;
        relation
    }

    fn body(
        &mut self,
        select: &'a Select,
        ctes: Option<&Ctes<'a, '_>>,
        outer: Option<&Level<'_>>,
        exists: Option<Exists<'_>>,
    ) -> Option<Relation> {
        let terms: Vec<&'a Expr> = select.order_by.iter().map(|term| term.expr.as_ref()).collect();
        if let Some(limit) = &select.limit {
            // It sees no columns but those of queries around.
            self.expression(&limit.expr, ctes, outer)?;
            limit.offset.iter().try_for_each(|offset| self.expression(offset, ctes, outer))?;
        }
        if select.body.compounds.is_empty() {
            let relation = self.core(&select.body.select, &terms, ctes, outer, exists)?;
            return Some(if select.limit.is_some() { output::unfilterable(relation) } else { relation });
        }
        if terms.iter().any(|term| ast::any(term, &ast::is_subquery)) {
            return None;
        }
        let mut branches = Vec::new();
        let others = select.body.compounds.iter().map(|compound| &compound.select);
        for branch in std::iter::once(&select.body.select).chain(others) {
            branches.push(self.core(branch, &[], ctes, outer, None)?);
        }
        Some(output::compound(select, branches, &self.references))
    }

    /// Walks the queries inside an expression.
    pub(super) fn expression(
        &mut self,
        expression: &'a Expr,
        ctes: Option<&Ctes<'a, '_>>,
        level: Option<&Level<'_>>,
    ) -> Option<()> {
        match expression {
            Expr::Exists(select) | Expr::Subquery(select) | Expr::InSelect { rhs: select, .. } => {
                self.select(select, ctes, level, None)?;
            }
            Expr::InTable { rhs, args, .. } if args.is_empty() => {
                self.named(rhs, ctes)?;
            }
            Expr::SubqueryResult { .. } | Expr::Default | Expr::Register(_) => return None,
            _ => {}
        }
        ast::children_and_windows(expression)
            .into_iter()
            .try_for_each(|child| self.expression(child, ctes, level))
    }

    /// What a name in a FROM clause stands for.
    pub(super) fn named(&mut self, name: &'a QualifiedName, ctes: Option<&Ctes<'a, '_>>) -> Option<Relation> {
        let text = name.name.as_str();
        match &name.namespace {
            None => {
                if let Some(relation) = self.given_by_with(text, ctes) {
                    return relation;
                }
            }
            Some(space) if space.as_str().eq_ignore_ascii_case("main") => {}
            Some(_) => return None,
        }
        if let Some(table) = (self.objects.table)(text) {
            return self.refer(table);
        }
        let view = (self.objects.view)(text)?;
        let names = view.columns.iter().map(String::as_str).collect();
        Some(output::renamed(self.select(&view.select, None, None, None)?, names))
    }

    /// The relation that WITH gives a name, if it does.
    fn given_by_with(&mut self, name: &str, ctes: Option<&Ctes<'a, '_>>) -> Option<Option<Relation>> {
        let mut around = ctes;
        while let Some(here) = around {
            let given =
                here.with.ctes.iter().position(|cte| cte.tbl_name.as_str().eq_ignore_ascii_case(name));
            if let Some(position) = given {
                if here.inside == Some(position) {
                    return Some(Some(Relation::default()));
                }
                let cte = &here.with.ctes[position];
                let names = cte.columns.iter().map(|column| column.col_name.as_str()).collect();
                let body = Ctes { inside: Some(position), ..*here };
                let relation = self.select(&cte.select, Some(&body), None, None);
                return Some(relation.map(|relation| output::renamed(relation, names)));
            }
            around = here.outer;
        }
        None
    }

    fn refer(&mut self, table: Arc<Table>) -> Option<Relation> {
        if self.references.len() >= REFERENCES_MAX {
            return None;
        }
        let reference = self.references.len();
        let relation = Relation::of_table(reference, &table);
        self.references.push(Reference {
            table,
            filters: Vec::new(),
            route: Route::default(),
            equalities: Vec::new(),
            lookups: Vec::new(),
        });
        Some(relation)
    }

    /// One SELECT of a query.
    fn core(
        &mut self,
        core: &'a OneSelect,
        terms: &[&'a Expr],
        ctes: Option<&Ctes<'a, '_>>,
        outer: Option<&Level<'_>>,
        exists: Option<Exists<'_>>,
    ) -> Option<Relation> {
        match core {
            OneSelect::Values(rows) => {
                rows.iter().flatten().try_for_each(|value| self.expression(value, ctes, outer))?;
                let width = rows.first().map(Vec::len).unwrap_or_default();
                // Their columns are computed.
                Some(Relation { columns: Some(vec![Column::default(); width]), base: None })
            }
            OneSelect::Select { .. } => self.select_core(core, terms, ctes, outer, exists),
        }
    }
}
