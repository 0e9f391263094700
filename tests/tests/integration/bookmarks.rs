//! Bookmarks: who sends one sees at least what it stands for, on any coordinator and any replica.

use std::time::Instant;

use serde_json::{Value as Json, json};
use tests::drawn_faults::setting;
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::raw_http::{RawAnswer, send_with};

/// Any replica answers, so that one that is behind is met now and then. `POLYLITE_BOOKMARK_READS` sets the number of
/// reads.
#[test]
fn no_replica_answers_what_is_older_than_a_bookmark() {
    let reads = setting("POLYLITE_BOOKMARK_READS").unwrap_or(400);
    let cluster = ProcessCluster::start(2, 3);
    cluster.run(&["create-database", "--name", "shop"]).succeeded();
    let urls = cluster.coordinator_urls();
    // Leaders may change at any time, so that everything is sent until it is answered; it means the same every time.
    let ask = |url: &str, headers: &[(&str, &str)], body: Json| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = send_with(url, "POST", "/databases/shop/sql", headers, &body);
            if answer.status == 200 {
                return answer;
            }
            assert!(answer.status >= 500 && Instant::now() < deadline, "{body}: {answer:?}");
        }
    };
    let sql = |text: &str| ask(&urls[0], &[], json!({ "sql": text }));
    sql("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x INTEGER NOT NULL)");
    sql("INSERT OR REPLACE INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0)");
    for round in 1..=reads.div_ceil(8) {
        // Over several partitions and of one, in turn; the sum is eight times the round.
        let write = match round % 2 {
            0 => format!("UPDATE t SET x = {round}"),
            _ => format!("UPDATE t SET x = {} WHERE id = 3", round + 7),
        };
        let mut bookmark = bookmark_of(&sql(&write));
        for url in urls.iter().cycle().take(8) {
            let body = json!({"sql": "SELECT sum(x) FROM t", "level": "stale"});
            let answer = ask(url, &[("X-Bookmark", &bookmark)], body);
            assert_eq!(answer.body["results"][0]["rows"], json!([[8 * round]]), "{write}: {bookmark}");
            bookmark = bookmark_of(&answer);
        }
    }
}

fn bookmark_of(answer: &RawAnswer) -> String {
    answer.header("x-bookmark").expect("every answer has one").to_owned()
}

#[test]
fn what_is_no_bookmark_is_refused() {
    let cluster = ProcessCluster::start(1, 1);
    cluster.run(&["create-database", "--name", "shop"]).succeeded();
    let body = json!({"sql": "SELECT 1"});
    let headers = [("X-Bookmark", "yesterday")];
    let answer = send_with(&cluster.coordinator_url(0), "POST", "/databases/shop/sql", &headers, &body);
    assert_eq!((answer.status, &answer.body["code"]), (400, &Json::from("bad_request")));
}
