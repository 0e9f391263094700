//! Scripts in the format of SQLite's own logic tests, run on one file and on several partitions side by side.
//!
//! `tests/scripts` always runs. SQLite's own scripts run if they lie in `../shared/data/sqllogictest` beside the
//! checkout: the beginning of each and a sample of its queries, or all with `POLYLITE_SQLLOGICTEST=full`.

use std::path::Path;

use crate::support::engine::Partitions;
use crate::support::{Cluster, MIXED, VERTICAL};
use differential::script::scripts_below;
use differential::script_run::{Report, Sample, run};
use differential::seed;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// What runs of one script unless all does.
const SAMPLE: Sample = Sample { queries: 150, percent: 2, statements: 600 };

/// Runs the scripts of a folder; the answer is all that they found, and the number of queries.
fn run_folder(folder: &Path, sample: Option<Sample>) -> Report {
    let mut random = SmallRng::seed_from_u64(seed::chosen());
    let (mut all, turn) = (Report::default(), random.random_range(0..4));
    for (number, path) in scripts_below(folder).into_iter().enumerate() {
        let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        let script = std::fs::read_to_string(&path).unwrap();
        let buckets = random.random_range(2..9);
        // Each layout has its turn, whichever the seed; in which order follows from it.
        let (layout, cluster) = match (number + turn) % 4 {
            1 => ("column groups".to_owned(), Cluster::layout(VERTICAL, None)),
            3 => ("buckets and column groups".to_owned(), Cluster::layout(MIXED, None)),
            _ => (format!("{buckets} buckets"), Cluster::hashed(buckets, None)),
        };
        let mut database = Partitions::new(cluster);
        let report = run(&name, &script, &mut database, sample.map(|sample| (sample, &mut random)));
        println!("{name} over {layout}: {report}");
        all.add(report);
    }
    all
}

fn nothing_differs(report: &Report) {
    let shown: Vec<&str> = report.differences.iter().take(40).map(String::as_str).collect();
    assert!(shown.is_empty(), "{} differences\n{}", report.differences.len(), shown.join("\n\n"));
}

#[test]
fn our_own_scripts_answer_as_one_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let report = run_folder(&folder, None);
    assert!(report.queries > 30, "only {} queries were found", report.queries);
    nothing_differs(&report);
    assert!(report.unmet.is_empty(), "{}", report.unmet.join("\n\n"));
}

#[test]
fn the_scripts_of_sqlite_answer_as_one_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sqllogictest");
    if !folder.is_dir() {
        println!("skipped: SQLite's logic tests are not at {}", folder.display());
        return;
    }
    let all = std::env::var("POLYLITE_SQLLOGICTEST").is_ok_and(|value| value == "full");
    let report = run_folder(&folder, (!all).then_some(SAMPLE));
    assert!(report.queries > 0, "no queries were found");
    nothing_differs(&report);
}
