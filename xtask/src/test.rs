//! `test` runs every test of the workspace.

use std::path::Path;

use crate::cargo::Call;

/// All tests: with nextest where it is installed, each in a process of its own; then those in the
/// documentation, which nextest does not run.
pub fn run(root: &Path) -> Result<(), String> {
    if Call::new(root, "nextest --version").succeeds() {
        Call::new(root, "nextest run --workspace --all-targets --no-fail-fast").run()?;
    } else {
        Call::new(root, "test --workspace --all-targets --no-fail-fast").run()?;
    }
    Call::new(root, "test --workspace --doc").run()
}
