//! Streams out of a partition: find the replica that can feed one, and hand its items on.

use std::time::Duration;

use bytes::Bytes;
use common::protocol::{ReadRequest, RowsHeader, StorageStream, decode, encode};
use common::{Error, ErrorCode, PartitionId, Result};
use futures_util::StreamExt as _;
use polylite_client::peer::{PeerError, PeerStream};
use query::access::{RowBlocks, RowStream};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::Gateway;
use super::access::RequestAccess;
use super::partition_call::{From, millis};
use super::replica_search::Refusal;

/// An open stream.
pub(super) struct Opened<T> {
    /// Its first message.
    pub(super) first: T,
    /// The rest.
    pub(super) rest: PeerStream,
    /// Which node feeds it.
    pub(super) address: String,
}

impl RequestAccess {
    /// Streams the rows of the newest state.
    pub(super) async fn stream_newest(&self, mut request: ReadRequest) -> Result<RowStream> {
        let limit = self.deadline.saturating_duration_since(Instant::now());
        let partition = request.target.partition;
        let opened: Opened<RowsHeader> = self
            .open(partition, self.reads_from(), |timeout_ms| {
                request.target.timeout_ms = timeout_ms;
                StorageStream::Read(request.clone())
            })
            .await?;
        self.see(partition, opened.first.index);
        Ok(RowStream { header: opened.first, blocks: blocks_within(opened.rest, limit) })
    }

    /// Opens a stream at a replica; until the first message has come, another one can be asked. `request` is
    /// told how many milliseconds are left.
    pub(super) async fn open<T: DeserializeOwned>(
        &self,
        partition: PartitionId,
        from: From,
        mut request: impl FnMut(u64) -> StorageStream + Send,
    ) -> Result<Opened<T>> {
        let catalog = self.gateway.shared.surroundings.view();
        let mut search =
            self.gateway.search(&catalog, partition, from).map_err(|error| self.gave_up(error))?;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let Some(candidate) = search.current().cloned().filter(|_| !left.is_zero()) else {
                return Err(self.gateway.no_quorum(partition, "no replica of the partition leads"));
            };
            let payload = encode(&request(millis(left)));
            let address = &candidate.address;
            let refusal = match first_message(&self.gateway, address, payload, self.deadline).await {
                Ok((first, rest)) => {
                    if from == From::Leader {
                        self.gateway.shared.leaders.set(partition, candidate.replica);
                    }
                    return Ok(Opened { first, rest, address: candidate.address });
                }
                Err(PeerError::Failed(error)) => refusal_of(decode(&error).unwrap_or_else(|error| error))?,
                Err(PeerError::Unreachable(_) | PeerError::Lost) => Refusal::Unavailable,
                Err(other) => return Err(self.gateway.name_partition(partition, other.of_read())),
            };
            if let Some(pause) = search.refused(refusal) {
                tokio::time::sleep_until(self.deadline.min(Instant::now() + pause)).await;
            }
        }
    }
}

/// Whether another replica may do what this one refused.
fn refusal_of(error: Error) -> Result<Refusal> {
    match error.code {
        ErrorCode::NotLeader => Ok(Refusal::NotLeader(error.leader)),
        ErrorCode::LeadershipLost
        | ErrorCode::NoQuorum
        | ErrorCode::Unavailable
        | ErrorCode::PartitionNotFound => Ok(Refusal::Unavailable),
        _ => Err(error),
    }
}

/// Opens a stream at a node and waits for its first message.
pub(super) async fn first_message<T: DeserializeOwned>(
    gateway: &Gateway,
    address: &str,
    payload: Bytes,
    deadline: Instant,
) -> Result<(T, PeerStream), PeerError> {
    let mut stream = gateway.shared.peers.stream(address, payload).await?;
    let first = tokio::time::timeout_at(deadline, stream.next()).await.map_err(|_| PeerError::Timeout)?;
    let first = first.ok_or(PeerError::Lost)??;
    let first = decode(&first).map_err(|_| PeerError::Lost)?;
    Ok((first, stream))
}

/// The blocks of a stream, each of which has the time of the whole request: a client that takes them slowly
/// is none of the partition's fault.
pub(super) fn blocks_within(stream: PeerStream, limit: Duration) -> RowBlocks {
    futures_util::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        let block = match tokio::time::timeout(limit, stream.next()).await {
            Ok(None) => return None,
            Ok(Some(item)) => item.map_err(PeerError::of_read).and_then(|item| decode(&item)),
            Err(_) => Err(Error::new(ErrorCode::StatementTimeout, "a partition found no row in time")
                .with_hint("raise timeout_ms, or make the statement touch fewer rows")),
        };
        // After an error nothing follows, and the partition's statement is ended.
        let rest = block.is_ok().then_some(stream);
        Some((block, rest))
    })
    .boxed()
}
