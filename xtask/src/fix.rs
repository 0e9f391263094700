//! `fix` changes what a program can put right.

use std::path::Path;

use crate::cargo::Call;

/// Formats, then applies clippy's suggestions, then formats what clippy wrote.
pub fn run(root: &Path) -> Result<(), String> {
    Call::new(root, "fmt --all").run()?;
    Call::new(root, "clippy --fix --allow-dirty --allow-staged --workspace --all-targets").run()?;
    Call::new(root, "fmt --all").run()
}
