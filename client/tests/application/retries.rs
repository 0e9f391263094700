//! What is repeated, what is not, and where.

use std::time::{Duration, Instant};

use polylite_client::{Client, Error, ErrorCode, Outcome, local_error_codes};

use super::script::{Answer, Script, builder, client, error, ok};

fn listing() -> Answer {
    ok(r#"{"success":true,"databases":["a"]}"#)
}

fn written() -> Answer {
    ok(r#"{"success":true,"results":[{"affected_rows":1,"last_insert_rowid":7}]}"#)
}

async fn insert(client: &Client) -> Result<u64, Error> {
    let executed = client.database("shop").sql("INSERT INTO t VALUES (1)").execute().await?;
    Ok(executed.affected_rows)
}

/// A URL at which nobody listens.
fn dead_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

#[tokio::test]
async fn reads_are_repeated_until_they_succeed() {
    let failures = [
        error(503, "no_quorum", true, "not_applied"),
        Answer::Status(504, Vec::new(), "a proxy gave up".to_owned()),
        Answer::Close,
    ];
    let server = Script::start(failures.into_iter().chain([listing()])).await;
    assert_eq!(client(&[&server]).list_databases().await, Ok(vec!["a".to_owned()]));
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_select_is_a_read_and_other_statements_are_writes() {
    let lost = || [Answer::Close, written()];
    let server = Script::start(lost()).await;
    let select = client(&[&server]).database("shop").sql("SELECT 1").execute().await;
    assert!(select.is_ok(), "{select:?}");
    assert!(!server.seen()[0].headers.contains_key("idempotency-key"));
    let server = Script::start(lost()).await;
    assert!(insert(&client(&[&server])).await.is_ok());
    assert!(server.seen()[0].headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn attempts_come_to_an_end() {
    let server = Script::start(vec![error(503, "no_quorum", true, "not_applied"); 10]).await;
    let error = client(&[&server]).list_databases().await.expect_err("no quorum");
    assert!(error.is(ErrorCode::NoQuorum));
    assert_eq!((error.status, error.retryable), (Some(503), true));
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_write_that_was_certainly_not_applied_is_repeated() {
    let refusals = [
        error(503, "leadership_lost", true, "not_applied"),
        error(409, "serialization_failure", true, "not_applied"),
    ];
    let server = Script::start(refusals.into_iter().chain([written()])).await;
    assert_eq!(insert(&client(&[&server])).await, Ok(1));
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|request| request.body == seen[0].body));
}

#[tokio::test]
async fn a_write_is_repeated_under_its_name_until_it_is_answered() {
    let failures = [
        error(503, "leadership_lost", true, "unknown"),
        error(504, "timeout", true, "unknown"),
        Answer::Status(502, Vec::new(), "a proxy lost the answer".to_owned()),
        Answer::Close,
    ];
    let server = Script::start(failures.into_iter().chain([written(), written()])).await;
    let client = client(&[&server]);
    assert_eq!(insert(&client).await, Ok(1));
    assert_eq!(insert(&client).await, Ok(1));
    let names: Vec<String> = server.seen().iter().map(name_of).collect();
    assert!(names[..5].iter().all(|name| *name == names[0]), "{names:?}");
    assert_ne!(names[5], names[0]);
}

fn name_of(request: &super::script::Seen) -> String {
    request.headers["idempotency-key"].to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_doubt_about_an_earlier_attempt_is_told() {
    let answers = [
        error(503, "leadership_lost", true, "unknown"),
        error(409, "unique_violation", false, "not_applied"),
    ];
    let server = Script::start(answers).await;
    let error = insert(&client(&[&server])).await.expect_err("a refusal");
    assert_eq!((error.is(ErrorCode::UniqueViolation), error.outcome), (true, Outcome::Unknown));
}

#[tokio::test]
async fn what_was_applied_or_has_no_name_is_not_repeated() {
    let answers = [
        error(503, "no_quorum", true, "partial"),
        error(503, "no_quorum", true, "applied"),
        // An answer that cannot be understood tells nothing about the write.
        ok("{}"),
    ];
    for answer in answers {
        let server = Script::start([answer.clone(), written()]).await;
        let error = insert(&client(&[&server])).await.expect_err("an error");
        assert_eq!(server.seen().len(), 1, "{answer:?}");
        assert_ne!(error.outcome, Outcome::NotApplied, "{answer:?}: {error:?}");
    }
    let server = Script::start([error(503, "leadership_lost", true, "unknown"), written()]).await;
    let batch = client(&[&server]).database("shop").batch().atomic(false);
    let error = batch.sql("DELETE FROM t").sql("DELETE FROM u").run().await.expect_err("an error");
    assert_eq!((server.seen().len(), error.outcome), (1, Outcome::Unknown));
    assert!(!server.seen()[0].headers.contains_key("idempotency-key"));
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_says_why() {
    let body = r#"{"success":false,"error":"UNIQUE constraint failed: t.id","code":"unique_violation",
        "retryable":false,"outcome":"not_applied","request_id":"r-1","hint":"choose another","statement":2,
        "sqlite_code":1555}"#;
    let server = Script::start([Answer::Status(409, Vec::new(), body.to_owned())]).await;
    let error = insert(&client(&[&server])).await.expect_err("a refusal");
    assert!(error.is(ErrorCode::UniqueViolation));
    assert_eq!(error.message, "UNIQUE constraint failed: t.id");
    assert_eq!(error.hint.as_deref(), Some("choose another"));
    assert_eq!(error.request_id.as_deref(), Some("r-1"));
    assert_eq!((error.status, error.statement, error.sqlite_code), (Some(409), Some(2), Some(1555)));
    assert_eq!(error.outcome, Outcome::NotApplied);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn another_coordinator_is_asked_and_remembered_when_one_is_gone() {
    let server = Script::start([written(), written()]).await;
    let client = Client::new([dead_url(), server.url.clone()]).expect("valid settings");
    // The write was never sent to the dead one, so it may go to the other.
    assert_eq!(insert(&client).await, Ok(1));
    assert_eq!(insert(&client).await, Ok(1));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_coordinator_that_cannot_is_left_for_one_that_can() {
    let weak = Script::start([error(503, "unavailable", true, "not_applied")]).await;
    let strong = Script::start([written(), written()]).await;
    let client = client(&[&weak, &strong]);
    assert_eq!(insert(&client).await, Ok(1));
    assert_eq!(insert(&client).await, Ok(1));
    assert_eq!((weak.seen().len(), strong.seen().len()), (1, 2));
}

#[tokio::test]
async fn without_any_coordinator_the_error_says_so() {
    let pause = Duration::from_millis(1);
    let policy = polylite_client::RetryPolicy { attempts_max: 4, pause_min: pause, pause_max: pause };
    let client = Client::builder([dead_url(), dead_url()]).retry(policy).build().expect("valid settings");
    let error = insert(&client).await.expect_err("nobody listens");
    assert_eq!(error.code, local_error_codes::UNREACHABLE);
    assert_eq!((error.outcome, error.status), (Outcome::NotApplied, None));
}

#[tokio::test]
async fn the_pause_that_the_server_asks_for_is_kept() {
    let busy = Answer::Status(
        429,
        vec![("retry-after", "1")],
        r#"{"error":"slow down","code":"rate_limited","retryable":true,"outcome":"not_applied"}"#.to_owned(),
    );
    let server = Script::start([busy, listing()]).await;
    let patient = polylite_client::RetryPolicy { pause_max: Duration::from_secs(1), ..Default::default() };
    let client = builder(&[&server]).retry(patient).build().expect("valid settings");
    let started = Instant::now();
    assert!(client.list_databases().await.is_ok());
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn the_time_limit_holds_over_all_attempts() {
    // It accepts connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let client = Client::builder([url]).timeout(Duration::from_millis(500)).build().expect("valid settings");
    let error = insert(&client).await.expect_err("no answer");
    assert_eq!((error.code.as_str(), error.outcome), (local_error_codes::CLIENT_TIMEOUT, Outcome::Unknown));
}
