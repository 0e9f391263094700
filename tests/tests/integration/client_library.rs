//! The client library's own example, run by somebody who has only a server.

use std::path::Path;
use std::process::Command;

use tests::binary::workspace;
use tests::process_cluster::{ServerProcess, run};

/// Runs the example against a server; answers what it printed.
fn quickstart(url: &str) -> String {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().expect("this program has a path");
    let target = test.ancestors().nth(3).expect("a test lies in <target>/<profile>/deps");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "--package", "polylite-client", "--example", "quickstart", "--", url])
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn sql(home: &Path, url: &str, text: &str) -> String {
    let arguments = ["sql", "--coordinator", url, "--db-name", "quickstart", "--output", "csv", text];
    run(home, &arguments).succeeded()
}

#[test]
fn the_example_writes_and_reads_tables_and_documents_and_can_be_repeated() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let log = home.path().join("dev.log");
    let server = ServerProcess::start(home.path(), "dev", &["--ephemeral", "--port", "0"], &log);
    // The second run finds the database of the first one and begins anew.
    for _ in 0..2 {
        let printed = quickstart(server.url());
        let mut lines = printed.lines();
        assert_eq!(lines.next(), Some("1: Ada, 36 years"), "{printed}");
        assert_eq!(lines.next(), Some("2: Grace, of unknown age"), "{printed}");
        assert_eq!(lines.next(), Some("1 logins"), "{printed}");
        let partitions: Vec<&str> = lines.collect();
        assert_eq!(partitions.len(), 4, "{printed}");
        for partition in partitions {
            assert_eq!(partition.split(", ").count(), 3, "every node has a replica: {partition}");
        }
    }
    let users = sql(home.path(), server.url(), "SELECT id, name, age FROM users ORDER BY id");
    assert_eq!(users.lines().collect::<Vec<_>>(), ["id,name,age", "1,Ada,36", "2,Grace,"]);
    let patched = sql(home.path(), server.url(), "SELECT doc ->> '$.from' AS origin FROM events");
    assert_eq!(patched.lines().collect::<Vec<_>>(), ["origin", "quickstart"]);
}
