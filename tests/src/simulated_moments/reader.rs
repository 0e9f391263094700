//! Reads of all partitions, as a coordinator and the partitions' nodes do them together.

use std::time::Instant;

use common::moment::{Agreement, agree};
use common::protocol::{Params, Pinned, Statement};
use common::{Hlc, Value};
use rand::Rng as _;
use sqlite::{Budget, PinnedReader};

use super::partition::Partition;
use super::{BALANCE, World, shown};

/// A reader, which may have a read under way.
#[derive(Default)]
pub struct Reader {
    under_way: Option<Reading>,
}

struct Reading {
    round: u32,
    snapshots: Vec<Snapshot>,
    /// Increments that were acknowledged when it began.
    acknowledged: Vec<i64>,
}

/// The snapshot of one partition on its way.
struct Snapshot {
    at: Option<Hlc>,
    stage: Stage,
}

enum Stage {
    Asked,
    /// A replica has promised, confirmed that it leads, and waits until it has landed so much.
    Confirmed {
        node: usize,
        promised: Hlc,
        index: u64,
    },
    Open {
        reader: PinnedReader,
        shows: Pinned,
    },
}

/// What a read has seen.
pub struct Seen {
    balances: Vec<i64>,
    pub counters: Vec<i64>,
    pub acknowledged: Vec<i64>,
    intervals: Vec<(Hlc, Hlc)>,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen { balances, counters, acknowledged, intervals } = self;
        write!(
            f,
            "balances {balances:?}, counters {counters:?}, of which {acknowledged:?} were acknowledged; "
        )?;
        write!(f, "the snapshots show {intervals:?}")
    }
}

impl Seen {
    /// What must hold of every single read.
    pub fn check(&self) -> Result<(), String> {
        if self.balances.iter().sum::<i64>() != BALANCE * self.balances.len() as i64 {
            return Err(format!("a read saw half of a transfer: {self}"));
        }
        if self.counters.iter().zip(&self.acknowledged).any(|(seen, acknowledged)| seen < acknowledged) {
            return Err(format!("a read missed an acknowledged write: {self}"));
        }
        Ok(())
    }
}

impl Reader {
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Goes on; answers what was seen once the read is over.
    pub fn act(&mut self, world: &mut World, more: bool) -> Result<Option<Seen>, String> {
        let Some(reading) = &mut self.under_way else {
            if more {
                let asked = || Snapshot { at: None, stage: Stage::Asked };
                self.under_way = Some(Reading {
                    round: 0,
                    snapshots: world.partitions.iter().map(|_| asked()).collect(),
                    acknowledged: world.acknowledged.clone(),
                });
            }
            return Ok(None);
        };
        // One partition after the other, in an order that is drawn: each is seen at another time.
        let number = world.random.random_range(0..reading.snapshots.len());
        reading.snapshots[number].go_on(world, number)?;
        let open = |snapshot: &Snapshot| match &snapshot.stage {
            Stage::Open { shows, .. } => Some(*shows),
            _ => None,
        };
        let Some(shows) = reading.snapshots.iter().map(open).collect::<Option<Vec<Pinned>>>() else {
            return Ok(None);
        };
        if let Agreement::Again { at, snapshots } = agree(&shows, reading.round) {
            reading.round += 1;
            world.report.rounds += 1;
            for again in snapshots {
                reading.snapshots[again] = Snapshot { at: Some(at), stage: Stage::Asked };
            }
            return Ok(None);
        }
        let reading = self.under_way.take().ok_or("a read is under way")?;
        let rows: Vec<(i64, i64)> =
            reading.snapshots.iter().map(Snapshot::rows).collect::<Result<_, String>>()?;
        Ok(Some(Seen {
            balances: rows.iter().map(|(balance, _)| *balance).collect(),
            counters: rows.iter().map(|(_, counter)| *counter).collect(),
            acknowledged: reading.acknowledged,
            intervals: shown(&shows),
        }))
    }
}

impl Snapshot {
    fn go_on(&mut self, world: &mut World, number: usize) -> Result<(), String> {
        let partition = &mut world.partitions[number];
        match self.stage {
            Stage::Asked => {
                let node = partition.leader;
                if let Some(at) = self.at {
                    world.clocks.observe(node, at);
                }
                let promised = world.clocks.now(node);
                let index = partition.committed();
                partition.meet_majority(&mut world.clocks, &mut world.random);
                self.stage = Stage::Confirmed { node, promised, index };
            }
            Stage::Confirmed { node, promised, index }
                if partition.landed(node) >= index && !partition.owes_commit(node) =>
            {
                // One that does not lead any more is given up for the one that does.
                self.stage = match self.open(partition, node, promised)? {
                    Some(open) => open,
                    None if partition.leader != node => Stage::Asked,
                    None => return Ok(()),
                };
            }
            Stage::Confirmed { node, .. } if partition.leader != node => self.stage = Stage::Asked,
            Stage::Confirmed { .. } | Stage::Open { .. } => {}
        }
        Ok(())
    }

    fn open(&self, partition: &Partition, node: usize, promised: Hlc) -> Result<Option<Stage>, String> {
        // In one thread nothing can be waited for: what is not possible now is tried again.
        let Ok(opening) = partition.promises(node).open(self.at, promised, Instant::now()) else {
            return Ok(None);
        };
        let lent = partition.readers(node).acquire().map_err(|error| error.to_string())?;
        let mut reader = PinnedReader::new(lent);
        reader.open().map_err(|error| error.to_string())?;
        let position = reader.snapshot().system().position().map_err(|error| error.to_string())?;
        let shows = Pinned { index: position.index, since: position.committed, until: opening.until() };
        Ok(Some(Stage::Open { reader, shows }))
    }

    /// The account's and the counter's numbers.
    fn rows(&self) -> Result<(i64, i64), String> {
        let Stage::Open { reader, .. } = &self.stage else { return Err("it is not open".into()) };
        let sql = "SELECT n FROM t ORDER BY name".to_owned();
        let found = reader.snapshot().query(&Statement { sql, params: Params::None }, &Budget::default());
        let rows = found.map_err(|error| error.to_string())?.rows.to_values().map_err(|e| e.to_string())?;
        match rows.concat().as_slice() {
            [Value::Integer(balance), Value::Integer(counter)] => Ok((*balance, *counter)),
            other => Err(format!("{other:?} are no two numbers")),
        }
    }
}
