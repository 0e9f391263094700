//! A counter that clients add one to: its value is the number of additions.

/// What became of additions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// Acknowledged.
    pub applied: u64,
    /// Of which nobody knows whether they were applied.
    pub unknown: u64,
}

/// A counter that cannot have come of the additions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongCount {
    /// Acknowledged additions are missing.
    Lost(u64),
    /// More was added than was asked for.
    Doubled(u64),
}

/// Checks a counter that began at 0.
pub fn check(additions: Additions, counter: u64) -> Result<(), WrongCount> {
    let (least, most) = (additions.applied, additions.applied + additions.unknown);
    match counter {
        _ if counter < least => Err(WrongCount::Lost(least - counter)),
        _ if counter > most => Err(WrongCount::Doubled(counter - most)),
        _ => Ok(()),
    }
}

/// Checks the values that additions answered (each the counter after it): no two are the same.
pub fn check_answers(answers: &[u64]) -> Result<(), u64> {
    let mut sorted = answers.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map_or(Ok(()), |pair| Err(pair[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_may_have_been_applied_or_not() {
        let additions = Additions { applied: 5, unknown: 2 };
        assert!((5..=7).all(|counter| check(additions, counter) == Ok(())));
    }

    #[test]
    fn lost_and_doubled_additions_are_found() {
        let additions = Additions { applied: 5, unknown: 0 };
        assert_eq!(check(additions, 4), Err(WrongCount::Lost(1)));
        assert_eq!(check(additions, 7), Err(WrongCount::Doubled(2)));
        assert_eq!(check_answers(&[1, 3, 2]), Ok(()));
        assert_eq!(check_answers(&[1, 3, 2, 3]), Err(3));
    }
}
