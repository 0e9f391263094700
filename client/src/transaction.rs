//! Transactions over several requests.

use std::future::Future;
use std::time::Duration;

use common::Outcome;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::collection::Collection;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::http::{Request, segment};
use crate::sql::{Batch, Sql};

/// How often [`Database::transaction`] runs its work before it gives up.
const ATTEMPTS_MAX: u32 = 10;
/// How often it is tried without locks.
const ATTEMPTS_WITHOUT_LOCKS: u32 = 3;
/// Longest pause before the second attempt; each further one waits up to twice as long.
const PAUSE: Duration = Duration::from_millis(5);

/// How a transaction is to be; made by [`Database::begin`] with [`TransactionOptions::default`].
#[derive(Clone, Copy, Debug, Default)]
pub struct TransactionOptions {
    /// It only reads, and sees the database as it was when it began.
    pub read_only: bool,
    /// Each of its statements locks what it touches, for a second in all, so that others wait instead of getting in
    /// its way.
    pub pessimistic: bool,
    /// How long it may rest between two requests; 10 seconds if not said.
    pub idle_timeout: Option<Duration>,
    /// How long it may take in all; 60 seconds if not said.
    pub max_duration: Option<Duration>,
}

/// A transaction that is open until it is committed, rolled back, or rests for too long.
#[derive(Clone, Debug)]
pub struct Transaction {
    database: Database,
    id: String,
}

#[derive(Deserialize)]
struct Begun {
    transaction: String,
}

impl Database {
    /// Begins a transaction.
    pub async fn begin(&self, options: TransactionOptions) -> Result<Transaction> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let body = json!({
            "read_only": options.read_only,
            "mode": if options.pessimistic { "pessimistic" } else { "optimistic" },
            "idle_timeout_ms": options.idle_timeout.map(millis),
            "max_duration_ms": options.max_duration.map(millis),
        });
        let request = Request::post(self.path("/transactions"), &body)?;
        let begun: Begun = self.transport().json(&request).await?;
        Ok(Transaction { database: self.clone(), id: begun.transaction })
    }

    /// Runs work as one transaction, and again if others got in its way. What the work does besides the
    /// transaction's own requests may be done several times.
    ///
    /// ```no_run
    /// # async fn example(shop: polylite_client::Database) -> polylite_client::Result<()> {
    /// shop.transaction(|transaction| async move {
    ///     let left: i64 =
    ///         transaction.sql("SELECT n FROM stock WHERE id = 1").query().await?.scalar()?;
    ///     if left > 0 {
    ///         transaction.sql("UPDATE stock SET n = n - 1 WHERE id = 1").execute().await?;
    ///     }
    ///     Ok(left > 0)
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T, F>(&self, work: impl Fn(Transaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let pessimistic = attempt > ATTEMPTS_WITHOUT_LOCKS;
            let transaction =
                self.begin(TransactionOptions { pessimistic, ..TransactionOptions::default() }).await?;
            let failed = match work(transaction.clone()).await {
                Ok(value) => match transaction.commit().await {
                    Ok(()) => return Ok(value),
                    Err(error) => error,
                },
                Err(error) => {
                    if !is_conflict(&error) {
                        // Its end by time does the same.
                        let _ = transaction.roll_back().await;
                    }
                    error
                }
            };
            if !is_conflict(&failed) || attempt >= ATTEMPTS_MAX {
                return Err(failed);
            }
            let longest = PAUSE * 2_u32.pow(attempt.min(6));
            tokio::time::sleep(longest.mul_f64(rand::random())).await;
        }
    }
}

/// Whether nothing was applied, and the same work may well succeed: others got in the way, or the coordinator that
/// began the transaction is gone.
fn is_conflict(error: &Error) -> bool {
    let may_pass = [common::ErrorCode::SerializationFailure, common::ErrorCode::TransactionGone];
    error.outcome == Outcome::NotApplied && may_pass.into_iter().any(|code| error.is(code))
}

impl Transaction {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A statement of the transaction.
    pub fn sql(&self, text: impl Into<String>) -> Sql {
        self.database.sql(text).within(&self.id)
    }

    /// Several statements of the transaction together.
    pub fn batch(&self) -> Batch {
        self.database.batch().within(&self.id)
    }

    /// A collection, as the transaction sees and changes it.
    #[must_use]
    pub fn collection(&self, name: impl Into<String>) -> Collection {
        self.database.collection(name).within(&self.id)
    }

    /// Applies all of it, or fails. Repeating it does no harm.
    pub async fn commit(&self) -> Result<()> {
        self.end("commit").await
    }

    /// Applies nothing of it.
    pub async fn roll_back(&self) -> Result<()> {
        self.end("rollback").await
    }

    async fn end(&self, how: &str) -> Result<()> {
        let path = self.database.path(&format!("/transactions/{}/{how}", segment(&self.id)));
        let request = Request::post(path, &json!({}))?.of_transaction();
        let _: Json = self.database.transport().json(&request).await?;
        Ok(())
    }
}
