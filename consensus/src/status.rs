//! A group's state for people and for placement.

use common::ReplicaId;

use crate::configuration::Configuration;
use crate::work::Role;

/// The state of a group as one replica sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This replica.
    pub id: ReplicaId,
    /// Latest term seen.
    pub term: u64,
    /// Whom it voted for in that term.
    pub vote: Option<ReplicaId>,
    /// Its part.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<ReplicaId>,
    /// Highest index known to be committed.
    pub commit: u64,
    /// Highest index that the host has reported as applied.
    pub applied: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// Index of the first entry that the log still holds.
    pub first_index: u64,
    /// The members.
    pub configuration: Configuration,
    /// Index of the entry that made them the members.
    pub configuration_index: u64,
    /// A leader's view of every member, itself included, ascending; empty elsewhere.
    pub peers: Vec<PeerProgress>,
}

impl Status {
    /// The voter that would take over soonest from this leader: one that answers, and of these the one that lacks the
    /// least. `None` if this replica does not lead, or nobody else votes.
    #[must_use]
    pub fn heir(&self) -> Option<ReplicaId> {
        let votes = |replica: ReplicaId| self.configuration.voters.contains(&replica);
        let others = self.peers.iter().filter(|peer| peer.replica != self.id && votes(peer.replica));
        let best = others.max_by_key(|peer| (peer.recently_active, peer.matched));
        best.filter(|_| self.role == Role::Leader).map(|peer| peer.replica)
    }
}

/// How far a member has come, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The member.
    pub replica: ReplicaId,
    /// Its log equals the leader's up to here.
    pub matched: u64,
    /// Whether it was heard from within the last election time-out.
    pub recently_active: bool,
    /// How it is being fed.
    pub state: PeerState,
}

/// How a leader feeds a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Its log's end is being looked for.
    Probe,
    /// Entries stream to it.
    Replicate,
    /// It is installing a snapshot.
    Snapshot,
}

/// What a group has dropped, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Messages of a kind that is not taken from other replicas.
    pub refused: u64,
    /// Messages for another replica.
    pub misdelivered: u64,
    /// Messages whose fields contradict each other.
    pub malformed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(role: Role, peers: &[(u64, u64, bool)]) -> Status {
        let peer = |&(replica, matched, recently_active)| {
            let (replica, state) = (ReplicaId(replica), PeerState::Replicate);
            PeerProgress { replica, matched, recently_active, state }
        };
        let configuration = Configuration::of_voters([1, 2, 3].map(ReplicaId));
        let peers = peers.iter().map(peer).collect();
        Status { id: ReplicaId(1), role, configuration, peers, ..Status::default() }
    }

    #[test]
    fn a_voter_that_answers_and_lacks_the_least_takes_over() {
        let peers = [(1, 90, true), (2, 80, true), (3, 85, false)];
        assert_eq!(status(Role::Leader, &peers).heir(), Some(ReplicaId(2)));
        let peers = [(1, 90, true), (2, 80, true), (3, 85, true), (4, 90, true)];
        assert_eq!(status(Role::Leader, &peers).heir(), Some(ReplicaId(3)), "a learner does not lead");
        assert_eq!(status(Role::Follower, &peers).heir(), None);
        assert_eq!(status(Role::Leader, &peers[..1]).heir(), None);
    }
}
