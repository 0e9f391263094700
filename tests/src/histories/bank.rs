//! Transfers between accounts: every read of all accounts finds the same total.

/// A read of all accounts that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongTotal {
    /// Which read.
    pub read: usize,
    /// What it adds up to.
    pub found: i64,
}

/// Checks reads of all accounts, each a list of balances.
pub fn check(total: i64, reads: &[Vec<i64>]) -> Result<(), WrongTotal> {
    let sums = reads.iter().map(|balances| balances.iter().sum::<i64>());
    match sums.enumerate().find(|(_, found)| *found != total) {
        None => Ok(()),
        Some((read, found)) => Err(WrongTotal { read, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_keep_the_total() {
        assert_eq!(check(30, &[vec![10, 10, 10], vec![5, 15, 10], vec![-5, 25, 10]]), Ok(()));
    }

    #[test]
    fn half_a_transfer_is_found() {
        let half = [vec![10, 10, 10], vec![5, 10, 10]];
        assert_eq!(check(30, &half), Err(WrongTotal { read: 1, found: 25 }));
        assert_eq!(check(30, &[vec![10, 10]]), Err(WrongTotal { read: 0, found: 20 }));
    }
}
