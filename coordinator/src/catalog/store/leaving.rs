//! Leaving the cluster for good: a coordinator that goes, or one that is gone and shall be replaced.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::catalog::ReplicaRole;
use common::protocol::{CoordinatorReply, CoordinatorRequest};
use common::{Error, ErrorCode, ReplicaId, Result};
use tokio::time::Instant;

use super::CatalogStore;
use crate::catalog::Command;

/// How long the others are given to go on without the one that leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked whether they do.
const LOOK: Duration = Duration::from_millis(50);

impl CatalogStore {
    /// Takes a coordinator out of the cluster. When this returns well, the others do not need it any more to agree, and
    /// it may be stopped.
    pub async fn leave(&self, replica: ReplicaId) -> Result<()> {
        if replica != self.inner.replica {
            return self.dismiss(replica).await;
        }
        // Whoever leaves may not hear any more that it has left, so another one sees to it.
        let mut others = self.coordinator_addresses();
        others.remove(&replica);
        let mut last = Error::new(ErrorCode::NodeInUse, "the only coordinator of a cluster cannot leave it")
            .with_hint("have another one join first: polylite coordinator --join URL");
        for address in others.into_values() {
            match self
                .inner
                .client
                .request(&address, CoordinatorRequest::Leave { replica }, LEAVE_TIMEOUT)
                .await
            {
                Ok(CoordinatorReply::Left) => {
                    self.note_left();
                    return Ok(());
                }
                Ok(_) => last = Error::internal("a coordinator answered another question"),
                Err(error) if error.code.retryable() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// This coordinator is out: it says so to whoever asks, and does not start again.
    fn note_left(&self) {
        self.inner.left.store(true, Ordering::Relaxed);
        tracing::info!("this coordinator has left its cluster and may be stopped");
        let noted = self.inner.home.lock().as_ref().map(|home| home.directory.leave());
        if let Some(Err(error)) = noted {
            tracing::warn!(%error, "it could not be written down that this coordinator has left its cluster");
        }
    }

    /// Has the group go on without another coordinator; returns when it does.
    pub(crate) async fn dismiss(&self, replica: ReplicaId) -> Result<()> {
        if self.confirmed().await?.coordinators.contains_key(&replica) {
            // Until the group goes on without it, it has to be reached: its vote may be needed for that.
            self.propose(Command::SetCoordinatorRole { replica, role: ReplicaRole::Lost }).await?;
        }
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while self.view().coordinators.contains_key(&replica) {
            if Instant::now() >= deadline {
                let message = "the other coordinators cannot yet agree without the one that leaves";
                return Err(
                    Error::new(ErrorCode::NoQuorum, message).with_hint("leave it running, and ask again")
                );
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}
