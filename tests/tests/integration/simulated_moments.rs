//! Seeded runs of several partitions that are read at one moment, and faults that such runs find.
//!
//! `SIMULATION_MOMENTS` (default 4) is how many fresh seeds are run.

use storage_node::replica::machine::PlantedBug;
use tests::seeds::find_planted;
use tests::simulated_moments::{CoordinatorBug, Report, Settings, run};

/// Seeds tried before a planted bug counts as not found.
const SEEDS_PER_BUG: u64 = 20;

fn settings(seed: u64) -> Settings {
    let elections = if seed.is_multiple_of(3) { 0 } else { 8 };
    Settings { seed, partitions: 4, steps: 1_500, elections, bug: None, coordinator_bug: None }
}

#[test]
fn reads_of_all_partitions_see_one_moment() {
    let runs = std::env::var("SIMULATION_MOMENTS").map_or(4, |text| text.parse().expect("a number"));
    let first: u64 = rand::random::<u32>().into();
    let mut total = Report::default();
    for seed in first..first + runs {
        let report = run(settings(seed)).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        total.reads += report.reads;
        total.rounds += report.rounds;
        total.transfers += report.transfers;
        total.aborts += report.aborts;
        total.glances += report.glances;
        total.joint += report.joint;
        total.refused += report.refused;
        total.keyed += report.keyed;
        total.found_again += report.found_again;
        total.increments += report.increments;
        total.elections += report.elections;
    }
    println!("seeds from {first}: {total:?}");
    assert!(total.reads > 0 && total.rounds > 0 && total.transfers > 0 && total.aborts > 0, "{total:?}");
    assert!(total.keyed > 0, "{total:?}");
    assert!(total.joint > 0 && total.refused > 0 && total.glances > 0, "{total:?}");
    assert!(total.increments > 0 && total.elections > 0, "{total:?}");
}

#[test]
fn the_same_seed_replays() {
    assert_eq!(run(settings(7)), run(settings(7)));
}

#[test]
fn snapshots_that_know_only_large_transactions_are_found_by_a_long_fork() {
    let violation = find(PlantedBug::SnapshotsKnowOnlyLargeTransactions);
    assert!(violation.contains("long fork"), "{violation}");
}

#[test]
fn reads_that_are_not_guarded_are_found_by_a_wrong_total() {
    let violation = find(PlantedBug::ReadsNotGuarded);
    assert!(violation.contains("half of a transfer"), "{violation}");
}

#[test]
fn a_late_commit_that_wins_is_found_by_a_wrong_total() {
    let violation = find(PlantedBug::LateCommitWins);
    assert!(violation.contains("half of a transfer"), "{violation}");
}

#[test]
fn a_part_that_commits_without_the_request_that_it_refuses_is_found_by_a_wrong_total() {
    let violation = find(PlantedBug::RefusedRequestLeftOut);
    assert!(violation.contains("half of a transfer"), "{violation}");
}

#[test]
fn a_read_that_does_not_wait_for_a_commit_that_was_told_is_found() {
    let violation = find(PlantedBug::CommitReadTooEarly);
    assert!(violation.contains("missed an acknowledged write"), "{violation}");
}

#[test]
fn a_key_looked_up_where_its_write_is_routed_is_found_by_a_write_done_twice() {
    let bug = CoordinatorBug::KeyLookedUpWhereRouted;
    let violation =
        find_with(&format!("{bug:?}"), |settings| Settings { coordinator_bug: Some(bug), ..settings });
    assert!(violation.contains("increments doubled"), "{violation}");
}

fn find(bug: PlantedBug) -> String {
    find_with(&format!("{bug:?}"), |settings| Settings { bug: Some(bug), ..settings })
}

fn find_with(what: &str, planted: impl Fn(Settings) -> Settings) -> String {
    find_planted(what, SEEDS_PER_BUG, |seed| run(planted(settings(seed))).err())
}
