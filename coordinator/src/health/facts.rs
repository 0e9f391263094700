//! One picture of a partition out of its replicas' reports.

use std::collections::BTreeMap;

use common::ReplicaId;
use common::protocol::ReplicaReport;

/// How a partition runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionFacts {
    /// The replica that leads, if one is known to.
    pub leader: Option<ReplicaId>,
    /// Whether it takes writes.
    pub writable: bool,
    /// Its term.
    pub term: u64,
    /// Schema version at the leader, else at the replica that is furthest.
    pub schema_version: u64,
    /// Rows of the client's tables there.
    pub rows: u64,
    /// Rows of each of them.
    pub table_rows: Vec<(String, u64)>,
    /// Size of the file there, its write-ahead log included.
    pub bytes: u64,
    /// Log index applied there.
    pub applied: u64,
    /// Transactions prepared there and not decided.
    pub in_doubt: u32,
    /// Every replica that has reported.
    pub replicas: BTreeMap<ReplicaId, ReplicaReport>,
}

impl PartitionFacts {
    /// The picture. Of several replicas that believe they lead, the one with the latest term is right.
    #[must_use]
    pub fn merge(reports: impl IntoIterator<Item = ReplicaReport>) -> PartitionFacts {
        let replicas: BTreeMap<ReplicaId, ReplicaReport> =
            reports.into_iter().map(|report| (report.replica, report)).collect();
        let term = replicas.values().map(|report| report.term).max().unwrap_or(0);
        let leading = replicas
            .values()
            .filter(|report| report.leader == Some(report.replica))
            .max_by_key(|report| report.term);
        let Some(best) = leading.or_else(|| replicas.values().max_by_key(|report| report.applied)) else {
            return PartitionFacts::default();
        };
        PartitionFacts {
            leader: leading.map(|report| report.replica),
            writable: leading.is_some_and(|report| report.writable),
            term,
            schema_version: best.schema_version,
            rows: best.rows,
            table_rows: best.table_rows.clone(),
            bytes: best.bytes,
            applied: best.applied,
            in_doubt: best.in_doubt,
            replicas: replicas.clone(),
        }
    }

    /// The leader's own report.
    #[must_use]
    pub fn leader_report(&self) -> Option<&ReplicaReport> {
        self.replicas.get(&self.leader?)
    }
}

#[cfg(test)]
mod tests {
    use common::PartitionId;

    use super::*;

    fn report(replica: u64, leader: Option<u64>, term: u64, applied: u64) -> ReplicaReport {
        ReplicaReport {
            partition: PartitionId(1),
            replica: ReplicaId(replica),
            leader: leader.map(ReplicaId),
            term,
            applied,
            committed: applied,
            schema_version: 1,
            rows: applied * 10,
            table_rows: vec![("t".to_owned(), applied * 10)],
            bytes: 0,
            configuration_index: 1,
            voters: Vec::new(),
            learners: Vec::new(),
            in_doubt: 0,
            writable: leader == Some(replica),
            digest: None,
            quarantined: None,
            used_bytes: 0,
            requests: 0,
        }
    }

    #[test]
    fn the_leader_of_the_latest_term_is_believed() {
        let facts = PartitionFacts::merge([
            report(1, Some(1), 3, 50),
            report(2, Some(2), 4, 45),
            report(3, Some(2), 4, 44),
        ]);
        assert_eq!(
            (facts.leader, facts.rows, facts.writable, facts.term),
            (Some(ReplicaId(2)), 450, true, 4)
        );
    }

    #[test]
    fn without_a_leader_the_furthest_replica_is_shown() {
        let facts = PartitionFacts::merge([report(1, None, 5, 7), report(2, None, 5, 9)]);
        assert_eq!((facts.leader, facts.rows, facts.writable), (None, 90, false));
        assert_eq!(PartitionFacts::merge([]), PartitionFacts::default());
    }
}
