//! Linearizable reads and hand-over of leadership.

use crate::support::Cluster;
use common::ReplicaId;
use consensus_runtime::{ReadError, Reply};

#[test]
fn a_read_index_covers_every_write_answered_before() {
    let cluster = Cluster::new(3);
    let handle = cluster.processes[&1].handle.clone();
    for value in ["first", "second", "third"] {
        let written = cluster.write(1, value);
        let reads: Vec<Reply<_>> = (0..20).map(|_| handle.read_index()).collect();
        for read in reads {
            assert!(read.wait().expect("it leads") >= written.index);
        }
    }
    // A majority may have done without replica 2 so far.
    cluster.wait_for_values(&[2], &["first", "second", "third"]);
    let follower = cluster.processes[&2].handle.read_index().wait();
    assert_eq!(follower, Err(ReadError::NotLeader { leader: Some(ReplicaId(1)) }));
}

#[test]
fn leadership_is_handed_over_and_the_group_can_be_removed() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, "first");
    cluster.processes[&1].handle.transfer_leader(ReplicaId(2));
    assert_eq!(cluster.wait_for_leader(&[2]), 2);
    cluster.write(2, "second");
    cluster.wait_for_values(&[1, 2, 3], &["first", "second"]);

    let removed = cluster.processes[&3].handle.clone();
    removed.remove().wait().expect("the worker runs");
    assert!(removed.propose("late".into()).wait().is_err(), "the group has ended");
    cluster.kill(3);
    let log = cluster.directory.path().join("3");
    let log = consensus_runtime::SharedLog::open(&log, &consensus_runtime::LogOptions::small()).expect("log");
    assert_eq!(log.groups(), [], "its log is gone");
}
