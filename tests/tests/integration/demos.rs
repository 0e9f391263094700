//! The demos, as anyone would run them.

use std::process::{Command, Stdio};

use tests::binary::{polylite, workspace};

fn demo(name: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(workspace().join("demo").join(name))
        .env("POLYLITE", polylite())
        .env("TMPDIR", folder.path())
        .env("XDG_DATA_HOME", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the demo runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stdout}\n{stderr}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder is there").collect();
    assert!(left.is_empty(), "{name} left {left:?} behind");
    stdout
}

#[test]
fn tables() {
    let shown = demo("crud.sh");
    assert!(shown.contains("\"age\": 31"), "{shown}");
}

#[test]
fn documents() {
    let shown = demo("nosql.sh");
    assert!(shown.contains("1707 rows imported"), "{shown}");
}

#[test]
fn failover() {
    let shown = demo("failover.sh");
    assert!(shown.contains("lost: 0"), "{shown}");
}
