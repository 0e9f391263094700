//! Power cuts on a simulated disk lose nothing that was synced, and nothing in half.
#![cfg(feature = "simulation")]

use std::path::Path;
use std::time::Duration;

use crate::support::statement;
use common::Hlc;
use common::entry::{Change, Effect, Effects};
use sqlite::applier::FileContents;
use sqlite::error::Result;
use sqlite::simulated::SimulatedDisk;
use sqlite::{Applier, Budget, Failure, Location, Maintenance, Position, Reader, SystemState};

/// Entry `index` of an imagined log adds row `index`.
fn entry(index: u64) -> Effects {
    let id = i64::try_from(index).unwrap();
    let row = vec![id.into(), "x".repeat(usize::try_from(index % 700).unwrap()).into()];
    let change = Change::Insert { key: vec![id.into()], row };
    Effects { tables: vec!["t".into()], rows: vec![Effect { table: 0, change }] }
}

fn open(location: &Location) -> Result<Applier> {
    if let FileContents::Replica(_) = Applier::inspect(location)? {
        return Applier::open(location);
    }
    let mut applier = Applier::create(location, &SystemState::default())?;
    applier.begin()?;
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)".to_owned();
    applier.change_schema(1, &[table], &sqlite::TableSums::default())?;
    applier.commit()?;
    Ok(applier)
}

fn apply(applier: &mut Applier, index: u64) -> Result<()> {
    applier.begin()?;
    applier.apply(&entry(index))?;
    applier.system().set_position(Position {
        index,
        term: 1,
        base: index,
        hlc: Hlc(index),
        ..Position::default()
    })?;
    applier.commit()
}

/// One replica that is cut off again and again.
struct Run {
    seed: u64,
    disk: SimulatedDisk,
    location: Location,
    /// The last index that was synced.
    synced: u64,
}

impl Run {
    /// Starts after a power cut, checks what is there, goes on for a while, and is cut off. Returns the
    /// applied index that it found.
    fn once(&mut self, cut: u64) -> Result<u64> {
        let mut applier = open(&self.location)?;
        let applied = applier.system().position()?.index;
        let maintenance = Maintenance::open(&self.location)?;
        let mut reader = Reader::open(&self.location)?;
        let all = statement("SELECT count(*), coalesce(max(id), 0) FROM t");
        let rows = reader.query(&all, &Budget::default())?.rows.to_values().unwrap();
        let expected = i64::try_from(applied).unwrap();
        let sound = maintenance.integrity_check()?.is_empty();
        if !sound || applied < self.synced || rows != [[expected.into(), expected.into()]] {
            let message = format!("sound: {sound}, applied {applied} of {}, rows {rows:?}", self.synced);
            return Err(Failure::Storage { code: 0, message });
        }
        for step in 0..(self.seed + cut) % 40 {
            let last = applied + step + 1;
            apply(&mut applier, last)?;
            match (self.seed * 7 + cut * 3 + step) % 9 {
                0 => maintenance.sync_wal()?,
                1 => {
                    let checkpoint = maintenance.checkpoint(Duration::ZERO)?;
                    assert_eq!(checkpoint.log_frames, checkpoint.moved_frames);
                }
                _ => continue,
            }
            self.synced = last;
        }
        self.disk.crash();
        assert!(reader.query(&all, &Budget::default()).is_err(), "connections of before are dead");
        Ok(applied)
    }
}

/// Cuts a replica off many times. An error says that something was lost.
fn run(seed: u64, cuts: u64, lying: bool) -> Result<Vec<u64>> {
    let disk = SimulatedDisk::new(seed);
    disk.lie_about_syncs(lying);
    let location = disk.location(Path::new("p.db"));
    let mut run = Run { seed, disk, location, synced: 0 };
    (0..cuts).map(|cut| run.once(cut)).collect()
}

#[test]
fn nothing_that_was_synced_is_lost() {
    for seed in 0..20 {
        run(seed, 25, false).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

#[test]
fn a_disk_that_lies_is_noticed() {
    let noticed = (0..10).filter(|seed| run(*seed, 25, true).is_err()).count();
    assert!(noticed >= 9, "the test above would not notice a loss: {noticed}");
}

#[test]
fn a_run_can_be_repeated() {
    let first = run(5, 10, false).unwrap();
    assert_eq!(run(5, 10, false).unwrap(), first);
    assert!(first.iter().any(|applied| *applied > 0));
}

#[test]
fn a_failed_sync_and_a_full_disk_are_reported() {
    let disk = SimulatedDisk::new(1);
    let location = disk.location(Path::new("p.db"));
    let mut applier = open(&location).unwrap();
    let maintenance = Maintenance::open(&location).unwrap();
    apply(&mut applier, 1).unwrap();
    disk.fail_syncs(1);
    assert!(matches!(maintenance.sync_wal(), Err(Failure::Storage { .. })));
    assert_eq!(disk.counters().failed_syncs, 1);
    disk.set_capacity(Some(0));
    applier.begin().unwrap();
    let full = applier.apply(&entry(2)).and_then(|_| applier.commit());
    assert!(full.is_err());
    disk.set_capacity(None);
    applier.rollback();
    apply(&mut applier, 2).unwrap();
    assert_eq!(applier.system().position().unwrap().index, 2);
}
