//! Typed requests between nodes: what [`common::protocol`] defines, over the connections of [`crate::peer`].
//!
//! | at | call | reply | stream | one way |
//! |---|---|---|---|---|
//! | storage nodes | `StorageRequest` | `Result<StorageReply, Error>` | `StorageStream`; fails with an `Error` | `RaftBatch` |
//! | coordinators | `CoordinatorRequest`, marked | `Result<CoordinatorReply, Error>` | none | `RaftBatch` |
//!
//! All are encoded by [`common::protocol::encode`]. An error on the way becomes the [`common::Error`] that
//! says truly what became of the request: a write whose answer was lost is `unknown`, a read that failed may
//! simply be repeated.

mod coordinator;
mod storage;

use std::time::Duration;

use common::protocol::{RaftBatch, decode, encode};
use common::{Error, Outcome, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::peer::{PeerError, PeerPool};

pub use coordinator::CoordinatorClient;
pub use storage::{ImageStream, PinnedSnapshot, RowStream, SnapshotStream, StorageClient};

/// Sends Raft messages of many groups to a node, without waiting. Heartbeats, votes and their answers
/// should be `urgent`. May be called from any thread.
pub fn send_raft(pool: &PeerPool, address: &str, batch: &RaftBatch, urgent: bool) {
    pool.send(address, encode(batch), urgent);
}

/// Whether a request changes something, which decides what a lost answer means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Writes,
}

impl Effect {
    fn error(self, error: PeerError) -> Error {
        match self {
            Effect::Reads => error.of_read(),
            Effect::Writes => error.of_write(),
        }
    }
}

/// One call and its decoded reply.
async fn call<R: DeserializeOwned>(
    pool: &PeerPool,
    address: &str,
    request: &impl Serialize,
    timeout: Duration,
    effect: Effect,
) -> Result<R> {
    let reply = pool.call(address, encode(request), timeout).await.map_err(|error| effect.error(error))?;
    decode::<Result<R>>(&reply).unwrap_or_else(|malformed| Err(doubtful(malformed, effect)))
}

/// The error for an answer that cannot be understood: what it answers may have been carried out.
fn doubtful(error: Error, effect: Effect) -> Error {
    match effect {
        Effect::Reads => error,
        Effect::Writes => error.with_outcome(Outcome::Unknown),
    }
}

/// The error for a reply of another kind than was asked for.
fn mismatched(effect: Effect) -> Error {
    doubtful(Error::internal("the node answered another question than it was asked"), effect)
}
