//! The node's relation to the coordinators: it introduces itself until one answers, reports every second, and
//! obeys what it is assigned.

use std::sync::Arc;
use std::time::Duration;

use common::protocol::{Assignments, Heartbeat, Registration};
use common::{NodeId, Result};
use tokio_util::sync::CancellationToken;

use crate::config::HEARTBEAT_INTERVAL;
use crate::layout::DataDir;
use crate::neighbours::Neighbours;
use crate::service::Service;

/// How long one attempt at one coordinator may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Longest pause between attempts to register.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// Reports that may fail in a row before the node introduces itself again: its coordinators may have lost
/// or replaced what they knew.
const FAILURES_MAX: u32 = 10;

/// See the module.
pub struct Membership {
    /// The rest of the cluster.
    pub neighbours: Neighbours,
    /// What the node runs and is called.
    pub service: Arc<Service>,
    /// Where the id is kept.
    pub data_dir: Arc<DataDir>,
    /// How the node introduces itself; the id is filled in from the data directory.
    pub registration: Registration,
}

impl Membership {
    /// Registers and reports until it is told to stop; the last report says so.
    ///
    /// It stops between two steps. A registration broken off may have been entered all the same, by a node that
    /// then does not know whose member it is, and whose farewell nobody would accept; a report broken off could
    /// be heard after the farewell, and take it back.
    pub async fn run(self, stop: CancellationToken) {
        if self.neighbours.coordinators().is_empty() {
            return;
        }
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(ATTEMPT).await;
        };
        tokio::select! {
            () = self.take_part(&stop) => {}
            () = too_late => tracing::debug!("no coordinator answers before the node stops"),
        }
        let Some(node) = self.service.node().filter(|_| self.service.registry().cluster().is_some()) else {
            return;
        };
        if tokio::time::timeout(ATTEMPT, self.report(&node, true)).await != Ok(true) {
            tracing::debug!("no coordinator heard that the node stops");
        }
    }

    async fn take_part(&self, stop: &CancellationToken) {
        while let Some(node) = self.register(stop).await {
            let mut failures = 0;
            let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while failures < FAILURES_MAX {
                if stop.run_until_cancelled(beat.tick()).await.is_none() {
                    return;
                }
                failures = if self.report(&node, false).await { 0 } else { failures + 1 };
            }
        }
    }

    /// Introduces the node to one coordinator after the other until one answers; `None` if it is told to stop
    /// first.
    async fn register(&self, stop: &CancellationToken) -> Option<NodeId> {
        let mut pause = Duration::from_millis(100);
        loop {
            for address in self.neighbours.coordinators() {
                if stop.is_cancelled() {
                    return None;
                }
                let mut registration = self.registration.clone();
                registration.cluster = self.service.registry().cluster();
                if let Some(node) = self.service.node() {
                    registration.node = Some(node);
                }
                match self.introduce(&address, registration).await {
                    Ok((node, assignments, coordinators)) => {
                        self.neighbours.learn_coordinators(&address, coordinators);
                        self.take_name(&node);
                        self.obey(assignments).await;
                        return Some(node);
                    }
                    Err(error) => {
                        tracing::warn!(coordinator = %address, code = %error.code, %error, "not registered yet");
                    }
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    /// Introduces the node to one coordinator, whose answer counts only if it is of the node's own cluster.
    async fn introduce(
        &self,
        address: &str,
        registration: Registration,
    ) -> Result<(NodeId, Assignments, Vec<String>)> {
        let answer = self.neighbours.coordinator().register(address, registration, ATTEMPT).await?;
        self.service.registry().belong_to(&answer.1.cluster)?;
        Ok(answer)
    }

    fn take_name(&self, node: &NodeId) {
        if self.service.node().as_ref() == Some(node)
            && self.data_dir.node().ok().flatten().as_ref() == Some(node)
        {
            return;
        }
        if let Err(error) = self.data_dir.set_node(node) {
            tracing::error!(%node, %error, "the node's id could not be written down");
        }
        tracing::info!(%node, "registered");
        self.service.set_node(node.clone());
    }

    /// Tells one coordinator how the replicas are. Says whether any listened.
    async fn report(&self, node: &NodeId, stopping: bool) -> bool {
        for address in self.neighbours.coordinators() {
            let heartbeat = Heartbeat {
                cluster: self.service.registry().cluster().unwrap_or_default(),
                node: node.clone(),
                instance: self.registration.instance.clone(),
                assignments_version: self.service.registry().version(),
                replicas: self.service.registry().reports(&[]),
                stopping,
            };
            match self.neighbours.coordinator().heartbeat(&address, heartbeat, ATTEMPT).await {
                Ok((assignments, coordinators)) => {
                    self.neighbours.learn_coordinators(&address, coordinators);
                    if let Some(assignments) = assignments.filter(|_| !stopping) {
                        self.obey(assignments).await;
                    }
                    return true;
                }
                Err(error) => tracing::debug!(coordinator = %address, %error, "a report was not heard"),
            }
        }
        false
    }

    async fn obey(&self, assignments: Assignments) {
        let version = assignments.version;
        if let Err(error) = self.service.registry().obey(assignments).await {
            tracing::error!(version, %error, "assignments could not be obeyed; the next report asks for them again");
        }
    }
}
