//! Writes with an idempotency key within joint transactions. The answer that is to be kept is made of the results, so
//! those who asked are told these while everything is prepared, and the transaction commits once all of them have
//! answered. If one of them has nothing to answer after all, nothing commits; those with a key begin anew then, for
//! the results that they have seen count no more.

use std::time::Duration;

use bytes::Bytes;
use common::idempotency::{CommittedAnswer, Keeps, Keyed};
use common::{Error, ErrorCode, Outcome, Result};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use super::Attempted;
use super::joining::Waiting;
use super::write::{Told, Written};
use super::{Attempt, aborted};

/// How long answers are waited for. To write one down takes a moment.
const ANSWERS_AWAITED: Duration = Duration::from_secs(2);

/// A write that is prepared, and commits once there is an answer.
pub(in crate::gateway) struct Prepared {
    pub(in crate::gateway) written: Written,
    pub(in crate::gateway) held: HeldBack,
}

/// The rest of its way; if it is dropped, nothing commits.
pub(in crate::gateway) struct HeldBack {
    answer: oneshot::Sender<Bytes>,
    ended: oneshot::Receiver<Result<bool>>,
}

impl HeldBack {
    /// Commits it together with the answer. Says no if nothing of it stays, and it has to begin anew.
    pub(in crate::gateway) async fn commit(self, answer: Bytes) -> Result<bool> {
        // Whoever has given up waiting says so.
        let _ = self.answer.send(answer);
        self.ended.await.unwrap_or_else(|_| {
            Err(Error::internal("a transaction has ended without an answer").with_outcome(Outcome::Unknown))
        })
    }
}

/// Who waits for a write.
pub(super) enum Listener {
    /// One who is to be told everything.
    All(oneshot::Sender<Result<Told>>),
    /// One who has been told the results, and waits for the commit.
    End(oneshot::Sender<Result<bool>>),
}

impl Listener {
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Listener::All(sender) => sender.is_closed(),
            Listener::End(sender) => sender.is_closed(),
        }
    }

    /// Tells the end. Whoever asked may have gone.
    pub(super) fn tell(self, told: Result<Told>) {
        match self {
            Listener::All(sender) => drop(sender.send(told)),
            Listener::End(sender) => drop(sender.send(match told {
                Ok(Told::Written(_)) => Ok(true),
                Ok(Told::Prepared(_) | Told::Known(_) | Told::Nothing(_)) => Ok(false),
                Err(error) if is_conflict(&error) => Ok(false),
                Err(error) => Err(error),
            })),
        }
    }

    /// Tells the results, and answers where the answer will come from.
    fn hold_back(&mut self, written: Written) -> oneshot::Receiver<Bytes> {
        let (answer, answered) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        if let Listener::All(sender) = std::mem::replace(self, Listener::End(end)) {
            let prepared = Prepared { written, held: HeldBack { answer, ended } };
            drop(sender.send(Ok(Told::Prepared(prepared))));
        }
        answered
    }
}

fn is_conflict(error: &Error) -> bool {
    error.code == ErrorCode::SerializationFailure && error.outcome == Outcome::NotApplied
}

impl Attempt {
    /// Commits what is prepared once everybody has answered whose answer is to be kept. Otherwise tells them, and
    /// leaves the other members.
    pub(super) async fn commit_with_answers(mut self, members: &mut Vec<Waiting>) -> Attempted {
        let mut answers = Vec::new();
        for (number, member) in members.iter_mut().enumerate() {
            let Some(request) = member.write.key.clone() else { continue };
            let answered = member.listener.hold_back(self.take_written(number));
            let participants = self.transaction.participants.clone();
            let keyed =
                |answer| Keyed { request, keeps: Keeps::Committed(CommittedAnswer { answer, participants }) };
            answers.push(async move { answered.await.map(keyed) });
        }
        let answers = tokio::time::timeout(ANSWERS_AWAITED, try_join_all(answers)).await;
        let attempted = match answers {
            Ok(Ok(keyed)) => self.commit_keyed(keyed).await,
            Ok(Err(_)) | Err(_) => self.give_up(Some(aborted())).await,
        };
        let error = match &attempted {
            Attempted::Failed(error) | Attempted::Kept(error) | Attempted::Lost(error) => error.clone(),
            _ => return attempted,
        };
        let (held, others) =
            std::mem::take(members).into_iter().partition::<Vec<_>, _>(|member| member.write.key.is_some());
        *members = others;
        held.into_iter().for_each(|member| member.listener.tell(Err(error.clone())));
        attempted
    }
}
