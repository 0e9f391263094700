//! What the README tells people to type, typed against a server of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use tests::binary::{polylite, workspace};
use tests::process_cluster::ServerProcess;

/// The server that the README speaks to.
const ADDRESS: &str = "http://localhost:5000";

/// A block of commands, and the output that the README shows for it.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    commands: String,
    output: Option<String>,
}

/// Blocks tagged `sh test=<name>`. A block tagged `text` that comes next shows what the commands print.
fn blocks(text: &str, name: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut follows = false;
    for (tag, contents) in fences(text) {
        if tag == format!("sh test={name}") {
            found.push(Block { commands: contents, output: None });
            follows = true;
        } else {
            if let (true, "text", Some(block)) = (follows, tag.as_str(), found.last_mut()) {
                block.output = Some(contents);
            }
            follows = false;
        }
    }
    found
}

/// The fenced blocks of a text: tag and contents.
fn fences(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(tag), None) => open = Some((tag.to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, contents))) => {
                contents.push_str(line);
                contents.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Runs commands as a person would from the checkout, with `polylite` on the PATH.
fn type_in(folder: &Path, url: &str, commands: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binaries = [polylite().parent().expect("the binary lies in a folder").to_owned()];
    let path =
        std::env::join_paths(binaries.into_iter().chain(std::env::split_paths(&path))).expect("a PATH");
    let commands = commands.replace(ADDRESS, url);
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &commands.replace("curl -s ", "curl -sS --fail-with-body ")])
        .env("PATH", path)
        .env("POLYLITE_COORDINATOR", url)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}\n{stdout}\n{stderr}");
    stdout
}

#[test]
fn the_tour_works_as_it_stands() {
    let text = std::fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let blocks = blocks(&text, "tour");
    assert!(blocks.len() >= 5, "the tour is in the README: {blocks:?}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--port", "0", "--ephemeral"];
    let server = ServerProcess::start(folder.path(), "dev", &flags, &folder.path().join("dev.log"));
    // The tour reads the demo's data and writes a file: it gets a folder that looks like the checkout.
    let checkout = folder.path().join("checkout");
    std::fs::create_dir_all(checkout.join("demo/data")).expect("a folder");
    for file in std::fs::read_dir(workspace().join("demo/data")).expect("the demo's data") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), checkout.join("demo/data").join(file.file_name())).expect("copied");
    }
    for block in blocks {
        let printed = type_in(&checkout, server.url(), &block.commands);
        if let Some(expected) = block.output {
            assert_eq!(printed, expected, "{}", block.commands);
        }
    }
}

/// A command of the README as words for a process of the checkout, without the comment behind it. A release build
/// takes minutes that a test has not: unless `POLYLITE_README_RELEASE` is 1, the same command makes use of the debug
/// build that the tests have.
fn typed(line: &str, in_debug: &[&str], more: &[&str]) -> Command {
    let line = line.split(" #").next().unwrap_or_default();
    let mut words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words.remove(0), "cargo", "the start is made with cargo: {line}");
    if std::env::var("POLYLITE_README_RELEASE").as_deref() != Ok("1") {
        words.retain(|word| *word != "--release");
        words.splice(1..1, in_debug.iter().copied());
    }
    let target = polylite().parent().and_then(Path::parent).expect("<target>/<profile>/polylite");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).args(more).current_dir(workspace()).env("CARGO_TARGET_DIR", target);
    // What the runner of the tests tells about the test would have cargo build some dependencies anew.
    for (name, _) in std::env::vars_os() {
        let about_the_test = ["CARGO_MANIFEST_", "CARGO_PKG_"];
        if about_the_test.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

#[test]
fn the_start_works_as_it_stands() {
    let text = std::fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let [Block { commands, .. }] = blocks(&text, "start").try_into().expect("one block");
    let [serve, install] = commands.lines().collect::<Vec<_>>().try_into().expect("two commands");
    let folder = tempfile::tempdir().expect("a temporary folder");

    // How long the build takes is not the server's affair.
    let built = typed("cargo build", &["--quiet"], &[]).status().expect("cargo runs");
    assert!(built.success(), "the program is built");
    // On a port of its own, and without data that would stay.
    let server = typed(serve, &["--quiet"], &["--port", "0", "--ephemeral"]);
    let started = ServerProcess::try_start_command(server, "dev", &folder.path().join("dev.log"));
    let mut server = started.expect("the README's first command starts a server");
    type_in(folder.path(), server.url(), "polylite create-database --name shop && polylite status");
    assert!(server.stop().success(), "Ctrl-C ends it: {}", server.log());

    let root = folder.path().join("root");
    let install = typed(install, &["--quiet", "--debug"], &["--offline", "--root"]).arg(&root).status();
    assert!(install.expect("cargo runs").success(), "the README's second command installs the program");
    let version = Command::new(root.join("bin/polylite")).arg("--version").output().expect("it is there");
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("polylite "), "{version:?}");
}

#[test]
fn blocks_are_found_with_their_output() {
    let text = "```sh test=a\nls\n```\nso:\n```text\nx\n```\n```sh test=b\nno\n```\n```text\ny\n```\n```sh test=a\npwd\n```\n";
    let expected = [
        Block { commands: "ls\n".into(), output: Some("x\n".into()) },
        Block { commands: "pwd\n".into(), output: None },
    ];
    assert_eq!(blocks(text, "a"), expected);
}
