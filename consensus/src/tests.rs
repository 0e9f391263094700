//! Script tests: a text file of commands to a small cluster, together with everything that the cluster answers.
//!
//! A script in `testscripts/` is a sequence of blocks: commands, a line `---`, the output, an empty line. The
//! test runs the commands and compares the whole output. `UPDATE_SCRIPTS=1 cargo test -p consensus` writes
//! the output into the files instead; the change is then reviewed like any other.
//!
//! The cluster has a message queue and one disk for each replica, which forgets at a crash what was not synced.
//! Nothing happens by itself: messages move on `deliver` and `settle`, time on `tick` and `pass`.

mod cluster;
mod commands;
mod memory_log;

use std::fmt::Write as _;
use std::path::PathBuf;

use cluster::Cluster;
#[cfg(feature = "planted-bugs")]
pub(crate) use memory_log::MemoryLog;

#[test]
fn scripts_give_the_expected_output() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/testscripts");
    let list = |directory: &PathBuf| -> Vec<PathBuf> {
        std::fs::read_dir(directory).expect("scripts").map(|entry| entry.expect("entry").path()).collect()
    };
    let mut paths: Vec<PathBuf> = list(&directory).iter().flat_map(list).collect();
    paths.sort();
    assert!(paths.len() >= 12, "the scripts are missing");
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut wrong = String::new();
    for path in paths {
        let expected = std::fs::read_to_string(&path).expect("script");
        let actual = run(&expected);
        if update {
            std::fs::write(&path, actual).expect("script is writable");
        } else if actual != expected {
            writeln!(wrong, "{}:\n{}", path.display(), difference(&expected, &actual)).expect("string");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Runs a script and returns it with the output that it gives now.
fn run(script: &str) -> String {
    let mut cluster = Cluster::default();
    let blocks = script.split("\n\n").filter(|block| !block.trim().is_empty());
    let outputs = blocks.map(|block| {
        let commands: Vec<&str> = block.lines().take_while(|line| *line != "---").collect();
        for command in &commands {
            let command = command.split('#').next().unwrap_or_default().trim();
            if !command.is_empty() {
                commands::run(&mut cluster, command);
            }
        }
        let mut output = std::mem::take(&mut cluster.output);
        if output.is_empty() {
            output.push_str("ok\n");
        }
        format!("{}\n---\n{output}", commands.join("\n"))
    });
    outputs.collect::<Vec<_>>().join("\n")
}

fn difference(expected: &str, actual: &str) -> String {
    let line = expected.lines().zip(actual.lines()).take_while(|(left, right)| left == right).count();
    let at = |text: &str| text.lines().skip(line).take(5).collect::<Vec<_>>().join("\n  ");
    format!("from line {}, expected\n  {}\nbut got\n  {}", line + 1, at(expected), at(actual))
}
