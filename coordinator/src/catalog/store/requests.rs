//! Bringing proposals and read indexes to whichever coordinator leads, until time is up.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::catalog::Catalog;
use common::protocol::{CoordinatorReply, CoordinatorRequest};
use common::{Error, ErrorCode, Outcome, ReplicaId, RequestId, Result};
use consensus_runtime::Role;
use tokio::time::{Instant, timeout_at};

use super::CatalogStore;
use super::shared::Applied;
use crate::catalog::command::{Answer, Command, FORMAT, Proposal};
use crate::catalog::random;

/// How long the coordinators may take to agree.
pub(super) const CATALOG_TIMEOUT: Duration = Duration::from_secs(4);
/// How long one coordinator is waited for before another is asked.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// First pause after an attempt in vain; it doubles up to the last.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(160);

/// What is asked of the leader.
enum Question {
    Propose { request: RequestId, bytes: Bytes },
    ReadIndex,
}

/// What it answers.
enum Reply {
    Applied(Applied),
    Index(u64),
}

/// An attempt in vain.
struct Refused {
    /// Whether the log may hold the proposal nevertheless.
    doubtful: bool,
    /// Who leads, according to the coordinator that was asked.
    leader: Option<ReplicaId>,
}

impl Refused {
    const PLAIN: Refused = Refused { doubtful: false, leader: None };
    const DOUBTFUL: Refused = Refused { doubtful: true, leader: None };
}

impl CatalogStore {
    pub(super) async fn confirm(&self, timeout: Duration) -> Result<Arc<Catalog>> {
        let deadline = Instant::now() + timeout;
        let Reply::Index(index) = self.ask(&Question::ReadIndex, deadline).await? else {
            unreachable!("a read index is answered with an index")
        };
        self.wait_for(index, deadline).await.ok_or_else(|| no_quorum(false))?;
        Ok(self.view())
    }

    pub(super) async fn carry_out(&self, command: Command, timeout: Duration) -> Result<Answer> {
        let deadline = Instant::now() + timeout;
        let request = random::request_id();
        let proposal = Proposal { format: FORMAT, request, at: now_ms(), command };
        let bytes = Bytes::from(proposal.encode()?);
        let Reply::Applied((index, answer)) =
            self.ask(&Question::Propose { request, bytes }, deadline).await?
        else {
            unreachable!("a proposal is answered with its answer")
        };
        // The answer is known; that this coordinator's view lags is no reason to withhold it.
        self.wait_for(index, deadline).await;
        answer
    }

    /// Waits until the view has reached a log index; `None` when time is up.
    pub(super) async fn wait_for(&self, index: u64, deadline: Instant) -> Option<()> {
        let mut applied = self.changed();
        let reached = applied.wait_for(|applied| *applied >= index);
        timeout_at(deadline, reached).await.ok()?.ok().map(drop)
    }

    /// A proposal for the leader, from another coordinator. Fails with `not_leader` if this one does not lead.
    pub(crate) async fn propose_here(&self, bytes: Bytes) -> Result<CoordinatorReply> {
        let proposal = Proposal::decode(&bytes)
            .map_err(|error| Error::bad_request(format!("a proposal cannot be read: {error}")))?;
        let question = Question::Propose { request: proposal.request, bytes };
        match self.ask_here(&question, Instant::now() + CATALOG_TIMEOUT).await {
            Ok(Reply::Applied((index, answer))) => {
                let answer = serde_json::to_vec(&answer).expect("answers have an encoding");
                Ok(CoordinatorReply::Applied { index, answer: answer.into() })
            }
            Ok(Reply::Index(_)) => unreachable!("a proposal is answered with its answer"),
            Err(refused) => Err(self.not_leader(refused.doubtful)),
        }
    }

    /// A read index for another coordinator. Fails with `not_leader` if this one does not lead.
    pub(crate) async fn read_index_here(&self) -> Result<CoordinatorReply> {
        match self.ask_here(&Question::ReadIndex, Instant::now() + ATTEMPT_TIMEOUT).await {
            Ok(Reply::Index(index)) => Ok(CoordinatorReply::Index(index)),
            Ok(Reply::Applied(_)) => unreachable!("a read index is answered with an index"),
            Err(_) => Err(self.not_leader(false)),
        }
    }

    /// The error for a request that only the leader answers.
    pub(crate) fn not_leader(&self, doubtful: bool) -> Error {
        let mut error = Error::new(ErrorCode::NotLeader, "this coordinator does not lead");
        error.leader = self.inner.shared.role.borrow().leader;
        if doubtful { error.with_outcome(Outcome::Unknown) } else { error }
    }

    /// Asks until somebody answers or time is up.
    async fn ask(&self, question: &Question, deadline: Instant) -> Result<Reply> {
        let mut role = self.leadership();
        let (mut doubtful, mut pause, mut turn) = (false, PAUSE_MIN, 0);
        let mut hint = None;
        loop {
            role.mark_unchanged();
            let asked = if self.is_leader() {
                self.ask_here(question, deadline).await
            } else {
                match self.candidate(hint.take(), turn) {
                    Some(address) => self.ask_there(question, &address, deadline).await,
                    None => Err(Refused::PLAIN),
                }
            };
            let refused = match asked {
                Ok(reply) => return Ok(reply),
                Err(refused) => refused,
            };
            doubtful |= refused.doubtful;
            turn += 1;
            hint = refused.leader;
            let next = Instant::now() + pause;
            if next >= deadline {
                return Err(no_quorum(doubtful));
            }
            // A new leader is asked at once. If the watch has ended, the pause still holds.
            drop(timeout_at(next, role.changed()).await);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whom to ask: the leader by the last answer or by what is known here, else each of the others in turn.
    fn candidate(&self, hint: Option<ReplicaId>, turn: usize) -> Option<String> {
        let mut addresses = self.coordinator_addresses();
        addresses.remove(&self.inner.replica);
        if let Some(address) = hint.and_then(|leader| addresses.get(&leader)) {
            return Some(address.clone());
        }
        // Every other time, in case that what is known here is no longer true.
        if turn.is_multiple_of(2)
            && let Some(leader) = self.leader_address().filter(|leader| leader != &self.inner.address)
        {
            return Some(leader);
        }
        addresses.values().nth(turn / 2 % addresses.len().max(1)).cloned()
    }

    async fn ask_here(&self, question: &Question, deadline: Instant) -> Result<Reply, Refused> {
        match question {
            Question::Propose { request, bytes } => {
                self.propose_to_group(*request, bytes.clone(), deadline).await.map(Reply::Applied)
            }
            Question::ReadIndex => match timeout_at(deadline, self.inner.group.read_index()).await {
                Ok(Ok(index)) => Ok(Reply::Index(index)),
                Ok(Err(_)) | Err(_) => Err(Refused::PLAIN),
            },
        }
    }

    /// Puts a proposal into the log and waits for its answer, for as long as this coordinator leads the term.
    async fn propose_to_group(
        &self,
        request: RequestId,
        bytes: Bytes,
        deadline: Instant,
    ) -> Result<Applied, Refused> {
        let mut answer = self.inner.shared.await_answer(request);
        let mut role = self.leadership();
        let Ok(proposed) = self.inner.group.propose(bytes).await else { return Err(Refused::PLAIN) };
        let deposed = role.wait_for(|role| role.term > proposed.term || role.role != Role::Leader);
        tokio::select! {
            biased;
            applied = &mut answer => applied.map_err(|_| Refused::DOUBTFUL),
            _ = deposed => Err(Refused::DOUBTFUL),
            () = tokio::time::sleep_until(deadline) => Err(Refused::DOUBTFUL),
        }
    }

    async fn ask_there(
        &self,
        question: &Question,
        address: &str,
        deadline: Instant,
    ) -> Result<Reply, Refused> {
        let request = match question {
            Question::Propose { bytes, .. } => CoordinatorRequest::Propose { command: bytes.clone() },
            Question::ReadIndex => CoordinatorRequest::ReadIndex,
        };
        let timeout = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT_TIMEOUT);
        match self.inner.client.request(address, request, timeout).await {
            Ok(CoordinatorReply::Applied { index, answer }) => match serde_json::from_slice(&answer) {
                Ok(answer) => Ok(Reply::Applied((index, answer))),
                Err(error) => {
                    tracing::warn!(%error, address, "a coordinator's answer cannot be read");
                    Err(Refused::DOUBTFUL)
                }
            },
            Ok(CoordinatorReply::Index(index)) => Ok(Reply::Index(index)),
            Ok(_) => Err(Refused::DOUBTFUL),
            Err(error) => {
                Err(Refused { doubtful: error.outcome != Outcome::NotApplied, leader: error.leader })
            }
        }
    }
}

fn no_quorum(doubtful: bool) -> Error {
    let error = Error::new(ErrorCode::NoQuorum, "no majority of the coordinators answers")
        .with_hint("start the coordinators that are down; reads and writes of data go on without them");
    if doubtful { error.with_outcome(Outcome::Unknown) } else { error }
}

/// The wall clock, in milliseconds since the Unix epoch.
/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
