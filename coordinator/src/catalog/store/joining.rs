//! Becoming a coordinator of another one's cluster: when a new data directory is first used, or while this
//! coordinator runs alone.
//!
//! Whoever asks is a learner in the catalog of the cluster that it joins from then on. A coordinator that leaves
//! a cluster of its own for that enters this cluster's catalog no more, asks, and then writes down in one step
//! whose coordinator it is. What its directory still holds of the cluster before is known by its names and
//! ignored, see [`forget_former_cluster`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::catalog::address;
use common::protocol::{CoordinatorReply, CoordinatorRequest};
use common::{Error, ErrorCode, ReplicaId, Result};
use consensus_runtime::{LogBatch, LogWriteError, SharedLog};
use polylite_client::node::CoordinatorClient;
use tokio::time::Instant;

use super::CatalogStore;
use super::directory::{Identity, Membership};
use super::machine::GROUP;
use crate::catalog::Command;

/// How long a coordinator that starts waits for one that takes it in.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one coordinator is waited for.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two rounds of attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Who wants to join.
pub(super) struct Candidate<'a> {
    /// Host that others reach it at.
    pub(super) host: &'a str,
    /// Port that others reach it at.
    pub(super) port: u16,
    /// What its data directory calls itself.
    pub(super) instance: &'a str,
}

/// Asks coordinators in turn until one of them takes the candidate in. A refusal ends it.
pub(super) async fn ask_until_taken_in(
    client: &CoordinatorClient,
    urls: &[String],
    candidate: &Candidate<'_>,
) -> Result<Membership> {
    let addresses = urls.iter().map(|url| coordinator_address(url)).collect::<Result<Vec<_>>>()?;
    let deadline = Instant::now() + START_TIMEOUT;
    let mut last = Error::bad_request("there is no coordinator to join");
    loop {
        for address in &addresses {
            let error = match ask(client, address, candidate).await {
                Ok(membership) => return Ok(membership),
                Err(error) => Error { message: format!("{address}: {}", error.message), ..error },
            };
            let passing = error.code.retryable() || error.code == ErrorCode::Internal;
            if !passing {
                return Err(error);
            }
            last = error;
        }
        if addresses.is_empty() || Instant::now() + PAUSE > deadline {
            return Err(last);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(client: &CoordinatorClient, address: &str, candidate: &Candidate<'_>) -> Result<Membership> {
    let request = CoordinatorRequest::Join {
        host: candidate.host.to_owned(),
        port: candidate.port,
        instance: candidate.instance.to_owned(),
    };
    match client.request(address, request, ATTEMPT_TIMEOUT).await? {
        CoordinatorReply::Joined { cluster, replica, coordinators } => {
            let coordinators = coordinators.into_iter().map(|(id, peer)| (id, peer.address)).collect();
            Ok(Membership { cluster, replica, founder: false, coordinators })
        }
        _ => Err(Error::internal("the coordinator answered another question")),
    }
}

/// The `host:port` in a coordinator's URL.
pub(crate) fn coordinator_address(url: &str) -> Result<String> {
    let malformed = || {
        Error::bad_request(format!("'{}' is not a coordinator's address", url.escape_debug()))
            .with_hint("write it as http://host:port")
    };
    let bare = url.strip_prefix("http://").unwrap_or(url);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let (host, port) = bare.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if port == 0 || host.is_empty() || host.len() > 255 || !host.bytes().all(is_name) {
        return Err(malformed());
    }
    Ok(address(host, port))
}

impl CatalogStore {
    /// Leaves the own cluster, which must hold nothing, for that of another coordinator (`host:port`). When this
    /// returns well, the data directory belongs to the other cluster, and the store must be closed and opened
    /// anew. Otherwise everything is as before; if the outcome is not known, the other cluster may expect this
    /// coordinator, which joining again puts right.
    pub(crate) async fn leave_for(&self, target: &str) -> Result<()> {
        let inner = &self.inner;
        inner.leaving.store(true, Ordering::Relaxed);
        let left = self.try_to_leave_for(target).await;
        if left.is_err() {
            // The caretaker takes the flag out of the catalog if this attempt cannot.
            inner.leaving.store(false, Ordering::Relaxed);
            if self.view().leaving
                && let Err(error) = self.propose(Command::StayInCluster).await
            {
                tracing::warn!(%error, "the own cluster is not yet back in use");
            }
        }
        left
    }

    async fn try_to_leave_for(&self, target: &str) -> Result<()> {
        self.propose(Command::LeaveCluster).await?;
        let inner = &self.inner;
        let candidate = Candidate { host: &inner.host, port: inner.port, instance: &inner.instance };
        let membership =
            ask(&inner.client, target, &candidate).await.map_err(|error| not_taken_in(target, error))?;
        let identity = Identity { instance: inner.instance.clone(), membership: Some(membership) };
        let home = self.home()?;
        let written = tokio::task::spawn_blocking(move || home.directory.set_identity(&identity)).await;
        written
            .map_err(|error| Error::internal(error.to_string()))?
            .map_err(|error| Error::internal(error.to_string()))
    }

    /// Whether the own cluster is being left at this moment.
    pub(super) fn is_leaving(&self) -> bool {
        self.inner.leaving.load(Ordering::Relaxed)
    }
}

fn not_taken_in(target: &str, error: Error) -> Error {
    let message = format!("the coordinator at {target} has not taken this one in: {}", error.message);
    // Nobody there, or something else: that is about the address, which trying again does not change.
    let code = match error.code {
        ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::Internal => ErrorCode::NodeUnreachable,
        other => other,
    };
    let hint = error.hint.unwrap_or_else(|| "name the address of a coordinator that runs".to_owned());
    Error::new(code, message).with_hint(hint).with_outcome(error.outcome)
}

/// Removes from the log what a coordinator holds of a cluster that it has left. Whoever left one founded it as
/// replica 1, which no coordinator that joins is.
pub(super) fn forget_former_cluster(log: &SharedLog, replica: ReplicaId) -> Result<(), LogWriteError> {
    if log.replica(GROUP).is_none_or(|kept| kept == replica) {
        return Ok(());
    }
    let mut batch = LogBatch::default();
    batch.remove(GROUP);
    log.write(batch, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinators_url_names_a_host_and_a_port() {
        for (url, wanted) in [
            ("http://localhost:5000", "localhost:5000"),
            ("http://db.test:80/", "db.test:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("http://[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(coordinator_address(url).unwrap(), wanted);
        }
        for url in [
            "",
            "http://",
            "localhost",
            "http://h",
            "http://h:0",
            "http://h:x",
            "https://h:1",
            "http://h:1/x",
            "http://a b:1",
            "http://:1",
        ] {
            assert_eq!(coordinator_address(url).unwrap_err().code, ErrorCode::BadRequest, "{url}");
        }
    }
}
