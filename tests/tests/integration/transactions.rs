//! Transactions over several requests, through several coordinators and through the client library.

use polylite_client::{Client, ErrorCode, Outcome, Request, RetryPolicy, TransactionOptions};
use serde_json::{Value as Json, json};
use tests::process_cluster::ProcessCluster;
use tokio::runtime::Runtime;

const DATABASE: &str = "shop";

fn client(address: &str) -> Client {
    let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
    Client::builder([address]).retry(once).build().expect("the address is a URL")
}

#[test]
fn any_coordinator_takes_requests_of_a_transaction_until_the_one_that_began_it_is_gone() {
    let mut cluster = ProcessCluster::start(2, 3);
    cluster.run(&["create-database", "--name", DATABASE]).succeeded();
    let addresses = cluster.coordinator_urls();
    let (first, second) = (client(&addresses[0]), client(&addresses[1]));
    let runtime = Runtime::new().expect("a runtime starts");
    let committed = runtime.block_on(async {
        let shop = first.database(DATABASE);
        shop.sql("CREATE TABLE stock (id INTEGER PRIMARY KEY, n INTEGER)").execute().await.unwrap();
        shop.sql("INSERT INTO stock VALUES (1, 5), (2, 5), (3, 5), (4, 5)").execute().await.unwrap();
        let transaction = shop.begin(TransactionOptions::default()).await.unwrap();
        transaction.sql("UPDATE stock SET n = n - 1").execute().await.unwrap();
        // Through the other coordinator: a statement, a document, the commit.
        let post = |path: String, body: Json| Request::post(path, &body).expect("a request");
        let named = json!({"sql": "SELECT sum(n) FROM stock", "transaction": transaction.id()});
        let answer: Json = second.send(&post(format!("/databases/{DATABASE}/sql"), named)).await.unwrap();
        assert_eq!(answer["results"][0]["rows"], json!([[16]]));
        let note =
            format!("/databases/{DATABASE}/collections/note/documents?transaction={}", transaction.id());
        let _: Json = second.send(&post(note, json!({"of": "stock"}))).await.unwrap();
        let elsewhere = second.database(DATABASE);
        let count = "SELECT sum(n) FROM stock";
        assert_eq!(elsewhere.sql(count).query().await.unwrap().scalar::<i64>().unwrap(), 20);
        // Each coordinator lists and ends the transactions of all.
        let other = elsewhere.begin(TransactionOptions::default()).await.unwrap();
        for client in [&first, &second] {
            let listed: Json = client.send(&Request::get("/transactions")).await.unwrap();
            let names: Vec<&str> = listed["transactions"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|open| open["transaction"].as_str())
                .collect();
            assert_eq!(names, [transaction.id(), other.id()], "the older one first");
        }
        let _: Json = first.send(&Request::delete(format!("/transactions/{}", other.id()))).await.unwrap();
        let gone = other.sql("SELECT 1").query().await.expect_err("it was ended");
        assert!(gone.is(ErrorCode::TransactionGone), "{gone:?}");
        let commit = format!("/databases/{DATABASE}/transactions/{}/commit", transaction.id());
        let _: Json = second.send(&post(commit, json!({}))).await.unwrap();
        assert_eq!(elsewhere.sql(count).query().await.unwrap().scalar::<i64>().unwrap(), 16);
        assert_eq!(elsewhere.collection("note").count(json!({})).await.unwrap(), 1);
        transaction.id().to_owned()
    });
    let (transaction, of_one) = runtime.block_on(async {
        let shop = first.database(DATABASE);
        let open = shop.begin(TransactionOptions::default()).await.expect("a transaction begins");
        open.sql("UPDATE stock SET n = 0").execute().await.expect("it is tried");
        // One that changes a single partition keeps its name there.
        let of_one = shop.begin(TransactionOptions::default()).await.expect("a transaction begins");
        of_one.sql("UPDATE stock SET n = 7 WHERE id = 2").execute().await.expect("it is tried");
        of_one.commit().await.expect("it commits");
        (open, of_one.id().to_owned())
    });
    cluster.kill_coordinator(0);
    runtime.block_on(async {
        let body = json!({"sql": "SELECT 1", "transaction": transaction.id()});
        let request = Request::post(format!("/databases/{DATABASE}/sql"), &body).expect("a request");
        let gone = second.send::<Json>(&request).await.expect_err("its coordinator is dead");
        assert!(gone.is(ErrorCode::TransactionGone), "{gone:?}");
        // What became of a commit can be learnt all the same, as often as it is asked for.
        let commit = |id: &str| {
            let path = format!("/databases/{DATABASE}/transactions/{id}/commit");
            Request::post(path, &json!({})).expect("a request")
        };
        for _ in 0..2 {
            for id in [&committed, &of_one] {
                let answer: Json = second.send(&commit(id)).await.expect("it has committed");
                assert_eq!(answer["state"], "committed");
            }
            let gone =
                second.send::<Json>(&commit(transaction.id())).await.expect_err("it has not committed");
            assert!(gone.is(ErrorCode::TransactionGone), "{gone:?}");
            assert_eq!(gone.outcome, Outcome::NotApplied, "{gone:?}");
        }
        let sum = second.database(DATABASE).sql("SELECT sum(n) FROM stock").query().await.unwrap();
        assert_eq!(sum.scalar::<i64>().unwrap(), 19);
        let nobodys = format!("{}0", &transaction.id()[..transaction.id().len() - 1]);
        let elsewhere = format!("/databases/elsewhere/transactions/{nobodys}/commit");
        let elsewhere = Request::post(elsewhere, &json!({})).expect("a request");
        let refused = second.send::<Json>(&elsewhere).await.expect_err("it is of another database");
        assert!(refused.is(ErrorCode::BadRequest), "{refused:?}");
    });
}

#[test]
fn the_client_library_runs_a_transaction_again_that_others_got_in_the_way_of() {
    let cluster = ProcessCluster::start(1, 3);
    cluster.run(&["create-database", "--name", DATABASE]).succeeded();
    let address = cluster.coordinator_urls().remove(0);
    let runtime = Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let shop = Client::new([address]).expect("the address is a URL").database(DATABASE);
        shop.sql("CREATE TABLE stock (id INTEGER PRIMARY KEY, n INTEGER)").execute().await.unwrap();
        shop.sql("INSERT INTO stock VALUES (1, 9), (2, 9)").execute().await.unwrap();
        // Six buyers of nine pairs: each takes one of both, if there are any.
        let buyers = (0..6).map(|_| {
            let shop = shop.clone();
            tokio::spawn(async move {
                let mut bought = 0;
                for _ in 0..2 {
                    let done = shop.transaction(|transaction| async move {
                        let least = "SELECT min(n) FROM stock";
                        let left: i64 = transaction.sql(least).query().await?.scalar()?;
                        if left > 0 {
                            transaction.sql("UPDATE stock SET n = n - 1").execute().await?;
                        }
                        Ok(left > 0)
                    });
                    // One that gives up has bought nothing.
                    bought += i64::from(done.await.unwrap_or(false));
                }
                bought
            })
        });
        let mut bought = 0;
        for buyer in buyers.collect::<Vec<_>>() {
            bought += buyer.await.expect("no buyer panics");
        }
        let same = "SELECT count(*) FROM stock WHERE n = ?";
        let left: i64 = shop.sql(same).bind(9 - bought).query().await.unwrap().scalar().unwrap();
        assert_eq!(left, 2, "{bought} were bought");
        assert!((1..=9).contains(&bought), "{bought}");
    });
}
