//! What a pipeline begins with, done by the partitions: filters, the first documents in an order, counts, groups. Of
//! the documents they send what the stages look at.

use common::protocol::Statement;
use common::{Result, Value};
use serde_json::{Map, json};

use super::BATCH;
use super::pushed_group::PushedGroup;
use super::running::Context;
use super::stage::Stage;
use crate::access::PartitionAccess;
use crate::documents::attributes::Touched;
use crate::documents::filter::Filter;
use crate::documents::find::source::{Documents, Source};
use crate::documents::find::{Find, count_matching, counting, pushed_order};
use crate::documents::stored::table;
use crate::documents::value::Fields;
use crate::planner::Planner;
use crate::sql::run_one;
use crate::table::Table;

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

/// How a pipeline begins.
struct Beginning {
    source: Source,
    first: First,
    /// The stages behind the filters, with that of `first`.
    stages: Vec<Stage>,
}

/// The first stage behind the filters, if partitions may do it.
enum First {
    Count(String),
    Sort(Box<Find>),
    Group(Box<PushedGroup>),
    Other,
}

impl Beginning {
    fn of(planner: &Planner, table: &Table, mut stages: Vec<Stage>) -> Beginning {
        let filter = take_filters(&mut stages);
        let source = Source::new(planner, table, filter.clone()).reading(touched(&stages));
        let first = match stages.as_slice() {
            [Stage::Count(name), ..] => First::Count(name.clone()),
            [Stage::Sort(order), rest @ ..] => First::Sort(Box::new(Find {
                filter,
                projection: None,
                order: order.clone(),
                skip: 0,
                limit: wanted(rest),
            })),
            [Stage::Group(group), ..] => match PushedGroup::of(&source, group) {
                Some(pushed) => First::Group(Box::new(pushed)),
                None => First::Other,
            },
            _ => First::Other,
        };
        Beginning { source, first, stages }
    }

    /// What partitions are asked first.
    fn statement(&self) -> Statement {
        let asked = match &self.first {
            First::Count(_) => counting(&self.source),
            First::Sort(find) => pushed_order::statement(&self.source, find),
            First::Group(pushed) => Some(pushed.statement.clone()),
            First::Other => None,
        };
        asked.unwrap_or_else(|| self.source.ordered("rowid", wanted(&self.stages)))
    }

    /// What comes out of the first stage, if the partitions could do it.
    async fn done_by_partitions<A: PartitionAccess>(
        &self,
        context: &Context<'_, A>,
    ) -> Result<Option<Vec<Fields>>> {
        let (planner, access) = (context.planner, context.access);
        match &self.first {
            First::Count(name) => {
                let count = count_matching(planner, access, &self.source).await?;
                let counted = (count > 0).then(|| Map::from_iter([(name.clone(), json!(count))]));
                Ok(Some(Vec::from_iter(counted)))
            }
            First::Sort(find) => {
                let found = pushed_order::first(planner, access, &self.source, find).await?;
                Ok(found.map(|found| found.into_iter().map(|stored| stored.fields).collect()))
            }
            First::Group(pushed) => {
                let answered = run_one(planner, access, &pushed.statement, u32::MAX).await;
                let rows: Vec<Vec<Value>> = match answered {
                    Ok(result) if !result.truncated => {
                        result.rows.to_values().map_err(|error| common::Error::internal(error.to_string()))?
                    }
                    Ok(_) => return Ok(None),
                    // SQL's sums of integers have 64 bits; greater ones become reals.
                    Err(error) if error.message.contains("integer overflow") => return Ok(None),
                    Err(error) => return Err(error),
                };
                pushed.groups(rows)
            }
            First::Other => Ok(None),
        }
    }
}

/// Opens the collection with what a pipeline begins with; answers the stages that are left.
pub(super) async fn open<A: PartitionAccess>(
    context: &Context<'_, A>,
    collection: &str,
    stages: Vec<Stage>,
) -> Result<(Input, Vec<Stage>)> {
    let Some(table) = table(context.planner, collection)? else {
        return Ok((Input::Ready(Vec::new().into_iter()), stages));
    };
    let beginning = Beginning::of(context.planner, &table, stages);
    if let Some(made) = beginning.done_by_partitions(context).await? {
        let mut stages = beginning.stages;
        stages.remove(0);
        return Ok((Input::Ready(made.into_iter()), stages));
    }
    let most = wanted(&beginning.stages);
    let documents = beginning.source.open(context.planner, context.access, most).await?;
    Ok((Input::Documents(documents), beginning.stages))
}

/// What partitions are asked first, and the documents that this is about.
pub(super) fn first_statement(planner: &Planner, table: &Table, stages: Vec<Stage>) -> (Source, Statement) {
    let beginning = Beginning::of(planner, table, stages);
    let statement = beginning.statement();
    (beginning.source, statement)
}

/// Documents that stages want of those that flow into them, if they want no more than so many.
pub(super) fn wanted(stages: &[Stage]) -> Option<u64> {
    match stages {
        [Stage::Limit(limit), ..] => Some(*limit),
        [Stage::Skip(skip), rest @ ..] => wanted(rest)?.checked_add(*skip),
        _ => None,
    }
}

/// The attributes that stages look at, of the documents that flow into them.
fn touched(stages: &[Stage]) -> Touched {
    let mut touched = Touched::none();
    for stage in stages {
        match stage {
            Stage::Match(filter) => touched.filter(filter),
            Stage::Project(projection) => {
                projection.touch(&mut touched);
                if projection.keeps() {
                    return touched;
                }
            }
            Stage::Group(group) => {
                group.touch(&mut touched);
                return touched;
            }
            Stage::Sort(order) => touched.order(order),
            Stage::Limit(_) | Stage::Skip(_) | Stage::Sample(_) | Stage::UnionWith(..) => {}
            Stage::Unwind(unwind) => touched.path(&unwind.path),
            Stage::Lookup(lookup) => {
                lookup.fields.iter().for_each(|(local, _)| touched.path(local));
                lookup.variables.iter().for_each(|(_, value)| touched.expression(value));
            }
            Stage::Count(_) => return touched,
            Stage::ReplaceRoot(root) => {
                touched.expression(root);
                return touched;
            }
            Stage::Facet(facets) => {
                facets.iter().for_each(|(_, stages)| touched.also(self::touched(stages)));
                return touched;
            }
        }
    }
    Touched::All
}

/// Takes the filters in front, as far as they have no expressions: these may name variables.
fn take_filters(stages: &mut Vec<Stage>) -> Filter {
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
