//! Replicas are added and lost ones removed.

use super::*;

#[test]
fn a_new_replica_learns_and_then_votes() {
    let mut catalog = cluster(1);
    create(&mut catalog, "d", 1, 3);
    fixture::add_node(&mut catalog, "n2");
    let add = Command::AddReplica { partition: PartitionId(1), node: "n2".into(), replaces: None };
    let id = operation(run(&mut catalog, &add));
    let role = |catalog: &Catalog| catalog.partitions[&PartitionId(1)].replicas[1].role;
    assert_eq!(role(&catalog), ReplicaRole::Learner);
    assert_eq!(refused(&mut catalog, &add).code, ErrorCode::SerializationFailure);
    run(&mut catalog, &Command::FinishOperation { operation: id });
    assert_eq!(role(&catalog), ReplicaRole::Voter);
    assert_eq!(refused(&mut catalog, &add).code, ErrorCode::BadRequest);
}

#[test]
fn a_database_is_copied_to_a_node_whole_or_not_at_all() {
    let mut catalog = cluster(1);
    create(&mut catalog, "d", 3, 1);
    fixture::add_node(&mut catalog, "n2");
    let copy = |database: &str| Command::ReplicateDatabase { database: database.into(), node: "n2".into() };
    assert_eq!(refused(&mut catalog, &copy("missing")).code, ErrorCode::DatabaseNotFound);
    fixture::add_node(&mut catalog, "n3");
    let one =
        |node: &str| Command::AddReplica { partition: PartitionId(2), node: node.into(), replaces: None };
    let id = operation(run(&mut catalog, &one("n3")));
    assert_eq!(
        refused(&mut catalog, &copy("d")).code,
        ErrorCode::SerializationFailure,
        "a partition is busy"
    );
    assert_eq!(catalog.partitions[&PartitionId(1)].replicas.len(), 1);
    run(&mut catalog, &Command::FinishOperation { operation: id });
    // What is on its way there already is left alone.
    let id = operation(run(&mut catalog, &one("n2")));
    let Answer::Operations(mut begun) = run(&mut catalog, &copy("d")) else { panic!("no operations") };
    assert_eq!(begun.len(), 2);
    let holds = |replica: &common::catalog::Replica| replica.node.as_str() == "n2";
    assert!(catalog.partitions.values().all(|partition| partition.replicas.iter().any(holds)));
    begun.push(id);
    for operation in begun {
        run(&mut catalog, &Command::FinishOperation { operation });
    }
    assert_eq!(run(&mut catalog, &copy("d")), Answer::Operations(Vec::new()), "it has them all");
}

#[test]
fn a_replica_that_was_given_up_leaves_its_group_as_a_lost_one() {
    let mut catalog = cluster(2);
    create(&mut catalog, "d", 1, 1);
    let holder = catalog.partitions[&PartitionId(1)].replicas[0].node.clone();
    let other = catalog.nodes.keys().find(|node| **node != holder).unwrap().clone();
    let add = Command::AddReplica { partition: PartitionId(1), node: other, replaces: None };
    let id = operation(run(&mut catalog, &add));
    run(&mut catalog, &Command::FailOperation { operation: id, error: Error::internal("gone") });
    let replica = catalog.partitions[&PartitionId(1)].replicas[1].clone();
    assert_eq!(replica.role, ReplicaRole::Lost);
    let voter = catalog.partitions[&PartitionId(1)].replicas[0].id;
    let remove = |replica: ReplicaId| Command::RemoveReplica { partition: PartitionId(1), replica };
    assert_eq!(refused(&mut catalog, &remove(voter)).code, ErrorCode::BadRequest);
    let id = operation(run(&mut catalog, &remove(replica.id)));
    run(&mut catalog, &Command::FinishOperation { operation: id });
    assert_eq!(catalog.partitions[&PartitionId(1)].replicas.len(), 1);
}

#[test]
fn leadership_is_handed_to_voters_alone_and_the_wish_can_be_taken_back() {
    let mut catalog = cluster(3);
    create(&mut catalog, "d", 1, 2);
    let (partition, replica) = {
        let partition = catalog.partitions.values().next().unwrap();
        (partition.id, partition.replicas[1].id)
    };
    let stranger = Command::TransferLeader { partition, replica: ReplicaId(99) };
    assert_eq!(refused(&mut catalog, &stranger).code, ErrorCode::BadRequest);
    let id = operation(run(&mut catalog, &Command::TransferLeader { partition, replica }));
    run(&mut catalog, &Command::CancelOperation { operation: id.clone() });
    assert_eq!(catalog.operations[&id].state, OperationState::Cancelled);
    let again = Command::CancelOperation { operation: id };
    assert_eq!(refused(&mut catalog, &again).code, ErrorCode::BadRequest);
}
