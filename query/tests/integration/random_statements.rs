//! Random schemas and statements over them answer on several partitions as on one file.
//!
//! `POLYLITE_SEED=<seed>` begins at a seed, `fresh` at a new one, as statements of every kind do where nothing is said;
//! `POLYLITE_STATEMENTS=<count>` runs that many, 200,000 in about a quarter of an hour.

use std::time::Instant;

use crate::support::engine::Partitions;
use crate::support::{Cluster, MIXED, VERTICAL};
use differential::Engine;
use differential::generator::Features;
use differential::seed::{self, setting};
use differential::trial::{self, Plan, Report};

/// Statements that run where no other number is asked for.
const STATEMENTS: usize = 3_000;

/// Statements of one trial, after those of its schema.
const PER_TRIAL: usize = 150;

/// Failures after which no more are looked for: each takes a while to be made small.
const FAILURES: usize = 10;

fn partitions(seed: u64, key: Option<&str>) -> Box<dyn Engine> {
    let cluster = match (seed % 6, key) {
        (0, Some(key)) => Cluster::ranged(&[2.into(), 5.into(), "a".into()], key),
        (0 | 1, key) => Cluster::hashed(8, key),
        (2, key) => Cluster::hashed(3, key),
        (3, key) => Cluster::hashed(2, key),
        (4, key) => Cluster::layout(VERTICAL, key),
        (_, key) => Cluster::layout(MIXED, key),
    };
    Box::new(Partitions::new(cluster))
}

#[test]
fn random_statements_answer_as_one_file() {
    answer_as_one_file(Features::default(), seed::chosen());
}

#[test]
fn random_statements_with_foreign_keys_and_triggers_answer_as_one_file() {
    let features = Features { foreign_keys: true, triggers: true, ..Features::default() };
    answer_as_one_file(features, seed::chosen());
}

#[test]
fn random_statements_of_every_kind_answer_as_one_file() {
    let features = Features {
        foreign_keys: true,
        triggers: true,
        autoincrement: true,
        definitions: true,
        batches: true,
    };
    answer_as_one_file(features, seed::chosen());
}

fn answer_as_one_file(features: Features, first: u64) {
    let wanted = setting("POLYLITE_STATEMENTS").map_or(STATEMENTS, |count| usize::try_from(count).unwrap());
    let failures = setting("POLYLITE_FAILURES").map_or(FAILURES, |count| usize::try_from(count).unwrap());
    let (mut report, begun) = (Report::default(), Instant::now());
    for seed in (0..).map(|number| first.wrapping_add(number)) {
        if report.statements >= wanted || report.failures.len() >= failures {
            break;
        }
        let before = report.failures.len();
        let plan = Plan { seed, statements: PER_TRIAL, features };
        trial::run(plan, &mut |key| partitions(seed, key), &mut report);
        report.failures[before..].iter().for_each(|failure| println!("{failure}"));
    }
    let (statements, seconds) = (report.statements, begun.elapsed().as_secs_f64());
    println!(
        "{statements} statements in {seconds:.1} s, {} unpromised, {} given up, refused: {:#?}",
        report.unpromised, report.given_up, report.refused
    );
    let (shown, more) = (report.failures.len(), report.more_of_a_kind);
    assert!(shown == 0, "{shown} differences are printed above, {more} more are of their kinds");
}
