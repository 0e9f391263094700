//! Partitions are split, merged and moved in simulated clusters, while nodes and coordinators die.
//!
//! `SIMULATION_PLACEMENT` (default 10) says how many seeds, `SIMULATION_SEED` gives the first of them; it is drawn and
//! printed otherwise, so that a failure can be run again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use storage_node::replica::machine::PlantedBug;
use tests::seeds::{find_planted, run_all};
use tests::simulated_placement::{Report, Settings, run};

/// Seeds that once found something; they must never again.
const REGRESSION_SEEDS: &[u64] = &[];
/// Seeds tried before a planted bug counts as not found.
const SEEDS_PER_BUG: u64 = 60;

fn settings(seed: u64) -> Settings {
    Settings { seed, time: Duration::from_secs(6), bug: None }
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn nothing_is_lost_while_partitions_are_split_merged_and_moved() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let first = number_from_environment("SIMULATION_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    let seeds = number_from_environment("SIMULATION_PLACEMENT").unwrap_or(10);
    println!("first seed {first}, {seeds} seeds");
    let begun = Instant::now();
    let fresh = (0..seeds).map(|number| first.wrapping_add(number));
    let all: Vec<u64> = REGRESSION_SEEDS.iter().copied().chain(fresh).collect();
    let total = run_all(&all, |seed| run(&settings(seed)), Report::add);
    println!("{:.1} s: {total:?}", begun.elapsed().as_secs_f64());
    if seeds < 10 {
        return;
    }
    for (state, count) in [
        ("acknowledged writes", total.acknowledged),
        ("unknown writes", total.unknown),
        ("reads", total.reads),
        ("maps out of date", total.outdated),
        ("partitions replaced", total.replaced),
        ("attempts that were given up", total.attempts_lost),
        ("replicas moved", total.moved),
        ("leaders handed over", total.handed_over),
        ("nodes without power", total.crashes),
        ("coordinators that died", total.drivers_lost),
        ("lost messages", total.lost),
    ] {
        assert!(count > 0, "no run reached {state}");
    }
}

#[test]
fn the_same_seed_has_the_same_history() {
    for seed in [3, 77] {
        assert_eq!(run(&settings(seed)), run(&settings(seed)), "seed {seed}");
    }
}

/// Runs seeds until one finds the fault.
fn find(bug: PlantedBug) {
    let violation = |seed| run(&Settings { bug: Some(bug), ..settings(seed) }).err();
    find_planted(&format!("{bug:?}"), SEEDS_PER_BUG, |seed| violation(seed).map(|violation| violation.0));
}

#[test]
fn an_epoch_that_is_not_checked_is_found() {
    find(PlantedBug::EpochNotChecked);
}

#[test]
fn changes_that_a_new_leader_has_forgotten_are_found() {
    find(PlantedBug::ChangesForgotten);
}
