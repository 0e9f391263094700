//! Election time-outs from the seed.
//!
//! The library draws them from the thread's random source each time it resets its timer. They are replaced
//! after every event in which it may have done so, so that the same seed replays.

use crate::log::LogView;
use crate::options::GroupOptions;
use crate::storage::Node;

/// The time-outs of one replica, in ticks.
pub(crate) struct ElectionClock {
    random: SplitMix64,
    min: u64,
    width: u64,
    current: usize,
}

impl ElectionClock {
    pub(crate) fn new(options: &GroupOptions) -> ElectionClock {
        let (min, max) = (u64::from(options.election_ticks_min), u64::from(options.election_ticks_max));
        ElectionClock { random: SplitMix64(options.seed), min, width: max - min, current: 0 }
    }

    /// Replaces the time-out if the timer was reset since the last call. A reset leaves the elapsed time at
    /// zero, and only that: a draw may happen to equal the number that it replaces.
    pub(crate) fn settle<L: LogView>(&mut self, node: &mut Node<L>) {
        let raft = &mut node.raft;
        if raft.election_elapsed != 0 && raft.randomized_election_timeout() == self.current {
            return;
        }
        let ticks = self.min + self.random.next() % self.width;
        self.current = usize::try_from(ticks).expect("ticks are few");
        raft.set_randomized_election_timeout(self.current);
    }

    /// Lets the time-out come after so many ticks, if it would come later. The leader counts as silent for the least
    /// time-out from now on, so that who stands for election before this replica gets its vote.
    pub(crate) fn hasten<L: LogView>(&mut self, node: &mut Node<L>, ticks: usize) {
        let raft = &mut node.raft;
        let count = |ticks: u64| usize::try_from(ticks).expect("ticks are few");
        let (least, greatest) = (count(self.min), count(self.min + self.width - 1));
        let elapsed = greatest.saturating_sub(ticks).max(least);
        let left = raft.randomized_election_timeout().saturating_sub(raft.election_elapsed);
        if greatest - elapsed < left {
            raft.election_elapsed = elapsed;
            self.current = greatest;
            raft.set_randomized_election_timeout(greatest);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
