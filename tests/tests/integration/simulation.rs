//! Seeded runs of a simulated partition group.
//!
//! `SIMULATION_SECONDS` (default 20) bounds the fresh seeds, `SIMULATION_SEED` gives the first of them; it is
//! drawn and printed otherwise, so that a failure can be run again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use consensus::PlantedBug as InConsensus;
use storage_node::replica::machine::PlantedBug as InMachine;
use tests::seeds::find_planted;
use tests::simulated_cluster::{PlantedBug, QuarantineBug, Report, Settings, run};

/// Seeds that once found something; they must never again.
const REGRESSION_SEEDS: &[u64] = &[1_012_413_443_000_039, 97_802_971_697_952, 82_941_912_994_746];

/// Fewer runs than this need not reach every kind of fault.
const RUNS_MIN: u64 = 60;

/// Seeds tried before a planted bug counts as not found.
const SEEDS_PER_BUG: u64 = 2_000;

#[test]
fn the_same_seed_replays_bit_for_bit() {
    for seed in [1, 7, 1_234_567] {
        let settings = Settings::drawn(seed);
        assert_eq!(run(&settings), run(&settings), "seed {seed}");
    }
}

#[test]
fn different_seeds_have_different_histories() {
    let fingerprint = |seed| run(&Settings::drawn(seed)).expect("a sound run").fingerprint;
    assert_ne!(fingerprint(1), fingerprint(2));
}

#[test]
fn no_regression_seed_finds_anything() {
    for &seed in REGRESSION_SEEDS {
        if let Err(violation) = run(&Settings::drawn(seed)) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn fresh_seeds_find_nothing_and_reach_every_kind_of_fault() {
    let first = number_from_environment("SIMULATION_SEED").unwrap_or_else(fresh_seed);
    let seconds = number_from_environment("SIMULATION_SECONDS").unwrap_or(20);
    println!("first seed {first}, for {seconds} s");
    let start = Instant::now();
    let (mut runs, mut total) = (0, Report::default());
    while runs < RUNS_MIN || start.elapsed() < Duration::from_secs(seconds) {
        let seed = first.wrapping_add(runs);
        match run(&Settings::drawn(seed)) {
            Ok(report) => add(&mut total, &report),
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
        runs += 1;
    }
    println!("{runs} runs: {total:?}");
    assert!(total.acknowledged > 0, "clients were served");
    assert!(total.unknown > 0, "some outcomes stayed unknown");
    for (fault, count) in [
        ("crashes", total.crashes),
        ("cuts", total.cuts),
        ("pauses", total.pauses),
        ("faults of disks", total.disk_faults),
        ("ends by faults of disks", total.ended_by_disks),
        ("harmed files", total.harms),
        ("quarantines", total.quarantines),
        ("rebuilt replicas", total.rebuilt),
        ("messages lost or doubled", total.messages_harmed),
        ("snapshots", total.snapshots),
        ("sets of chunks", total.chunks),
    ] {
        assert!(count > 0, "no run reached {fault}");
    }
    assert!(total.leaders > runs, "leaders changed");
}

#[test]
fn acknowledging_before_the_sync_is_found() {
    find(PlantedBug::Consensus(InConsensus::AcknowledgeBeforeSync));
}

#[test]
fn a_vote_that_is_not_persisted_is_found() {
    // It needs two candidates at the same moment, and a crash between their questions.
    find_in(PlantedBug::Consensus(InConsensus::VoteNotPersisted), |seed| Settings::drawn(seed).contested());
}

#[test]
fn a_read_that_only_the_leader_itself_confirms_is_found() {
    // It needs a leader that is cut off, and clients on both sides of the cut.
    find_in(PlantedBug::Consensus(InConsensus::LeaderLocalRead), |seed| Settings::drawn(seed).lonely());
}

#[test]
fn an_applied_index_outside_of_the_transaction_is_found() {
    find(PlantedBug::Machine(InMachine::AppliedIndexOutsideTransaction));
}

#[test]
fn effects_that_land_on_another_state_are_found() {
    find(PlantedBug::Machine(InMachine::EffectsOnAnotherBase));
}

#[test]
fn an_error_told_from_an_uncommitted_neighbour_is_found() {
    find(PlantedBug::Machine(InMachine::ErrorToldFromUncommittedNeighbour));
}

#[test]
fn a_row_that_is_not_landed_is_found_by_the_digests() {
    find(PlantedBug::Machine(InMachine::RowNotLanded));
}

#[test]
fn success_told_before_the_commit_is_found() {
    find(PlantedBug::Machine(InMachine::ToldBeforeCommitted));
}

#[test]
fn an_unknown_outcome_told_as_not_applied_is_found() {
    find(PlantedBug::Machine(InMachine::UnknownToldAsNotApplied));
}

#[test]
fn a_log_let_go_before_the_file_is_on_the_disk_is_found() {
    find(PlantedBug::Machine(InMachine::TruncatedBeforeSynced));
}

#[test]
fn a_refused_request_of_which_a_part_stays_is_found() {
    find(PlantedBug::Machine(InMachine::RefusedRequestStaysInPart));
}

#[test]
fn a_replica_that_serves_in_quarantine_is_found() {
    find_in(PlantedBug::Quarantine(QuarantineBug::NotHonoured), |seed| Settings::drawn(seed).harmful());
}

#[test]
fn entries_forgotten_during_a_quarantine_are_found() {
    find_in(PlantedBug::Quarantine(QuarantineBug::MissedEntriesForgotten), |seed| {
        Settings::drawn(seed).harmful()
    });
}

/// Runs seeds until one finds the bug, and says which and how long it took.
fn find(bug: PlantedBug) {
    find_in(bug, Settings::drawn);
}

/// The same in runs of one kind.
fn find_in(bug: PlantedBug, drawn: fn(u64) -> Settings) {
    let violation = |seed| run(&drawn(seed).with_bug(bug)).err().map(|violation| violation.0);
    find_planted(&format!("{bug:?}"), SEEDS_PER_BUG, violation);
}

fn add(total: &mut Report, report: &Report) {
    total.simulated_us += report.simulated_us;
    total.acknowledged += report.acknowledged;
    total.unknown += report.unknown;
    total.leaders += report.leaders;
    total.crashes += report.crashes;
    total.cuts += report.cuts;
    total.pauses += report.pauses;
    total.disk_faults += report.disk_faults;
    total.ended_by_disks += report.ended_by_disks;
    total.harms += report.harms;
    total.quarantines += report.quarantines;
    total.rebuilt += report.rebuilt;
    total.messages_harmed += report.messages_harmed;
    total.snapshots += report.snapshots;
    total.chunks += report.chunks;
    total.fingerprint ^= report.fingerprint;
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::from(since.subsec_nanos()) << 20 | (since.as_secs() & 0xf_ffff)
}
