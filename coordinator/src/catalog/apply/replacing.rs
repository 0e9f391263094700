//! Commands by which other buckets take the place of some of a database: one is split, or several are merged.
//!
//! The new partitions are made beside the map and filled; until the operation finishes nobody but its driver writes to
//! them. What fences everybody off are epochs. With `e` the greatest of the old buckets' epochs: the old ones serve in
//! their own; the new ones are filled in `e + 1`; in `e + 1` the old ones own nothing; in `e + 2` the new ones serve or,
//! if the attempt is given up after it has begun to close them, the old ones again.

use std::collections::BTreeSet;

use common::catalog::{Catalog, Database, Operation, OperationState, OperationWork, ReplacingStage, Retired};
use common::limits::PARTITIONS_MAX;
use common::partition_division::{divide_homes, union};
use common::partition_map::{Bucket, Homes};
use common::{Error, ErrorCode, PartitionId, Result};

use super::{databases, operations, placement_changed, ready_database};
use crate::catalog::{Answer, NewPartition};

/// The epoch in which old buckets are closed and new ones are filled.
#[must_use]
pub fn filling_epoch(sources: &[Bucket]) -> u64 {
    sources.iter().map(|bucket| bucket.epoch).max().unwrap_or_default() + 1
}

/// The epoch in which new buckets serve.
#[must_use]
pub fn serving_epoch(sources: &[Bucket]) -> u64 {
    filling_epoch(sources) + 1
}

pub(super) fn begin(
    catalog: &mut Catalog,
    at: u64,
    name: &str,
    sources: &[PartitionId],
    new: &[NewPartition],
    automatic: bool,
) -> Result<Answer> {
    if let Some(under_way) = under_way(catalog, name) {
        let message = format!("the partitions of '{name}' are being changed by operation {under_way}");
        return Err(Error::new(ErrorCode::SerializationFailure, message).with_hint("wait for it to end"));
    }
    let database = ready_database(catalog, name)?;
    if let Some(change) = &database.schema_change {
        let message = format!("the schema of '{name}' is being changed by operation {change}");
        return Err(Error::new(ErrorCode::SerializationFailure, message).with_hint("wait for it to end"));
    }
    let (_, sources) = sources_of(database, sources)?;
    let groups = database.column_groups.len();
    let count = new.len() / groups;
    let remaining = database.buckets.len() - sources.len() + count;
    if database.buckets.len() < 2 || remaining < 2 {
        let message =
            "a database with one horizontal partition cannot be split, nor can its last two be merged";
        return Err(Error::not_supported(
            message,
            "where there is one partition SQLite itself keeps what is unique; make the database with two or more, \
             and import the rows",
        ));
    }
    if remaining * groups > PARTITIONS_MAX as usize {
        return Err(Error::bad_request(format!("a database has 1 to {PARTITIONS_MAX} partitions")));
    }
    let owned = union(new.iter().take(count).map(|partition| &partition.range));
    if owned.is_none() || owned != union(sources.iter().map(|bucket| &bucket.range)) {
        return Err(Error::new(ErrorCode::SerializationFailure, "the partitions have changed meanwhile"));
    }
    databases::check_nodes(catalog, new)?;
    let targets = make(catalog, name, &sources, new, groups);
    let work = OperationWork::ReplaceBuckets {
        database: name.to_owned(),
        sources,
        targets,
        attempt: 1,
        stage: ReplacingStage::Fresh,
        automatic,
    };
    placement_changed(catalog);
    Ok(Answer::Operation(operations::begin(catalog, at, work)))
}

/// The operation that replaces buckets of a database, if there is one.
fn under_way(catalog: &Catalog, name: &str) -> Option<String> {
    let replaces = |work: &OperationWork| matches!(work, OperationWork::ReplaceBuckets { database, .. } if database == name);
    let found = catalog.operations.values().find(|one| operations::is_open(one) && replaces(&one.work));
    found.map(|operation| operation.id.clone())
}

/// Refuses what must not be done while buckets of a database are replaced.
pub(super) fn check_none(catalog: &Catalog, name: &str) -> Result<()> {
    let Some(operation) = under_way(catalog, name) else { return Ok(()) };
    let message = format!("the partitions of '{name}' are being changed by operation {operation}");
    Err(Error::new(ErrorCode::StaleSchema, message))
}

/// The buckets that have some partitions, which must follow each other, and the place of the first.
fn sources_of(database: &Database, partitions: &[PartitionId]) -> Result<(usize, Vec<Bucket>)> {
    let place = |id: &PartitionId| {
        let found = database.buckets.iter().position(|bucket| bucket.partitions.contains(id));
        found.ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, format!("Partition {id} not found")))
    };
    let places = partitions.iter().map(place).collect::<Result<Vec<usize>>>()?;
    let first = *places.first().ok_or_else(|| Error::internal("no partition is to be replaced"))?;
    if places.windows(2).any(|pair| pair[0] + 1 != pair[1]) {
        return Err(Error::bad_request(
            "only neighbours can be merged: the right one begins where the left one ends",
        ));
    }
    Ok((first, database.buckets[first..first + places.len()].to_vec()))
}

/// Enters the partitions of the buckets that are to come.
fn make(
    catalog: &mut Catalog,
    name: &str,
    sources: &[Bucket],
    new: &[NewPartition],
    groups: usize,
) -> Vec<Bucket> {
    let count = new.len() / groups;
    let ids: Vec<PartitionId> =
        new.iter().map(|partition| databases::insert_partition(catalog, name, partition)).collect();
    let ranges: Vec<_> = new[..count].iter().map(|partition| partition.range.clone()).collect();
    let first = sources.first().map_or(0, |bucket| bucket.homes.first);
    let end = sources.last().map_or(0, |bucket| bucket.homes.end);
    let homes = divide_homes(Homes { first, end }, &ranges);
    let buckets = ranges.into_iter().zip(homes).enumerate().map(|(place, (range, homes))| Bucket {
        range,
        homes,
        partitions: ids.iter().skip(place).step_by(count).copied().collect(),
        epoch: serving_epoch(sources),
    });
    buckets.collect()
}

/// The operation's parts, if the attempt is the one under way.
fn attempted<'c>(catalog: &'c mut Catalog, id: &str, attempt: u32) -> Result<&'c mut Operation> {
    let superseded = || {
        let message = format!("attempt {attempt} of operation {id} is not under way any more");
        Error::new(ErrorCode::SerializationFailure, message)
    };
    let operation = operations::open(catalog, id)?.ok_or_else(superseded)?;
    match &operation.work {
        OperationWork::ReplaceBuckets { attempt: current, .. } if *current == attempt => Ok(operation),
        _ => Err(superseded()),
    }
}

pub(super) fn advance(catalog: &mut Catalog, id: &str, attempt: u32, to: ReplacingStage) -> Result<Answer> {
    let operation = attempted(catalog, id, attempt)?;
    operation.state = OperationState::Running;
    if let OperationWork::ReplaceBuckets { stage, .. } = &mut operation.work {
        *stage = to.max(*stage);
    }
    Ok(Answer::Done)
}

pub(super) fn restart(catalog: &mut Catalog, id: &str, attempt: u32, new: &[NewPartition]) -> Result<Answer> {
    let work = attempted(catalog, id, attempt)?.work.clone();
    let OperationWork::ReplaceBuckets { database, .. } = &work else { return Ok(Answer::Done) };
    databases::check_nodes(catalog, new)?;
    let Some(groups) = catalog.databases.get(database).map(|database| database.column_groups.len()) else {
        return Ok(Answer::Done);
    };
    let sources = give_up(catalog, &work);
    let made = make(catalog, database, &sources, new, groups);
    if let OperationWork::ReplaceBuckets { sources: old, targets, attempt, stage, .. } =
        &mut attempted(catalog, id, attempt)?.work
    {
        (*old, *targets, *stage) = (sources, made, ReplacingStage::Fresh);
        *attempt += 1;
    }
    placement_changed(catalog);
    Ok(Answer::Done)
}

/// The partitions that were to come go; the old buckets serve again, if they were being closed. Answers these as they
/// are then.
pub(super) fn give_up(catalog: &mut Catalog, work: &OperationWork) -> Vec<Bucket> {
    let OperationWork::ReplaceBuckets { database, sources, targets, stage, .. } = work else {
        return Vec::new();
    };
    for partition in targets.iter().flat_map(|bucket| &bucket.partitions) {
        catalog.partitions.remove(partition);
    }
    let mut sources = sources.clone();
    if *stage == ReplacingStage::Closing {
        let epoch = serving_epoch(&sources);
        sources.iter_mut().for_each(|bucket| bucket.epoch = epoch);
        for bucket in catalog.databases.get_mut(database).into_iter().flat_map(|found| &mut found.buckets) {
            if sources.iter().any(|source| source.partitions == bucket.partitions) {
                bucket.epoch = epoch;
            }
        }
    }
    placement_changed(catalog);
    sources
}

pub(super) fn finish(catalog: &mut Catalog, at: u64, id: &str, attempt: u32) -> Result<Answer> {
    let operation = attempted(catalog, id, attempt)?;
    let OperationWork::ReplaceBuckets { database, sources, targets, stage, automatic, .. } =
        operation.work.clone()
    else {
        return Ok(Answer::Done);
    };
    if stage != ReplacingStage::Closing {
        return Err(Error::internal("buckets were to be replaced that had not been closed"));
    }
    let Some(found) = catalog.databases.get_mut(&database) else { return Ok(Answer::Done) };
    let anchors: Vec<PartitionId> =
        sources.iter().filter_map(|bucket| bucket.partitions.first().copied()).collect();
    let (first, _) = sources_of(found, &anchors)?;
    for source in &sources {
        for (group, partition) in source.partitions.iter().enumerate() {
            found.successors.extend(targets.first().map(|target| (*partition, target.partitions[group])));
        }
    }
    let closed = filling_epoch(&sources);
    found.retired.extend(
        sources
            .iter()
            .map(|bucket| Retired { bucket: Bucket { epoch: closed, ..bucket.clone() }, since: at }),
    );
    found.buckets.splice(first..first + sources.len(), targets.iter().cloned());
    if !automatic {
        found.buckets_asked = (found.buckets_asked + targets.len()).saturating_sub(sources.len());
    }
    let counts = &mut catalog.replacements;
    counts.splits += u64::from(targets.len() > sources.len());
    counts.merges += u64::from(targets.len() < sources.len());
    counts.automatic += u64::from(automatic);
    for partition in targets.iter().flat_map(|bucket| &bucket.partitions) {
        if let Some(partition) = catalog.partitions.get_mut(partition) {
            partition.bootstrapped = true;
        }
    }
    operations::complete(catalog, at, id);
    placement_changed(catalog);
    Ok(Answer::Done)
}

pub(super) fn forget(catalog: &mut Catalog, name: &str, partition: PartitionId) -> Result<Answer> {
    let Some(database) = catalog.databases.get_mut(name) else { return Ok(Answer::Done) };
    let is_it = |retired: &Retired| retired.bucket.partitions.contains(&partition);
    let gone: BTreeSet<PartitionId> = database
        .retired
        .iter()
        .filter(|retired| is_it(retired))
        .flat_map(|retired| retired.bucket.partitions.clone())
        .collect();
    database.retired.retain(|retired| !is_it(retired));
    catalog.partitions.retain(|id, _| !gone.contains(id));
    placement_changed(catalog);
    Ok(Answer::Done)
}
