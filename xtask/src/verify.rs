//! `verify` is what continuous integration runs. It changes no file of the project.

use std::path::Path;

use crate::cargo::Call;
use crate::{test, tidy};

/// The quick checks first, so that a slip is told within seconds.
pub fn run(root: &Path) -> Result<(), String> {
    tidy::run(root)?;
    Call::new(root, "fmt --all --check").run()?;
    Call::new(root, "clippy --workspace --all-targets -- -D warnings").run()?;
    Call::new(root, "doc --workspace --no-deps --document-private-items")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    test::run(root)?;
    println!("\nverify: all is well");
    Ok(())
}
