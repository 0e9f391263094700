//! The task that turns silence into commands, on the coordinator that leads.

use std::time::Duration;

use consensus_runtime::Role;
use tokio::time::Instant;

use super::ClusterHealth;
use super::verdict::{Silence, Verdict, verdicts};
use crate::catalog::Command;
use common::catalog::NodeStatus;

const INTERVAL: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub(super) async fn run(health: ClusterHealth) {
    let mut role = health.inner.catalog.leadership();
    loop {
        let leads = role.wait_for(|role| role.role == Role::Leader).await.map(|role| role.term);
        let Ok(term) = leads else { return };
        tokio::select! {
            () = lead(&health) => {}
            ended = role.wait_for(|role| role.role != Role::Leader || role.term != term) => {
                if ended.is_err() {
                    return;
                }
            }
        }
    }
}

/// Watches for as long as this coordinator leads.
async fn lead(health: &ClusterHealth) {
    let start = Instant::now();
    // Times count from an hour before the election, so that what was heard earlier has its place too.
    let offset = Duration::from_secs(3_600);
    let mut last_death = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = health.inner.news.notified() => {}
        }
        let now = start.elapsed() + offset;
        for verdict in judge(health, start, offset, now, last_death) {
            if verdict.status == NodeStatus::Inactive {
                last_death = Some(now);
            }
            tell(health, verdict).await;
        }
    }
}

fn judge(
    health: &ClusterHealth,
    start: Instant,
    offset: Duration,
    now: Duration,
    last_death: Option<Duration>,
) -> Vec<Verdict> {
    let catalog = health.inner.catalog.view();
    let mut heard = health.inner.heard.lock();
    heard.retain(|id, heard| {
        let instance = catalog.nodes.get(id).and_then(|node| node.instance.as_ref());
        instance == Some(&heard.instance)
    });
    let place = |at: Instant| match at.checked_duration_since(start) {
        Some(after) => offset + after,
        None => offset.saturating_sub(start.duration_since(at)),
    };
    let silence = Silence {
        now,
        leading_since: offset,
        heard: heard.iter().map(|(id, heard)| (id.clone(), place(heard.at))).collect(),
        last_death,
    };
    verdicts(catalog.nodes.values(), &silence)
}

async fn tell(health: &ClusterHealth, verdict: Verdict) {
    let Verdict { node, status } = verdict;
    let instance = health.inner.catalog.view().nodes.get(&node).and_then(|node| node.instance.clone());
    tracing::info!(%node, status = status.as_str(), "a storage node's status changes");
    let command = Command::SetNodeStatus { node, instance, status };
    if let Err(error) = health.inner.catalog.propose(command).await {
        tracing::warn!(%error, "a storage node's status could not be entered");
    }
}
