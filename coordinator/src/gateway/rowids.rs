//! Rowids for new rows of tables that lie in several partitions. SQLite's rule is the greatest so far plus
//! one; the catalog keeps the next one of each table.
//!
//! Requests that need rowids of a table while an allocation is under way share the next one, so the
//! catalog's log carries one entry per round trip and not one per row.

use std::collections::HashMap;

use common::{Error, Outcome, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Gateway;
use super::access::RequestAccess;
use crate::catalog::{Answer, Command};

/// Requests waiting for rowids, by database and table (in lower case).
#[derive(Default)]
pub struct RowidQueues {
    tables: Mutex<HashMap<(String, String), Queue>>,
}

/// Those that wait while an allocation of their table is under way.
type Queue = Vec<Waiting>;

struct Waiting {
    count: u64,
    answer: oneshot::Sender<Result<i64>>,
}

impl RowidQueues {
    /// Joins the queue of a table. The first one in an empty queue has to serve it.
    fn join(&self, key: &(String, String), count: u64) -> (oneshot::Receiver<Result<i64>>, bool) {
        let (answer, answered) = oneshot::channel();
        let mut tables = self.tables.lock();
        let serves = !tables.contains_key(key);
        tables.entry(key.clone()).or_default().push(Waiting { count, answer });
        (answered, serves)
    }

    /// Takes everybody who waits; the queue closes when nobody does.
    fn take(&self, key: &(String, String)) -> Queue {
        let mut tables = self.tables.lock();
        let waiting = tables.get_mut(key).map(std::mem::take).unwrap_or_default();
        if waiting.is_empty() {
            tables.remove(key);
        }
        waiting
    }
}

impl Gateway {
    /// Takes rowids in a row; answers the first.
    pub(super) async fn allocate_rowids(
        &self,
        access: &RequestAccess,
        table: &str,
        count: u64,
    ) -> Result<i64> {
        let database = access.database().name.clone();
        let key = (database, table.to_ascii_lowercase());
        let (answered, serves) = self.shared.rowids.join(&key, count);
        if serves {
            // In a task of its own: a client that goes away must not leave the others waiting.
            let (gateway, own) = (self.clone(), access.for_catalog_work());
            tokio::spawn(async move { gateway.serve_rowids(&own, &key).await });
        }
        let unanswered = || Error::internal("rowids were not allocated");
        tokio::time::timeout_at(access.deadline, answered)
            .await
            .map_err(|_| Error::new(common::ErrorCode::NoQuorum, "the catalog did not answer in time"))?
            .map_err(|_| unanswered())?
    }

    /// Allocates for all who wait, and for those who come meanwhile, until nobody is left.
    async fn serve_rowids(&self, access: &RequestAccess, key: &(String, String)) {
        loop {
            let waiting = self.shared.rowids.take(key);
            if waiting.is_empty() {
                return;
            }
            let total = waiting.iter().map(|waiting| waiting.count).sum();
            let mut first = self.propose_rowids(access, key, total).await;
            for Waiting { count, answer } in waiting {
                // Whoever has gone away leaves a gap, as a failed insert of several rows does in SQLite.
                let _ = answer.send(first.clone());
                if let Ok(first) = &mut first {
                    *first = first.saturating_add_unsigned(count);
                }
            }
        }
    }

    async fn propose_rowids(
        &self,
        access: &RequestAccess,
        key: &(String, String),
        count: u64,
    ) -> Result<i64> {
        let (database, table) = key;
        let command = |greatest| Command::AllocateRowids {
            database: database.clone(),
            table: table.clone(),
            count,
            greatest,
        };
        let mut answer = self.shared.surroundings.propose(command(None)).await.map_err(nothing_written)?;
        if answer == Answer::NeedsGreatest {
            let planner = self.planner_of(&access.database()).await?;
            let greatest = query::greatest_rowid(&planner, access, table).await?;
            answer =
                self.shared.surroundings.propose(command(Some(greatest))).await.map_err(nothing_written)?;
        }
        match answer {
            Answer::Rowids { first } => Ok(first),
            other => {
                Err(Error::internal(format!("the catalog answered {other:?} to an allocation of rowids")))
            }
        }
    }

    /// Gives back what was not used. It is lost if that fails, which shows as a gap and harms nobody.
    pub(super) async fn release_rowids(&self, database: &str, table: &str, first: i64, count: u64) {
        let command =
            Command::ReleaseRowids { database: database.to_owned(), table: table.to_owned(), first, count };
        if let Err(error) = self.shared.surroundings.propose(command).await {
            tracing::debug!(%error, database, table, "rowids could not be given back");
        }
    }

    /// Makes the catalog look the greatest rowid up before it hands out the next one.
    pub(super) async fn rowids_set(&self, database: &str, table: &str) -> Result<()> {
        let known = self.shared.surroundings.view();
        let spec = known.databases.get(database).and_then(|database| database.schema.table(table));
        if spec.is_some_and(|spec| spec.rowids_set_by_client) {
            return Ok(());
        }
        let command = Command::RowidsSetByClient { database: database.to_owned(), table: table.to_owned() };
        self.shared.surroundings.propose(command).await.map(|_| ()).map_err(nothing_written)
    }
}

/// Whatever became of the allocation, no row has been written.
fn nothing_written(error: Error) -> Error {
    error.with_outcome(Outcome::NotApplied)
}
