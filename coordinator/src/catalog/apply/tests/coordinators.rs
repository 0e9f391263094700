//! When a coordinator may leave its cluster for another one.

use super::*;

#[test]
fn a_cluster_in_use_is_not_left() {
    let mut catalog = cluster(1);
    let error = refused(&mut catalog, &Command::LeaveCluster);
    assert_eq!(error.code, ErrorCode::NotSupported);
    assert!(error.message.contains("storage nodes") && error.hint.is_some(), "{error}");

    let mut catalog = cluster(0);
    let other = Command::AddCoordinator { host: "h".into(), port: 2, instance: "other".into() };
    run(&mut catalog, &other);
    assert!(refused(&mut catalog, &Command::LeaveCluster).message.contains("other coordinators"));
}

#[test]
fn nothing_is_entered_while_a_cluster_is_left() {
    let mut catalog = cluster(0);
    run(&mut catalog, &Command::LeaveCluster);
    let error = refused(&mut catalog, &register(Some("a"), Some("ia"), "h", 1));
    assert_eq!(error.code, ErrorCode::Unavailable);
    run(&mut catalog, &Command::LeaveCluster);
    run(&mut catalog, &Command::StayInCluster);
    registered(&mut catalog, &register(Some("a"), Some("ia"), "h", 1));
}
