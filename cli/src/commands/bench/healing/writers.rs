//! Clients that write one row at a time and do not give up, and how long each row took them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::Value;
use tokio::task::JoinSet;

use super::PATIENCE;
use crate::commands::bench::http_load::{Exchange, HttpConnection};
use crate::commands::bench::workload::{DATABASE, SQL_PATH, Subject};
use crate::failure::Failure;

/// Pause after a write that was refused.
const PAUSE: Duration = Duration::from_millis(5);

/// How long writes took, from the first attempt to the acknowledgement.
#[derive(Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// From the shortest to the longest.
    pub fn sorted(&self) -> &[Duration] {
        &self.0
    }
}

/// What the clients share.
struct Shared {
    url: String,
    next: AtomicU64,
    stop: AtomicBool,
    /// How long each row took that was acknowledged.
    done: Mutex<Vec<Duration>>,
}

impl Shared {
    fn done(&self) -> MutexGuard<'_, Vec<Duration>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients at work.
pub struct Writers {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<(), Failure>>,
}

impl Writers {
    /// Begins to write into a table of its own.
    pub async fn start(subject: &Subject, count: usize) -> Result<Writers, Failure> {
        let table = "CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL)";
        subject.connection.sql(DATABASE, table).await?;
        let shared = Arc::new(Shared {
            url: subject.url.clone(),
            next: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            done: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..count.max(1) {
            tasks.spawn(write(shared.clone()));
        }
        Ok(Writers { shared, tasks })
    }

    /// What an act comes to, and how long the writes took that were acknowledged meanwhile.
    pub async fn during<T>(&self, act: impl Future<Output = T>) -> (T, Latencies) {
        let before = self.shared.done().len();
        let done = act.await;
        let mut times = self.shared.done()[before..].to_vec();
        times.sort_unstable();
        (done, Latencies(times))
    }

    /// Ends them; answers how many rows were acknowledged, and how many of these are not there.
    pub async fn finish(mut self, subject: &Subject) -> Result<(u64, u64), Failure> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| Failure::refused(format!("a client ended: {error}")))??;
        }
        let acknowledged = self.shared.done().len() as u64;
        // Ids are given out without a gap, and nobody leaves before its row is acknowledged.
        let sql = "SELECT count(*) FROM entries";
        let answer = subject.connection.sql(DATABASE, sql).await?;
        let found = answer.rows.and_then(|rows| match rows.rows.first()?.first()? {
            Value::Integer(count) => u64::try_from(*count).ok(),
            _ => None,
        });
        let found = found.ok_or_else(|| Failure::refused("nobody says how many rows there are"))?;
        Ok((acknowledged, acknowledged.saturating_sub(found)))
    }
}

/// Writes row after row; each is sent again until it is acknowledged.
async fn write(shared: Arc<Shared>) -> Result<(), Failure> {
    let mut http = HttpConnection::open(&shared.url).await?;
    while !shared.stop.load(Ordering::Relaxed) {
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let row = Exchange {
            path: SQL_PATH,
            body: format!(
                "{{\"sql\":\"INSERT INTO entries VALUES (?, ?) ON CONFLICT DO NOTHING\",\"params\":[{id},\"entry {id}\"]}}"
            ),
            expected: String::new(),
        };
        let begun = Instant::now();
        while let Err(failure) = http.post(&row).await {
            if begun.elapsed() > PATIENCE {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE).await;
            http = HttpConnection::open(&shared.url).await?;
        }
        shared.done().push(begun.elapsed());
    }
    Ok(())
}
