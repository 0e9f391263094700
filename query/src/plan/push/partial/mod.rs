//! Groups and sets of which each partition computes its part: aggregates, GROUP BY, DISTINCT.
//!
//! A part is one group of one partition. It carries the key of the row that stands for it: the group's first
//! row, or the one that `min` or `max` took its value from, because that row's values are the group's where
//! the client asks for columns that are no aggregate, and for `1` where the group holds `1` and `1.0`. The
//! merging SQLite keeps the parts in the order of these keys, so that it meets them as one file meets the rows.

mod columns;
mod hashed;
mod merging;
mod parts;
mod representative;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Value;
use common::protocol::{Params, Statement};

use self::hashed::Hashed;
use self::parts::Parts;
use super::Why;
use super::expression::Call;
use super::fragment::row_order;
use super::one_table::{Limit, OneTable, Term};
use super::ordered::integer;
use crate::ast::{self, Expr};
use crate::plan::rules::{Rule, Rules};
use crate::route::Route;
use crate::table::Table;

pub(super) use representative::shows_rows;

/// What the parts are called in the merging SQLite.
const PARTS: &str = "parts";

/// A plan whose parts are merged.
#[derive(Clone, Debug)]
pub(crate) struct Partial {
    pub(crate) table: Arc<Table>,
    pub(crate) route: Route,
    /// The text for the partitions, without LIMIT, and the parameters of the client that it uses.
    fragment: String,
    parameters: usize,
    /// The text that finds the same parts by hashing.
    hashed: Option<Hashed>,
    /// Whether a partition has refused that text, as it may do again.
    hashing_refused: Arc<AtomicBool>,
    /// Whether parts begin with the row that stands for them.
    has_rows: bool,
    /// What the parts are, as a relation whose rows begin with the row that stands for the part.
    pub(crate) parts: Arc<Table>,
    /// The text that merges them, and the parameters of the client that it uses.
    merge: String,
    merge_parameters: usize,
    /// LIMIT, where the first parts of each partition are enough.
    limit: Option<Limit>,
}

/// A [`Partial`] plan with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct PartialRun {
    /// What each partition runs.
    pub(crate) fragment: Statement,
    /// What it is asked first, if anything: the same parts as one value.
    pub(crate) hashed: Option<Statement>,
    /// What merges the parts.
    pub(crate) merge: Statement,
}

/// Whether results are computed from groups of rows.
pub(super) fn has_groups(one: &OneTable) -> bool {
    !one.groups.is_empty()
        || one.having.is_some()
        || one.results().any(|expression| ast::any(expression, &|part| Call::of(part).is_some()))
}

impl Partial {
    /// Plans the parts.
    pub(super) fn of(one: &OneTable, rules: Rules) -> Result<Partial, Why> {
        let rule = if has_groups(one) { Rule::PartialAggregates } else { Rule::Distinct };
        if !rules.has(rule) {
            return Err("the rule is turned off");
        }
        let order = row_order(&one.table);
        let [Term { expression: row, descending: false, .. }] = order.as_slice() else {
            return Err("the table's key has several columns, or falls");
        };
        let parts = if has_groups(one) { Parts::of_groups(one, row)? } else { Parts::of_rows(one, row)? };
        let limit = one.limit.clone().filter(|_| rules.has(Rule::Limit) && parts.first_are_enough);
        let merge_parameters = parts.merge_parameters;
        let hashed = Hashed::of(&parts.fragment, parts.row.as_ref(), &parts.columns, &one.table);
        let mut fragment = parts.fragment;
        if limit.is_none() {
            fragment.order = parts.row.clone().map(plain).into_iter().collect();
        }
        Ok(Partial {
            table: Arc::clone(&one.table),
            route: one.route.clone(),
            parameters: fragment.parameters(),
            fragment: fragment.text(),
            hashed: hashed.filter(|_| rules.has(Rule::HashedGroups)),
            hashing_refused: Arc::default(),
            has_rows: parts.row.is_some(),
            parts: Arc::new(Table::new(parts.columns.definition(&one.table, parts.row.is_some()), None)),
            merge: parts.merge,
            merge_parameters,
            limit,
        })
    }

    /// Notes that a partition cannot group by hashing.
    pub(crate) fn refuse_hashing(&self) {
        self.hashing_refused.store(true, Ordering::Relaxed);
    }

    /// With the request's parameters; `None` if SQLite should judge them.
    pub(crate) fn bind(&self, values: &[Value]) -> Option<PartialRun> {
        let mut params = values.get(..self.parameters)?.to_vec();
        let mut sql = self.fragment.clone();
        if let Some(limit) = &self.limit {
            let count = u64::try_from(integer(&limit.count, values)?).ok();
            let offset = match &limit.offset {
                Some(offset) => u64::try_from(integer(offset, values)?).unwrap_or(0),
                None => 0,
            };
            let wanted = count.and_then(|count| i64::try_from(count.checked_add(offset)?).ok());
            if let Some(wanted) = wanted {
                params.push(wanted.into());
                let _ = write!(sql, " LIMIT ?{}", params.len());
            }
            // Parts are merged in the order of the rows that stand for them.
            if self.has_rows {
                sql = format!("SELECT * FROM ({sql}) ORDER BY 1");
            }
        }
        if !self.has_rows {
            sql = format!("SELECT NULL, * FROM ({sql})");
        }
        let hashed = self.hashed.as_ref().filter(|_| !self.hashing_refused.load(Ordering::Relaxed));
        let hashed = match hashed {
            Some(hashed) => Some(statement(hashed.text.clone(), values.get(..hashed.parameters)?.to_vec())),
            None => None,
        };
        Some(PartialRun {
            fragment: statement(sql, params),
            hashed,
            merge: statement(self.merge.clone(), values.get(..self.merge_parameters)?.to_vec()),
        })
    }
}

fn statement(sql: String, params: Vec<Value>) -> Statement {
    let params = if params.is_empty() { Params::None } else { Params::Positional(params) };
    Statement { sql, params }
}

fn plain(expression: Expr) -> Term {
    Term { expression, descending: false, nulls: None }
}
