//! The writing side of a connection, and its keep-alive.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::connection::Connection;
use super::frame::Kind;
use super::lanes::Batch;

/// How a dead peer is noticed. Both sides must use about the same interval.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// Something is sent at least this often.
    pub interval: Duration,
    /// After so many intervals without a byte from the peer the connection is given up.
    pub silent_intervals_max: u32,
}

impl Default for KeepAlive {
    fn default() -> Self {
        KeepAlive { interval: Duration::from_secs(1), silent_intervals_max: 3 }
    }
}

/// The next moment at which all connections of the process look after themselves: an idle process is woken
/// once for all of them.
fn next_common(interval: Duration) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let past = START.elapsed().as_nanos() % interval.as_nanos().max(1);
    let left = interval.saturating_sub(Duration::from_nanos(u64::try_from(past).unwrap_or(0)));
    Instant::now() + left
}

/// Counts intervals rather than time, so that a pause of this process is not taken for the peer's.
struct Heartbeat {
    tick: Interval,
    silent: u32,
    silent_max: u32,
    wrote: bool,
}

impl Heartbeat {
    fn new(keep_alive: KeepAlive) -> Heartbeat {
        let mut tick = tokio::time::interval_at(next_common(keep_alive.interval), keep_alive.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Heartbeat { tick, silent: 0, silent_max: keep_alive.silent_intervals_max, wrote: true }
    }

    fn beat(&mut self, connection: &Connection) -> io::Result<()> {
        self.silent = if connection.heard.swap(false, Ordering::Relaxed) { 0 } else { self.silent + 1 };
        if self.silent > self.silent_max {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"));
        }
        if !std::mem::take(&mut self.wrote) {
            connection.send_urgent(Kind::Ping, 0, Bytes::new());
        }
        Ok(())
    }
}

/// Writes what waits in the lanes until the connection is closed, the peer falls silent, or writing fails.
pub(super) async fn write_until_closed(
    connection: &Connection,
    mut io: impl AsyncWrite + Unpin,
    keep_alive: KeepAlive,
) -> io::Result<()> {
    let mut heartbeat = Heartbeat::new(keep_alive);
    let mut batch = Batch::default();
    while connection.fill(&mut batch) {
        if batch.has_remaining() {
            write_batch(connection, &mut io, &mut batch, &mut heartbeat).await?;
            heartbeat.wrote = true;
            continue;
        }
        io.flush().await?;
        tokio::select! {
            biased;
            // Tasks that are ready as well may have something to send: it leaves with the same system call.
            () = connection.wake.notified() => tokio::task::yield_now().await,
            _ = heartbeat.tick.tick() => heartbeat.beat(connection)?,
        }
    }
    io.shutdown().await
}

async fn write_batch(
    connection: &Connection,
    io: &mut (impl AsyncWrite + Unpin),
    batch: &mut Batch,
    heartbeat: &mut Heartbeat,
) -> io::Result<()> {
    // An interrupted write has advanced the batch by what it wrote, so it is simply continued.
    while batch.has_remaining() {
        tokio::select! {
            biased;
            written = io.write_all_buf(batch) => written?,
            () = connection.closed.cancelled() => return Ok(()),
            _ = heartbeat.tick.tick() => heartbeat.beat(connection)?,
        }
    }
    Ok(())
}
