//! What people and programs are told of a run.

use std::io::{self, Write};

use serde_json::{Value as Json, json as object};

use super::{CategoryResult, TestResult};

const WIDTH: usize = 60;

/// One test's line, as soon as it is known.
pub fn print_progress(out: &mut impl Write, test: &TestResult) -> io::Result<()> {
    let verdict = if test.failure.is_none() { "Pass" } else { "Fail" };
    writeln!(out, "  {} {verdict}", test.title)?;
    out.flush()
}

/// The points by category and in all.
pub fn print_summary(out: &mut impl Write, results: &[CategoryResult]) -> io::Result<()> {
    let (thick, thin) = ("=".repeat(WIDTH), "-".repeat(WIDTH));
    writeln!(out, "{thick}\nTEST SUMMARY\n{thick}")?;
    for result in results {
        writeln!(out, "{} ({} points):", result.title, result.points)?;
        writeln!(out, "  {}/{} tests passed", result.passed(), result.tests.len())?;
        writeln!(out, "  Points earned: {}/{}\n", result.earned(), result.points)?;
    }
    let (earned, points) = totals(results);
    writeln!(out, "{thin}\nTOTAL POINTS: {earned}/{points}\n{thick}")
}

/// Everything as JSON.
#[must_use]
pub fn json(results: &[CategoryResult]) -> Json {
    let test = |test: &TestResult| {
        object!({
            "title": test.title,
            "passed": test.failure.is_none(),
            "failure": test.failure,
            "seconds": test.took.as_secs_f64(),
        })
    };
    let category = |result: &CategoryResult| {
        object!({
            "name": result.name,
            "title": result.title,
            "points": result.points,
            "points_earned": result.earned(),
            "passed": result.passed(),
            "tests": result.tests.iter().map(test).collect::<Vec<_>>(),
        })
    };
    let (earned, points) = totals(results);
    object!({
        "categories": results.iter().map(category).collect::<Vec<_>>(),
        "points": points,
        "points_earned": earned,
    })
}

/// Points earned and points there are.
fn totals(results: &[CategoryResult]) -> (u32, u32) {
    (results.iter().map(CategoryResult::earned).sum(), results.iter().map(|result| result.points).sum())
}
