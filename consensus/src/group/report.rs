//! What a group says of itself.

use common::ReplicaId;
use raft::StateRole;

use super::Group;
use crate::configuration::AppliedConfiguration;
use crate::log::LogView;
use crate::status::{GroupCounters, PeerProgress, PeerState, Status};
use crate::work::{Role, RoleChange};

impl<L: LogView> Group<L> {
    /// Whether this replica leads and has committed an entry of its own term.
    #[must_use]
    pub fn has_committed_in_term(&self) -> bool {
        self.node.raft.state == StateRole::Leader && self.node.raft.commit_to_current_term()
    }

    /// Whether this replica leads and its host has applied an entry of its own term, and so all that earlier
    /// leaders have committed. Before that its state is stale, and nothing may be computed on it.
    #[must_use]
    pub fn has_applied_in_term(&self) -> bool {
        self.node.raft.state == StateRole::Leader && self.node.raft.apply_to_current_term()
    }

    /// The members, and the index of the entry that made them so.
    #[must_use]
    pub fn configuration(&self) -> &AppliedConfiguration {
        self.configurations.current()
    }

    /// What was dropped so far.
    #[must_use]
    pub fn counters(&self) -> GroupCounters {
        self.counters
    }

    /// The log that the group reads.
    #[must_use]
    pub fn view(&self) -> &L {
        &self.node.store().view
    }

    /// The term that this replica leads in.
    #[must_use]
    pub fn leading_term(&self) -> Option<u64> {
        let raft = &self.node.raft;
        (raft.state == StateRole::Leader).then_some(raft.term)
    }

    /// How many ticks make the group do something: until the last of them, [`Group::tick`] only counts. At
    /// least 1; `u32::MAX` if time alone will never make it do anything.
    #[must_use]
    pub fn ticks_until_due(&self) -> u32 {
        let raft = &self.node.raft;
        let left = |after: usize, elapsed: usize| after.saturating_sub(elapsed);
        let ticks = match raft.state {
            StateRole::Leader => {
                let check = left(raft.election_timeout(), raft.election_elapsed);
                let is_alone = raft.prs().iter().len() < 2;
                let beat = left(raft.heartbeat_timeout(), raft.heartbeat_elapsed());
                if is_alone { check } else { check.min(beat) }
            }
            _ if !raft.promotable() => return u32::MAX,
            _ => left(raft.randomized_election_timeout(), raft.election_elapsed),
        };
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    }

    /// The group's state.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let current = self.role();
        let AppliedConfiguration { index, configuration } = self.configurations.current().clone();
        Status {
            id: self.options.replica,
            term: raft.term,
            vote: (raft.vote != 0).then_some(ReplicaId(raft.vote)),
            role: current.role,
            leader: current.leader,
            commit: raft.raft_log.committed,
            applied: raft.raft_log.applied(),
            last_index: raft.raft_log.last_index(),
            first_index: raft.raft_log.first_index(),
            configuration,
            configuration_index: index,
            peers: if current.role == Role::Leader { self.peers() } else { Vec::new() },
        }
    }

    fn peers(&self) -> Vec<PeerProgress> {
        let mut peers: Vec<PeerProgress> = self
            .node
            .raft
            .prs()
            .iter()
            .map(|(id, progress)| PeerProgress {
                replica: ReplicaId(*id),
                matched: progress.matched,
                recently_active: progress.recent_active || *id == self.options.replica.0,
                state: match progress.state {
                    raft::ProgressState::Probe => PeerState::Probe,
                    raft::ProgressState::Replicate => PeerState::Replicate,
                    raft::ProgressState::Snapshot => PeerState::Snapshot,
                },
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.replica);
        peers
    }

    pub(super) fn role(&self) -> RoleChange {
        let raft = &self.node.raft;
        RoleChange {
            term: raft.term,
            role: match raft.state {
                StateRole::Follower => Role::Follower,
                StateRole::PreCandidate => Role::PreCandidate,
                StateRole::Candidate => Role::Candidate,
                StateRole::Leader => Role::Leader,
            },
            leader: (raft.leader_id != 0).then_some(ReplicaId(raft.leader_id)),
        }
    }
}
