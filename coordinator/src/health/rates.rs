//! How often replicas of a node are asked, out of the counts that it reports.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::protocol::ReplicaReport;
use common::{PartitionId, ReplicaId};

/// What happened so long ago counts about a third of what happens now.
const MEMORY: Duration = Duration::from_secs(10);

/// The rates of one node's replicas.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Option<Instant>,
    /// Count of the last report, and requests a second of late.
    replicas: BTreeMap<(PartitionId, ReplicaId), (u64, f64)>,
}

impl Rates {
    /// Takes a report over. A count that has become smaller is that of a new process, and says nothing yet.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn note(&mut self, at: Instant, reports: &[ReplicaReport]) {
        let elapsed = self.at.map_or(Duration::ZERO, |before| at.saturating_duration_since(before));
        let seconds = elapsed.as_secs_f64();
        let weight = seconds / (seconds + MEMORY.as_secs_f64());
        let before = std::mem::take(&mut self.replicas);
        for report in reports {
            let key = (report.partition, report.replica);
            let rate = match before.get(&key) {
                Some((count, rate)) if seconds > 0.0 => {
                    let now = report.requests.saturating_sub(*count) as f64 / seconds;
                    rate + (now - rate) * weight
                }
                Some((_, rate)) => *rate,
                None => 0.0,
            };
            self.replicas.insert(key, (report.requests, rate));
        }
        self.at = Some(at);
    }

    /// Requests a second of each partition's replica.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn per_second(&self) -> Vec<(PartitionId, u64)> {
        self.replicas.iter().map(|((partition, _), (_, rate))| (*partition, rate.round() as u64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::fixture;

    #[test]
    fn a_steady_rate_is_found_and_forgotten_when_it_ends() {
        let mut rates = Rates::default();
        let begun = Instant::now();
        let report = |requests| {
            let report = fixture::report(PartitionId(1), ReplicaId(1), ReplicaId(1), 1);
            [ReplicaReport { requests, ..report }]
        };
        for second in 0..60_u64 {
            rates.note(begun + Duration::from_secs(second), &report(500 * second));
        }
        let [(partition, rate)] = rates.per_second().try_into().unwrap();
        assert!(partition == PartitionId(1) && (490..=500).contains(&rate), "{rate}");
        // The process is a new one.
        rates.note(begun + Duration::from_secs(61), &report(3));
        for second in 62..140_u64 {
            rates.note(begun + Duration::from_secs(second), &report(3));
        }
        assert_eq!(rates.per_second(), [(PartitionId(1), 0)]);
    }
}
