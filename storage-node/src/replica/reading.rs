//! Reads: beside the worker, on connections of their own, each in one snapshot of the file.

use std::sync::Arc;
use std::time::Duration;

use common::dependency::Dependency;
use common::limits::RESULT_MAX;
use common::protocol::{
    Lease, LeaseHolder, PartitionTarget, ReadLevel, ReadRequest, RowsHeader, StatementResult, encode,
};
use common::{Error, ErrorCode, Result};
use consensus_runtime::{Role, lease_clock};
use polylite_client::peer::{StreamCancelled, StreamSink};
use sqlite::{Budget, Flow, PooledReader, Reader, ReaderPool, Snapshot};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::Replica;
use super::machine::{not_leader, stale_partition_map, stale_schema};
use super::pins::Pin;
use super::published::LastChange;
use super::running::{Running, Watch};
use crate::clock::monotonic_us;

/// Blocks of a stream that wait for the receiver.
const BLOCKS_WAITING: usize = 4;
/// How long a read that may be stale waits for its replica to catch up before another one is asked.
const CATCH_UP: Duration = Duration::from_millis(300);
/// A read of no more instructions of SQLite's virtual machine than this (some tenths of a millisecond) is answered where
/// its request was received. One that turns out longer begins again on a thread of its own: to hand every read over would
/// cost more than most reads themselves.
pub(super) const BRIEF_INSTRUCTIONS: u64 = 10_000;

/// Where a read finds its snapshot.
enum Source {
    /// It opens one of its own.
    Pool(Arc<ReaderPool>),
    /// It was pinned before.
    Pin(Arc<Pin>),
}

impl Replica {
    /// Answers a read; with its rows comes the log index of the snapshot. The statement is ended if the answer
    /// is not waited for.
    pub async fn read(&self, request: ReadRequest) -> Result<(StatementResult, u64)> {
        let deadline = Deadline::after(request.target.timeout_ms);
        let source = self.source(&request, deadline).await?;
        match source.read_briefly(&request, deadline) {
            Some(Err(error)) if error.code == ErrorCode::StatementTimeout && !deadline.is_over() => {}
            Some(answered) => return answered,
            None => {}
        }
        let turn = turn(&self.reads, deadline).await?;
        let mut running = Running::begin(&self.statements);
        let watch = running.watch();
        let read = move || {
            let _turn = turn;
            let interrupted = || deadline.is_over() || watch.nobody_waits();
            source.with_snapshot(&request.target, deadline, |snapshot, index| {
                answer(snapshot, index, &request, None, interrupted)
            })
        };
        let answered = tokio::task::spawn_blocking(read).await;
        running.ended();
        answered.unwrap_or_else(|panic| Err(Error::internal(panic.to_string())))
    }

    /// A connection to read the newest state by.
    pub(super) async fn reader(&self, deadline: Deadline) -> Result<PooledReader> {
        let readers = self.readers()?;
        if let Some(reader) = readers.acquire_idle() {
            return Ok(reader);
        }
        let _turn = turn(&self.reads, deadline).await?;
        let opened = tokio::task::spawn_blocking(move || readers.acquire()).await;
        Ok(opened.map_err(|panic| Error::internal(panic.to_string()))??)
    }

    pub(super) fn readers(&self) -> Result<Arc<ReaderPool>> {
        let readers = self.published().readers();
        readers.ok_or_else(|| Error::new(ErrorCode::Unavailable, "the replica is waiting for a snapshot"))
    }

    /// Feeds a stream with the rows of a read. The deadline holds for each block, not for the whole.
    pub async fn stream(&self, request: ReadRequest, sink: StreamSink) {
        let deadline = Deadline::after(request.target.timeout_ms);
        let prepared = async {
            let source = self.source(&request, deadline).await?;
            Ok((source, turn(&self.streams, deadline).await?))
        };
        let (source, turn) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return sink.fail(encode::<Error>(&error)).await,
        };
        let mut running = Running::begin(&self.statements);
        let watch = running.watch();
        let open = self.open_streams.enter();
        let (blocks, mut waiting) = mpsc::channel(BLOCKS_WAITING);
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            source.with_snapshot(&request.target, deadline, |snapshot, index| {
                read_blocks(snapshot, index, &request, &blocks, &watch)
            })
        });
        let cancelled = sink.cancelled();
        let sent = async {
            while let Some(block) = waiting.recv().await {
                sink.send(block).await?;
            }
            Ok::<_, StreamCancelled>(())
        };
        // The receiver may go while the statement looks for its next row.
        let receiver_is_there = async {
            tokio::select! {
                sent = sent => sent.is_ok(),
                () = cancelled => false,
            }
        };
        match open.while_open(receiver_is_there).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // The statement ends at once, before the error has found its way out.
                drop((running, waiting));
                return sink.fail(encode(&error)).await;
            }
        }
        let read = reading.await;
        running.ended();
        match read {
            Ok(Ok(())) => sink.finish(),
            Ok(Err(error)) => sink.fail(encode(&error)).await,
            Err(panic) => sink.fail(encode(&Error::internal(panic.to_string()))).await,
        }
    }

    /// Whether nothing has changed what an answer depends on since a log index, as a linearizable read would find it; the
    /// log index up to which that holds; and a lease, if there can be one. A prepared transaction may be decided already
    /// where it began, so that nothing is certain while there is one.
    pub async fn is_unchanged(
        &self,
        target: PartitionTarget,
        since: u64,
        dependencies: &[Dependency],
        holder: &LeaseHolder,
    ) -> Result<(bool, u64, Option<Lease>)> {
        let deadline = Deadline::after(target.timeout_ms);
        let published = self.published();
        // Before the round of messages that confirms leadership.
        let granted = published.leases().grant(holder, published.base(), lease_clock());
        self.reach(&target, ReadLevel::Linearizable, 0, deadline).await?;
        // Each of these was published before the log index that was waited for.
        let version = published.schema_version();
        if version != target.schema_version {
            return Err(stale_schema(version.max(target.schema_version)));
        }
        let LastChange { at, base, index, in_doubt } = published.last_change(dependencies);
        let unchanged = at <= since && !in_doubt;
        // While it stands no batch has begun, so that the state is what it was when it was granted.
        let stands = granted.is_some_and(|number| published.leases().stands(holder.process, number));
        Ok((unchanged, index, stands.then_some(Lease { base, index })))
    }

    async fn source(&self, request: &ReadRequest, deadline: Deadline) -> Result<Source> {
        if let Some(pin) = request.pin {
            return Ok(Source::Pin(self.pins.get(pin)?));
        }
        self.reach(&request.target, request.level, request.at_least, deadline).await?;
        Ok(Source::Pool(self.readers()?))
    }

    /// Waits until this replica's file is as fresh as a request wants it.
    pub(super) async fn reach(
        &self,
        target: &PartitionTarget,
        level: ReadLevel,
        at_least: u64,
        deadline: Deadline,
    ) -> Result<()> {
        let index = self.fresh_index(level, deadline).await?;
        let fresh = async {
            self.published().wait_for(index).await;
            if matches!(level, ReadLevel::Linearizable | ReadLevel::Leader) {
                self.published().wait_for_told().await;
            }
            self.published().wait_for_seen(at_least).await;
            // A partition that takes another one's place has all of its rows from then on.
            self.published().wait_for_epoch(target.epoch).await;
        };
        let (limit, late) = match level {
            // Another replica may be ahead.
            ReadLevel::StaleWithin(_) => {
                (deadline.instant.min(Instant::now() + CATCH_UP), ErrorCode::Unavailable)
            }
            _ => (deadline.instant, ErrorCode::Timeout),
        };
        timeout_at(limit, fresh)
            .await
            .map_err(|_| Error::new(late, "the replica did not catch up in time"))?;
        let epoch = self.published().epoch();
        if target.epoch < epoch {
            return Err(stale_partition_map(epoch));
        }
        Ok(())
    }

    /// The log index that a read of this level has to see.
    async fn fresh_index(&self, level: ReadLevel, deadline: Deadline) -> Result<u64> {
        match level {
            ReadLevel::Stale => Ok(0),
            ReadLevel::Leader => {
                let status = self.group().status();
                if status.role == Role::Leader && self.published().is_writable() {
                    Ok(0)
                } else {
                    Err(not_leader(status.leader))
                }
            }
            ReadLevel::Linearizable => self.read_index(deadline).await,
            ReadLevel::StaleWithin(milliseconds) => {
                self.index_within(Duration::from_millis(milliseconds), deadline).await
            }
        }
    }
}

impl Source {
    /// Answers on a connection that is idle, unless that takes long. `None` if there is no such connection.
    fn read_briefly(
        &self,
        request: &ReadRequest,
        deadline: Deadline,
    ) -> Option<Result<(StatementResult, u64)>> {
        let brief = |snapshot: &Snapshot<'_>, index| {
            answer(snapshot, index, request, Some(BRIEF_INSTRUCTIONS), || deadline.is_over())
        };
        match self {
            Source::Pool(readers) => {
                let mut reader = readers.acquire_idle()?;
                Some(with_own_snapshot(&mut reader, &request.target, brief))
            }
            Source::Pin(pin) => {
                let lent = pin.try_acquire()?;
                Some(brief(&lent.reader().snapshot(), pin.index()))
            }
        }
    }

    /// Does something with the snapshot and its log index. May block until a connection is free.
    fn with_snapshot<T>(
        &self,
        target: &PartitionTarget,
        deadline: Deadline,
        read: impl FnOnce(&Snapshot<'_>, u64) -> Result<T>,
    ) -> Result<T> {
        match self {
            Source::Pool(readers) => with_own_snapshot(&mut *readers.acquire()?, target, read),
            Source::Pin(pin) => {
                let lent = pin.acquire(deadline.instant.into_std())?;
                read(&lent.reader().snapshot(), pin.index())
            }
        }
    }
}

fn with_own_snapshot<T>(
    reader: &mut Reader,
    target: &PartitionTarget,
    read: impl FnOnce(&Snapshot<'_>, u64) -> Result<T>,
) -> Result<T> {
    let snapshot = reader.snapshot()?;
    let index = check_snapshot(&snapshot, target)?;
    read(&snapshot, index)
}

/// Answers a read from one snapshot.
fn answer(
    snapshot: &Snapshot<'_>,
    index: u64,
    request: &ReadRequest,
    instructions: Option<u64>,
    interrupted: impl Fn() -> bool,
) -> Result<(StatementResult, u64)> {
    let budget = Budget {
        interrupted: Some(&interrupted),
        instructions,
        rows: request.max_rows.map_or(u64::MAX, u64::from),
        bytes: RESULT_MAX,
    };
    let mut result = snapshot.query(&request.statement, &budget)?;
    result.is_read = true;
    Ok((result, index))
}

/// The moment at which nobody waits any more.
#[derive(Clone, Copy)]
pub struct Deadline {
    pub(super) instant: Instant,
    us: u64,
}

impl Deadline {
    /// So many milliseconds from now.
    #[must_use]
    pub fn after(timeout_ms: u64) -> Deadline {
        let timeout_ms = timeout_ms.min(common::limits::STATEMENT_TIMEOUT_MS_MAX);
        Deadline {
            instant: Instant::now() + Duration::from_millis(timeout_ms),
            us: monotonic_us() + timeout_ms * 1_000,
        }
    }

    /// Milliseconds until then, at least one.
    pub(super) fn left_ms(self) -> u64 {
        let left = self.instant.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    pub(super) fn is_over(self) -> bool {
        monotonic_us() >= self.us
    }
}

/// Waits until one more may read. The permit goes with the read, which outlives whoever asked for it.
async fn turn(places: &Arc<Semaphore>, deadline: Deadline) -> Result<OwnedSemaphorePermit> {
    match timeout_at(deadline.instant, places.clone().acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) => Err(Error::new(ErrorCode::Unavailable, "the replica is stopping")),
        Err(_) => Err(Error::new(ErrorCode::Timeout, "too many reads of the partition are under way")),
    }
}

/// The snapshot must have the schema that the request was planned on. Answers its log index.
pub(super) fn check_snapshot(snapshot: &Snapshot<'_>, target: &PartitionTarget) -> Result<u64> {
    let version = snapshot.system().schema_version()?;
    if version != target.schema_version {
        return Err(stale_schema(version.max(target.schema_version)));
    }
    Ok(snapshot.system().position()?.index)
}

fn read_blocks(
    snapshot: &Snapshot<'_>,
    index: u64,
    request: &ReadRequest,
    blocks: &mpsc::Sender<bytes::Bytes>,
    watch: &Watch,
) -> Result<()> {
    let interrupted = || watch.nobody_waits();
    let budget = Budget {
        interrupted: Some(&interrupted),
        rows: request.max_rows.map_or(u64::MAX, u64::from),
        bytes: usize::MAX,
        ..Budget::default()
    };
    let send = |block| if blocks.blocking_send(block).is_ok() { Flow::Continue } else { Flow::Stop };
    snapshot.stream(
        &request.statement,
        &budget,
        |columns, types| send(encode(&RowsHeader { columns, types, index })),
        |block| send(encode(&block)),
    )?;
    Ok(())
}
