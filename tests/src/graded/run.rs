//! Running a category: each test in its turn, none stopped by another one's failure.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::{Category, Stage};

/// What became of a test.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Its title.
    pub title: &'static str,
    /// Why it failed; `None` if it passed.
    pub failure: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What became of a category.
#[derive(Clone, Debug)]
pub struct CategoryResult {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What it is worth.
    pub points: u32,
    /// Its tests in their order.
    pub tests: Vec<TestResult>,
}

impl CategoryResult {
    /// How many tests passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.tests.iter().filter(|test| test.failure.is_none()).count()
    }

    /// The share of the points that the passed tests are worth, rounded.
    #[must_use]
    pub fn earned(&self) -> u32 {
        let (passed, all) = (self.passed() as u64, self.tests.len().max(1) as u64);
        let doubled = 2 * passed * u64::from(self.points) + all;
        u32::try_from(doubled / (2 * all)).expect("no more than the points")
    }

    /// The tests that failed, with their reasons.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.tests.iter().filter_map(|test| Some((test.title, test.failure.as_deref()?)))
    }
}

/// Runs a category's tests on a stage, and tells each result as it comes.
pub async fn run(
    category: &Category,
    stage: &mut Stage,
    mut told: impl FnMut(&TestResult),
) -> CategoryResult {
    let mut tests = Vec::with_capacity(category.tests.len());
    for test in &category.tests {
        let begun = Instant::now();
        let ended = AssertUnwindSafe((test.body)(stage)).catch_unwind().await;
        let failure = ended.err().map(|panic| reason(&*panic));
        let result = TestResult { title: test.title, failure, took: begun.elapsed() };
        told(&result);
        tests.push(result);
    }
    CategoryResult { name: category.name, title: category.title, points: category.points, tests }
}

/// What a panic says.
fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_the_share_of_passed_tests_rounded() {
        let result = |passed: usize, all: usize, points| CategoryResult {
            name: "c",
            title: "C",
            points,
            tests: (0..all)
                .map(|number| TestResult {
                    title: "t",
                    failure: (number >= passed).then(|| "wrong".to_owned()),
                    took: Duration::ZERO,
                })
                .collect(),
        };
        assert_eq!(result(11, 11, 20).earned(), 20);
        assert_eq!(result(10, 11, 20).earned(), 18);
        assert_eq!(result(0, 11, 20).earned(), 0);
        assert_eq!(result(1, 4, 30).earned(), 8, "halves are rounded up");
    }
}
