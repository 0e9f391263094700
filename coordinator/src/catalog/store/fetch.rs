//! Fetching a leader's snapshot, piece by piece.

use std::path::PathBuf;
use std::time::Duration;

use common::protocol::{CoordinatorReply, CoordinatorRequest};
use common::{Error, ErrorCode, Result};
use polylite_client::node::CoordinatorClient;

use super::snapshot::{self, Snapshot};

/// How long one piece may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to begin again because the leader has replaced its snapshot meanwhile.
const ATTEMPTS: usize = 5;

/// Fetches a snapshot that holds at least the index and writes it to a file, durably.
pub(super) async fn snapshot(
    client: &CoordinatorClient,
    address: Option<String>,
    at_least: u64,
    path: PathBuf,
) -> Result<Snapshot> {
    let address = address.ok_or_else(|| Error::internal("the leader's address is not known"))?;
    for _ in 0..ATTEMPTS {
        let Some(bytes) = bytes(client, &address, at_least).await? else { continue };
        let staged = tokio::task::spawn_blocking(move || {
            let read = snapshot::decode(&bytes)?;
            snapshot::write(&path, &bytes)?;
            Ok::<_, snapshot::SnapshotError>(read)
        });
        let read = staged.await.map_err(|error| Error::internal(error.to_string()))?;
        let read = read.map_err(|error| Error::internal(error.to_string()))?;
        if read.position.index < at_least {
            return Err(Error::internal("the leader's snapshot is older than it said"));
        }
        return Ok(read);
    }
    Err(Error::new(ErrorCode::Unavailable, "the leader replaces its snapshot faster than it can be fetched"))
}

/// The whole file; `None` if it was replaced before the last piece.
async fn bytes(client: &CoordinatorClient, address: &str, at_least: u64) -> Result<Option<Vec<u8>>> {
    let mut whole = Vec::new();
    let mut expected = 0;
    loop {
        let offset = whole.len() as u64;
        let request = CoordinatorRequest::Snapshot { at_least, index: expected, offset };
        let CoordinatorReply::Snapshot { index, size, bytes } =
            client.request(address, request, PIECE_TIMEOUT).await?
        else {
            return Err(Error::internal("the leader answered another question than it was asked"));
        };
        if offset > 0 && index != expected || bytes.is_empty() {
            return Ok(None);
        }
        expected = index;
        whole.extend_from_slice(&bytes);
        if whole.len() as u64 >= size {
            return Ok(Some(whole));
        }
    }
}
