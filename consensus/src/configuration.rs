//! Who belongs to a group.

use std::collections::BTreeSet;

use common::ReplicaId;
use raft::eraftpb;
use serde::{Deserialize, Serialize};

/// The members of a group. During a joint change both majorities count: that of `voters` and that of
/// `voters_outgoing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Replicas whose majority elects and commits.
    pub voters: BTreeSet<ReplicaId>,
    /// Replicas that receive the log and do not count.
    pub learners: BTreeSet<ReplicaId>,
    /// The voters before the joint change; empty outside of one.
    pub voters_outgoing: BTreeSet<ReplicaId>,
    /// Outgoing voters that will be learners when the joint change is left.
    pub learners_next: BTreeSet<ReplicaId>,
    /// Whether the leader leaves the joint change by itself.
    pub auto_leave: bool,
}

impl Configuration {
    /// Whether the replica is the only one whose vote counts.
    #[must_use]
    pub fn is_alone(&self, replica: ReplicaId) -> bool {
        self.voters.len() == 1 && self.voters.contains(&replica) && self.voters_outgoing.is_empty()
    }

    /// A group of these voters.
    pub fn of_voters(voters: impl IntoIterator<Item = ReplicaId>) -> Configuration {
        Configuration { voters: voters.into_iter().collect(), ..Configuration::default() }
    }

    /// Whether nobody belongs to the group, as in a replica that waits for its first snapshot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }

    /// Whether a joint change is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether the replica belongs to the group in any way.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica)
            || self.learners.contains(&replica)
            || self.voters_outgoing.contains(&replica)
    }

    /// Everyone who belongs to the group, ascending.
    #[must_use]
    pub fn members(&self) -> BTreeSet<ReplicaId> {
        self.voters.iter().chain(&self.learners).chain(&self.voters_outgoing).copied().collect()
    }

    pub(crate) fn from_raft(state: &eraftpb::ConfState) -> Configuration {
        let ids = |ids: &[u64]| ids.iter().map(|id| ReplicaId(*id)).collect();
        Configuration {
            voters: ids(&state.voters),
            learners: ids(&state.learners),
            voters_outgoing: ids(&state.voters_outgoing),
            learners_next: ids(&state.learners_next),
            auto_leave: state.auto_leave,
        }
    }

    pub(crate) fn to_raft(&self) -> eraftpb::ConfState {
        let ids = |ids: &BTreeSet<ReplicaId>| ids.iter().map(|id| id.0).collect();
        eraftpb::ConfState {
            voters: ids(&self.voters),
            learners: ids(&self.learners),
            voters_outgoing: ids(&self.voters_outgoing),
            learners_next: ids(&self.learners_next),
            auto_leave: self.auto_leave,
            ..Default::default()
        }
    }
}

/// A configuration together with the index of the entry that made it, by which changes compare and set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedConfiguration {
    /// Index of the configuration entry, or of the bootstrap or snapshot that brought it.
    pub index: u64,
    /// The members.
    pub configuration: Configuration,
}

/// One step of a membership change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MembershipStep {
    /// A replica begins to receive the log without counting.
    AddLearner(ReplicaId),
    /// A learner becomes a voter.
    Promote(ReplicaId),
    /// A voter becomes a learner.
    Demote(ReplicaId),
    /// A replica leaves, for ever: its id is not used again.
    Remove(ReplicaId),
}

impl MembershipStep {
    /// The replica that the step is about.
    #[must_use]
    pub fn replica(self) -> ReplicaId {
        match self {
            MembershipStep::AddLearner(id)
            | MembershipStep::Promote(id)
            | MembershipStep::Demote(id)
            | MembershipStep::Remove(id) => id,
        }
    }
}

/// A membership change: one step is made at once, several through joint consensus, in which no moment depends
/// on a majority of the old or of the new members alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipChange(pub Vec<MembershipStep>);

impl From<MembershipStep> for MembershipChange {
    fn from(step: MembershipStep) -> Self {
        MembershipChange(vec![step])
    }
}

impl MembershipChange {
    /// Why the change makes no sense for these members, if it does not.
    pub(crate) fn refusal(&self, members: &Configuration) -> Option<String> {
        if self.0.is_empty() {
            return Some("a membership change needs at least one step".to_owned());
        }
        let mut voters = members.voters.clone();
        let mut seen = BTreeSet::new();
        for step in &self.0 {
            let id = step.replica();
            if id.0 == 0 || !seen.insert(id) {
                return Some(format!("replica {id} is 0 or named twice"));
            }
            let fits = match step {
                MembershipStep::AddLearner(_) => !members.contains(id),
                MembershipStep::Promote(_) => members.learners.contains(&id) && voters.insert(id),
                MembershipStep::Demote(_) => voters.remove(&id),
                MembershipStep::Remove(_) => {
                    voters.remove(&id);
                    members.contains(id)
                }
            };
            if !fits {
                return Some(format!("{step:?} does not fit the members {members:?}"));
            }
        }
        voters.is_empty().then(|| "the change would leave no voter".to_owned())
    }

    pub(crate) fn to_raft(&self) -> eraftpb::ConfChangeV2 {
        let mut change = eraftpb::ConfChangeV2::default();
        // `Auto` makes one step directly and several through a joint configuration that is left by itself.
        change.set_transition(eraftpb::ConfChangeTransition::Auto);
        let singles = self.0.iter().map(|step| {
            let mut single = eraftpb::ConfChangeSingle::default();
            single.set_change_type(match step {
                MembershipStep::AddLearner(_) | MembershipStep::Demote(_) => {
                    eraftpb::ConfChangeType::AddLearnerNode
                }
                MembershipStep::Promote(_) => eraftpb::ConfChangeType::AddNode,
                MembershipStep::Remove(_) => eraftpb::ConfChangeType::RemoveNode,
            });
            single.node_id = step.replica().0;
            single
        });
        change.set_changes(singles.collect::<Vec<_>>().into());
        change
    }
}
