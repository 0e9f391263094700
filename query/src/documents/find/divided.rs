//! The first documents of a collection whose attributes lie in several column groups.
//!
//! Which they are is found out in the groups that the filter and the order touch; only these few are then put together.

use std::collections::BTreeMap;

use common::Result;

use super::source::Source;
use super::{Find, Touched, pushed_order, sorted};
use crate::access::PartitionAccess;
use crate::documents::filter::path::FieldPath;
use crate::documents::filter::{Filter, Test};
use crate::documents::place::Place;
use crate::documents::stored::Stored;
use crate::documents::value::order::Key;
use crate::planner::Planner;
use crate::table::Table;

/// Most documents that are put together by their ids.
const WANTED_MAX: u64 = 1_000;

/// Whether a search is for few whole documents that lie in several groups.
pub(super) fn is_of_few(table: &Table, find: &Find) -> bool {
    table.divided.is_some()
        && !find.filter.names_one_id()
        && find.touched() == Touched::All
        && find.wanted().is_some_and(|wanted| wanted <= WANTED_MAX)
}

/// The documents that matter, read as far as it takes to tell which they are.
pub(super) fn narrow(planner: &Planner, table: &Table, find: &Find) -> Source {
    let mut touched = Touched::none();
    touched.order(&find.order);
    Source::new(planner, table, find.filter.clone()).reading(touched)
}

/// The documents in their order, without those that are skipped.
pub(super) async fn first(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
    find: &Find,
) -> Result<Vec<Stored>> {
    // The documents that are put together are those that were found.
    let partitions = (0..planner.database().partition_count()).collect();
    access.read_at_one_moment(partitions, 2).await?;
    let source = narrow(planner, table, find);
    let found = match find.known_order() {
        Some(order) => source.first(planner, access, order, find.wanted()).await?,
        None => match pushed_order::first(planner, access, &source, find).await? {
            Some(found) => found,
            None => sorted(planner, access, &source, find).await?,
        },
    };
    let skip = usize::try_from(find.skip).unwrap_or(usize::MAX);
    let ids: Vec<Key> =
        found.iter().skip(skip).map(|stored| Key(common::json::to_json(&stored.id))).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let path = FieldPath::parse("_id", &Place::root("filter"))?;
    let among = Filter::Field(path, Test::Among(ids.iter().map(|id| id.0.clone()).collect()));
    let whole = Source::new(planner, table, among).all(planner, access, None).await?;
    let of_id = |stored: Stored| (Key(common::json::to_json(&stored.id)), stored);
    let mut whole: BTreeMap<Key, Stored> = whole.into_iter().map(of_id).collect();
    Ok(ids.into_iter().filter_map(|id| whole.remove(&id)).collect())
}
