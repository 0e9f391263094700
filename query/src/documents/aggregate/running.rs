//! Stages at work.

use std::pin::Pin;

use common::{Error, Result};
use serde_json::{Map, Value as Json, json};

use super::group::{Group, Groups};
use super::lookup::Lookups;
use super::stage::{Stage, Unwind};
use super::{Flow, pushed};
use crate::access::PartitionAccess;
use crate::documents::budget::Budget;
use crate::documents::expression::{Expression, Scope, with_bindings};
use crate::documents::filter::Filter;
use crate::documents::filter::path::{FieldPath, Leaf};
use crate::documents::find::projection::Projection;
use crate::documents::find::sort::Order;
use crate::documents::find::top::Top;
use crate::documents::value::{Fields, as_object, size_of_fields};
use crate::moment::Moment;
use crate::planner::Planner;

/// What stages need beside documents.
pub(super) struct Context<'a, A> {
    pub(super) planner: &'a Planner,
    pub(super) access: &'a A,
    pub(super) moment: Moment,
    /// Variables of the pipeline that this one is part of.
    pub(super) variables: Vec<(String, Option<Json>)>,
}

impl<A> Context<'_, A> {
    /// Evaluates something about a document.
    pub(super) fn with<T>(
        &self,
        document: &Fields,
        inner: &mut dyn FnMut(&Scope<'_>) -> Result<T>,
    ) -> Result<T> {
        let now = i64::try_from(self.moment.now_ms).ok();
        let variables: Vec<(&String, Option<Json>)> =
            self.variables.iter().map(|(name, value)| (name, value.clone())).collect();
        with_bindings(&variables, &Scope { document, variables: None, now }, inner)
    }
}

/// A stage with what it has seen.
pub(super) enum Running {
    Match(Filter),
    Project(Projection),
    Group(Group, Groups),
    Sort(Order, Top<Fields>),
    Limit(u64),
    Skip(u64),
    Unwind(Unwind),
    Lookup(Box<Lookups>),
    Count(String, u64),
    Facet(Vec<Facet>),
    ReplaceRoot(Expression),
    Sample(Sample),
    UnionWith(String, Vec<Stage>),
}

/// A pipeline beside others, with what it has made.
pub(super) struct Facet {
    name: String,
    stages: Vec<Running>,
    made: Vec<Json>,
    budget: Budget,
}

/// Documents drawn by chance: each that has come is among them with the same probability (Algorithm R of
/// J. S. Vitter, Random Sampling with a Reservoir, 1985).
pub(super) struct Sample {
    size: u64,
    seen: u64,
    drawn: Vec<Fields>,
    state: u64,
    budget: Budget,
}

impl Sample {
    fn add(&mut self, document: Fields) -> Result<()> {
        self.seen += 1;
        if (self.drawn.len() as u64) < self.size {
            self.budget.hold_fields(&document)?;
            self.drawn.push(document);
            return Ok(());
        }
        let place = usize::try_from(self.next() % self.seen).unwrap_or(usize::MAX);
        if let Some(slot) = self.drawn.get_mut(place) {
            self.budget.release_bytes(size_of_fields(slot));
            self.budget.hold_fields(&document)?;
            *slot = document;
        }
        Ok(())
    }

    /// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The stages before they have seen anything.
pub(super) fn start<A>(stages: &[Stage], context: &Context<'_, A>) -> Vec<Running> {
    let running = stages.iter().enumerate().map(|(index, stage)| match stage.clone() {
        Stage::Match(filter) => Running::Match(filter),
        Stage::Project(projection) => Running::Project(projection),
        Stage::Group(group) => Running::Group(group, Groups::default()),
        Stage::Sort(order) => {
            Running::Sort(order.clone(), Top::new(order, pushed::wanted(&stages[index + 1..])))
        }
        Stage::Limit(limit) => Running::Limit(limit),
        Stage::Skip(skip) => Running::Skip(skip),
        Stage::Unwind(unwind) => Running::Unwind(unwind),
        Stage::Lookup(lookup) => Running::Lookup(Box::new(Lookups::new(lookup))),
        Stage::Count(name) => Running::Count(name, 0),
        Stage::Facet(facets) => {
            let facet = |(name, stages): (String, Vec<Stage>)| {
                let stages = start(&stages, context);
                Facet { name, stages, made: Vec::new(), budget: Budget::default() }
            };
            Running::Facet(facets.into_iter().map(facet).collect())
        }
        Stage::ReplaceRoot(expression) => Running::ReplaceRoot(expression),
        Stage::Sample(size) => Running::Sample(Sample {
            size,
            seen: 0,
            drawn: Vec::new(),
            state: (context.moment.random as u64) ^ (context.moment.random >> 64) as u64,
            budget: Budget::default(),
        }),
        Stage::UnionWith(collection, stages) => Running::UnionWith(collection, stages),
    });
    running.collect()
}

/// Whether a stage wants nothing more, so that nothing before it matters.
pub(super) fn is_satisfied(stages: &[Running]) -> bool {
    let limit = stages.iter().position(|stage| matches!(stage, Running::Limit(0)));
    // Other documents are added behind these.
    limit.is_some_and(|limit| !stages[..limit].iter().any(|stage| matches!(stage, Running::UnionWith(..))))
}

/// A future of a pipeline within a pipeline.
type Nested<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;

/// Sends documents through the stages; answers what comes out.
pub(super) fn push<'f, A: PartitionAccess>(
    stages: &'f mut [Running],
    mut batch: Vec<Fields>,
    context: &'f Context<'_, A>,
) -> Nested<'f, Vec<Fields>> {
    Box::pin(async move {
        for stage in stages {
            if batch.is_empty() {
                break;
            }
            batch = stage.process(batch, context).await?;
        }
        Ok(batch)
    })
}

/// Tells the stages that nothing more comes; answers what comes out then.
pub(super) fn finish<'f, A: PartitionAccess>(
    stages: &'f mut [Running],
    context: &'f Context<'_, A>,
) -> Nested<'f, Vec<Fields>> {
    Box::pin(async move {
        let mut made = Vec::new();
        for index in 0..stages.len() {
            let (before, after) = stages.split_at_mut(index + 1);
            let last = before[index].finish(context).await?;
            made.extend(push(after, last, context).await?);
        }
        Ok(made)
    })
}

impl Running {
    async fn process<A: PartitionAccess>(
        &mut self,
        batch: Vec<Fields>,
        context: &Context<'_, A>,
    ) -> Result<Vec<Fields>> {
        let mut passed = Vec::with_capacity(batch.len());
        match self {
            Running::Match(filter) => {
                for document in batch {
                    if context.with(&document, &mut |scope| filter.matches_in(scope))? {
                        passed.push(document);
                    }
                }
            }
            Running::Project(projection) => {
                for document in batch {
                    passed.push(context.with(&document, &mut |scope| projection.apply(&document, scope))?);
                }
            }
            Running::Group(group, groups) => {
                for document in batch {
                    context.with(&document, &mut |scope| groups.add(group, scope))?;
                }
            }
            Running::Sort(order, top) => {
                for document in batch {
                    let (key, size) = (order.key(&document), size_of_fields(&document));
                    top.add(key, document, size)?;
                }
            }
            Running::Limit(left) => {
                passed.extend(batch.into_iter().take(usize::try_from(*left).unwrap_or(usize::MAX)));
                *left -= passed.len() as u64;
            }
            Running::Skip(left) => {
                let skipped = (*left).min(batch.len() as u64);
                *left -= skipped;
                passed.extend(batch.into_iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)));
            }
            Running::Unwind(unwind) => {
                let mut budget = Budget::default();
                for document in batch {
                    unwound(unwind, document, &mut passed, &mut budget)?;
                }
            }
            Running::Lookup(lookups) => passed = lookups.process(batch, context).await?,
            Running::Count(_, count) => *count += batch.len() as u64,
            Running::Facet(facets) => {
                for facet in facets {
                    let made = push(&mut facet.stages, batch.clone(), context).await?;
                    facet.add(made)?;
                }
            }
            Running::ReplaceRoot(expression) => {
                for document in batch {
                    let root = context.with(&document, &mut |scope| expression.evaluate(scope))?;
                    let fields = root.as_ref().and_then(as_object).cloned();
                    passed.push(
                        fields.ok_or_else(|| {
                            Error::bad_request("$replaceRoot: the new root is not an object")
                        })?,
                    );
                }
            }
            Running::Sample(sample) => batch.into_iter().try_for_each(|document| sample.add(document))?,
            Running::UnionWith(..) => passed = batch,
        }
        Ok(passed)
    }

    async fn finish<A: PartitionAccess>(&mut self, context: &Context<'_, A>) -> Result<Vec<Fields>> {
        match self {
            Running::Group(group, groups) => std::mem::take(groups).finish(group),
            Running::Sort(order, top) => {
                Ok(std::mem::replace(top, Top::new(order.clone(), Some(0))).finish())
            }
            Running::Count(name, count) if *count > 0 => {
                Ok(vec![Map::from_iter([(name.clone(), json!(*count))])])
            }
            Running::Facet(facets) => {
                let mut document = Map::new();
                for facet in facets {
                    let made = finish(&mut facet.stages, context).await?;
                    facet.add(made)?;
                    document.insert(facet.name.clone(), Json::Array(std::mem::take(&mut facet.made)));
                }
                Ok(vec![document])
            }
            Running::Sample(sample) => Ok(std::mem::take(&mut sample.drawn)),
            Running::UnionWith(collection, stages) => {
                let inner = Context { variables: context.variables.clone(), ..*context };
                let flow: Nested<'_, Flow<'_, A>> =
                    Box::pin(Flow::open(inner, collection, std::mem::take(stages)));
                let all: Nested<'_, Vec<Fields>> = Box::pin(flow.await?.all());
                all.await
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Facet {
    fn add(&mut self, made: Vec<Fields>) -> Result<()> {
        for document in made {
            self.budget.hold_fields(&document)?;
            self.made.push(Json::Object(document));
        }
        Ok(())
    }
}

/// A document for each element of the array at a path; what is no array is one element.
fn unwound(unwind: &Unwind, document: Fields, passed: &mut Vec<Fields>, budget: &mut Budget) -> Result<()> {
    let found = unwind.path.values(&document, Leaf::Whole).into_iter().next().flatten().cloned();
    let mut add = |value: Option<Json>, index: Json| -> Result<()> {
        let mut copy = document.clone();
        match value {
            Some(value) => place(&mut copy, &unwind.path, value),
            None => remove(&mut copy, &unwind.path),
        }
        if let Some(field) = &unwind.index {
            place(&mut copy, field, index);
        }
        budget.hold_fields(&copy)?;
        passed.push(copy);
        Ok(())
    };
    match found {
        Some(Json::Array(items)) if items.is_empty() => {
            if unwind.preserves {
                add(None, Json::Null)
            } else {
                Ok(())
            }
        }
        Some(Json::Array(items)) => {
            items.into_iter().enumerate().try_for_each(|(index, item)| add(Some(item), Json::from(index)))
        }
        None | Some(Json::Null) => {
            if unwind.preserves {
                add(found, Json::Null)
            } else {
                Ok(())
            }
        }
        Some(value) => add(Some(value), Json::Null),
    }
}

/// Puts a value at a path, making objects on the way.
pub(super) fn place(document: &mut Fields, path: &FieldPath, value: Json) {
    let mut fields = document;
    let Some((last, names)) = path.names.split_last() else { return };
    for name in names {
        let inner = fields.entry(name.clone()).or_insert_with(|| Json::Object(Map::new()));
        if as_object(inner).is_none() {
            *inner = Json::Object(Map::new());
        }
        let Json::Object(object) = inner else { return };
        fields = object;
    }
    fields.insert(last.clone(), value);
}

fn remove(document: &mut Fields, path: &FieldPath) {
    let mut fields = document;
    let Some((last, names)) = path.names.split_last() else { return };
    for name in names {
        let Some(Json::Object(object)) = fields.get_mut(name) else { return };
        fields = object;
    }
    fields.shift_remove(last);
}
