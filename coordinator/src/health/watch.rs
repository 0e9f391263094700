//! The task that turns silence into commands, on the coordinator that leads.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus_runtime::Role;
use tokio::time::Instant;

use super::ClusterHealth;
use super::verdict::{InUse, Silence, Verdict, verdicts};
use crate::catalog::Command;
use common::NodeId;
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
    let mut in_use = InUse::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = health.inner.news.notified() => {}
        }
        let now = start.elapsed() + offset;
        // One picture for both: a node that registers in between would count as silent since it was last here.
        let catalog = health.inner.catalog.view();
        let in_use_since = in_use.look(now, catalog.nodes.values());
        let silence = Silence {
            now,
            leading_since: offset,
            heard: heard(health, start, offset),
            in_use_since,
            last_death,
        };
        for verdict in verdicts(catalog.nodes.values(), &silence) {
            if verdict.status == NodeStatus::Inactive {
                last_death = Some(now);
            }
            tell(health, verdict).await;
        }
    }
}

/// When each node was last heard, as the instance that the catalog knows; times count from `offset` before `start`.
fn heard(health: &ClusterHealth, start: Instant, offset: Duration) -> BTreeMap<NodeId, Duration> {
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
    heard.iter().map(|(id, heard)| (id.clone(), place(heard.at))).collect()
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
