//! What a replica does while its partition's rows are copied into others that take its place.

use std::sync::Arc;
use std::time::Duration;

use common::partition_map::BucketRange;
use common::protocol::{PinId, encode};
use common::replacing::{ImagesHeader, ReplacingReply, ReplacingRequest, RowKey};
use common::{Error, ErrorCode, Hlc, Result};
use polylite_client::peer::{Caller, StreamSink};
use sqlite::{Flow, Snapshot};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Replica;
use super::inbox::Event;
use super::machine::Job;
use super::pins::Pin;

/// How long one step may take.
const STEP: Duration = Duration::from_secs(10);
/// Blocks of rows that wait for the receiver.
const BLOCKS_WAITING: usize = 4;

impl Replica {
    /// Takes a step of replacing its partition, or of taking another's place.
    pub async fn replacing(&self, request: ReplacingRequest) -> Result<ReplacingReply> {
        match request {
            ReplacingRequest::Own { epoch, range, after, .. } => self.own(epoch, range, after).await,
            ReplacingRequest::ChangedRows { since, .. } => self.changed_rows(since).await,
            ReplacingRequest::RowsByKey { pin, keys, .. } => self.rows_by_key(pin, keys).await,
        }
    }

    async fn own(&self, epoch: u64, range: BucketRange, after: Hlc) -> Result<ReplacingReply> {
        self.clock.observe(after);
        self.submit(Job::Assign { epoch, range }, STEP, Caller::local()).await?;
        Ok(ReplacingReply::Owned { at: self.clock.now(), settled: self.published.is_settled() })
    }

    async fn changed_rows(&self, since: Option<u64>) -> Result<ReplacingReply> {
        let gone = |_| Error::new(ErrorCode::Unavailable, "the replica is stopping");
        let (answer, reply) = oneshot::channel();
        self.inbox.send(Event::ChangedRows { since, answer }).map_err(gone)?;
        reply.await.map_err(|_| Error::new(ErrorCode::Unavailable, "the replica has stopped"))
    }

    async fn rows_by_key(&self, pin: PinId, keys: Vec<RowKey>) -> Result<ReplacingReply> {
        let pin = self.pins.get(pin)?;
        let effects = in_snapshot(pin, move |snapshot| Ok(snapshot.images_by_key(&keys)?)).await?;
        Ok(ReplacingReply::Rows(effects))
    }

    /// Feeds a stream with every replicated row of a pinned snapshot.
    pub async fn images(&self, pin: PinId, sink: StreamSink) {
        let pin = match self.pins.get(pin) {
            Ok(pin) => pin,
            Err(error) => return sink.fail(encode(&error)).await,
        };
        let (blocks, mut waiting) = mpsc::channel(BLOCKS_WAITING);
        let reading = tokio::spawn(in_snapshot(pin, move |snapshot| {
            let schema_version = snapshot.system().schema_version()?;
            let header = ImagesHeader { schema_version, statements: snapshot.definition()? };
            if blocks.blocking_send(encode(&header)).is_ok() {
                let send =
                    |bytes| if blocks.blocking_send(bytes).is_ok() { Flow::Continue } else { Flow::Stop };
                snapshot.images(|effects| send(encode(&effects)))?;
            }
            Ok(())
        }));
        while let Some(block) = waiting.recv().await {
            if sink.send(block).await.is_err() {
                return;
            }
        }
        match reading.await {
            Ok(Ok(())) => sink.finish(),
            Ok(Err(error)) => sink.fail(encode(&error)).await,
            Err(panic) => sink.fail(encode(&Error::internal(panic.to_string()))).await,
        }
    }
}

/// Reads in a pinned snapshot, on a thread that may block.
async fn in_snapshot<T: Send + 'static>(
    pin: Arc<Pin>,
    read: impl FnOnce(&Snapshot<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let deadline = (Instant::now() + STEP).into_std();
    let reading = tokio::task::spawn_blocking(move || {
        let lent = pin.acquire(deadline)?;
        read(&lent.reader().snapshot())
    });
    reading.await.unwrap_or_else(|panic| Err(Error::internal(panic.to_string())))
}
