//! A storage node as coordinators see it: what [`storage_node::service`] does with threads, done in one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::brief::{BriefAnswer, BriefRead};
use common::protocol::{
    PinRequest, ReadRequest, Reply, RowsHeader, StorageReply, StorageRequest, StorageStream, Verdict, decode,
    encode,
};
use common::{Error, ErrorCode, Hlc, Outcome, PartitionId, Result};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use polylite_client::peer::{Caller, PeerClock, PeerService, StreamSink};
use storage_node::replica::machine::{self, Job, Pending, Ticket};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::network::{Interference, Links};
use crate::simulated_cluster::node::{Asked, Found, Input, NodeClock};
use crate::simulated_placement::world::{BEGIN_MS, Name, World};

/// What a coordinator sends to end a transaction may wait so long, in milliseconds.
const CONTROL_MS: u64 = 10_000;

/// How long a late request is on its way.
const LATE: Duration = Duration::from_secs(3);

/// A storage node.
pub(super) struct StorageService {
    world: World,
    node: usize,
    clock: Arc<Clock>,
    links: Arc<Mutex<Links>>,
}

/// The node's clock, for its connections.
struct Clock {
    clock: NodeClock,
    begun: Instant,
}

impl PeerClock for Clock {
    fn now(&self) -> Hlc {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.clock.now(BEGIN_MS + since)
    }

    fn observe(&self, remote: Hlc) {
        self.clock.observe(remote);
    }
}

impl PeerService for StorageService {
    fn call(self: Arc<Self>, _from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes> {
        async move {
            let reply: Reply<StorageReply> = match decode(&payload) {
                Ok(request) => self.answer_unless_lost(request).await,
                Err(error) => Err(error),
            };
            encode(&reply)
        }
        .boxed()
    }

    fn stream(self: Arc<Self>, payload: Bytes, sink: StreamSink) -> BoxFuture<'static, ()> {
        async move {
            match decode(&payload) {
                Ok(StorageStream::Read(read)) => self.stream_rows(read, sink).await,
                Ok(StorageStream::Pin(request)) => self.pin(request, sink).await,
                Ok(_) => sink.fail(encode(&nobody_asks())).await,
                Err(error) => sink.fail(encode(&error)).await,
            }
        }
        .boxed()
    }

    fn one_way(&self, _payload: Bytes) {}

    fn clock(&self) -> Arc<dyn PeerClock> {
        self.clock.clone()
    }
}

impl StorageService {
    pub(super) fn new(world: &World, node: usize, links: &Arc<Mutex<Links>>) -> StorageService {
        let clock = world.state().clock_of(node).cloned().expect("clocks matter here");
        let clock = Arc::new(Clock { clock, begun: Instant::now() });
        StorageService { world: world.clone(), node, clock, links: links.clone() }
    }

    /// Answers, unless a test wants otherwise.
    async fn answer_unless_lost(&self, request: StorageRequest) -> Result<StorageReply> {
        let links = || self.links.lock().expect("a panic ends the run");
        let interference = links().interference(&request);
        let reply = match interference {
            Some(Interference::Lost) => Err(gone()),
            Some(Interference::Late) => {
                sleep(LATE).await;
                return self.answer(request).await;
            }
            Some(Interference::Unanswered | Interference::LastOfAll) | None => self.answer(request).await,
        };
        if let Some(interference) = interference {
            links().interfere(interference, self.node);
        }
        reply
    }

    async fn answer(&self, request: StorageRequest) -> Result<StorageReply> {
        match request {
            StorageRequest::Write(write) => {
                let target = write.target.clone();
                self.job(target.partition, Job::Write(write), target.timeout_ms).await
            }
            StorageRequest::Joint(joint) => {
                let target = joint.target.clone();
                self.job(target.partition, Job::Joint(joint), target.timeout_ms).await
            }
            StorageRequest::Try(attempt) => {
                let target = attempt.write.target.clone();
                self.job(target.partition, Job::Try(attempt), target.timeout_ms).await
            }
            StorageRequest::Decide { partition, transaction, verdict, decides, timeout_ms } => {
                self.job(partition, Job::Decide { transaction, verdict, decides }, timeout_ms).await
            }
            StorageRequest::DecideKeyed {
                partition,
                transaction,
                participants,
                keyed,
                prepared_at,
                timeout_ms,
            } => {
                let job = Job::DecideKeyed { transaction, participants, keyed, prepared_at };
                self.job(partition, job, timeout_ms).await
            }
            StorageRequest::CarryOut { partition, transaction, at, timeout_ms } => {
                self.job(partition, Job::CarryOut { transaction, at }, timeout_ms).await
            }
            StorageRequest::Unlock { partition, transaction } => {
                self.job(partition, Job::Unlock { transaction }, CONTROL_MS).await
            }
            StorageRequest::Resolve { partition, transaction } => {
                let job = Job::Decide { transaction, verdict: Verdict::ABORT, decides: true };
                self.job(partition, job, CONTROL_MS).await
            }
            StorageRequest::Read(read) => match self.rows(read.target.partition, Asked::Read(read)).await? {
                Found::Rows(result, index) => Ok(StorageReply::Rows { result, index }),
                _ => Err(nobody_asks()),
            },
            StorageRequest::ReadBriefly(reads) => self.brief(reads).await,
            _ => Err(nobody_asks()),
        }
    }

    /// The replica of a partition that runs here.
    fn replica(&self, partition: PartitionId) -> Result<Name> {
        let state = self.world.state();
        let mut here =
            state.places.iter().filter(|((of, _), place)| *of == partition && place.on == self.node);
        let found = here.find(|(_, place)| place.node.is_some()).map(|(name, _)| *name);
        found.ok_or_else(|| Error::new(ErrorCode::PartitionNotFound, "the partition has no replica here"))
    }

    pub(super) async fn job(
        &self,
        partition: PartitionId,
        job: Job,
        timeout_ms: u64,
    ) -> Result<StorageReply> {
        let name = self.replica(partition)?;
        let told = {
            let mut state = self.world.state();
            let (tell, told) = oneshot::channel();
            state.last_ticket += 1;
            let ticket = Ticket(state.last_ticket);
            state.jobs.insert(ticket.0, tell);
            let deadline_ms = state.elapsed_us() / 1_000 + timeout_ms;
            state.soon(name, Input::Write(Pending { ticket, deadline_ms, job }));
            told
        };
        match told.await.unwrap_or_else(|_| Err(gone()))? {
            machine::Reply::Written(reply) => Ok(StorageReply::Write(reply)),
            machine::Reply::Joint(reply) => Ok(StorageReply::Joint(reply)),
            machine::Reply::Decided(verdict) => Ok(StorageReply::Decided(verdict)),
            machine::Reply::Tried(tried) => Ok(StorageReply::Tried(*tried)),
            machine::Reply::Done => Ok(StorageReply::Done),
        }
    }

    async fn rows(&self, partition: PartitionId, asked: Asked) -> Result<Found> {
        let name = self.replica(partition)?;
        let told = {
            let mut state = self.world.state();
            let (tell, told) = oneshot::channel();
            state.last_ticket += 1;
            let operation = state.last_ticket;
            state.rows.insert(operation, tell);
            state.soon(name, Input::Ask { operation, asked });
            told
        };
        told.await.unwrap_or_else(|_| Err(gone().with_outcome(Outcome::NotApplied)))
    }

    /// Answers in the order of the reads and their partitions. The error of one alone is the message's.
    async fn brief(&self, reads: Vec<BriefRead>) -> Result<StorageReply> {
        let asked = reads.into_iter().flat_map(|read| {
            let BriefRead { statement, partitions, .. } = read;
            partitions.into_iter().map(move |target| (statement.clone(), target))
        });
        let answers = asked.map(|(statement, target)| async move {
            match self.rows(target.target.partition, Asked::Briefly(statement, target)).await? {
                Found::Brief(answer) => Ok(answer),
                _ => Err(nobody_asks()),
            }
        });
        let mut answers: Vec<Result<BriefAnswer>> = join_all(answers).await;
        if answers.len() == 1 && answers[0].is_err() {
            return answers.remove(0).map(|answer| StorageReply::Brief(vec![Ok(answer)]));
        }
        Ok(StorageReply::Brief(answers))
    }

    async fn stream_rows(&self, read: ReadRequest, sink: StreamSink) {
        match self.rows(read.target.partition, Asked::Read(read)).await {
            Ok(Found::Rows(result, index)) => {
                let header = RowsHeader { columns: result.columns, types: result.types, index };
                // A receiver that has gone needs no more.
                if sink.send(encode(&header)).await.is_ok()
                    && (result.rows.rows == 0 || sink.send(encode(&result.rows)).await.is_ok())
                {
                    sink.finish();
                }
            }
            Ok(_) => sink.fail(encode(&nobody_asks())).await,
            Err(error) => sink.fail(encode(&error)).await,
        }
    }

    /// Keeps a snapshot until the stream is cancelled.
    async fn pin(&self, request: PinRequest, sink: StreamSink) {
        let (partition, pin) = (request.target.partition, request.pin);
        match self.rows(partition, Asked::Pin(request)).await {
            Ok(Found::Pinned(pinned)) => {
                if sink.send(encode(&pinned)).await.is_ok() {
                    sink.cancelled().await;
                }
                if let Ok(name) = self.replica(partition) {
                    self.world.state().soon(name, Input::Unpin(pin));
                }
            }
            Ok(_) => sink.fail(encode(&nobody_asks())).await,
            Err(error) => sink.fail(encode(&error)).await,
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorCode::Unavailable, "the replica has stopped").with_outcome(Outcome::Unknown)
}

fn nobody_asks() -> Error {
    Error::internal("nobody asks for this here")
}
