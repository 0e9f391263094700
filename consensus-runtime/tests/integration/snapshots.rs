//! Replicas that the log alone cannot bring up to date.

use crate::support::Cluster;
use common::ReplicaId;
use consensus_runtime::MembershipStep;

#[test]
fn a_replica_behind_a_truncated_log_gets_a_snapshot() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, "first");
    cluster.wait_for_values(&[1, 2, 3], &["first"]);
    cluster.kill(3);
    cluster.write(1, "second");
    let last = cluster.write(1, "third");
    let handle = cluster.processes[&1].handle.clone();
    // The partition's thread says the same, perhaps a moment later.
    handle.applied(last.index);
    handle.truncate(last.index);
    cluster.write(1, "fourth");
    // Whatever the worker did before it answers is to be seen afterwards.
    handle.read_index().wait().expect("it leads");
    assert_eq!(handle.status().first_index, last.index + 1);

    cluster.start(3, None);
    cluster.wait_for_values(&[3], &["first", "second", "third", "fourth"]);
    let state = cluster.states[&3].get();
    assert_eq!((state.generation, state.refused_snapshots), (1, 1), "the second offer was installed");

    // The log has switched to the new generation, and goes on from there after a restart.
    cluster.kill(3);
    cluster.write(1, "fifth");
    cluster.start(3, None);
    cluster.wait_for_values(&[3], &["first", "second", "third", "fourth", "fifth"]);
    assert_eq!(cluster.states[&3].get().generation, 1);
}

#[test]
fn a_joining_replica_starts_from_a_snapshot_and_replaces_another() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, "first");
    cluster.start(4, None);
    let handle = cluster.processes[&1].handle.clone();
    let expected = handle.status().configuration_index;
    let added = handle.change_membership(MembershipStep::AddLearner(ReplicaId(4)).into(), expected).wait();
    let added = added.expect("the leader takes it");
    cluster.wait_for_values(&[4], &["first"]);

    let change = [MembershipStep::Promote(ReplicaId(4)), MembershipStep::Remove(ReplicaId(3))];
    let change = consensus_runtime::MembershipChange(change.to_vec());
    let stale = handle.change_membership(change.clone(), expected).wait();
    assert!(stale.is_err(), "it compares and sets: {stale:?}");
    handle.change_membership(change, added.index).wait().expect("the leader takes it");
    let voters = [1, 2, 4].map(ReplicaId).into_iter().collect();
    cluster.states[&4].wait("the joint change is over", |state| {
        let members = &state.configuration.configuration;
        members.voters == voters && !members.is_joint()
    });

    // Replica 4 now counts: with it, replica 1 has a majority.
    cluster.kill(2);
    cluster.kill(3);
    cluster.write(1, "second");
    cluster.wait_for_values(&[1, 4], &["first", "second"]);
}
