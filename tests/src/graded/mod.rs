//! The graded suite: six categories of tests that show the whole product to somebody who does not know it, worth
//! 200 points together. Every test runs against processes of the real binary, through the client library and
//! over HTTP, and fails when there is no server or when it answers anything but what is expected.
//!
//! A category starts a cluster of its own and runs its tests in order, each on what those before it have
//! left. A test that fails does not stop the others.

mod caching;
mod concurrent_clients;
mod consensus;
mod horizontal_partitioning;
mod report;
mod run;
mod schema_and_crud;
mod stage;
mod vertical_partitioning;

use std::pin::Pin;

pub use report::{json, print_progress, print_summary};
pub use run::{CategoryResult, TestResult, run};
pub use stage::Stage;

/// What runs a test. It panics if the product does not do what the test's title promises.
type Body = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One test.
pub struct Test {
    /// What it is about, as it is printed.
    pub title: &'static str,
    body: Body,
}

/// Tests of one subject.
pub struct Category {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is about, as it is printed.
    pub title: &'static str,
    /// What all of its tests together are worth.
    pub points: u32,
    /// Storage nodes of its cluster.
    pub nodes: usize,
    /// Its tests in their order.
    pub tests: Vec<Test>,
}

/// Titles and their functions, as a list of [`Test`]s.
macro_rules! tests {
    ($($title:literal => $function:ident),+ $(,)?) => {
        vec![$($crate::graded::Test { title: $title, body: |stage| Box::pin($function(stage)) }),+]
    };
}
use tests;

/// All categories in their order.
#[must_use]
pub fn suite() -> Vec<Category> {
    vec![
        schema_and_crud::category(),
        horizontal_partitioning::category(),
        vertical_partitioning::category(),
        consensus::category(),
        caching::category(),
        concurrent_clients::category(),
    ]
}

/// The categories with these names, in the suite's order; all without a name. An error is a name that no category has.
pub fn chosen(names: &[String]) -> Result<Vec<Category>, String> {
    let bare = |name: &String| {
        let name = name.trim_start_matches("tests.");
        name.trim_start_matches("test_").trim_end_matches(".py").to_owned()
    };
    let wanted: Vec<String> = names.iter().map(bare).collect();
    let known = suite();
    if let Some(unknown) =
        (0..names.len()).find(|&index| !known.iter().any(|category| category.name == wanted[index]))
    {
        return Err(names[unknown].clone());
    }
    let is_wanted =
        |category: &Category| wanted.is_empty() || wanted.iter().any(|name| name == category.name);
    Ok(known.into_iter().filter(is_wanted).collect())
}
