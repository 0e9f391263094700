//! What a pipeline begins with, done by the partitions: filters, the first documents in an order, counts.

use common::Result;
use serde_json::{Map, json};

use super::BATCH;
use super::running::Context;
use super::stage::Stage;
use crate::access::PartitionAccess;
use crate::documents::filter::Filter;
use crate::documents::find::source::{Documents, Source};
use crate::documents::find::{Find, count_matching, pushed_order};
use crate::documents::stored::table;
use crate::documents::value::Fields;

/// What flows into the first stage.
pub(super) enum Input {
    Documents(Documents),
    /// Documents that are here already.
    Ready(std::vec::IntoIter<Fields>),
}

impl Input {
    /// Some documents; none at the end.
    pub(super) async fn batch(&mut self) -> Result<Vec<Fields>> {
        let mut batch = Vec::new();
        match self {
            Input::Documents(documents) => {
                while batch.len() < BATCH
                    && let Some(stored) = documents.next().await?
                {
                    batch.push(stored.fields);
                }
            }
            Input::Ready(documents) => batch.extend(documents.by_ref().take(BATCH)),
        }
        Ok(batch)
    }
}

/// Opens the collection with the filters that a pipeline begins with; answers the stages that are left.
pub(super) async fn open<A: PartitionAccess>(
    context: &Context<'_, A>,
    collection: &str,
    mut stages: Vec<Stage>,
) -> Result<(Input, Vec<Stage>)> {
    let Some(table) = table(context.planner, collection)? else {
        return Ok((Input::Ready(Vec::new().into_iter()), stages));
    };
    let filter = take_filters(&mut stages);
    let source = Source::new(context.planner, &table, filter.clone());
    match stages.as_slice() {
        [Stage::Count(name), ..] => {
            let count = count_matching(context.planner, context.access, &source).await?;
            let counted = (count > 0).then(|| Map::from_iter([(name.clone(), json!(count))]));
            stages.remove(0);
            return Ok((Input::Ready(Vec::from_iter(counted).into_iter()), stages));
        }
        [Stage::Sort(order), rest @ ..] => {
            let limit = wanted(rest);
            let find = Find { filter, projection: None, order: order.clone(), skip: 0, limit };
            if let Some(found) = pushed_order::first(context.planner, context.access, &source, &find).await? {
                stages.remove(0);
                let found: Vec<Fields> = found.into_iter().map(|stored| stored.fields).collect();
                return Ok((Input::Ready(found.into_iter()), stages));
            }
        }
        _ => {}
    }
    let documents = source.open(context.planner, context.access, wanted(&stages)).await?;
    Ok((Input::Documents(documents), stages))
}

/// Documents that stages want of those that flow into them, if they want no more than so many.
pub(super) fn wanted(stages: &[Stage]) -> Option<u64> {
    match stages {
        [Stage::Limit(limit), ..] => Some(*limit),
        [Stage::Skip(skip), rest @ ..] => wanted(rest)?.checked_add(*skip),
        _ => None,
    }
}

/// Takes the filters in front, as far as they have no expressions: these may name variables.
pub(super) fn take_filters(stages: &mut Vec<Stage>) -> Filter {
    let mut taken = Vec::new();
    while let Some(Stage::Match(filter)) = stages.first() {
        let parts = match filter.clone() {
            Filter::All(parts) => parts,
            part => vec![part],
        };
        let (left, pushed): (Vec<Filter>, Vec<Filter>) = parts.into_iter().partition(Filter::has_expressions);
        taken.extend(pushed);
        if !left.is_empty() {
            stages[0] = Stage::Match(Filter::All(left));
            break;
        }
        stages.remove(0);
    }
    Filter::All(taken)
}
