//! Brief reads of any number of requests and partitions that arrive as one message: each partition confirms that it
//! leads and opens a snapshot once for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::limits::FRAME_MAX;
use common::protocol::{BriefAnswer, BriefRead, BriefTarget, PartitionTarget, Reply};
use common::{Error, ErrorCode, Hlc, PartitionId};
use futures_util::future::join_all;

use crate::registry::Registry;
use crate::replica::brief::BriefReads;

/// How long a partition keeps the answers of others waiting. Whoever asked it asks again, it alone.
const WAIT: Duration = Duration::from_millis(100);
/// Most bytes of all answers together; reads that find no room take longer.
const BYTES_MAX: usize = FRAME_MAX / 2;

/// Reads of one partition that demand the same of its state, and where their answers belong.
struct Group {
    target: BriefTarget,
    numbers: Vec<usize>,
    places: Vec<usize>,
}

/// What tells groups apart: the partition, the versions that the reads were planned on, and the moment that they name.
type Key = (PartitionId, u64, u64, Option<Hlc>);

/// Answers the reads, in their order and that of their partitions. Where one partition alone is asked for one thing, its
/// error is the message's.
pub async fn answer(registry: &Registry, reads: Vec<BriefRead>) -> Reply<Vec<Reply<BriefAnswer>>> {
    let (groups, count) = groups(&reads);
    let reads: Arc<[BriefRead]> = reads.into();
    let bytes = BYTES_MAX / groups.len().max(1);
    let limit = (groups.len() > 1).then_some(WAIT);
    let answered = groups.into_iter().map(|Group { target, numbers, places }| {
        let reads = BriefReads { reads: Arc::clone(&reads), numbers, target, bytes };
        async move { (places, of_partition(registry, reads, limit).await) }
    });
    let mut answers: Vec<Option<Reply<BriefAnswer>>> = (0..count).map(|_| None).collect();
    for (places, answered) in join_all(answered).await {
        match answered {
            Ok(found) => {
                places.into_iter().zip(found).for_each(|(place, answer)| answers[place] = Some(answer))
            }
            Err(error) => places.into_iter().for_each(|place| answers[place] = Some(Err(error.clone()))),
        }
    }
    let missing = || Err(Error::internal("a read was not answered"));
    let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(missing));
    if count == 1 { answers.map(|answer| answer.map(Ok)).collect() } else { Ok(answers.collect()) }
}

fn groups(reads: &[BriefRead]) -> (Vec<Group>, usize) {
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    let mut count = 0;
    for (number, read) in reads.iter().enumerate() {
        for asked in &read.partitions {
            let PartitionTarget { partition, epoch, schema_version, .. } = asked.target;
            let key = (partition, epoch, schema_version, asked.at);
            let group = groups.entry(key).or_insert_with(|| Group {
                target: asked.clone(),
                numbers: Vec::new(),
                places: Vec::new(),
            });
            let all = &mut group.target;
            all.at_least = all.at_least.max(asked.at_least);
            all.target.timeout_ms = all.target.timeout_ms.max(asked.target.timeout_ms);
            group.numbers.push(number);
            group.places.push(count);
            count += 1;
        }
    }
    (groups.into_values().collect(), count)
}

async fn of_partition(
    registry: &Registry,
    reads: BriefReads,
    limit: Option<Duration>,
) -> Reply<Vec<Reply<BriefAnswer>>> {
    let replica = registry.get(reads.target.target.partition)?;
    reads.numbers.iter().for_each(|_| replica.count_request());
    let answered = replica.read_briefly(reads);
    match limit {
        None => answered.await,
        Some(limit) => tokio::time::timeout(limit, answered).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorCode::Unavailable, "the partition keeps reads of others waiting"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::protocol::{Params, Statement};

    fn target(partition: u64, at_least: u64, at: Option<u64>) -> BriefTarget {
        let partition = PartitionId(partition);
        let target = PartitionTarget { partition, epoch: 1, schema_version: 1, timeout_ms: at_least };
        BriefTarget { target, at_least, at: at.map(Hlc) }
    }

    fn read(partitions: Vec<BriefTarget>) -> BriefRead {
        let statement = Statement { sql: "SELECT 1".to_owned(), params: Params::None };
        BriefRead { statement, max_rows: 1, partitions }
    }

    #[test]
    fn reads_of_one_partition_share_a_state_that_is_new_enough_for_all() {
        let reads = [
            read(vec![target(1, 5, None), target(2, 1, None)]),
            read(vec![target(1, 9, None)]),
            read(vec![target(1, 3, Some(7)), target(1, 3, Some(8))]),
        ];
        let (groups, count) = groups(&reads);
        assert_eq!(count, 5);
        let shown: Vec<_> = groups
            .iter()
            .map(|group| (group.target.clone(), group.numbers.clone(), group.places.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                (target(1, 9, None), vec![0, 1], vec![0, 2]),
                (target(1, 3, Some(7)), vec![2], vec![3]),
                (target(1, 3, Some(8)), vec![2], vec![4]),
                (target(2, 1, None), vec![0], vec![1]),
            ]
        );
    }
}
