//! `test` runs every test of the workspace.

use std::path::{Path, PathBuf};

use crate::cargo::Call;

/// All tests: with nextest where it is installed, each in a process of its own; then those in the
/// documentation, which nextest does not run.
pub fn run(root: &Path) -> Result<(), String> {
    let binary = build_binary(root)?;
    let runner = if Call::new(root, "nextest --version").succeeds() { "nextest run" } else { "test" };
    Call::new(root, &format!("{runner} --workspace --all-targets --no-fail-fast"))
        .env("POLYLITE_BINARY", &binary.to_string_lossy())
        .run()?;
    Call::new(root, "test --workspace --doc").run()
}

/// Builds the binary by itself, as people get it, and puts it where building the tests does not replace it:
/// they turn on features for their simulations.
pub fn build_binary(root: &Path) -> Result<PathBuf, String> {
    Call::new(root, "build --package polylite-cli").run()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    // A relative folder is meant relative to the workspace, in which cargo runs.
    let target = root.join(target);
    let name = format!("polylite{}", std::env::consts::EXE_SUFFIX);
    let copy = target.join("tested").join(&name);
    let copied = std::fs::create_dir_all(target.join("tested"))
        .and_then(|()| std::fs::copy(target.join("debug").join(&name), &copy));
    copied.map(|_| copy).map_err(|error| format!("copying the binary: {error}"))
}
