//! `$lookup`: documents of another collection, found by values that a batch of documents has.

use std::collections::{BTreeMap, BTreeSet};

use common::Result;
use serde_json::Value as Json;

use super::running::{self, Context, place};
use super::stage::Lookup;
use crate::access::PartitionAccess;
use crate::documents::filter::path::{FieldPath, Leaf};
use crate::documents::filter::{Filter, Test};
use crate::documents::find::source::Source;
use crate::documents::stored::{Stored, table};
use crate::documents::value::Fields;
use crate::documents::value::order::Key;

/// A lookup at work.
pub(super) struct Lookups {
    lookup: Lookup,
    /// All documents of the other collection, where they are not found by values.
    all: Option<Vec<Fields>>,
}

impl Lookups {
    /// One that has read nothing.
    pub(super) fn new(lookup: Lookup) -> Lookups {
        Lookups { lookup, all: None }
    }

    /// Adds to documents what is found for them.
    pub(super) async fn process<A: PartitionAccess>(
        &mut self,
        mut batch: Vec<Fields>,
        context: &Context<'_, A>,
    ) -> Result<Vec<Fields>> {
        let found = match &self.lookup.fields {
            Some((local, foreign)) => {
                let wanted: BTreeSet<Key> =
                    batch.iter().flat_map(|document| local_values(document, local)).collect();
                let wanted: Vec<Json> = wanted.into_iter().map(|key| key.0).collect();
                let filter = Filter::Field(foreign.clone(), Test::Among(wanted));
                Found::by_value(read(context, &self.lookup.from, filter).await?, foreign)
            }
            None => {
                let all = match self.all.take() {
                    Some(all) => all,
                    None => read(context, &self.lookup.from, Filter::All(Vec::new())).await?,
                };
                Found { documents: all, places: BTreeMap::new() }
            }
        };
        for document in &mut batch {
            let others = match &self.lookup.fields {
                Some((local, _)) => found.of_values(&local_values(document, local)),
                None => found.documents.clone(),
            };
            let made = self.through_pipeline(document, others, context).await?;
            let made = Json::Array(made.into_iter().map(Json::Object).collect());
            place(document, &self.lookup.to, made);
        }
        if self.lookup.fields.is_none() {
            self.all = Some(found.documents);
        }
        Ok(batch)
    }

    /// What the other documents become in the lookup's own pipeline.
    async fn through_pipeline<A: PartitionAccess>(
        &self,
        document: &Fields,
        others: Vec<Fields>,
        context: &Context<'_, A>,
    ) -> Result<Vec<Fields>> {
        if self.lookup.pipeline.is_empty() {
            return Ok(others);
        }
        let mut variables = context.variables.clone();
        for (name, expression) in &self.lookup.variables {
            let value = context.with(document, &mut |scope| expression.evaluate(scope))?;
            variables.push((name.clone(), value));
        }
        let inner = Context { variables, ..*context };
        let mut stages = running::start(&self.lookup.pipeline, &inner);
        let mut made = running::push(&mut stages, others, &inner).await?;
        made.extend(running::finish(&mut stages, &inner).await?);
        Ok(made)
    }
}

/// The values of a document that others are looked up by: an array's elements, and null for nothing.
fn local_values(document: &Fields, path: &FieldPath) -> Vec<Key> {
    let mut values: Vec<Key> = Vec::new();
    for value in path.values(document, Leaf::Whole) {
        match value {
            Some(Json::Array(items)) => values.extend(items.iter().cloned().map(Key)),
            value => values.push(Key(value.cloned().unwrap_or_default())),
        }
    }
    values
}

async fn read<A: PartitionAccess>(
    context: &Context<'_, A>,
    collection: &str,
    filter: Filter,
) -> Result<Vec<Fields>> {
    let Some(table) = table(context.planner, collection)? else { return Ok(Vec::new()) };
    let source = Source::new(context.planner, &table, filter);
    let found = source.all(context.planner, context.access, None).await?;
    Ok(found.into_iter().map(|stored: Stored| stored.fields).collect())
}

/// Documents of the other collection by their values.
struct Found {
    documents: Vec<Fields>,
    places: BTreeMap<Key, BTreeSet<usize>>,
}

impl Found {
    fn by_value(documents: Vec<Fields>, path: &FieldPath) -> Found {
        let mut places: BTreeMap<Key, BTreeSet<usize>> = BTreeMap::new();
        for (place, document) in documents.iter().enumerate() {
            path.find(document, Leaf::Elements, &mut |value| {
                places.entry(Key(value.cloned().unwrap_or_default())).or_default().insert(place);
                false
            });
        }
        Found { documents, places }
    }

    fn of_values(&self, values: &[Key]) -> Vec<Fields> {
        let places: BTreeSet<usize> =
            values.iter().filter_map(|value| self.places.get(value)).flatten().copied().collect();
        places.into_iter().map(|place| self.documents[place].clone()).collect()
    }
}
