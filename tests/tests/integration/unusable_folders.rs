//! Servers whose data directory cannot be used say so and end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tests::binary::polylite;

/// Starts a storage node on a folder that it cannot use; answers what it says at its end.
fn refusal(folder: &Path) -> String {
    let output = Command::new(polylite())
        .args(["storage-node", "--host", "127.0.0.1", "--port", "0", "--node-id", "n1"])
        .args(["--coordinator", "http://127.0.0.1:1", "--data-dir"])
        .arg(folder)
        .output()
        .expect("the program starts");
    assert!(!output.status.success(), "it must not serve");
    assert_eq!(output.stdout, b"", "it must not say that it is ready");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_file_in_the_place_of_the_data_directory_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("data");
    std::fs::write(&file, "not a folder").expect("a file");
    let told = refusal(&file);
    assert!(told.contains(file.to_str().expect("UTF-8")), "{told}");
}

#[test]
fn a_data_directory_without_permission_is_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("data");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).expect("permissions are set");
    if std::fs::write(folder.join("trial"), "").is_ok() {
        // The superuser may write everywhere.
        return;
    }
    let told = refusal(&folder);
    assert!(told.contains(folder.to_str().expect("UTF-8")), "{told}");
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
