//! Random statements on one file and on partitions.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::Cluster;
use super::compare::same;

/// Choices that a seed decides.
pub struct Random(SmallRng);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(SmallRng::seed_from_u64(seed))
    }

    pub fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.0.random_range(0..choices.len())]
    }

    /// From 0 on, and below a bound.
    pub fn number(&mut self, below: i64) -> i64 {
        self.0.random_range(0..below)
    }
}

/// How many seeds run: so many always, more with `POLYLITE_SEEDS=<count>`.
pub fn seeds(always: u64) -> u64 {
    differential::seed::setting("POLYLITE_SEEDS").unwrap_or(always)
}

/// Runs as many statements on both; answers what differed, and how many found rows.
pub async fn compare(
    seed: u64,
    statements: u32,
    (single, partitioned): (&Cluster, &Cluster),
    mut statement: impl FnMut() -> String,
) -> (Vec<String>, u32) {
    let (mut differences, mut with_rows) = (Vec::new(), 0);
    for _ in 0..statements {
        let sql = statement();
        let (expected, found) = (single.sql(&sql).await, partitioned.sql(&sql).await);
        with_rows += u32::from(expected.as_ref().is_ok_and(|result| result.rows.rows > 0));
        if let Err(difference) = same(&sql, &expected, &found) {
            let plan = partitioned.plan(&sql).join("\n");
            differences.push(format!("seed {seed}: {sql}\n{difference}\n{plan}"));
        }
    }
    (differences, with_rows)
}
