//! Which moment several snapshots show together.
//!
//! A snapshot of one partition shows its state from its last commit on, until what its leader promises. One moment
//! lies in all these intervals if it lies anywhere: the start of the one that starts last.

use crate::Hlc;
use crate::protocol::Pinned;

/// Rounds in which partitions are asked for a moment that lies in the past of one of them.
const ROUNDS_BEHIND: u32 = 2;
/// How far ahead of all clocks the first moment lies that is agreed on beforehand; each further one lies twice
/// as far.
const LEAD_MS: u64 = 4;
/// Most times that the lead is doubled.
const DOUBLINGS_MAX: u32 = 6;

/// What becomes of some snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// They show the same moment.
    Agreed(Hlc),
    /// Some must be opened again.
    Again {
        /// The moment that they are to show.
        at: Hlc,
        /// Their positions.
        snapshots: Vec<usize>,
    },
}

/// Compares snapshots, of which some were opened again in so many rounds. Whatever goes on meanwhile, a few rounds
/// are enough: a moment ahead of all clocks is one that every partition can wait for.
#[must_use]
pub fn agree(snapshots: &[Pinned], round: u32) -> Agreement {
    let since = snapshots.iter().map(|shows| shows.since).max().unwrap_or_default();
    if snapshots.iter().all(|shows| shows.until >= since) {
        return Agreement::Agreed(since);
    }
    if round < ROUNDS_BEHIND {
        let early = (0..snapshots.len()).filter(|position| snapshots[*position].until < since);
        return Agreement::Again { at: since, snapshots: early.collect() };
    }
    let latest = snapshots.iter().map(|shows| shows.since.max(shows.until)).max().unwrap_or_default();
    let lead = LEAD_MS << (round - ROUNDS_BEHIND).min(DOUBLINGS_MAX);
    Agreement::Again {
        at: Hlc::from_millis(latest.millis() + lead),
        snapshots: (0..snapshots.len()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(since: u64, until: u64) -> Pinned {
        Pinned { index: 1, since: Hlc(since), until: Hlc(until) }
    }

    #[test]
    fn intervals_that_overlap_show_the_start_of_the_last() {
        assert_eq!(agree(&[shows(3, 9), shows(7, 7), shows(1, 20)], 0), Agreement::Agreed(Hlc(7)));
        assert_eq!(agree(&[], 0), Agreement::Agreed(Hlc(0)));
    }

    #[test]
    fn those_that_end_too_early_are_opened_again() {
        let again = agree(&[shows(3, 6), shows(7, 8), shows(1, 20)], 0);
        assert_eq!(again, Agreement::Again { at: Hlc(7), snapshots: vec![0] });
    }

    #[test]
    fn after_some_rounds_a_moment_ahead_of_all_clocks_is_waited_for() {
        let snapshots = [shows(3, 6), shows(7, Hlc::from_millis(1_000).0)];
        let Agreement::Again { at, snapshots: again } = agree(&snapshots, 2) else { panic!("they disagree") };
        assert!(at > snapshots[1].until);
        assert_eq!(again, [0, 1]);
        let Agreement::Again { at: later, .. } = agree(&snapshots, 3) else { panic!("they disagree") };
        assert!(later > at);
    }
}
