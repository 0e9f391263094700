//! Pipelines (<https://www.mongodb.com/docs/manual/reference/operator/aggregation-pipeline/>).
//!
//! What a pipeline begins with goes to the partitions as far as they can tell (`pushed`); the documents that they
//! send flow through the stages in batches (`running`). A stage holds documents only if it has to, within a budget.

mod accumulator;
mod group;
mod lookup;
mod parse;
mod pushed;
mod pushed_group;
mod running;
mod stage;

use std::collections::VecDeque;

use common::Result;
use common::protocol::Statement;
use futures_util::{StreamExt as _, stream};
use serde_json::Value as Json;

use self::pushed::Input;
use self::running::{Context, Running};
use self::stage::Stage;
use super::find::source::Source;
use super::find::{self, DocumentList, DocumentStream, fields, known};
use super::place::Place;
use super::value::Fields;
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::table::Table;

/// Documents that go through the stages together.
const BATCH: usize = 256;

/// Collections that are read at once, one from within the other.
const COLLECTIONS_AT_ONCE: usize = 4;

/// `POST aggregate`: the body has `pipeline`.
pub async fn aggregate(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
    moment: Moment,
) -> Result<DocumentList> {
    find::collect(aggregate_stream(planner, access, collection, request, moment).await?).await
}

/// The same as a stream, of any number of documents.
pub async fn aggregate_stream<'a>(
    planner: &'a Planner,
    access: &'a impl PartitionAccess,
    collection: &str,
    request: &Json,
    moment: Moment,
) -> Result<DocumentStream<'a>> {
    let request = fields(request)?;
    known(request, &["pipeline"])?;
    let stages = parse::pipeline(request.get("pipeline"), &Place::root("pipeline"))?;
    super::stored::existing(planner, collection)?;
    if stages.iter().any(Stage::reads_another_collection) {
        // The input of a pipeline may be on its way still while others are read.
        let partitions = (0..planner.database().partition_count()).collect();
        access.read_at_one_moment(partitions, COLLECTIONS_AT_ONCE).await?;
    }
    let context = Context { planner, access, moment, variables: Vec::new() };
    let flow = Flow::open(context, collection, stages).await?;
    let documents = stream::try_unfold(flow, |mut flow| async move {
        let next = flow.next().await?;
        Ok(next.map(|document| (Json::Object(document).to_string(), flow)))
    });
    Ok(documents.boxed())
}

/// What a pipeline has partitions asked first, and the documents that this is about.
pub(super) fn first_statement(
    planner: &Planner,
    table: &Table,
    request: &Fields,
) -> Result<(Source, Statement)> {
    known(request, &["pipeline"])?;
    let stages = parse::pipeline(request.get("pipeline"), &Place::root("pipeline"))?;
    Ok(pushed::first_statement(planner, table, stages))
}

/// A pipeline at work.
pub(super) struct Flow<'a, A> {
    context: Context<'a, A>,
    input: Option<Input>,
    stages: Vec<Running>,
    ready: VecDeque<Fields>,
}

impl<'a, A: PartitionAccess> Flow<'a, A> {
    /// A pipeline over a collection.
    async fn open(context: Context<'a, A>, collection: &str, stages: Vec<Stage>) -> Result<Flow<'a, A>> {
        let (input, stages) = pushed::open(&context, collection, stages).await?;
        Ok(Flow {
            stages: running::start(&stages, &context),
            context,
            input: Some(input),
            ready: VecDeque::new(),
        })
    }

    /// The next document.
    async fn next(&mut self) -> Result<Option<Fields>> {
        loop {
            if let Some(document) = self.ready.pop_front() {
                return Ok(Some(document));
            }
            let Some(input) = &mut self.input else { return Ok(None) };
            let batch = if running::is_satisfied(&self.stages) { Vec::new() } else { input.batch().await? };
            if batch.is_empty() {
                self.input = None;
                self.ready = running::finish(&mut self.stages, &self.context).await?.into();
            } else {
                self.ready = running::push(&mut self.stages, batch, &self.context).await?.into();
            }
        }
    }

    /// All documents, within a budget.
    async fn all(mut self) -> Result<Vec<Fields>> {
        let (mut documents, mut budget) = (Vec::new(), super::budget::Budget::default());
        while let Some(document) = self.next().await? {
            budget.hold_fields(&document)?;
            documents.push(document);
        }
        Ok(documents)
    }
}
