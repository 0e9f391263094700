//! Which replica of a partition to ask, and whom to ask next.

use std::collections::HashMap;
use std::time::Duration;

use common::catalog::{Catalog, NodeStatus, Partition};
use common::protocol::ReplicaReport;
use common::{PartitionId, ReplicaId};
use parking_lot::RwLock;

/// First pause after all replicas were asked in vain; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(160);

/// The replicas that were last seen leading. A hint only: a replica that does not lead refuses.
#[derive(Debug, Default)]
pub struct Leaders {
    known: RwLock<HashMap<PartitionId, ReplicaId>>,
}

impl Leaders {
    /// The replica that was last seen leading.
    pub fn get(&self, partition: PartitionId) -> Option<ReplicaId> {
        self.known.read().get(&partition).copied()
    }

    /// Takes note of a leader.
    pub fn set(&self, partition: PartitionId, leader: ReplicaId) {
        if self.get(partition) != Some(leader) {
            self.known.write().insert(partition, leader);
        }
    }

    /// Takes note of what a replica reports: whether it leads is a thing that it knows best itself.
    pub fn heard(&self, report: &ReplicaReport) {
        if report.writable && report.leader == Some(report.replica) {
            self.set(report.partition, report.replica);
        }
    }

    /// Forgets partitions that are gone.
    pub fn retain(&self, catalog: &Catalog) {
        self.known.write().retain(|partition, _| catalog.partitions.contains_key(partition));
    }
}

/// A replica to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The replica.
    pub replica: ReplicaId,
    /// `host:port` of its node.
    pub address: String,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The replica does not lead; the other one may.
    NotLeader(Option<ReplicaId>),
    /// It cannot answer at the moment, or cannot be reached.
    Unavailable,
}

/// The order in which one request asks the replicas of a partition.
#[derive(Debug)]
pub struct Search {
    candidates: Vec<Candidate>,
    at: usize,
    /// Questions since the last pause.
    asked: usize,
    pause: Duration,
}

impl Search {
    /// Begins with the replica that is believed to lead. Replicas on nodes that are not active come last.
    #[must_use]
    pub fn for_leader(catalog: &Catalog, partition: &Partition, believed: Option<ReplicaId>) -> Search {
        let mut search = Search::over(catalog, partition);
        search.at = search.position(believed).unwrap_or(0);
        search
    }

    /// Begins anywhere; `turn` spreads requests over the replicas.
    #[must_use]
    pub fn for_any(catalog: &Catalog, partition: &Partition, turn: usize) -> Search {
        let mut search = Search::over(catalog, partition);
        let active = partition.replicas.iter().filter(|replica| is_active(catalog, &replica.node)).count();
        search.at = turn % active.max(1);
        search
    }

    fn over(catalog: &Catalog, partition: &Partition) -> Search {
        let mut replicas: Vec<_> = partition.replicas.iter().collect();
        replicas.sort_by_key(|replica| !is_active(catalog, &replica.node));
        let candidates = replicas
            .into_iter()
            .filter_map(|replica| {
                let node = catalog.nodes.get(&replica.node)?;
                Some(Candidate { replica: replica.id, address: node.address() })
            })
            .collect();
        Search { candidates, at: 0, asked: 0, pause: PAUSE_MIN }
    }

    /// The replica to ask now; `None` if the partition has none.
    #[must_use]
    pub fn current(&self) -> Option<&Candidate> {
        self.candidates.get(self.at)
    }

    /// Moves on after a refusal. Answers how long to wait before the next question.
    pub fn refused(&mut self, refusal: Refusal) -> Option<Duration> {
        self.asked += 1;
        let hinted = match refusal {
            Refusal::NotLeader(leader) => self.position(leader).filter(|&position| position != self.at),
            Refusal::Unavailable => None,
        };
        self.at = hinted.unwrap_or_else(|| (self.at + 1) % self.candidates.len().max(1));
        if self.asked < self.candidates.len() {
            return None;
        }
        // Everybody was asked: an election is under way, or there is no quorum.
        self.asked = 0;
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Some(pause)
    }

    /// Goes on over the partition's replicas of now, with the pauses of before.
    #[must_use]
    pub fn continued_over(self, fresh: Search) -> Search {
        let current = self.current().map(|candidate| candidate.replica);
        let at = fresh.position(current).unwrap_or(fresh.at);
        Search { at, pause: self.pause, asked: self.asked, ..fresh }
    }

    fn position(&self, replica: Option<ReplicaId>) -> Option<usize> {
        let wanted = replica?;
        self.candidates.iter().position(|candidate| candidate.replica == wanted)
    }
}

fn is_active(catalog: &Catalog, node: &common::NodeId) -> bool {
    catalog
        .nodes
        .get(node)
        .is_some_and(|node| matches!(node.status, NodeStatus::Active | NodeStatus::Draining))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::fixture;
    use common::catalog::{Node, Replica, ReplicaRole};

    fn catalog(statuses: [NodeStatus; 3]) -> (Catalog, Partition) {
        let mut catalog = Catalog::default();
        let mut replicas = Vec::new();
        for (number, status) in (1u16..).zip(statuses) {
            let id = common::NodeId(format!("n{number}"));
            let node = Node {
                id: id.clone(),
                host: "h".into(),
                port: number,
                instance: None,
                status,
                inactive_since: None,
            };
            catalog.nodes.insert(id.clone(), node);
            replicas.push(Replica { id: ReplicaId(u64::from(number)), node: id, role: ReplicaRole::Voter });
        }
        let partition = Partition {
            id: PartitionId(1),
            uuid: "u".into(),
            database: "d".into(),
            replicas,
            bootstrapped: true,
        };
        (catalog, partition)
    }

    fn asked(search: &Search) -> u64 {
        search.current().unwrap().replica.0
    }

    #[test]
    fn the_believed_leader_is_asked_first_and_a_hint_is_followed() {
        let (catalog, partition) = catalog([NodeStatus::Active; 3]);
        let mut search = Search::for_leader(&catalog, &partition, Some(ReplicaId(2)));
        assert_eq!(asked(&search), 2);
        assert_eq!(search.refused(Refusal::NotLeader(Some(ReplicaId(1)))), None);
        assert_eq!(asked(&search), 1);
    }

    #[test]
    fn a_replica_that_reports_to_lead_is_asked_first() {
        let leaders = Leaders::default();
        let report = |replica, leader, writable| ReplicaReport {
            writable,
            ..fixture::report(PartitionId(1), ReplicaId(replica), ReplicaId(leader), 1)
        };
        leaders.heard(&report(2, 3, false));
        leaders.heard(&report(3, 3, false));
        assert_eq!(leaders.get(PartitionId(1)), None, "none of these says that it leads and takes writes");
        leaders.heard(&report(3, 3, true));
        assert_eq!(leaders.get(PartitionId(1)), Some(ReplicaId(3)));
    }

    #[test]
    fn a_pause_follows_once_everybody_was_asked_and_grows() {
        let (catalog, partition) = catalog([NodeStatus::Active; 3]);
        let mut search = Search::for_leader(&catalog, &partition, None);
        let pauses: Vec<_> = (0..9).filter_map(|_| search.refused(Refusal::Unavailable)).collect();
        assert_eq!(pauses, [PAUSE_MIN, PAUSE_MIN * 2, PAUSE_MIN * 4]);
    }

    #[test]
    fn two_replicas_that_point_at_each_other_do_not_spin() {
        let (catalog, partition) = catalog([NodeStatus::Active; 3]);
        let mut search = Search::for_leader(&catalog, &partition, Some(ReplicaId(1)));
        let pauses = (0..6)
            .filter_map(|turn| search.refused(Refusal::NotLeader(Some(ReplicaId(2 - turn % 2)))))
            .count();
        assert_eq!(pauses, 2);
    }

    #[test]
    fn nodes_that_are_silent_are_asked_last() {
        let (catalog, partition) = catalog([NodeStatus::Inactive, NodeStatus::Active, NodeStatus::Suspected]);
        assert_eq!(asked(&Search::for_leader(&catalog, &partition, None)), 2);
        for turn in 0..3 {
            assert_eq!(asked(&Search::for_any(&catalog, &partition, turn)), 2);
        }
    }
}
