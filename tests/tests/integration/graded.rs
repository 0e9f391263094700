//! The graded suite: that it passes, that it is whole, and that none of its tests passes without a server.

use std::collections::BTreeSet;
use std::process::Command;

use tests::binary::polylite;
use tests::graded::{Stage, chosen, run, suite};
use tokio::runtime::Runtime;

/// Runs one category on a cluster of its own.
fn passes(name: &str) {
    let category = &chosen(&[name.to_owned()]).expect("the category is known")[0];
    let mut stage = Stage::start(category.nodes);
    let runtime = Runtime::new().expect("a runtime starts");
    let result = runtime.block_on(run(category, &mut stage, |_| {}));
    let failures: Vec<_> = result.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}\n{}", stage.log_tails(20));
    assert_eq!(result.earned(), category.points);
}

#[test]
fn schema_and_crud() {
    passes("schema_and_crud");
}

#[test]
fn horizontal_partitioning() {
    passes("horizontal_partitioning");
}

#[test]
fn vertical_partitioning() {
    passes("vertical_partitioning");
}

#[test]
fn consensus() {
    passes("consensus");
}

#[test]
fn caching() {
    passes("caching");
}

#[test]
fn concurrent_clients() {
    passes("concurrent_clients");
}

#[test]
fn the_suite_has_98_tests_for_200_points() {
    let suite = suite();
    let shape: Vec<_> =
        suite.iter().map(|category| (category.name, category.tests.len(), category.points)).collect();
    let expected = [
        ("schema_and_crud", 11, 20),
        ("horizontal_partitioning", 20, 30),
        ("vertical_partitioning", 18, 30),
        ("consensus", 10, 30),
        ("caching", 20, 40),
        ("concurrent_clients", 19, 50),
    ];
    assert_eq!(shape, expected);
    let titles: BTreeSet<_> =
        suite.iter().flat_map(|category| &category.tests).map(|test| test.title).collect();
    assert_eq!(titles.len(), 98, "no title is there twice");
}

#[test]
fn every_test_fails_without_a_server() {
    let runtime = Runtime::new().expect("a runtime starts");
    for category in suite() {
        let mut stage = Stage::without_server();
        let result = runtime.block_on(run(&category, &mut stage, |_| {}));
        let passed: Vec<_> = result.tests.iter().filter(|test| test.failure.is_none()).collect();
        assert!(passed.is_empty(), "{}: {passed:?}", category.name);
        assert_eq!(result.earned(), 0);
    }
}

/// Runs the program that people run.
fn graded(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log.txt");
    let output = Command::new(env!("CARGO_BIN_EXE_graded"))
        .args(arguments)
        .arg("--log")
        .arg(&log)
        .env("POLYLITE_BINARY", polylite())
        .output()
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_runner_tells_titles_verdicts_and_points() {
    let (code, shown, errors) = graded(&["tests.test_vertical_partitioning"]);
    assert_eq!(code, Some(0), "{shown}\n{errors}");
    for line in [
        "Vertical Partitioning:",
        "  Test creating a table schema suitable for vertical partitioning. Pass",
        "  Summary: 18/18 tests passed",
        "TEST SUMMARY",
        "Vertical Partitioning (30 points):",
        "  18/18 tests passed",
        "  Points earned: 30/30",
        "TOTAL POINTS: 30/30",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
}

#[test]
fn the_runner_refuses_categories_that_there_are_not() {
    let (code, shown, errors) = graded(&["caching", "test_nothing"]);
    assert_eq!((code, shown.as_str()), (Some(2), ""));
    assert!(errors.starts_with("Unknown test module: test_nothing\n"), "{errors}");
    assert!(errors.contains("concurrent_clients"), "{errors}");
}
