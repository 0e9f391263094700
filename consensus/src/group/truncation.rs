//! Where the log may begin.

use raft::StateRole;

use super::Group;
use crate::log::{LogStart, LogView};

impl<L: LogView> Group<L> {
    /// Where the log would begin if it were truncated up to the index: lower, if the host has applied less, a
    /// snapshot in transit needs its successors, or a follower lacks a few entries before it. `None` if there is
    /// nothing to truncate. The caller writes the start and drops the entries in one batch, then calls
    /// [`Group::compacted`].
    #[must_use]
    pub fn truncation(&self, index: u64) -> Option<LogStart> {
        let raft_log = &self.node.raft.raft_log;
        let index = index.min(raft_log.applied()).min(self.snapshot_hold());
        let index = index.min(self.follower_hold(index));
        if index <= self.node.store().view.start().index {
            return None;
        }
        let term = raft_log.term(index).expect("an applied entry that is not truncated has a term");
        Some(LogStart { index, term, configuration: self.configurations.at(index).clone() })
    }

    /// The log now begins at that start.
    pub fn compacted(&mut self, start: &LogStart) {
        self.assert_idle();
        self.configurations.truncate(start.index);
    }

    /// The log is not truncated past what a follower has, if that lacks only a few of the entries up to the index.
    fn follower_hold(&self, index: u64) -> u64 {
        let raft = &self.node.raft;
        let lacking = |matched: &u64| index.saturating_sub(*matched);
        let followers =
            raft.prs().iter().filter(|(id, _)| raft.state == StateRole::Leader && **id != raft.id);
        let matched = followers.map(|(_, progress)| progress.matched);
        matched.filter(|matched| lacking(matched) <= self.options.truncation_lag_max).min().unwrap_or(index)
    }
}
