//! `polylite dev`: one process that is a whole cluster.

use std::path::PathBuf;

use tests::process_cluster::{ServerProcess, run};

fn start(home: &std::path::Path, flags: &[&str]) -> ServerProcess {
    let mut all = vec!["--port", "0"];
    all.extend(flags);
    ServerProcess::start(home, "dev", &all, &home.join("dev.log"))
}

fn node_ids(home: &std::path::Path, url: &str) -> Vec<String> {
    let listed = run(home, &["nodes", "--coordinator", url, "--output", "csv"]).succeeded();
    let mut ids: Vec<String> =
        listed.lines().skip(1).map(|line| line.split(',').next().unwrap_or_default().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn a_restart_keeps_data_and_node_ids() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    let flags = ["--data-dir", data.to_str().expect("UTF-8")];
    let mut server = start(home.path(), &flags);
    let before = node_ids(home.path(), server.url());
    assert_eq!(before.len(), 3);
    run(home.path(), &["create-database", "--coordinator", server.url(), "--name", "shop"]).succeeded();
    let sql = |url: &str, text: &str| {
        run(home.path(), &["sql", "--coordinator", url, "--db-name", "shop", "--output", "json", text])
            .succeeded()
    };
    sql(server.url(), "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
    sql(server.url(), "INSERT INTO t (v) VALUES ('a'), ('b'), ('c')");
    assert!(server.stop().success(), "SIGTERM ends it cleanly: {}", server.log());

    let server = start(home.path(), &flags);
    assert_eq!(node_ids(home.path(), server.url()), before);
    let found = sql(server.url(), "SELECT v FROM t ORDER BY id");
    assert_eq!(found, "[{\"v\":\"a\"},\n {\"v\":\"b\"},\n {\"v\":\"c\"}]\n");
}

#[test]
fn an_ephemeral_server_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut server = start(home.path(), &["--ephemeral", "--nodes", "1"]);
    let line = server.next_line();
    let told =
        line.strip_prefix("data directory: ").and_then(|rest| rest.strip_suffix(" (removed at the end)"));
    let folder = PathBuf::from(told.expect(&line));
    assert!(folder.is_dir());
    server.signal("INT");
    assert!(server.wait().success(), "Ctrl-C ends it cleanly: {}", server.log());
    assert!(!folder.exists());
}

#[test]
fn the_hints_work_as_they_stand() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let server = start(home.path(), &["--ephemeral"]);
    let mut hints = Vec::new();
    while hints.len() < 3 {
        let line = server.next_line();
        if let Some(hint) = line.strip_prefix("  ") {
            hints.push(hint.to_owned());
        }
    }
    for hint in &hints {
        let output = std::process::Command::new("sh")
            .args(["-ec", hint])
            .current_dir(home.path())
            .output()
            .expect("a shell");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{hint}: {stderr}");
        if hint.starts_with("curl") {
            let answer = String::from_utf8_lossy(&output.stdout);
            assert!(answer.contains("\"hello\""), "{answer}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_the_flag_that_helps() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let refused = ServerProcess::try_start(
        home.path(),
        "dev",
        &["--port", &port, "--ephemeral"],
        &home.path().join("log"),
    );
    let output = refused.err().expect("the start is refused");
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("--port"), "{}", output.stderr);
    assert!(output.stdout.is_empty(), "{}", output.stdout);
}

#[test]
fn a_directory_in_use_is_refused() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let data = home.path().join("data");
    let flags = ["--port", "0", "--data-dir", data.to_str().expect("UTF-8"), "--nodes", "1"];
    let _server = ServerProcess::start(home.path(), "dev", &flags, &home.path().join("first.log"));
    let refused = ServerProcess::try_start(home.path(), "dev", &flags, &home.path().join("second.log"));
    let output = refused.err().expect("the start is refused");
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("in use"), "{}", output.stderr);
}
