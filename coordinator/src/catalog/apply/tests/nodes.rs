//! Who is who when storage nodes register, and when they may leave.

use super::*;

#[test]
fn an_address_registered_again_keeps_its_id() {
    let mut catalog = cluster(0);
    let first = registered(&mut catalog, &register(Some("a"), Some("ia"), "h", 1));
    for command in [
        register(Some("a"), Some("ia"), "h", 1),
        register(None, Some("ia"), "h", 1),
        register(None, None, "h", 1),
        register(Some("other"), None, "h", 1),
    ] {
        assert_eq!(registered(&mut catalog, &command), first);
    }
    assert_eq!(catalog.nodes.len(), 1);
    assert_eq!(catalog.nodes[&NodeId::from("a")].instance.as_deref(), Some("ia"));
}

#[test]
fn the_same_instance_elsewhere_takes_its_id_along() {
    let mut catalog = cluster(0);
    registered(&mut catalog, &register(Some("a"), Some("ia"), "h", 1));
    assert_eq!(registered(&mut catalog, &register(Some("a"), Some("ia"), "h", 2)), "a");
    assert_eq!(registered(&mut catalog, &register(None, Some("ia"), "g", 3)), "a");
    assert_eq!(catalog.nodes[&NodeId::from("a")].address(), "g:3");
    assert_eq!(catalog.nodes.len(), 1);
}

#[test]
fn a_wiped_node_keeps_its_id_and_loses_its_replicas() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 2, 3);
    let node = catalog.nodes[&NodeId::from("n2")].clone();
    let again = register(None, Some("empty"), &node.host, node.port);
    assert_eq!(registered(&mut catalog, &again), "n2");
    assert_eq!(lost(&catalog), 2);
    // Registering once more changes nothing.
    registered(&mut catalog, &again);
    assert_eq!(lost(&catalog), 2);
}

#[test]
fn an_id_belongs_to_its_instance_while_that_lives() {
    let mut catalog = cluster(0);
    registered(&mut catalog, &register(Some("a"), Some("ia"), "h", 1));
    let other = register(Some("a"), Some("ib"), "h", 2);
    let error = refused(&mut catalog, &other);
    assert_eq!(error.code, ErrorCode::NodeExists);
    assert_eq!(error.message, "Storage node with ID 'a' already exists");
    set_status(&mut catalog, "a", NodeStatus::Inactive);
    assert_eq!(registered(&mut catalog, &other), "a");
    assert_eq!(status(&catalog, "a"), NodeStatus::Active);
    assert_eq!(catalog.nodes[&NodeId::from("a")].instance.as_deref(), Some("ib"));
}

#[test]
fn an_operators_node_never_changes_who_somebody_is() {
    let mut catalog = cluster(0);
    registered(&mut catalog, &register(Some("a"), Some("ia"), "h", 1));
    let error = refused(&mut catalog, &register(Some("a"), None, "h", 2));
    assert_eq!(error.code, ErrorCode::NodeExists);
    let made = registered(&mut catalog, &register(None, None, "h", 2));
    assert_eq!((made.as_str(), catalog.nodes.len()), ("node-1", 2));
    // The node itself reports later and proves who it is.
    assert_eq!(registered(&mut catalog, &register(None, Some("ib"), "h", 2)), made);
    assert_eq!(lost(&catalog), 0);
}

#[test]
fn a_node_that_takes_anothers_address_leaves_that_one_without() {
    let mut catalog = cluster(0);
    registered(&mut catalog, &register(Some("a"), Some("ia"), "h", 1));
    registered(&mut catalog, &register(Some("b"), Some("ib"), "h", 2));
    assert_eq!(registered(&mut catalog, &register(None, Some("ia"), "h", 2)), "a");
    assert_eq!((status(&catalog, "a"), status(&catalog, "b")), (NodeStatus::Active, NodeStatus::Inactive));
    assert_eq!(registered(&mut catalog, &register(None, Some("ib"), "h", 1)), "b");
    assert_eq!(status(&catalog, "b"), NodeStatus::Active);
}

#[test]
fn bad_ids_are_refused() {
    let error = refused(&mut cluster(0), &register(Some("../x"), None, "h", 1));
    assert_eq!(error.code, ErrorCode::BadName);
}

#[test]
fn an_opinion_of_a_former_instance_is_ignored() {
    let mut catalog = cluster(1);
    let command = Command::SetNodeStatus {
        node: "n1".into(),
        instance: Some("former".into()),
        status: NodeStatus::Inactive,
    };
    run(&mut catalog, &command);
    assert_eq!(status(&catalog, "n1"), NodeStatus::Active);
}

#[test]
fn a_node_that_a_quorum_needs_stays() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 1, 3);
    set_status(&mut catalog, "n1", NodeStatus::Inactive);
    let error = refused(&mut catalog, &Command::RemoveNode { node: "n2".into() });
    assert_eq!((error.code, error.partition.as_deref()), (ErrorCode::NodeInUse, Some("d-0")));
    // The dead one may go: the other two are a majority.
    run(&mut catalog, &Command::RemoveNode { node: "n1".into() });
    assert_eq!((catalog.nodes.len(), lost(&catalog)), (2, 1));
    let error = refused(&mut catalog, &Command::RemoveNode { node: "n1".into() });
    assert_eq!(error.message, "Storage node 'n1' not found");
}

#[test]
fn the_only_replica_is_needed_and_an_idle_node_is_not() {
    let mut catalog = cluster(2);
    create(&mut catalog, "d", 1, 1);
    let holder = catalog.partitions[&PartitionId(1)].replicas[0].node.clone();
    let idle = catalog.nodes.keys().find(|node| **node != holder).unwrap().clone();
    assert_eq!(refused(&mut catalog, &Command::RemoveNode { node: holder }).code, ErrorCode::NodeInUse);
    run(&mut catalog, &Command::RemoveNode { node: idle });
}
