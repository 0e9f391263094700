//! What may be said while work is being persisted.
//!
//! A heartbeat says that its sender leads in a term, the answer that its sender follows in it. Both are true for as
//! long as the term is durable and the group takes in no event, and messages may be doubled anyway. They carry no
//! context, so they confirm no reads.

use raft::StateRole;

use super::Group;
use crate::log::LogView;
use crate::message::{Message, MessageKind};

impl<L: LogView> Group<L> {
    /// Heartbeats beside those of the ticks, which may be sent at any time, also between [`Group::take_work`] and
    /// [`Group::persisted`]. None unless this replica leads.
    #[must_use]
    pub fn signs_of_life(&self) -> Vec<Message> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader || !self.is_term_durable() {
            return Vec::new();
        }
        let own = self.options.replica.0;
        let mut peers: Vec<(u64, u64)> = raft
            .prs()
            .iter()
            .filter(|(peer, _)| **peer != own)
            .map(|(peer, progress)| (*peer, progress.matched.min(raft.raft_log.committed)))
            .collect();
        peers.sort_unstable();
        peers.into_iter().map(|(peer, commit)| Message::heartbeat(own, peer, raft.term, commit)).collect()
    }

    /// The answer to a heartbeat that has not been stepped yet, which may be sent as [`Group::signs_of_life`]. None
    /// unless it comes from the leader that this replica follows.
    #[must_use]
    pub fn sign_of_life_to(&self, heartbeat: &Message) -> Option<Message> {
        let raft = &self.node.raft;
        let (own, leader) = (self.options.replica, heartbeat.from());
        let is_for_us = heartbeat.kind() == MessageKind::Heartbeat && heartbeat.to() == own;
        let follows =
            raft.state == StateRole::Follower && raft.term == heartbeat.term() && raft.leader_id == leader.0;
        (is_for_us && follows && self.is_term_durable())
            .then(|| Message::heartbeat_response(own.0, leader.0, raft.term, raft.raft_log.committed))
    }

    /// Whether term and vote are written, and not just being written.
    fn is_term_durable(&self) -> bool {
        let raft = &self.node.raft;
        (raft.term, raft.vote) == (self.written.term, self.written.vote)
            && self.outstanding.as_ref().is_none_or(|outstanding| !outstanding.votes)
    }
}
