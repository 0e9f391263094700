//! Clusters of separate processes answer over HTTP as one SQLite file does: values with their types, names,
//! counts, and errors with code and text; with rows divided, with columns divided, and with both.
//!
//! A seed, which is printed, picks at least two percent of each of SQLite's logic tests, and random
//! statements. `POLYLITE_SEED=<seed>` sets it, `fresh` draws it; `POLYLITE_SQLLOGICTEST=full` runs all of the logic
//! tests, `POLYLITE_STATEMENTS=<count>` that many random statements. The logic tests lie in
//! `../shared/data/sqllogictest` beside the checkout; without them those that the project ships are run.

use std::path::PathBuf;

use differential::generator::Features;
use differential::layout::{HORIZONTAL, MIXED, VERTICAL};
use differential::script::scripts_below;
use differential::script_run::{Report, Sample, run};
use differential::trial::{self, Plan};
use differential::{Engine, Layout, seed};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use tests::binary::workspace;
use tests::http_engine::HttpEngine;
use tests::process_cluster::ProcessCluster;

/// Of so many scripts one runs, unless all do.
const SCRIPTS_TO_ONE: usize = 4;

/// What runs of a script unless all does: together at least two percent of all.
const SAMPLE: Sample = Sample { queries: 20, percent: 8, statements: 200 };

/// Random statements that run on each layout.
const STATEMENTS: usize = 150;

/// Statements of one random schema.
const PER_TRIAL: usize = 75;

fn start(layout: Layout) -> ProcessCluster {
    let nodes = if layout.column_groups > 1 { layout.column_groups as usize } else { 3 };
    ProcessCluster::start(1, nodes)
}

fn scripts() -> PathBuf {
    let sqlite = workspace().join("../shared/data/sqllogictest");
    if sqlite.is_dir() {
        return sqlite;
    }
    println!("SQLite's logic tests are not at {}: those of the project are run", sqlite.display());
    workspace().join("query/tests/scripts")
}

fn scripts_answer_as_one_file(layout: Layout) {
    let all = std::env::var("POLYLITE_SQLLOGICTEST").is_ok_and(|value| value == "full");
    let mut random = SmallRng::seed_from_u64(seed::chosen());
    let cluster = start(layout);
    let (folder, mut found) = (scripts(), Report::default());
    let mut scripts = scripts_below(&folder);
    if !all {
        let wanted = scripts.len().div_ceil(SCRIPTS_TO_ONE);
        scripts = scripts.into_iter().choose_multiple(&mut random, wanted);
    }
    for (number, path) in scripts.into_iter().enumerate() {
        let name = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
        let script = std::fs::read_to_string(&path).expect("the script is readable");
        let database = format!("script{number}");
        let mut engine = HttpEngine::create(cluster.coordinator_urls(), &database, layout, None);
        let report = run(&name, &script, &mut engine, (!all).then_some((SAMPLE, &mut random)));
        println!("{}: {name}: {report}", layout.name);
        found.add(report);
        cluster.run(&["drop-database", "--name", &database, "--yes"]).succeeded();
    }
    let shown: Vec<&str> = found.differences.iter().take(20).map(String::as_str).collect();
    assert!(shown.is_empty(), "{} differences\n{}", found.differences.len(), shown.join("\n\n"));
    assert!(found.statements > 0, "no script was found");
}

fn random_statements_answer_as_one_file(layout: Layout) {
    let first = seed::chosen();
    let wanted = seed::setting("POLYLITE_STATEMENTS").unwrap_or(STATEMENTS as u64);
    let cluster = start(layout);
    let (mut report, mut made) = (trial::Report::default(), 0);
    let mut make = |key: Option<&str>| -> Box<dyn Engine> {
        made += 1;
        let name = format!("trial{made}");
        Box::new(HttpEngine::create(cluster.coordinator_urls(), &name, layout, key))
    };
    for seed in (0..).map(|number| first.wrapping_add(number)) {
        if report.statements as u64 >= wanted || !report.failures.is_empty() {
            break;
        }
        let plan = Plan { seed, statements: PER_TRIAL, features: Features::default() };
        trial::run(plan, &mut make, &mut report);
    }
    println!("{}: {} statements, {} unpromised", layout.name, report.statements, report.unpromised);
    assert!(report.failures.is_empty(), "{}", report.failures[0]);
}

#[test]
fn scripts_over_horizontal_partitions_answer_as_one_file() {
    scripts_answer_as_one_file(HORIZONTAL);
}

#[test]
fn scripts_over_vertical_partitions_answer_as_one_file() {
    scripts_answer_as_one_file(VERTICAL);
}

#[test]
fn scripts_over_mixed_partitions_answer_as_one_file() {
    scripts_answer_as_one_file(MIXED);
}

#[test]
fn random_statements_over_horizontal_partitions_answer_as_one_file() {
    random_statements_answer_as_one_file(HORIZONTAL);
}

#[test]
fn random_statements_over_vertical_partitions_answer_as_one_file() {
    random_statements_answer_as_one_file(VERTICAL);
}

#[test]
fn random_statements_over_mixed_partitions_answer_as_one_file() {
    random_statements_answer_as_one_file(MIXED);
}
