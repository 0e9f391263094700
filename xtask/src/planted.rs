//! `planted` shows how the planted bugs are found.

use std::path::Path;

use crate::cargo::Call;

/// What a test writes about a bug that was found begins so.
const MARK: &str = "planted: ";

/// Runs the tests of planted bugs, one at a time, so that the times say something, and shows what they wrote. Each fails if
/// its bug is not found.
pub fn run(root: &Path) -> Result<(), String> {
    // Of the whole workspace, as `verify` builds it: a package alone would be built with other features.
    let tests =
        "nextest run --workspace --all-targets --no-fail-fast --test-threads 1 --success-output immediate";
    let output =
        Call::new(root, &format!("{tests} -E package(tests)&test(/^simul/)&test(/found/)")).output()?;
    let mut found: Vec<&str> =
        output.lines().filter_map(|line| line.trim_start().strip_prefix(MARK)).collect();
    found.sort_unstable();
    for line in &found {
        println!("{line}");
    }
    if found.is_empty() {
        return Err("no test of a planted bug was run".to_owned());
    }
    println!("{} planted bugs were found, and none was not", found.len());
    Ok(())
}
