//! Writes with idempotency keys, which are sent again, through any coordinator, until they are answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::idempotency::{IdempotencyKey, KeyedRequest};
use common::protocol::Statement;
use common::{Error, ErrorCode, Outcome, Result};
use coordinator::gateway::{Gateway, Once, RequestOptions};
use rand::Rng as _;
use tokio::time::{Instant, sleep};

use super::clients::{Client, in_time, options, run_sql};
use super::database::{ROWS, statement};
use super::recorded::COUNTERS;

/// How long a write is sent again.
const KEYED_MAX: Duration = Duration::from_secs(40);

/// What became of one attempt.
pub(super) enum Attempt {
    Done,
    DoneBefore,
    Again,
}

impl Client {
    /// Adds one to one counter or to two.
    pub(super) async fn add_once(&mut self) -> Result<()> {
        let (first, second) = self.two_of(COUNTERS);
        let ids = if self.random.random_bool(0.3) { vec![first] } else { vec![first, second] };
        let number = self.own_number();
        // Keys of their own homes, and those of a session.
        let between = if self.random.random_bool(0.5) { '-' } else { '.' };
        let name = format!("client-{}{between}{number}", self.number);
        let key = IdempotencyKey::parse(name.as_bytes()).expect("a key");
        let request = KeyedRequest { key, digest: u128::from(number.unsigned_abs()) };
        let deadline = Instant::now() + KEYED_MAX;
        let done = loop {
            let coordinator = self.coordinator();
            let sql = "UPDATE counters SET n = n + 1 WHERE id = ?";
            let statements = ids.iter().map(|id| statement(sql, &[*id])).collect();
            let attempt = attempt(&coordinator.gateway, &request, statements);
            match in_time(coordinator.serve(attempt)).await {
                Ok(Attempt::Done) => break Ok(()),
                Ok(Attempt::DoneBefore) => {
                    self.recorded.seen().report.found_again += 1;
                    break Ok(());
                }
                Err(error) if error.outcome == Outcome::Applied => break Ok(()),
                // What one attempt has not done, another one may have.
                _ if Instant::now() > deadline => {
                    let error = Error::new(ErrorCode::Timeout, "nobody has answered");
                    break Err(error.with_outcome(Outcome::Unknown));
                }
                _ => sleep(Duration::from_millis(self.random.random_range(1..100))).await,
            }
        };
        self.recorded.seen().report.keyed += u64::from(done.is_ok());
        self.count("counters", &ids, done)
    }
}

/// One attempt, as the routes make it.
pub(super) async fn attempt(
    gateway: &Gateway,
    request: &KeyedRequest,
    statements: Vec<Statement>,
) -> Result<Attempt> {
    let once = Arc::new(Once::new(request.clone()));
    let options = RequestOptions { once: Some(once.clone()), ..options() };
    let _unfinished = Unfinished { gateway, once: &once };
    let answer = Bytes::from(format!("{statements:?}"));
    match run_sql(gateway, ROWS, statements, &options).await {
        Ok(_) if once.was_replayed() => Ok(Attempt::DoneBefore),
        Ok(_) => {
            let committed = gateway.commit_once(ROWS, &options, &once, &answer).await?;
            Ok(if committed { Attempt::Done } else { Attempt::Again })
        }
        Err(_) if once.answered().is_some() => Ok(Attempt::DoneBefore),
        Err(error) => Err(error),
    }
}

/// If an attempt ends without an answer, what it has prepared is given up.
struct Unfinished<'a> {
    gateway: &'a Gateway,
    once: &'a Arc<Once>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.gateway.abandon_once(self.once);
    }
}
