//! A leader whom nobody reaches any more, though it reaches the others: it is replaced, nobody is answered from what it
//! knew, and nothing acknowledged is lost, whether what was on its way to it arrives late or never.

use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::raised_clock::{DATABASE, RaisedClock};
use tests::recorded_writers::RecordedWriters;
use tests::replica_files::assert_equal_after_stop;

const NODES: usize = 3;
const ROUNDS: i64 = 4;

#[test]
fn a_leader_that_nobody_reaches_is_replaced_and_answers_nothing_stale() {
    let mut clock = RaisedClock::over(ProcessCluster::start_with_ways(1, NODES));
    let writers = RecordedWriters::start(&clock.cluster.coordinator_urls(), DATABASE, 4, 12);
    writers.await_progress(20, PATIENCE);
    for round in 1..=ROUNDS {
        let leader = clock.leader();
        let way = clock.cluster.way_to_node(leader).expect("it can be cut");
        way.cut();
        // An acknowledgement now comes from a new leader.
        clock.raise_to(round);
        writers.await_progress(20, PATIENCE);
        if round % 2 == 0 {
            way.mend_anew()
        } else {
            way.mend()
        }
        let read = clock.runtime.block_on(clock.read()).expect("it is answered");
        assert_eq!(read, round, "somebody was told what the leader that was cut off knew");
        let recovery = writers.await_progress(20, PATIENCE);
        eprintln!(
            "round {round}: node-{leader} was cut off; 20 writes {recovery:?} after it was reached again"
        );
    }
    writers.finish();
    assert_equal_after_stop(&mut clock.cluster, DATABASE, NODES);
}
