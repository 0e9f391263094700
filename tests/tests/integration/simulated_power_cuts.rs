//! Power cuts by the thousand: `POLYLITE_POWER_CUTS` (default 10,000) says how many, `SIMULATION_SEED` gives the first seed.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use consensus::PlantedBug as InConsensus;
use storage_node::replica::machine::PlantedBug as InMachine;
use tests::simulated_cluster::PlantedBug;
use tests::simulated_power_cuts::{Report, Settings, run};

/// Cuts of one seed: its files stay small, so that a cut costs little.
const CUTS_OF_A_SEED: u64 = 200;
/// Seeds tried before a fault counts as not found.
const SEEDS_PER_BUG: u64 = 200;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn no_acknowledged_write_is_lost_in_thousands_of_power_cuts() {
    let cuts = number_from_environment("POLYLITE_POWER_CUTS").unwrap_or(10_000);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let first = number_from_environment("SIMULATION_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    let begun = Instant::now();
    let total = cut_by_many(first, cuts.div_ceil(CUTS_OF_A_SEED));
    println!(
        "first seed {first}, {:.1} s: {total:?}; acknowledged writes lost: 0",
        begun.elapsed().as_secs_f64()
    );
    for (state, count) in [
        ("cuts within a step", total.within_a_step),
        ("cuts while recovering", total.while_recovering),
        ("torn files", total.torn),
        ("acknowledged writes", total.acknowledged),
        ("refused writes", total.refused),
        ("unknown writes that were kept", total.kept_unknown),
        ("unknown writes that were lost", total.lost_unknown),
        ("checkpoints", total.maintained),
    ] {
        assert!(count > 0, "no run reached {state}");
    }
}

/// Runs so many seeds, on every core at once.
fn cut_by_many(first: u64, seeds: u64) -> Report {
    let next = AtomicU64::new(0);
    let work = || {
        let mut total = Report::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds {
                return total;
            }
            let seed = first.wrapping_add(number);
            match run(&Settings::new(seed, CUTS_OF_A_SEED)) {
                Ok(report) => total.add(&report),
                Err(violation) => panic!("seed {seed}: {violation}"),
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut total = Report::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(report) => total.add(&report),
                Err(panic) => resume_unwind(panic),
            }
        }
    });
    total
}

#[test]
fn the_same_seed_is_cut_at_the_same_places() {
    let settings = Settings::new(5, 50);
    assert_eq!(run(&settings), run(&settings));
}

/// Runs seeds until one finds the fault.
fn find(what: &str, settings: impl Fn(Settings) -> Settings) {
    let begun = Instant::now();
    let found = (0..SEEDS_PER_BUG)
        .find_map(|seed| Some((seed, run(&settings(Settings::new(seed, CUTS_OF_A_SEED))).err()?)));
    let Some((seed, violation)) = found else { panic!("{what} was not found in {SEEDS_PER_BUG} seeds") };
    println!("{what}: seed {seed}, after {:.1} s: {violation}", begun.elapsed().as_secs_f64());
}

#[test]
fn a_disk_that_lies_about_syncs_is_found() {
    find("a lying disk", |settings| Settings { lying: true, ..settings });
}

#[test]
fn acknowledging_before_the_sync_is_found() {
    let bug = PlantedBug::Consensus(InConsensus::AcknowledgeBeforeSync);
    find("acknowledging before the sync", |settings| Settings { bug: Some(bug), ..settings });
}

#[test]
fn an_applied_index_outside_of_the_transaction_is_found() {
    let bug = PlantedBug::Machine(InMachine::AppliedIndexOutsideTransaction);
    find("an applied index outside of the transaction", |settings| Settings { bug: Some(bug), ..settings });
}

#[test]
fn a_log_let_go_before_the_file_is_on_the_disk_is_found() {
    let bug = PlantedBug::Machine(InMachine::TruncatedBeforeSynced);
    find("a log let go too early", |settings| Settings { bug: Some(bug), ..settings });
}
