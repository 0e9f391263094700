//! Servers whose data directory cannot be used say so and end.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tests::binary::polylite;

/// A user and a group that own nothing.
const NOBODY: u32 = 65_534;

/// A storage node on a folder.
fn node_on(folder: &Path) -> Command {
    let mut command = Command::new(polylite());
    command
        .args(["storage-node", "--host", "127.0.0.1", "--port", "0", "--node-id", "n1"])
        .args(["--coordinator", "http://127.0.0.1:1", "--data-dir"])
        .arg(folder);
    command
}

/// What a storage node says at its end that cannot use its folder.
fn refusal_by(output: &Output) -> String {
    assert!(!output.status.success(), "it must not serve");
    assert_eq!(output.stdout, b"", "it must not say that it is ready");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refusal(folder: &Path) -> String {
    refusal_by(&node_on(folder).output().expect("the program starts"))
}

fn assert_names(told: &str, path: &Path) {
    assert!(told.contains(path.to_str().expect("UTF-8")), "{} is not named: {told}", path.display());
}

#[test]
fn a_file_in_the_place_of_the_data_directory_or_above_it_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("data");
    std::fs::write(&file, "not a folder").expect("a file");
    for folder in [file.clone(), file.join("below")] {
        assert_names(&refusal(&folder), &folder);
    }
    assert_eq!(std::fs::read(&file).expect("it is there"), b"not a folder");
}

#[test]
fn a_link_that_leads_nowhere_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let link = place.path().join("data");
    std::os::unix::fs::symlink(place.path().join("unmounted"), &link).expect("a link");
    assert_names(&refusal(&link), &link);
    assert!(!place.path().join("unmounted").exists(), "an empty folder in the place of a disk is no data");
}

/// Neither taken for missing nor replaced: what is there may be somebody's.
#[test]
fn what_is_of_another_kind_than_it_should_be_is_refused_and_left_alone() {
    for name in ["lock", "format", "instance", "cluster", "node", "assignments", "clock"] {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join(name);
        std::fs::create_dir_all(folder.join("kept")).expect("a folder");
        assert_names(&refusal(place.path()), &folder);
        assert!(folder.join("kept").is_dir());
    }
    for name in ["log", "partitions"] {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join(name);
        std::fs::write(&file, "kept").expect("a file");
        assert_names(&refusal(place.path()), place.path());
        assert_eq!(std::fs::read(&file).expect("it is there"), b"kept");
    }
}

#[test]
fn a_data_directory_without_permission_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("data");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755))
        .expect("permissions are set");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).expect("permissions are set");
    let mut command = node_on(&folder);
    if std::fs::write(folder.join("trial"), "").is_ok() {
        // The superuser may write everywhere, and becomes somebody who may not.
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    match command.output() {
        Ok(output) => assert_names(&refusal_by(&output), &folder),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("not shown: others than the superuser cannot run {}", polylite().display());
        }
        Err(error) => panic!("the program does not start: {error}"),
    }
}

#[test]
fn a_damaged_log_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let log = place.path().join("log");
    std::fs::create_dir(&log).expect("a folder");
    for number in 1..=2 {
        std::fs::write(log.join(format!("{number:016}.raftlog")), "not a log").expect("a file");
    }
    let told = refusal(place.path());
    assert!(told.contains("log"), "{told}");
}
