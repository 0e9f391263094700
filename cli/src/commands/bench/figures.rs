//! What was measured, and what several runs of it come to.

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

/// The same figure out of several runs.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    sorted: Vec<f64>,
}

impl Runs {
    /// Adds a run's figure.
    pub fn add(&mut self, figure: f64) {
        let place = self.sorted.partition_point(|other| *other < figure);
        self.sorted.insert(place, figure);
    }

    /// The one in the middle, or the mean of the two there; `None` without runs.
    pub fn median(&self) -> Option<f64> {
        let middle = self.sorted.len() / 2;
        let upper = *self.sorted.get(middle)?;
        Some(if self.sorted.len() % 2 == 1 { upper } else { f64::midpoint(self.sorted[middle - 1], upper) })
    }

    /// The least.
    pub fn least(&self) -> Option<f64> {
        self.sorted.first().copied()
    }

    /// The greatest.
    pub fn greatest(&self) -> Option<f64> {
        self.sorted.last().copied()
    }
}

/// The nearest-rank percentile of sorted times.
pub fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
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

    #[test]
    fn the_median_of_runs_lies_in_their_middle() {
        let mut runs = Runs::default();
        assert_eq!(runs.median(), None);
        for figure in [5.0, 1.0, 3.0] {
            runs.add(figure);
        }
        assert_eq!((runs.least(), runs.median(), runs.greatest()), (Some(1.0), Some(3.0), Some(5.0)));
        runs.add(4.0);
        assert_eq!(runs.median(), Some(3.5));
    }
}
