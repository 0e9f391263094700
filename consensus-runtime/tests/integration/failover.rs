//! A leader dies; nothing acknowledged is lost.

use crate::support::{Cluster, address};
use consensus_runtime::{Role, RuntimeOptions};

#[test]
fn a_new_leader_has_every_committed_entry_and_the_old_one_catches_up() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, "first");
    cluster.write(1, "second");
    cluster.wait_for_values(&[1, 2, 3], &["first", "second"]);

    cluster.kill(1);
    let leader = cluster.wait_for_leader(&[2, 3]);
    cluster.write(leader, "third");

    cluster.start(1, None);
    cluster.wait_for_values(&[1, 2, 3], &["first", "second", "third"]);
    let status = cluster.processes[&1].handle.status();
    assert_eq!(status.role, Role::Follower);
    assert_eq!(status.configuration.voters.len(), 3, "the members are known from the log");
}

#[test]
fn another_leader_is_elected_without_waiting_for_a_time_out_when_the_process_is_seen_to_end() {
    // A time-out would take hours.
    let options =
        RuntimeOptions { election_ticks_min: 1 << 20, election_ticks_max: 1 << 21, ..RuntimeOptions::new(0) };
    let mut cluster = Cluster::with_options(3, options);
    cluster.write(1, "first");
    cluster.wait_for_values(&[1, 2, 3], &["first"]);
    cluster.kill(1);
    for id in [2, 3] {
        cluster.processes[&id].runtime.unreachable(address(1).address);
    }
    let leader = cluster.wait_for_leader(&[2, 3]);
    cluster.write(leader, "second");
}

#[test]
fn who_votes_alone_leads_at_once_when_it_starts_again() {
    // A time-out would take hours.
    let options =
        RuntimeOptions { election_ticks_min: 1 << 20, election_ticks_max: 1 << 21, ..RuntimeOptions::new(0) };
    let mut cluster = Cluster::with_options(1, options);
    cluster.write(1, "first");
    cluster.kill(1);
    cluster.start(1, None);
    cluster.wait_for_leader(&[1]);
    cluster.write(1, "second");
    cluster.wait_for_values(&[1], &["first", "second"]);
}

#[test]
fn all_processes_restart_from_their_logs() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, "first");
    cluster.wait_for_values(&[1, 2, 3], &["first"]);
    for id in [1, 2, 3] {
        cluster.kill(id);
        // The state machine forgets everything: the log alone brings it back.
        cluster.states[&id].change(|state| *state = crate::support::State::default());
    }
    for id in [1, 2, 3] {
        cluster.start(id, None);
    }
    let leader = cluster.wait_for_leader(&[1, 2, 3]);
    cluster.write(leader, "second");
    cluster.wait_for_values(&[1, 2, 3], &["first", "second"]);
}

#[test]
fn without_a_majority_nothing_is_committed_and_reads_get_no_index() {
    let mut cluster = Cluster::new(3);
    cluster.write(1, "first");
    cluster.kill(2);
    cluster.kill(3);
    let handle = cluster.processes[&1].handle.clone();
    let read = handle.read_index();
    let refused = read.wait();
    // The leader finds that it has lost its majority and steps down, which answers the read.
    assert!(refused.is_err(), "{refused:?}");
    cluster.states[&1].wait("it has stepped down", |state| state.role.role != Role::Leader);
    assert!(handle.propose("lost".into()).wait().is_err());
    assert_eq!(cluster.states[&1].get().values, ["first"]);
}
