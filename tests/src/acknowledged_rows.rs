//! Rows that writers of their own count up, and what was acknowledged to them: nobody may read less afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use polylite_client::{Database, Error, Outcome};
use serde_json::json;

/// Rows that writers of their own count up, each in the ways of its turn. As many rows behind these are counted up
/// beside them.
pub const WRITERS: i64 = 4;

/// What was acknowledged last, by row.
#[derive(Debug, Default)]
pub struct Acknowledged([AtomicI64; WRITERS as usize + 1]);

impl Acknowledged {
    /// What was acknowledged last of a row.
    ///
    /// # Panics
    /// If there is no writer of this row.
    #[must_use]
    pub fn of(&self, id: i64) -> i64 {
        self.row(id).load(Ordering::SeqCst)
    }

    /// The sum over all rows, each as it was at some moment since this was called.
    #[must_use]
    pub fn sum(&self) -> i64 {
        (1..=WRITERS).map(|id| self.of(id)).sum()
    }

    fn row(&self, id: i64) -> &AtomicI64 {
        &self.0[usize::try_from(id).expect("a small number")]
    }
}

/// One writer.
pub struct Writer {
    /// Where it writes.
    pub database: Database,
    /// The row that it counts up, of the table `t (id, x)`.
    pub id: i64,
    /// Longest rest between two writes; how long each is, is drawn. What is never at rest is not leased.
    pub rest_max: Duration,
}

impl Writer {
    /// Counts its row up, until told to stop. What is carried out late, after its fate was said to be unknown, takes
    /// nothing back.
    ///
    /// # Panics
    /// If an error says neither that the write may be sent again nor that its fate is unknown.
    pub async fn run(self, acknowledged: Arc<Acknowledged>, stop: Arc<AtomicBool>) {
        let mut version = 0;
        while !stop.load(Ordering::SeqCst) {
            version += 1;
            match self.write(version).await {
                Ok(()) => acknowledged.row(self.id).store(version, Ordering::SeqCst),
                // Whether it was applied may not be known; the next version is greater in any case.
                Err(error) => assert!(error.retryable || error.outcome == Outcome::Unknown, "{error:?}"),
            }
            if !self.rest_max.is_zero() {
                tokio::time::sleep(self.rest_max.mul_f64(rand::random())).await;
            }
        }
    }

    async fn write(&self, version: i64) -> Result<(), Error> {
        let (database, id) = (&self.database, self.id);
        let raise = "UPDATE t SET x = max(x, ?) WHERE id = ?";
        match version % 4 {
            0 => database.sql(raise).bind(version).bind(id).execute().await.map(drop),
            1 => {
                let behind = json!({"id": id, "x": {"$lt": version}});
                database.sql_update("t", json!({"x": version}), Some(behind)).await.map(drop)
            }
            2 => {
                let upsert =
                    "INSERT INTO t VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET x = max(x, excluded.x)";
                database.sql(upsert).bind(id).bind(version).execute().await.map(drop)
            }
            // Two rows of two partitions at once; the second one is nobody else's.
            _ => {
                let both = database.batch().sql(raise).bind(version).bind(id);
                both.sql("UPDATE t SET x = x + 1 WHERE id = ?").bind(id + WRITERS).run().await.map(drop)
            }
        }
    }
}
