//! What the machine does without a cluster.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Rows a second that one SQLite file takes (WAL, every commit synced), `rows_per_commit` at a time.
pub async fn sqlite_inserts(folder: &Path, rows_per_commit: u64, time: Duration) -> Result<f64, Failure> {
    let folder = tempfile::tempdir_in(folder)?;
    blocking(move || {
        let mut table = sqlite::baseline::SyncedTable::create(&folder.path().join("baseline.db"))
            .map_err(|error| Failure::refused(format!("baseline: {error}")))?;
        rate(time, || {
            table
                .insert(rows_per_commit)
                .map(|()| rows_per_commit)
                .map_err(|error| Failure::refused(format!("baseline: {error}")))
        })
    })
    .await
}

/// Appends of 4 KiB a second, each followed by fdatasync.
pub async fn synced_writes(folder: &Path, time: Duration) -> Result<f64, Failure> {
    let path = folder.join("baseline.dat");
    blocking(move || {
        let mut file = std::fs::File::create(path)?;
        let block = [b'x'; 4096];
        rate(time, || {
            file.write_all(&block)?;
            file.sync_data()?;
            Ok(1)
        })
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::refused(format!("baseline: {error}")))?
}

/// How much `step` does a second, repeated for `time`.
fn rate(time: Duration, mut step: impl FnMut() -> Result<u64, Failure>) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < time {
        done += step()?;
    }
    #[allow(clippy::cast_precision_loss)]
    let done = done as f64;
    Ok(done / started.elapsed().as_secs_f64())
}
