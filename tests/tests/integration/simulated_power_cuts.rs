//! Power cuts by the thousand: `POLYLITE_POWER_CUTS` (default 10,000) says how many, `SIMULATION_SEED` gives the first seed.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use consensus::PlantedBug as InConsensus;
use storage_node::replica::machine::PlantedBug as InMachine;
use tests::seeds::{find_planted, run_all};
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
    let seeds: Vec<u64> =
        (0..cuts.div_ceil(CUTS_OF_A_SEED)).map(|number| first.wrapping_add(number)).collect();
    let total = run_all(&seeds, |seed| run(&Settings::new(seed, CUTS_OF_A_SEED)), Report::add);
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

#[test]
fn the_same_seed_is_cut_at_the_same_places() {
    let settings = Settings::new(5, 50);
    assert_eq!(run(&settings), run(&settings));
}

/// Runs seeds until one finds the fault.
fn find(what: &str, settings: impl Fn(Settings) -> Settings) {
    let violation = |seed| run(&settings(Settings::new(seed, CUTS_OF_A_SEED))).err();
    find_planted(what, SEEDS_PER_BUG, |seed| violation(seed).map(|violation| violation.0));
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
