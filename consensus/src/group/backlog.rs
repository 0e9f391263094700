//! Committed entries between the log and the host.
//!
//! Entries are committed as fast as the disk and the network allow, and applied as fast as the host can. What the
//! host cannot take over yet stays in the log alone: only its place is kept here, and it is read again in time.
//! Else a replica that lags behind, or starts, would hold all of it in memory.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::work::{Committed, CommittedKind};

/// Bytes of waiting entries that are kept in memory: those that will be handed out next.
const KEPT_BYTES_MAX: u64 = 1 << 20;

/// See the module.
pub(super) struct Backlog {
    /// Handed out and not yet taken over by the host: index and bytes.
    handed_out: VecDeque<(u64, u64)>,
    handed_out_bytes: u64,
    handed_out_bytes_max: u64,
    waiting: VecDeque<Waiting>,
    kept_bytes: u64,
}

/// A committed entry that was not handed out yet.
struct Waiting {
    entry: Committed,
    /// Bytes of its data, whether or not they are at hand.
    bytes: u64,
    /// Its data have to be read again.
    left_in_log: bool,
}

impl Backlog {
    pub(super) fn new(handed_out_bytes_max: u64) -> Backlog {
        Backlog {
            handed_out: VecDeque::new(),
            handed_out_bytes: 0,
            handed_out_bytes_max,
            waiting: VecDeque::new(),
            kept_bytes: 0,
        }
    }

    pub(super) fn add(&mut self, mut entry: Committed) {
        let bytes = entry.data.len() as u64;
        let left_in_log = entry.kind == CommittedKind::Normal
            && self.is_full()
            && self.kept_bytes.saturating_add(bytes) > KEPT_BYTES_MAX;
        if left_in_log {
            entry.data = Bytes::new();
        } else {
            self.kept_bytes += bytes;
        }
        self.waiting.push_back(Waiting { entry, bytes, left_in_log });
    }

    /// Whether the host has as much as it should have.
    pub(super) fn is_full(&self) -> bool {
        self.handed_out_bytes >= self.handed_out_bytes_max
    }

    /// Whether an entry waits and could be handed out.
    pub(super) fn may_hand_out(&self) -> bool {
        !self.waiting.is_empty() && !self.is_full()
    }

    /// The entries that wait, in order; the data of some are not at hand.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Committed> {
        self.waiting.iter().map(|waiting| &waiting.entry)
    }

    /// Takes the next entry, to be handed out. `read` finds its data in the log, if they were left there.
    pub(super) fn hand_out(&mut self, read: impl FnOnce(u64) -> Bytes) -> Option<Committed> {
        let Waiting { mut entry, bytes, left_in_log } = self.waiting.pop_front()?;
        if left_in_log {
            entry.data = read(entry.index);
        } else {
            self.kept_bytes -= bytes;
        }
        if self.handed_out_bytes_max < u64::MAX {
            self.handed_out.push_back((entry.index, bytes));
            self.handed_out_bytes += bytes;
        }
        Some(entry)
    }

    /// The host has taken over everything up to the index.
    pub(super) fn taken_over(&mut self, index: u64) {
        while let Some(&(first, bytes)) = self.handed_out.front()
            && first <= index
        {
            self.handed_out.pop_front();
            self.handed_out_bytes -= bytes;
        }
    }

    /// The state is now that of a snapshot: what it holds need not be handed out.
    pub(super) fn skip_to(&mut self, index: u64) {
        self.taken_over(index);
        let kept = &mut self.kept_bytes;
        self.waiting.retain(|waiting| {
            let stays = waiting.entry.index > index;
            if !stays && !waiting.left_in_log {
                *kept -= waiting.bytes;
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, bytes: usize) -> Committed {
        Committed { index, term: 1, kind: CommittedKind::Normal, data: vec![1; bytes].into() }
    }

    #[test]
    fn what_the_host_cannot_take_over_is_left_in_the_log_and_read_again_in_order() {
        let mut backlog = Backlog::new(3 << 20);
        let mut handed_out = Vec::new();
        let mut read_again = Vec::new();
        for index in 1..=10 {
            backlog.add(entry(index, 1 << 20));
            while backlog.may_hand_out() {
                handed_out.push(backlog.hand_out(|_| unreachable!("it is at hand")).unwrap().index);
            }
        }
        assert_eq!(handed_out, [1, 2, 3]);
        assert!(backlog.kept_bytes <= KEPT_BYTES_MAX);
        for taken_over in 1..=10 {
            backlog.taken_over(taken_over);
            while backlog.may_hand_out() {
                let next = backlog.hand_out(|index| {
                    read_again.push(index);
                    entry(index, 1 << 20).data
                });
                let next = next.unwrap();
                assert_eq!(next.data.len(), 1 << 20);
                handed_out.push(next.index);
            }
        }
        assert_eq!(handed_out, (1..=10).collect::<Vec<_>>());
        assert_eq!(read_again, (5..=10).collect::<Vec<_>>());
        assert_eq!((backlog.handed_out_bytes, backlog.kept_bytes), (0, 0));
    }

    #[test]
    fn a_snapshot_ends_the_wait_of_what_it_holds() {
        let mut backlog = Backlog::new(1);
        (1..=5).for_each(|index| backlog.add(entry(index, 10)));
        assert_eq!(backlog.hand_out(|_| unreachable!("it is at hand")).unwrap().index, 1);
        backlog.skip_to(4);
        assert!(!backlog.is_full());
        assert_eq!(backlog.waiting().map(|entry| entry.index).collect::<Vec<_>>(), [5]);
    }
}
