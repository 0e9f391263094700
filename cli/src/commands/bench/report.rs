//! The table that is shown.

use std::time::Duration;

use common::Value;

use super::figures::{Measured, Runs};
use crate::output::RowSet;

/// One figure of one workload, beside what it is compared with.
#[derive(Clone, Debug, Default)]
pub struct Line {
    workload: &'static str,
    unit: &'static str,
    figures: Runs,
    medians_ms: Runs,
    percentiles_99_ms: Runs,
    baseline: &'static str,
    baseline_figures: Runs,
    ratios: Runs,
}

impl Line {
    /// A line to which runs are added.
    pub fn new(workload: &'static str, unit: &'static str, baseline: &'static str) -> Line {
        Line { workload, unit, baseline, ..Line::default() }
    }

    /// Adds a run: operations a second, and those of the baseline measured directly before it.
    pub fn add(&mut self, measured: &Measured, baseline: f64) {
        self.add_figure(measured.per_second());
        self.baseline_figures.add(baseline);
        self.ratios.add(measured.per_second() / baseline.max(1e-9));
        for (time, runs) in
            [(measured.median, &mut self.medians_ms), (measured.percentile_99, &mut self.percentiles_99_ms)]
        {
            if let Some(time) = time {
                runs.add(milliseconds(time));
            }
        }
    }

    /// Adds a run's figure that is compared with nothing.
    pub fn add_figure(&mut self, figure: f64) {
        self.figures.add(figure);
    }
}

/// All lines as rows.
pub fn table(lines: &[Line]) -> RowSet {
    let mut set = RowSet::with_columns(&[
        "workload",
        "unit",
        "median",
        "least",
        "greatest",
        "p50 ms",
        "p99 ms",
        "baseline",
        "its median",
        "ratio",
    ]);
    for line in lines {
        set.rows.push(vec![
            line.workload.into(),
            line.unit.into(),
            shown(line.figures.median()),
            shown(line.figures.least()),
            shown(line.figures.greatest()),
            shown(line.medians_ms.median()),
            shown(line.percentiles_99_ms.median()),
            if line.baseline.is_empty() { Value::Null } else { line.baseline.into() },
            shown(line.baseline_figures.median()),
            shown(line.ratios.median()),
        ]);
    }
    set
}

/// A time in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Large figures without a fraction, small ones with two places.
pub fn shown(figure: Option<f64>) -> Value {
    figure.map_or(Value::Null, |figure| {
        Value::Real(if figure >= 100.0 { figure.round() } else { (figure * 100.0).round() / 100.0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_median_of_each_column() {
        let mut line = Line::new("insert", "rows/s", "SQLite");
        for (operations, baseline) in [(100, 50.0), (300, 100.0), (200, 400.0)] {
            let elapsed = Duration::from_secs(1);
            line.add(&Measured { operations, elapsed, ..Measured::default() }, baseline);
        }
        let mut idle = Line::new("idle", "% of a core", "");
        idle.add_figure(0.456);
        let table = table(&[line, idle]);
        let expected: Vec<Value> = vec![
            "insert".into(),
            "rows/s".into(),
            Value::Real(200.0),
            Value::Real(100.0),
            Value::Real(300.0),
            Value::Null,
            Value::Null,
            "SQLite".into(),
            Value::Real(100.0),
            Value::Real(2.0),
        ];
        assert_eq!(table.rows[0], expected);
        assert_eq!(table.rows[1][2], Value::Real(0.46));
    }
}
