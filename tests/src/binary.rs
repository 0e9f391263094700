//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

static BINARY: LazyLock<PathBuf> = LazyLock::new(find);

/// The `polylite` binary: `POLYLITE_BINARY` if that is set, else the one beside this test, brought up to date.
#[must_use]
pub fn polylite() -> &'static Path {
    &BINARY
}

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

fn find() -> PathBuf {
    if let Some(path) = std::env::var_os("POLYLITE_BINARY") {
        return PathBuf::from(path);
    }
    // <target>/<profile>/deps/<this test>, or <target>/<profile>/<this program>
    let program = std::env::current_exe().expect("this program has a path");
    let folder = program.parent().expect("a program lies in a folder");
    let profile = if folder.ends_with("deps") { folder.parent().expect("<profile>/deps") } else { folder };
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--package", "polylite-cli"]).current_dir(workspace());
    build.env("CARGO_TARGET_DIR", profile.parent().expect("a profile lies in the target folder"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "the binary builds");
    profile.join(format!("polylite{}", std::env::consts::EXE_SUFFIX))
}
