//! What follows for a replica when it has compared its digest with those of the others.

use super::machine::Compared;

/// What follows from the digests that were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// This replica is not the one that is wrong.
    Sound,
    /// It is.
    Divergent,
    /// Who has not answered yet decides.
    Open,
}

/// Judges a replica, given the digests of others that have answered. A majority of the voters is right; where there cannot be
/// one, the leader is, because its rows are what clients have seen.
#[must_use]
pub fn judge(compared: Compared, leads: bool, others: &[u128], voters: usize) -> Judgement {
    let Compared { own, leaders, .. } = compared;
    let majority = voters / 2 + 1;
    let votes =
        |digest: u128| usize::from(digest == own) + others.iter().filter(|other| **other == digest).count();
    let silent = voters.saturating_sub(1 + others.len());
    if votes(own) >= majority {
        Judgement::Sound
    } else if others.iter().any(|other| votes(*other) >= majority) {
        Judgement::Divergent
    } else if votes(own) + silent >= majority {
        Judgement::Open
    } else if !leads && own != leaders {
        Judgement::Divergent
    } else {
        Judgement::Sound
    }
}

#[cfg(test)]
mod tests {
    use super::Judgement::{Divergent, Open, Sound};
    use super::*;

    fn judged(own: u128, leads: bool, others: &[u128], voters: usize) -> Judgement {
        let leaders = if leads { own } else { 1 };
        judge(Compared { index: 9, own, leaders }, leads, others, voters)
    }

    #[test]
    fn who_is_alone_against_a_majority_is_wrong_also_the_leader() {
        assert_eq!(judged(1, true, &[1, 1], 3), Sound);
        assert_eq!(judged(1, true, &[1, 2], 3), Sound);
        assert_eq!(judged(2, false, &[1, 1], 3), Divergent);
        assert_eq!(judged(2, true, &[1, 1], 3), Divergent);
        assert_eq!(judged(2, false, &[1, 2], 3), Sound);
    }

    #[test]
    fn where_there_is_no_majority_the_leader_is_believed() {
        assert_eq!(judged(2, false, &[1], 2), Divergent);
        assert_eq!(judged(1, true, &[2], 2), Sound);
        assert_eq!(judged(3, false, &[1, 2], 3), Divergent);
        assert_eq!(judged(1, true, &[], 1), Sound);
    }

    #[test]
    fn nobody_is_condemned_while_a_replica_that_is_silent_may_speak_for_it() {
        assert_eq!(judged(2, false, &[1], 3), Open);
        assert_eq!(judged(1, true, &[2], 3), Open);
        assert_eq!(judged(2, false, &[], 2), Open);
        assert_eq!(judged(2, false, &[1, 1], 5), Open);
        assert_eq!(judged(2, false, &[1, 1, 1], 5), Divergent);
    }
}
