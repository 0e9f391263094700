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
    let done = ["killed", "paused", "joins", "drained", "split", "lost: 0", "never too few"];
    assert!(done.iter().all(|done| shown.contains(done)), "{shown}");
}

#[test]
fn partitioning() {
    let shown = demo("partitioning.sh");
    assert!(shown.contains("all six orders changed"), "{shown}");
}

#[test]
fn cached_answers() {
    let shown = demo("cache.sh");
    assert!(shown.matches("X-Cache: hit").count() >= 4, "{shown}");
}

#[test]
fn what_a_demo_leaves_behind_is_removed_unless_it_still_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let left = |name: &str, pid: u32| {
        let demo = folder.path().join(name);
        std::fs::create_dir(&demo).expect("the folder is made");
        std::fs::write(demo.join("demo.pid"), pid.to_string()).expect("the file is written");
        demo
    };
    let mut ended = Command::new("true").spawn().expect("a process");
    let of_ended = left("polylite-demo.ended", ended.id());
    ended.wait().expect("the process ends");
    let of_running = left("polylite-demo.running", std::process::id());
    let other = left("somebody-elses", 1);
    let output =
        Command::new(workspace().join("demo").join("cleanup.sh")).env("TMPDIR", folder.path()).output();
    let shown = String::from_utf8(output.expect("the script runs").stdout).expect("UTF-8");
    assert!(shown.ends_with("removed: 1\n"), "{shown}");
    assert!(!of_ended.exists() && of_running.exists() && other.exists(), "{shown}");
}
