//! Transactions that several requests share: each request's part is run in a savepoint of its own, on top of those
//! before it. If one is refused, the coordinator is told which, and has the others run again without it.

use common::entry::{Effects, EntryBody};
use common::protocol::{JointPurpose, JointReply, JointRequest, RequestWork, StatementResult};
use common::{Error, ErrorCode, Hlc};

use super::batch::{Ran, Turn};
use super::job::Reply;
use super::{Fault, Machine, Queued};

/// One request's results, or why it is refused.
type Outcome = Result<Vec<StatementResult>, Error>;

impl Machine {
    /// On the leader: runs the requests' work here, and proposes to prepare what it changes, or to commit with it.
    pub(super) fn run_joint(
        &mut self,
        queued: Queued,
        joint: &JointRequest,
        turn: &Turn<'_>,
    ) -> Result<(), Fault> {
        // A commit is later than every prepare.
        let turn = &match joint.purpose {
            JointPurpose::Commit { prepared_at } => {
                Turn { hlc: turn.hlc.max(Hlc(prepared_at.0.saturating_add(1))), ..*turn }
            }
            JointPurpose::Prepare { .. } => *turn,
        };
        if let Some(error) = self.prepare_refusal(joint.transaction, turn.hlc)? {
            self.confirm(queued.held(Err(error)));
            return Ok(());
        }
        let deadline_ms = queued.pending.deadline_ms;
        #[cfg(feature = "planted-bugs")]
        let joint = &self.joint_without_guards(joint);
        let (results, effects) = self.run_each_and_roll_back(&joint.requests, deadline_ms, turn)?;
        let refused = results.iter().any(Result::is_err);
        #[cfg(feature = "planted-bugs")]
        let refused = refused && !self.has_bug(super::PlantedBug::RefusedRequestLeftOut);
        let reply = JointReply { results, index: self.received, hlc: self.header(turn).hlc };
        let held = queued.held(Ok(Reply::Joint(reply)));
        if refused {
            self.confirm(held);
            return Ok(());
        }
        let (transaction, participants) = (joint.transaction, joint.participants.clone());
        let body = match joint.purpose {
            JointPurpose::Prepare { decider, .. } => {
                EntryBody::Prepare { transaction, decider, participants, effects }
            }
            JointPurpose::Commit { .. } => EntryBody::Commit { transaction, participants, effects },
        };
        self.propose(body, held, turn);
        Ok(())
    }

    #[cfg(feature = "planted-bugs")]
    fn joint_without_guards(&self, joint: &JointRequest) -> JointRequest {
        let mut joint = joint.clone();
        if self.has_bug(super::PlantedBug::ReadsNotGuarded) {
            let is_guard =
                |item: &common::protocol::WorkItem| matches!(item, common::protocol::WorkItem::Proof(_));
            joint.requests.iter_mut().for_each(|request| request.work.retain(|item| !is_guard(item)));
        }
        joint
    }

    /// Runs requests whose effects are not to stay yet: they are captured and rolled back. One that would keep the
    /// others waiting for long is refused.
    fn run_each_and_roll_back(
        &mut self,
        requests: &[RequestWork],
        deadline_ms: u64,
        turn: &Turn<'_>,
    ) -> Result<(Vec<Outcome>, Effects), Fault> {
        self.store.begin(&self.state, turn.hlc)?;
        let alone = requests.len() == 1;
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            results.push(
                match self.run_request(&request.work, request.max_rows, alone, deadline_ms, turn)? {
                    Ran::Answered(result) => result,
                    Ran::Overran => Err(Error::new(
                        ErrorCode::StatementTimeout,
                        "it takes too long to be run with others",
                    )),
                },
            );
        }
        let effects = self.store.take_effects();
        self.store.rollback()?;
        Ok((results, effects))
    }
}
