//! The binary without a server: help, versions, exit codes.

use std::process::{Command, Output, Stdio};

fn polylite(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polylite"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POLYLITE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// An address at which nobody listens: its port was free a moment ago.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn without_a_command_the_help_is_shown() {
    let output = polylite(&[]);
    assert_eq!(output.status.code(), Some(0));
    for command in
        ["dev", "coordinator", "storage-node", "create-database", "sql", "import", "bench", "completions"]
    {
        assert!(text(&output.stdout).contains(command), "{command}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = polylite(&["--version"]);
    assert_eq!(text(&output.stdout), format!("polylite {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_makes_no_sense_is_a_mistake_in_usage() {
    for arguments in [
        &["frobnicate"][..],
        &["query", "--db-name", "d"],
        &["dev", "--nodes", "0"],
        &["import", "--db-name", "d", "--table", "t", "file.unknown"],
        &["drop-database", "--name", "d"],
        &["sql", "SELECT 1"],
        &["storage-node", "--node-id", "../x"],
        &["dev", "--log-level", "loud=very=much"],
    ] {
        let output = polylite(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{arguments:?} says nothing on stdout");
        assert!(!output.stderr.is_empty(), "{arguments:?} says why on stderr");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_a_hint() {
    let url = nobody();
    for command in [&["list-databases"][..], &["nodes"], &["sql", "--db-name", "d", "SELECT 1"]] {
        let mut arguments = command.to_vec();
        arguments.splice(1..1, ["--coordinator", url.as_str()]);
        let output = polylite(&arguments);
        assert_eq!(output.status.code(), Some(3), "{command:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("hint: "), "{}", text(&output.stderr));
    }
}

#[test]
fn a_file_that_is_missing_or_broken_is_told_by_name() {
    let output = polylite(&["create-database", "--name", "a", "--schema-file", "no/such/file.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("Error parsing schema file: no/such/file.json: "));
    let output = polylite(&["sql", "--db-name", "a", "--file", "no/such/file.sql"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("no/such/file.sql: "));
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = polylite(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("describe-database"), "{shell}");
    }
}

#[test]
fn flags_may_come_from_the_environment() {
    let output = Command::new(env!("CARGO_BIN_EXE_polylite"))
        .args(["sql", "SELECT 1"])
        .env("POLYLITE_COORDINATOR", nobody())
        .env("POLYLITE_DB_NAME", "d")
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}
