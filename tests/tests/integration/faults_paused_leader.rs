//! A node that stands still (SIGSTOP) for longer than its followers wait, and goes on (SIGCONT) believing that
//! it leads: nobody may be answered from what it knew, and nothing acknowledged meanwhile may be lost.

use polylite_client::{Client, RetryPolicy};
use serde_json::json;
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::raised_clock::{DATABASE, RaisedClock};
use tests::recorded_writers::RecordedWriters;
use tests::replica_files::assert_equal_after_stop;

const ROUNDS: i64 = 3;
/// Requests that wait at the paused node's door.
const WAITING: usize = 8;

#[test]
fn a_leader_that_was_paused_answers_nothing_stale_and_loses_nothing() {
    let mut bank = RaisedClock::over(ProcessCluster::start(1, 3));
    let writers = RecordedWriters::start(&bank.cluster.coordinator_urls(), DATABASE, 4, 11);
    writers.await_progress(20, PATIENCE);
    let mut answered = 0;
    for round in 1..=ROUNDS {
        let paused = bank.leader();
        let url = bank.cluster.node_url(paused);
        bank.cluster.node(paused).signal("STOP");
        // An acknowledgement now comes from a new leader.
        bank.raise_to(round);
        let waiting: Vec<_> = (0..WAITING).map(|_| bank.runtime.spawn(read_at_node(url.clone()))).collect();
        let through_coordinator = bank.runtime.spawn(bank.read());
        writers.await_progress(20, PATIENCE);
        bank.cluster.node(paused).signal("CONT");
        for read in waiting {
            match bank.runtime.block_on(read).expect("the task ends") {
                Ok(value) => {
                    assert_eq!(value, round, "node-{paused} answered what it knew before its pause");
                    answered += 1;
                }
                Err(error) => eprintln!("node-{paused} refused a read: {error}"),
            }
        }
        let value =
            bank.runtime.block_on(through_coordinator).expect("the task ends").expect("it is answered");
        assert_eq!(value, round, "the coordinator answered what was true before");
        let recovery = writers.await_progress(20, PATIENCE);
        eprintln!("round {round}: node-{paused} was paused; 20 writes {recovery:?} after it went on");
    }
    eprintln!("{answered} of {} reads that waited at a paused node were answered", WAITING * 3);
    assert!(answered > 0, "a node that goes on serves again");
    writers.finish();
    assert_equal_after_stop(&mut bank.cluster, DATABASE, 3);
}

/// Asks a node itself, whose read index must come from whoever leads.
async fn read_at_node(url: String) -> polylite_client::Result<i64> {
    let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    let client = Client::builder([url]).timeout(PATIENCE).retry(once).build()?;
    let query = json!({"operation": "query", "table": "clocks", "where": {"id": 1}});
    let answer = client.database(DATABASE).query_object(&query).await?;
    Ok(answer.data[0]["n"].as_i64().expect("the row has its value"))
}
