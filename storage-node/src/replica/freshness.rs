//! How fresh a replica is, which it can prove by its own clock.
//!
//! When its leader, confirmed by a majority, has told it a log index, and it has applied that much, then it shows
//! everything that was acknowledged before it asked. For as long as a read may be stale, that need not be asked again:
//! one question serves all reads meanwhile. The clock is compared with no other one.

use std::time::Duration;

use common::protocol::{Params, PartitionTarget, ReadLevel, ReadRequest, Statement};
use common::{Error, ErrorCode, Result};
use consensus_runtime::{ReadError, lease_clock};
use parking_lot::Mutex;
use tokio::time::timeout_at;

use super::Replica;
use super::machine::not_leader;
use super::reading::Deadline;

/// What was confirmed last. See the module.
#[derive(Default)]
pub(super) struct Freshness {
    confirmed: Mutex<Option<Confirmed>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Confirmed {
    /// Before the leader was asked.
    asked: Duration,
    index: u64,
}

impl Freshness {
    /// The log index that shows everything up to so long ago, if that is known.
    fn index_within(&self, staleness: Duration) -> Option<u64> {
        let confirmed = (*self.confirmed.lock())?;
        (lease_clock().saturating_sub(confirmed.asked) <= staleness).then_some(confirmed.index)
    }
}

impl Replica {
    /// A log index that shows everything that was acknowledged until so long ago.
    pub(super) async fn index_within(&self, staleness: Duration, deadline: Deadline) -> Result<u64> {
        if let Some(index) = self.freshness.index_within(staleness) {
            return Ok(index);
        }
        let late = || Error::new(ErrorCode::Unavailable, "the replica cannot tell how fresh it is");
        let turn = timeout_at(deadline.instant, self.freshness.asking.lock());
        let _asking = turn.await.map_err(|_| late())?;
        // Whoever asked before may have had an answer that will do.
        if let Some(index) = self.freshness.index_within(staleness) {
            return Ok(index);
        }
        let asked = lease_clock();
        let index = self.confirmed_index(deadline).await.map_err(|error| {
            let text = format!("the replica cannot tell how fresh it is: {}", error.message);
            Error::new(ErrorCode::Unavailable, text)
        })?;
        *self.freshness.confirmed.lock() = Some(Confirmed { asked, index });
        Ok(index)
    }

    /// A log index that shows everything that was acknowledged before this was called, told by whoever leads.
    pub async fn confirmed_index(&self, deadline: Deadline) -> Result<u64> {
        let leader = match self.read_index(deadline).await {
            Err(error) if error.code == ErrorCode::NotLeader => error.leader,
            answered => return answered,
        };
        let assignment = self.assignment();
        let address = leader.and_then(|leader| assignment.peers.get(&leader)).map(|peer| &peer.address);
        let address = address.ok_or_else(|| {
            let error = Error::new(ErrorCode::NoQuorum, "the partition has no leader at the moment");
            Error { partition: Some(assignment.uuid.clone()), ..error }
        })?;
        // Any linearizable read says which index is fresh enough.
        let probe = ReadRequest {
            target: PartitionTarget {
                partition: self.partition(),
                epoch: self.published().epoch(),
                schema_version: self.published().schema_version(),
                timeout_ms: deadline.left_ms(),
            },
            level: ReadLevel::Linearizable,
            at_least: 0,
            statement: Statement { sql: "SELECT 1".to_owned(), params: Params::None },
            max_rows: Some(1),
            pin: None,
        };
        Ok(self.neighbours.storage().read(address, probe).await?.1)
    }

    /// The same where this replica leads.
    pub(super) async fn read_index(&self, deadline: Deadline) -> Result<u64> {
        match timeout_at(deadline.instant, self.group().read_index()).await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(ReadError::NotLeader { leader })) => Err(not_leader(leader)),
            Ok(Err(ReadError::Unavailable)) => {
                Err(Error::new(ErrorCode::Unavailable, "the replica's group does not answer"))
            }
            Err(_) => {
                Err(Error::new(ErrorCode::NoQuorum, "too few replicas of the partition answered in time"))
            }
        }
    }
}
