//! Seeded runs of whole coordinators whose clients' histories are checked, and faults that such runs find.
//!
//! `SIMULATION_TRANSACTIONS` (default 3) is how many fresh seeds are run; `SIMULATION_SEED` names the first one.

use std::time::Duration;

use common::Outcome;
use storage_node::replica::machine::PlantedBug;
use tests::seeds::find_planted;
use tests::simulated_transactions::scenarios::{
    Interference, reads_after_a_leader_is_lost, write_whose_commit_is,
};
use tests::simulated_transactions::{MigrationReport, Report, Settings, run, run_migrations};

/// Seeds tried before a planted bug counts as not found.
const SEEDS_PER_BUG: u64 = 20;

fn settings(seed: u64) -> Settings {
    Settings { seed, time: Duration::from_secs(6), bug: None }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn what_clients_see_is_serializable_and_happens_once() {
    let runs = number("SIMULATION_TRANSACTIONS").unwrap_or(3);
    let first = number("SIMULATION_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let mut total = Report::default();
    for seed in first..first + runs {
        let report = run(&settings(seed)).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        total.add(&report);
    }
    println!("seeds from {first}: {total:?}");
    assert!(total.acknowledged > 0 && total.lists > 0, "{total:?}");
}

#[test]
fn the_schema_and_rows_change_together_or_not_at_all_whoever_dies() {
    let runs = number("SIMULATION_TRANSACTIONS").unwrap_or(3);
    let first = number("SIMULATION_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    let mut total = MigrationReport::default();
    for seed in first..first + runs {
        let settings = Settings { time: Duration::from_secs(12), ..settings(seed) };
        let report = run_migrations(&settings).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        total.add(&report);
    }
    println!("seeds from {first}: {total:?}");
    assert!(total.applied > 0, "{total:?}");
}

#[test]
fn reads_that_are_not_guarded_are_found() {
    find(PlantedBug::ReadsNotGuarded, 0);
}

#[test]
fn a_write_whose_commit_comes_too_late_is_told_what_the_partitions_have_decided() {
    for has_key in [false, true] {
        let told = write_whose_commit_is(Interference::Late, has_key, None).expect("no half of it is there");
        let error = told.answer.expect_err("it was aborted before");
        assert_eq!((error.outcome, told.is_applied), (Outcome::NotApplied, false), "{error:?}");
    }
    // Half of it may be there, or nothing of what is told to be.
    let bug = Some(PlantedBug::LateCommitWins);
    let told = write_whose_commit_is(Interference::Late, true, bug);
    assert!(
        told.as_ref().is_err() || told.as_ref().is_ok_and(|told| told.answer.is_ok() && !told.is_applied),
        "{told:?}"
    );
}

#[test]
fn a_part_that_commits_without_the_request_that_it_refuses_is_found() {
    find(PlantedBug::RefusedRequestLeftOut, 6);
}

#[test]
fn a_write_whose_commit_is_lost_on_its_way_is_not_applied_and_said_not_to_be() {
    let told = write_whose_commit_is(Interference::Lost, false, None).expect("no half of it is there");
    let error = told.answer.expect_err("its commit never arrives");
    assert_eq!((error.outcome, told.is_applied), (Outcome::NotApplied, false), "{error:?}");
}

#[test]
fn a_write_with_a_key_whose_commit_is_not_answered_is_asked_for_and_answered() {
    // The first answer is lost; the question is repeated, which finds the decision.
    let told = write_whose_commit_is(Interference::Unanswered, true, None).expect("no half of it is there");
    assert!(told.is_applied);
    let outcome = told.answer.map_or_else(|error| error.outcome, |()| Outcome::Applied);
    assert_ne!(outcome, Outcome::NotApplied);
}

#[test]
fn a_write_whose_commit_is_not_answered_is_applied_and_said_to_be() {
    let told = write_whose_commit_is(Interference::Unanswered, false, None).expect("no half of it is there");
    assert!(told.is_applied);
    // What it would have answered is known to nobody.
    let error = told.answer.expect_err("the answer is lost");
    assert_eq!(error.outcome, Outcome::Applied, "{error:?}");
}

#[test]
fn a_write_whose_coordinator_hears_nothing_more_after_its_commit_may_be_applied_and_says_so() {
    let told = write_whose_commit_is(Interference::LastOfAll, false, None).expect("no half of it is there");
    assert!(told.is_applied, "the partitions ask each other");
    let error = told.answer.expect_err("the answer is lost");
    assert_eq!(error.outcome, Outcome::Unknown, "{error:?}");
}

#[test]
fn reads_wait_for_what_is_prepared_when_its_leader_is_lost() {
    let read = reads_after_a_leader_is_lost(None).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{read:?}");
    assert!(read.begun_in_doubt.iter().all(|count| *count > 0), "{read:?}");
    assert!(read.answered.iter().all(|count| *count > 20), "what fails lasts: {read:?}");
    let missed = reads_after_a_leader_is_lost(Some(PlantedBug::CommitReadTooEarly));
    let violation = missed.expect_err("reads that do not wait are found");
    assert!(violation.0.contains("missed an acknowledged transfer"), "{violation}");
}

/// Looks for a bug in seeds from one on that has found it before, so that it is found soon.
fn find(bug: PlantedBug, first: u64) {
    let what = format!("{bug:?}, whole coordinators");
    find_planted(&what, SEEDS_PER_BUG, |seed| {
        let settings = Settings { bug: Some(bug), ..settings(first + seed) };
        run(&settings).err().map(|violation| violation.0)
    });
}
