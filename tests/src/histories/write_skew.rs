//! Withdrawals from pairs of accounts that are allowed as long as both together cover them: a pair is never
//! overdrawn, although each withdrawal changes only one account and looks at the other.

/// A pair that is overdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdrawn {
    /// Which of the pairs.
    pub pair: usize,
    /// What both accounts add up to.
    pub sum: i64,
}

/// Checks a read of all pairs.
pub fn check(pairs: &[(i64, i64)]) -> Result<(), Overdrawn> {
    let sums = pairs.iter().map(|(left, right)| left + right);
    sums.enumerate().find(|(_, sum)| *sum < 0).map_or(Ok(()), |(pair, sum)| Err(Overdrawn { pair, sum }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_may_cover_the_other() {
        assert_eq!(check(&[(100, -60), (0, 0), (-1, 1)]), Ok(()));
    }

    #[test]
    fn two_withdrawals_that_did_not_see_each_other_are_found() {
        assert_eq!(check(&[(0, 0), (-40, 10)]), Err(Overdrawn { pair: 1, sum: -30 }));
    }
}
