//! Seeded runs of leases under changes of leaders, pauses and clocks that differ, and faults that such runs find.
//!
//! `SIMULATION_LEASES` (default 20) is how many fresh seeds are run.

use std::time::Duration;

use tests::seeds::find_planted;
use tests::simulated_leases::{PlantedBug, Report, Settings, run};

/// Seeds tried before a planted bug counts as not found.
const SEEDS_PER_BUG: u64 = 100;

fn settings(seed: u64) -> Settings {
    Settings { seed, time: Duration::from_secs(60), bug: None }
}

#[test]
fn no_read_is_older_than_what_was_known_before_it_began() {
    let runs = std::env::var("SIMULATION_LEASES").map_or(20, |text| text.parse().expect("a number"));
    let first: u64 = rand::random::<u32>().into();
    let mut total = Report::default();
    for seed in first..first + runs {
        let report = run(settings(seed)).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        total.reads += report.reads;
        total.leased += report.leased;
        total.writes += report.writes;
        total.recalls += report.recalls;
        total.elections += report.elections;
    }
    println!("seeds from {first}: {total:?}");
    assert!(total.leased > 0 && total.reads > total.leased && total.writes > 0, "{total:?}");
    assert!(total.recalls > 0 && total.elections > 0, "{total:?}");
}

#[test]
fn the_same_seed_replays() {
    assert_eq!(run(settings(7)), run(settings(7)));
}

#[test]
fn every_planted_fault_is_found() {
    for bug in [
        PlantedBug::WriteBeforeGivenBack,
        PlantedBug::NewLeaderDoesNotWait,
        PlantedBug::CountedFromTheAnswer,
        PlantedBug::GrantedWithoutConfirmation,
        PlantedBug::ClockTooFast,
    ] {
        let violation = |seed| run(Settings { bug: Some(bug), ..settings(seed) }).err();
        find_planted(&format!("{bug:?}"), SEEDS_PER_BUG, violation);
    }
}
