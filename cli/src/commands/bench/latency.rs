//! What a workload came to.

use std::time::Duration;

/// Operations done, in which time, and how long one took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Operations that were answered.
    pub operations: u64,
    /// The time they took together.
    pub elapsed: Duration,
    /// Half of the operations were faster.
    pub median: Option<Duration>,
    /// 99 of 100 were faster.
    pub percentile_99: Option<Duration>,
}

impl Measured {
    /// Out of the time of each operation.
    pub fn of_times(mut times: Vec<Duration>, elapsed: Duration) -> Measured {
        times.sort_unstable();
        Measured {
            operations: times.len() as u64,
            elapsed,
            median: percentile(&times, 50),
            percentile_99: percentile(&times, 99),
        }
    }

    /// Operations a second.
    pub fn per_second(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let operations = self.operations as f64;
        operations / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// The nearest-rank percentile of sorted times.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        let measured = Measured::of_times(times, Duration::from_secs(2));
        assert_eq!(measured.median, Some(Duration::from_millis(50)));
        assert_eq!(measured.percentile_99, Some(Duration::from_millis(99)));
        assert!((measured.per_second() - 50.0).abs() < 1e-9);
        assert_eq!(Measured::of_times(Vec::new(), Duration::ZERO).median, None);
    }
}
