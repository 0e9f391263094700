//! Writes with an idempotency key: each takes effect once, however often and through whichever coordinator it is
//! sent, and is answered the same every time.
//!
//! The key alone chooses its home, a partition of the request's database. There are two ways:
//!
//! - **By text.** A statement whose text sends it as a whole to one partition runs there, and that partition keeps
//!   the results in the same log entry as the rows. Before that, the home is told who will know ([`Keeps::Claim`]),
//!   so that the key is not taken for another request. The answer is made of the kept results again.
//! - **By decision.** Any other request prepares what it writes, together with others, and nothing is decided until the
//!   whole answer has been written down. The decider's log keeps decision and answer in one entry. The home takes part,
//!   and keeps who the decider is ([`Keeps::Decider`]), if that is not the home itself.
//!
//! Where an attempt ends in between, nothing is kept and nothing was done: the next one begins anew.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use common::idempotency::{CommittedAnswer, Keeps, Kept, KeptResults, Keyed, KeyedRequest};
use common::partition_map::bucket_of_home;
use common::protocol::{
    StatementResult, StorageReply, StorageRequest, WorkItem, WriteReply, WriteRequest, decode, encode,
};
use common::{Error, ErrorCode, Outcome, PartitionId, Result, Value};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::access::{RequestAccess, nothing_written};
use super::joint::{HeldBack, Told};
use super::partition_call::{From, Repeat};
use super::{Bookmark, Gateway, RequestOptions};

/// One attempt at a write with an idempotency key.
pub struct Once {
    request: KeyedRequest,
    begun: Instant,
    progress: Mutex<Progress>,
}

struct Progress {
    /// Whether its text may send the request as a whole to one partition.
    by_text: bool,
    stage: Stage,
    /// What is prepared.
    held: Option<Held>,
}

/// What is prepared, and the catalog's operation if it changes the schema.
struct Held {
    joint: HeldBack,
    operation: Option<String>,
}

/// How far the attempt has come.
#[derive(Clone, Debug)]
enum Stage {
    /// The key was not looked up.
    New,
    /// Nothing is kept under the key.
    Free,
    /// Writes are prepared.
    Prepared,
    /// A partition has kept the results.
    Kept(KeptWith),
    /// The answer of an earlier attempt was found.
    Answered(Bytes),
}

/// What an answer made of kept results says beside them, the same each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptWith {
    bookmark: String,
    time_ms: f64,
    /// Whether the results are those of an earlier attempt.
    #[serde(skip)]
    replayed: bool,
}

impl Once {
    /// An attempt that has not begun.
    #[must_use]
    pub fn new(request: KeyedRequest) -> Once {
        let progress = Progress { by_text: false, stage: Stage::New, held: None };
        Once { request, begun: Instant::now(), progress: Mutex::new(progress) }
    }

    /// Says whether the text of the request may send it as a whole to one partition, so that nobody else need be
    /// asked about its key first.
    pub fn set_by_text(&self, by_text: bool) {
        self.progress.lock().by_text = by_text;
    }

    /// The answer that an earlier attempt was given, if it was found.
    #[must_use]
    pub fn answered(&self) -> Option<Bytes> {
        match &self.progress.lock().stage {
            Stage::Answered(answer) => Some(answer.clone()),
            _ => None,
        }
    }

    /// Whether the results were those of an earlier attempt.
    #[must_use]
    pub fn was_replayed(&self) -> bool {
        matches!(&self.progress.lock().stage, Stage::Kept(told) if told.replayed)
    }

    /// How long the request has taken, as every answer to it says.
    #[must_use]
    pub fn time_ms(&self) -> Option<f64> {
        match &self.progress.lock().stage {
            Stage::Kept(told) => Some(told.time_ms),
            _ => None,
        }
    }

    /// What the client has seen, as every answer to it says.
    pub(super) fn bookmark(&self) -> Option<Bookmark> {
        match &self.progress.lock().stage {
            Stage::Kept(told) => Bookmark::parse(&told.bookmark).ok(),
            _ => None,
        }
    }

    fn stage(&self) -> Stage {
        self.progress.lock().stage.clone()
    }

    fn enter(&self, stage: Stage) {
        self.progress.lock().stage = stage;
    }

    fn hold(&self, held: Held) {
        let mut progress = self.progress.lock();
        (progress.stage, progress.held) = (Stage::Prepared, Some(held));
    }

    /// What was prepared; it is the caller's from now on.
    fn take_prepared(&self) -> Option<Held> {
        let mut progress = self.progress.lock();
        let held = progress.held.take()?;
        progress.stage = Stage::Free;
        Some(held)
    }

    fn keyed(&self, keeps: Keeps) -> Keyed {
        Keyed { request: self.request.clone(), keeps }
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Once").field("key", &self.request.key).finish_non_exhaustive()
    }
}

impl RequestAccess {
    /// Says whether the request's text may send it as a whole to one partition; if not, its key is looked up.
    pub async fn choose_way(&self, by_text: bool) -> Result<()> {
        match self.once() {
            None => Ok(()),
            Some(once) => {
                once.set_by_text(by_text);
                self.look_up().await
            }
        }
    }

    /// The schema was changed, which is not held back: what is left to do is to keep the answer.
    pub(super) fn note_schema_change(&self) {
        if let Some(once) = self.once()
            && matches!(once.stage(), Stage::New)
        {
            once.enter(Stage::Free);
        }
    }

    /// Refuses to read what the request itself has prepared and not committed.
    pub(super) fn check_nothing_prepared(&self) -> Result<()> {
        match self.once().map(Once::stage) {
            Some(Stage::Prepared) => Err(Error::not_supported(
                "a request with an Idempotency-Key cannot read what it has written itself",
                "send it without the key, or read with a request of its own",
            )),
            _ => Ok(()),
        }
    }

    /// Looks the request's key up, if it has one. Fails if the request was answered before; [`Once::answered`] then
    /// has the answer.
    pub(super) async fn look_up(&self) -> Result<()> {
        let Some(once) = self.once() else { return Ok(()) };
        if once.progress.lock().by_text {
            return Ok(());
        }
        match self.ask_home(once, Keeps::Nothing).await? {
            None => once.enter(Stage::Free),
            Some(kept) => self.follow(once, kept).await?,
        }
        Ok(())
    }

    /// What was kept ends the attempt, unless it turns out that an earlier one came to nothing.
    async fn follow(&self, once: &Once, kept: Kept) -> Result<()> {
        let is_decided = matches!(kept, Kept::Decided(_));
        let kept = match kept {
            Kept::Elsewhere(partition) | Kept::Decided(partition) => {
                let database = self.database();
                let keeper = database.successor(partition);
                let index = database.partitions().position(|(_, _, id)| id == keeper);
                match index {
                    Some(index) => self.ask_key(once, index, Keeps::Nothing).await?,
                    None => None,
                }
            }
            kept => Some(kept),
        };
        match kept {
            None | Some(Kept::Elsewhere(_) | Kept::Decided(_)) if is_decided => Err(Error::new(
                ErrorCode::IdempotencyKeyGone,
                "the request was applied before, and its answer is kept no more",
            )
            .with_outcome(Outcome::Applied)),
            None | Some(Kept::Elsewhere(_) | Kept::Decided(_)) => {
                once.enter(Stage::Free);
                Ok(())
            }
            Some(Kept::Answer(answer)) => {
                once.enter(Stage::Answered(answer));
                Err(answered_before())
            }
            Some(Kept::Committed(CommittedAnswer { answer, participants })) => {
                self.await_commit(once, participants)
                    .await
                    .map_err(|error| error.with_outcome(Outcome::Applied))?;
                once.enter(Stage::Answered(answer));
                Err(answered_before())
            }
            Some(Kept::Results(_)) => Err(Error::new(
                ErrorCode::IdempotencyKeyGone,
                "the request was answered under an earlier schema; it was applied then, and not again",
            )
            .with_outcome(Outcome::Applied)),
        }
    }

    /// Waits until all participants know of a commit, so that reads that follow see it: its own coordinator may have gone
    /// before it had told them. A partition answers about keys once it knows what became of what is prepared there.
    async fn await_commit(&self, once: &Once, participants: Vec<PartitionId>) -> Result<()> {
        let database = self.database();
        let indexes = participants.into_iter().filter_map(|participant| {
            let now = database.successor(participant);
            database.partitions().position(|(_, _, id)| id == now)
        });
        let asked = indexes.map(|index| self.ask_key(once, index, Keeps::Nothing));
        // One whose session has gone on meanwhile has forgotten the key, and knows of the commit.
        let unknown = |answer: Result<Option<Kept>>| match answer {
            Err(error) if error.code != ErrorCode::IdempotencyKeyGone => Err(error),
            _ => Ok(()),
        };
        join_all(asked).await.into_iter().try_for_each(unknown)
    }

    /// A write of a request with a key.
    pub(super) async fn write_once(
        &self,
        once: &Once,
        mut work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        if once.progress.lock().by_text && work.len() == 1 {
            let (index, items) = work.remove(0);
            return Ok(vec![self.keep_results(once, index, items, max_rows).await?]);
        }
        let key = self.begin_prepared(once).await?;
        let name = self.contention.lock().name();
        match self.write_jointly(name, Some(key), work, max_rows).await? {
            Told::Prepared(prepared) => {
                once.hold(Held { joint: prepared.held, operation: None });
                Ok(prepared.written.results)
            }
            Told::Nothing(written) => Ok(written.results),
            Told::Known(kept) => Err(self.known_before(kept).await),
            Told::Written(_) => {
                Err(Error::internal("a write was committed without its answer")
                    .with_outcome(Outcome::Applied))
            }
        }
    }

    /// Before something is prepared and its answer awaited: the key, and its home. What was prepared before comes to
    /// nothing.
    pub(super) async fn begin_prepared(&self, once: &Once) -> Result<(usize, KeyedRequest)> {
        if once.progress.lock().by_text {
            once.set_by_text(false);
            self.look_up().await?;
        }
        if once.take_prepared().is_some() {
            return Err(disturbed());
        }
        Ok((self.home(once), once.request.clone()))
    }

    /// A change of the schema is prepared: it commits with its answer.
    pub(super) fn hold_change(&self, joint: HeldBack, operation: String) {
        if let Some(once) = self.once() {
            once.hold(Held { joint, operation: Some(operation) });
        }
    }

    /// Why an attempt has ended under whose key something is kept.
    pub(super) async fn known_before(&self, kept: Kept) -> Error {
        let Some(once) = self.once() else { return disturbed() };
        self.follow(once, kept).await.err().unwrap_or_else(disturbed)
    }

    /// Runs work on one partition, which keeps the results.
    async fn keep_results(
        &self,
        once: &Once,
        index: usize,
        mut items: Vec<WorkItem>,
        max_rows: u32,
    ) -> Result<Vec<StatementResult>> {
        let target = self.target(index)?;
        let partition = target.partition;
        let claims = self.home(once) != index;
        if claims {
            match self.ask_home(once, Keeps::Claim(partition)).await? {
                None => {}
                Some(Kept::Elsewhere(known)) if known == partition => {}
                Some(kept) => self.follow(once, kept).await?,
            }
        }
        let time_ms = once.begun.elapsed().as_secs_f64() * 1_000.0;
        let told = KeptWith { bookmark: self.bookmark().text(), time_ms, replayed: false };
        items.insert(0, WorkItem::Key(once.keyed(Keeps::Results(encode(&told)))));
        let mut request = StorageRequest::Write(WriteRequest { target, work: items, max_rows });
        // The key makes it safe to send the write again.
        let asked =
            self.gateway.ask(partition, From::Leader, Repeat::Freely, self.deadline, &mut request).await;
        match asked {
            Ok(StorageReply::Write(reply)) => self.tell(once, partition, told, reply).await,
            Ok(_) => Err(self.wrong_reply()),
            Err(unanswered) => {
                let mut error = self.gave_up(unanswered);
                // The key is an item as well.
                error.statement = error.statement.and_then(|item| item.checked_sub(1));
                if claims && error.outcome == Outcome::NotApplied {
                    // A claim that stays is followed, and found to be of no consequence.
                    let _ = self.ask_home(once, Keeps::Release).await;
                }
                Err(error)
            }
        }
    }

    /// The results of a write that was kept, now or before.
    async fn tell(
        &self,
        once: &Once,
        partition: PartitionId,
        told: KeptWith,
        reply: WriteReply,
    ) -> Result<Vec<StatementResult>> {
        self.note_written();
        self.see(partition, reply.index);
        let (told, index, results) = match kept_in(&reply.results)? {
            None => (told, reply.index, reply.results.into_iter().skip(1).collect()),
            Some(Kept::Results(KeptResults { context, index, results })) => {
                (KeptWith { replayed: true, ..decode(&context)? }, index, results)
            }
            Some(kept) => {
                self.follow(once, kept).await?;
                return Err(disturbed());
            }
        };
        let mut bookmark = Bookmark::parse(&told.bookmark)?;
        bookmark.see(partition, index);
        once.enter(Stage::Kept(KeptWith { bookmark: bookmark.text(), ..told }));
        Ok(results)
    }

    fn home(&self, once: &Once) -> usize {
        match self.database().buckets.as_slice() {
            [_] => 0,
            buckets => bucket_of_home(buckets, once.request.key.slot()),
        }
    }

    async fn ask_home(&self, once: &Once, keeps: Keeps) -> Result<Option<Kept>> {
        self.ask_key(once, self.home(once), keeps).await
    }

    /// Has a partition keep something under the key; answers what was kept before. Nothing of the client's data
    /// changes, so the outcome of a failure is known.
    async fn ask_key(&self, once: &Once, index: usize, keeps: Keeps) -> Result<Option<Kept>> {
        Ok(self.keep(index, once.keyed(keeps)).await?.0)
    }

    /// The same for any key; with the log index at which that is so.
    pub(super) async fn keep(&self, index: usize, keyed: Keyed) -> Result<(Option<Kept>, u64)> {
        let target = self.target(index)?;
        let partition = target.partition;
        let work = vec![WorkItem::Key(keyed)];
        let mut request = StorageRequest::Write(WriteRequest { target, work, max_rows: 1 });
        let asked =
            self.gateway.ask(partition, From::Leader, Repeat::Freely, self.deadline, &mut request).await;
        match asked.map_err(nothing_written)? {
            StorageReply::Write(reply) => Ok((kept_in(&reply.results)?, reply.index)),
            _ => Err(Error::internal("a storage node sent a reply of another kind")),
        }
    }
}

impl Gateway {
    /// Ends an attempt that has an answer: from now on the answer is kept, and what was prepared is committed. Says
    /// no if another attempt came first; then nothing of this one stays.
    pub async fn commit_once(
        &self,
        database: &str,
        options: &RequestOptions,
        once: &Arc<Once>,
        answer: &Bytes,
    ) -> Result<bool> {
        match once.stage() {
            Stage::New | Stage::Kept(_) | Stage::Answered(_) => Ok(true),
            Stage::Free => {
                let keep = |session: Arc<super::Session>| async move {
                    session.access.ask_home(once, Keeps::Answer(answer.clone())).await
                };
                // The attempt is over: what follows is no part of it.
                let options = RequestOptions { once: None, ..options.clone() };
                Ok(self.run(database, &options, keep).await?.0.is_none())
            }
            Stage::Prepared => match once.take_prepared() {
                Some(Held { joint, operation: None }) => joint.commit(answer.clone()).await,
                Some(Held { joint, operation: Some(operation) }) => {
                    self.commit_change(joint, &operation, answer.clone(), options.deadline).await
                }
                None => Ok(false),
            },
        }
    }

    /// Ends an attempt that has no answer.
    pub fn abandon_once(&self, once: &Once) {
        drop(once.take_prepared());
    }
}

/// What results, of which the first is the key's, say was kept already.
pub(super) fn kept_in(results: &[StatementResult]) -> Result<Option<Kept>> {
    let malformed = |_| Error::internal("a storage node sent malformed rows");
    let Some(result) = results.first().filter(|result| result.rows.rows > 0) else { return Ok(None) };
    match result.rows.to_values().map_err(malformed)?.first().map(Vec::as_slice) {
        Some([Value::Blob(bytes)]) => decode(bytes).map(Some),
        _ => Err(Error::internal("a storage node sent something else than what it keeps")),
    }
}

/// Not told to clients, who get the answer instead.
fn answered_before() -> Error {
    Error::new(ErrorCode::IdempotencyKeyGone, "the request was answered before")
        .with_outcome(Outcome::Applied)
}

/// The request has to begin anew.
fn disturbed() -> Error {
    Error::new(ErrorCode::SerializationFailure, "rows that the request is about were changed by another one")
        .with_hint("send it again")
}
