//! The Python client, by its own tests against a cluster.

use std::process::Command;

use tests::binary::workspace;
use tests::process_cluster::ServerProcess;

/// Oldest Python that the client is made for.
const OLDEST: &str = "import sys; sys.exit(sys.version_info < (3, 8))";

#[test]
fn its_tests_pass_against_a_cluster() {
    match Command::new("python3").args(["-c", OLDEST]).status() {
        Ok(status) => assert!(status.success(), "the Python client needs Python 3.8 or newer"),
        Err(error) => {
            eprintln!("skipped: this machine has no python3 ({error})");
            return;
        }
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let log = home.path().join("dev.log");
    let server = ServerProcess::start(home.path(), "dev", &["--ephemeral", "--port", "0"], &log);
    let package = workspace().join("clients").join("python");
    let output = Command::new("python3")
        .args(["-W", "error", "-m", "unittest", "discover", "--verbose", "-t", ".", "-s", "tests"])
        .current_dir(&package)
        .env("PYTHONPATH", package.join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("POLYLITE_URL", server.url())
        .output()
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("skipped"), "every test must run: {told}");
}
