//! What query objects ask of collections. A collection that is not there is as good as an empty one.

use common::query_object::Which;
use common::{Error, ErrorCode, Result, Value};
use serde_json::Value as Json;

use super::CONTENDED_ATTEMPTS;
use super::filter::path::FieldPath;
use super::filter::{Filter, Test, parse};
use super::find::source::Source;
use super::many::{UpdateRequest, delete_matching, update_matching};
use super::place::Place;
use super::stored::{self, RESERVED, Stored};
use super::update::{Circumstances, Update, is_same};
use super::value::Fields;
use crate::access::PartitionAccess;
use crate::moment::Moment;
use crate::planner::Planner;
use crate::table::Table;

/// The filter that selects documents.
fn filter_of(which: &Which) -> Result<Filter> {
    match which {
        Which::Id(id) => {
            let path = FieldPath::parse("_id", &Place::root("id"))?;
            Ok(Filter::Field(path, Test::Among(vec![common::json::to_json(id)])))
        }
        Which::Matching(filter) => parse::object(filter, &Place::root("where")),
    }
}

/// Documents that are selected, in the order of their making.
pub(crate) async fn matching(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    which: &Which,
) -> Result<Vec<Stored>> {
    let filter = filter_of(which)?;
    let Some(table) = stored::table(planner, collection)? else { return Ok(Vec::new()) };
    Source::new(planner, &table, filter).all(planner, access, None).await
}

/// Gives documents the fields of `values`; answers how many were selected, and the one that is named by its id as it is
/// then.
pub(crate) async fn assign(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    which: &Which,
    values: &Fields,
    moment: Moment,
) -> Result<(u64, Option<Stored>)> {
    let filter = filter_of(which)?;
    let mut values = super::fields_of(Json::Object(values.clone()), "document")?;
    values.retain(|name, _| !RESERVED.contains(&name.as_str()));
    stored::text_of(&values)?;
    let Some(table) = stored::table(planner, collection)? else { return Ok((0, None)) };
    let update = Update::Assignment(values);
    if let Which::Id(id) = which {
        let changed = assign_one(planner, access, &table, id, &update, moment).await?;
        return Ok((u64::from(changed.is_some()), changed));
    }
    let request = UpdateRequest { filter, update, multi: true, upsert: false };
    Ok((update_matching(planner, access, collection, &request, moment).await?.matched, None))
}

/// Changes the document of an id under the version that was read; answers it.
async fn assign_one(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    id: &Value,
    update: &Update,
    moment: Moment,
) -> Result<Option<Stored>> {
    let quoted = common::names::quote_identifier(&table.name);
    let circumstances = Circumstances { filter: None, now: 0, inserts: false };
    for attempt in 1..=CONTENDED_ATTEMPTS {
        let Some(found) = stored::by_id(planner, access, &quoted, id).await? else { return Ok(None) };
        let changed = update.apply(&found.fields, &circumstances)?;
        if is_same(&changed, &found.fields) {
            return Ok(Some(found));
        }
        let now = stored::milliseconds(moment);
        let written = stored::replacement(planner, table, &changed, id, &[found.version], now)?;
        let done = stored::run_write(planner, access, &written).await?;
        if let Some(changed) = Stored::all(&done)?.into_iter().next() {
            return Ok(Some(changed));
        }
        access.back_off(attempt).await;
    }
    Err(Error::new(ErrorCode::SerializationFailure, "the document changes faster than it can be updated"))
}

/// Deletes documents; answers how many.
pub(crate) async fn remove(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    which: &Which,
) -> Result<u64> {
    let filter = filter_of(which)?;
    if stored::table(planner, collection)?.is_none() {
        return Ok(0);
    }
    delete_matching(planner, access, collection, filter, true).await
}
