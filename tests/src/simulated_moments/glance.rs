//! Reads of a single partition: its leader confirms that it leads, and answers once it has what a majority has.

use common::Value;
use common::protocol::{Params, Statement};
use rand::Rng as _;
use sqlite::Budget;

use super::World;
use super::partition::Partition;

/// Reads a partition's counter, again and again.
#[derive(Default)]
pub struct Glance {
    under_way: Option<Reading>,
}

struct Reading {
    partition: usize,
    /// Increments that were acknowledged before it began.
    acknowledged: i64,
    /// The replica that was found to lead, and what it has to show.
    confirmed: Option<(usize, u64)>,
}

impl Glance {
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub fn act(&mut self, world: &mut World, more: bool) -> Result<(), String> {
        let Some(reading) = &mut self.under_way else {
            if more && world.random.random_bool(0.3) {
                let partition = world.random.random_range(0..world.partitions.len());
                let acknowledged = world.acknowledged[partition];
                self.under_way = Some(Reading { partition, acknowledged, confirmed: None });
            }
            return Ok(());
        };
        let partition = &mut world.partitions[reading.partition];
        match reading.confirmed {
            Some((node, _)) if partition.leader != node => reading.confirmed = None,
            Some((node, index)) => {
                if partition.landed(node) >= index && !partition.owes_commit(node) {
                    let seen = counter(partition, node)?;
                    let acknowledged = reading.acknowledged;
                    self.under_way = None;
                    world.report.glances += 1;
                    if seen < acknowledged {
                        let number = partition.id.0;
                        return Err(format!(
                            "a read of partition {number} missed an acknowledged write: {seen} of {acknowledged}"
                        ));
                    }
                }
            }
            None => {
                let found = (partition.leader, partition.committed());
                partition.meet_majority(&mut world.clocks, &mut world.random);
                reading.confirmed = Some(found);
            }
        }
        Ok(())
    }
}

fn counter(partition: &Partition, node: usize) -> Result<i64, String> {
    let sql = "SELECT n FROM t WHERE name = 'counter'".to_owned();
    let statement = Statement { sql, params: Params::None };
    let mut reader = partition.readers(node).acquire().map_err(|error| error.to_string())?;
    let snapshot = reader.snapshot().map_err(|error| error.to_string())?;
    let found = snapshot.query(&statement, &Budget::default()).map_err(|error| error.to_string())?;
    match found.rows.to_values().map_err(|error| error.to_string())?.concat().as_slice() {
        [Value::Integer(counter)] => Ok(*counter),
        other => Err(format!("{other:?} is not one number")),
    }
}
