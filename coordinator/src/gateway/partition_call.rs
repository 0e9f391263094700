//! One request to one partition: find the replica that can answer it, and say truly what became of it.

use std::time::Duration;

use common::catalog::Catalog;
use common::protocol::{Reply, StorageReply, StorageRequest, decode, encode};
use common::{Error, ErrorCode, Outcome, PartitionId, Result};
use polylite_client::peer::{PeerError, PeerPool};
use tokio::time::Instant;

use super::Gateway;
use super::replica_search::{Candidate, Refusal, Search};
use crate::metrics::Wait;

/// A storage node is waited for a little longer than it was given: its own words about what became of a
/// request that ran out of time are better than a guess.
pub const GRACE: Duration = Duration::from_millis(300);

/// Which replicas may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The leader.
    Leader,
    /// Any replica.
    Any,
}

/// What may be done when it is not known whether a request was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Sent again: it reads, or carrying it out twice is the same as once.
    Freely,
    /// Never: the outcome is unknown.
    Never,
}

/// Why a request was not answered.
#[derive(Debug)]
pub enum Unanswered {
    /// The partition's own refusal, or a failure whose outcome is told by the error.
    Refused(Error),
    /// The request was planned on another version of the schema or of the partition map.
    Stale(Error),
}

impl Unanswered {
    /// The same of a request that may have been carried out before.
    fn after(self, in_doubt: bool) -> Unanswered {
        match self {
            Unanswered::Refused(error) | Unanswered::Stale(error) if in_doubt => {
                Unanswered::Refused(error.with_outcome(Outcome::Unknown))
            }
            other => other,
        }
    }
}

/// Whom to try next, if anybody.
enum Next {
    Another(Refusal),
    Wait,
    Stop(Unanswered),
}

impl Gateway {
    /// Asks a partition until the deadline. An error's outcome is true of a write; who only reads may
    /// ignore it.
    pub(super) async fn ask(
        &self,
        partition: PartitionId,
        from: From,
        repeat: Repeat,
        deadline: Instant,
        request: &mut StorageRequest,
    ) -> Result<StorageReply, Unanswered> {
        let catalog = self.shared.surroundings.view();
        let mut search = self.search(&catalog, partition, from)?;
        let mut reason = String::from("no replica of the partition leads");
        let mut in_doubt = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(candidate) = search.current().filter(|_| !left.is_zero()) else {
                let outcome = if in_doubt { Outcome::Unknown } else { Outcome::NotApplied };
                let error = self.no_quorum(partition, &reason).with_outcome(outcome);
                return Err(Unanswered::Refused(error));
            };
            set_time_left(request, left);
            let answered = call(&self.shared.peers, candidate, encode(request), left + GRACE).await;
            let next = match answered {
                Ok(Ok(reply)) => {
                    if from == From::Leader {
                        self.shared.leaders.set(partition, candidate.replica);
                    }
                    return Ok(reply);
                }
                Ok(Err(refused)) => {
                    in_doubt |= refused.outcome != Outcome::NotApplied;
                    reason.clone_from(&refused.message);
                    self.after_refusal(partition, repeat, refused)
                }
                Err(failed) => {
                    in_doubt |= !matches!(failed, PeerError::Unreachable(_) | PeerError::TooLarge(_));
                    reason = failed.to_string();
                    after_failure(repeat, failed)
                }
            };
            let pause = match next {
                Next::Another(refusal) => {
                    let pause = search.refused(refusal);
                    if pause.is_some() {
                        // Replicas may have moved while nobody answered.
                        search =
                            self.refreshed(search, partition, from).map_err(|gone| gone.after(in_doubt))?;
                    }
                    pause.map(|pause| (Wait::Leader, pause))
                }
                Next::Wait => Some((Wait::Schema, Duration::from_millis(10))),
                Next::Stop(Unanswered::Refused(error)) => {
                    return Err(Unanswered::Refused(self.name_partition(partition, error)));
                }
                Next::Stop(stale) => return Err(stale),
            };
            if let Some((cause, pause)) = pause {
                let begun = Instant::now();
                tokio::time::sleep_until(deadline.min(begun + pause)).await;
                self.shared.transactions.waited(cause, begun.elapsed());
            }
        }
    }

    /// Replicas of the partition in the order to ask them.
    pub(super) fn search(
        &self,
        catalog: &Catalog,
        partition: PartitionId,
        from: From,
    ) -> Result<Search, Unanswered> {
        let Some(found) = catalog.partitions.get(&partition) else {
            // The database was dropped, or the partition was replaced by others.
            let error = Error::new(ErrorCode::StalePartitionMap, format!("partition {partition} is gone"));
            return Err(Unanswered::Stale(error));
        };
        Ok(match from {
            From::Leader => Search::for_leader(catalog, found, self.shared.leaders.get(partition)),
            From::Any => Search::for_any(catalog, found, self.next_turn()),
        })
    }

    fn refreshed(&self, search: Search, partition: PartitionId, from: From) -> Result<Search, Unanswered> {
        let catalog = self.shared.surroundings.view();
        let fresh = self.search(&catalog, partition, from)?;
        Ok(search.continued_over(fresh))
    }

    fn after_refusal(&self, partition: PartitionId, repeat: Repeat, refused: Error) -> Next {
        if refused.outcome != Outcome::NotApplied && repeat == Repeat::Never {
            return Next::Stop(Unanswered::Refused(refused));
        }
        match refused.code {
            ErrorCode::NotLeader => {
                if let Some(leader) = refused.leader {
                    self.shared.leaders.set(partition, leader);
                }
                Next::Another(Refusal::NotLeader(refused.leader))
            }
            ErrorCode::LeadershipLost
            | ErrorCode::NoQuorum
            | ErrorCode::Unavailable
            | ErrorCode::PartitionNotFound => Next::Another(Refusal::Unavailable),
            ErrorCode::StaleSchema | ErrorCode::StalePartitionMap => self.after_stale(partition, refused),
            _ => Next::Stop(Unanswered::Refused(refused)),
        }
    }

    /// A replica that is behind this coordinator catches up; otherwise the coordinator is behind.
    fn after_stale(&self, partition: PartitionId, refused: Error) -> Next {
        let catalog = self.shared.surroundings.view();
        let known =
            catalog.partitions.get(&partition).and_then(|found| catalog.databases.get(&found.database));
        let has_version = known.is_some_and(|database| {
            refused.code == ErrorCode::StaleSchema
                && refused.version.is_some_and(|version| version < database.schema.version)
        });
        if has_version { Next::Wait } else { Next::Stop(Unanswered::Stale(refused)) }
    }

    /// The error for a partition that nobody answers for. Nothing was applied.
    pub(super) fn no_quorum(&self, partition: PartitionId, reason: &str) -> Error {
        let error = Error::new(ErrorCode::NoQuorum, format!("a partition did not answer in time: {reason}"));
        self.name_partition(partition, error)
    }

    /// Names the partition in an error about the cluster; an error about the data needs no such name.
    pub(super) fn name_partition(&self, partition: PartitionId, mut error: Error) -> Error {
        if error.partition.is_none() && error.code.http_status() >= 500 {
            error.partition =
                self.shared.surroundings.view().partitions.get(&partition).map(|found| found.uuid.clone());
        }
        error
    }
}

/// A request was not answered: what that means for it.
fn after_failure(repeat: Repeat, failed: PeerError) -> Next {
    match (failed, repeat) {
        (PeerError::Unreachable(_), _) | (PeerError::Lost, Repeat::Freely) => {
            Next::Another(Refusal::Unavailable)
        }
        (PeerError::Timeout, Repeat::Freely) => {
            let error = Error::new(ErrorCode::NoQuorum, "a partition did not answer in time");
            Next::Stop(Unanswered::Refused(error.with_outcome(Outcome::Unknown)))
        }
        (PeerError::Lost | PeerError::Timeout, Repeat::Never) => {
            let error = Error::new(
                ErrorCode::NoQuorum,
                "a partition's leader was lost before it answered; the write may have been applied",
            );
            Next::Stop(Unanswered::Refused(error.with_outcome(Outcome::Unknown)))
        }
        (other, _) => Next::Stop(Unanswered::Refused(other.of_write())),
    }
}

/// Tells the node how long it has.
fn set_time_left(request: &mut StorageRequest, left: Duration) {
    let left = millis(left);
    match request {
        StorageRequest::Write(write) => write.target.timeout_ms = left,
        StorageRequest::Joint(joint) => joint.target.timeout_ms = left,
        StorageRequest::Try(attempt) => attempt.write.target.timeout_ms = left,
        StorageRequest::Read(read) => read.target.timeout_ms = left,
        StorageRequest::ReadBriefly(reads) => {
            let targets = reads.iter_mut().flat_map(|read| &mut read.partitions);
            targets.for_each(|asked| asked.target.timeout_ms = left);
        }
        StorageRequest::Unchanged { target, .. } => target.timeout_ms = left,
        StorageRequest::Decide { timeout_ms, .. }
        | StorageRequest::DecideKeyed { timeout_ms, .. }
        | StorageRequest::CarryOut { timeout_ms, .. } => {
            *timeout_ms = left;
        }
        // The others have no deadline of their own.
        _ => {}
    }
}

/// One attempt.
async fn call(
    peers: &PeerPool,
    candidate: &Candidate,
    payload: bytes::Bytes,
    timeout: Duration,
) -> Result<Reply<StorageReply>, PeerError> {
    let reply = peers.call(&candidate.address, payload, timeout).await?;
    // A reply that cannot be read says nothing about what was done.
    decode::<Reply<StorageReply>>(&reply).map_err(|_| PeerError::Lost)
}

/// Whole milliseconds, at least one.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
