//! `$group` and `$bucket`: documents by a key. Groups come in the order of their keys.

use std::collections::BTreeMap;

use common::{Error, Result};
use serde_json::{Map, Value as Json};

use super::accumulator::{Accumulator, Kind};
use crate::documents::attributes::Touched;
use crate::documents::budget::Budget;
use crate::documents::expression::{Expression, Scope};
use crate::documents::value::Fields;
use crate::documents::value::order::{Key, compare};

/// How documents are grouped, and what is made of each group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    pub(super) outputs: Vec<(String, Kind, Expression)>,
}

/// What documents of a group have in common.
#[derive(Clone, Debug)]
pub(super) enum GroupKey {
    /// A value. A missing one counts as null.
    Value(Expression),
    /// The greatest boundary that a value does not lie below; beyond the boundaries another value.
    Bucket { by: Expression, boundaries: Vec<Json>, otherwise: Option<Json> },
}

impl GroupKey {
    fn evaluate(&self, scope: &Scope<'_>) -> Result<Json> {
        match self {
            GroupKey::Value(expression) => Ok(expression.evaluate(scope)?.unwrap_or_default()),
            GroupKey::Bucket { by, boundaries, otherwise } => {
                let value = by.evaluate(scope)?;
                let below =
                    |boundary: &Json| value.as_ref().is_some_and(|value| compare(boundary, value).is_le());
                let position = boundaries.partition_point(below);
                if position > 0 && position < boundaries.len() {
                    return Ok(boundaries[position - 1].clone());
                }
                otherwise.clone().ok_or_else(|| {
                    Error::bad_request("$bucket: a value lies beyond the boundaries, and there is no default")
                })
            }
        }
    }
}

impl Group {
    /// The attributes that it looks at.
    pub(super) fn touch(&self, touched: &mut Touched) {
        match &self.key {
            GroupKey::Value(by) | GroupKey::Bucket { by, .. } => touched.expression(by),
        }
        self.outputs.iter().for_each(|(.., value)| touched.expression(value));
    }
}

/// Groups in the making.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<Key, Vec<Accumulator>>,
    budget: Budget,
}

impl Groups {
    /// Takes a document.
    pub(super) fn add(&mut self, group: &Group, scope: &Scope<'_>) -> Result<()> {
        let key = Key(group.key.evaluate(scope)?);
        if !self.groups.contains_key(&key) {
            self.budget.hold(&key.0)?;
            self.budget.hold_bytes(200 * (group.outputs.len() + 1))?;
        }
        let new = || group.outputs.iter().map(|(_, kind, _)| Accumulator::new(*kind)).collect();
        let accumulators = self.groups.entry(key).or_insert_with(new);
        for (accumulator, (_, _, expression)) in accumulators.iter_mut().zip(&group.outputs) {
            accumulator.add(expression.evaluate(scope)?, &mut self.budget)?;
        }
        Ok(())
    }

    /// A document for each group.
    pub(super) fn finish(self, group: &Group) -> Result<Vec<Fields>> {
        let document = |(key, accumulators): (Key, Vec<Accumulator>)| {
            let mut fields = Map::with_capacity(accumulators.len() + 1);
            fields.insert("_id".to_owned(), key.0);
            for (accumulator, (name, ..)) in accumulators.into_iter().zip(&group.outputs) {
                fields.insert(name.clone(), accumulator.finish()?);
            }
            Ok(fields)
        };
        self.groups.into_iter().map(document).collect()
    }
}
