//! Updates that read a value and write another: no two that were applied have read the same version, because the
//! second of them would have undone the first.

use std::collections::BTreeMap;

/// An update that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// What was updated.
    pub key: u64,
    /// The version that was read.
    pub read: u64,
    /// The version that was written; each is written once.
    pub wrote: u64,
}

/// Two updates of the same version: their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostUpdate(pub usize, pub usize);

/// Checks updates in any order.
pub fn check(updates: &[Update]) -> Result<(), LostUpdate> {
    let mut readers: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for (number, update) in updates.iter().enumerate() {
        if let Some(first) = readers.insert((update.key, update.read), number) {
            return Err(LostUpdate(first, number));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(key: u64, read: u64, wrote: u64) -> Update {
        Update { key, read, wrote }
    }

    #[test]
    fn a_chain_of_versions_loses_nothing() {
        assert_eq!(check(&[update(1, 2, 3), update(1, 0, 2), update(2, 0, 5)]), Ok(()));
    }

    #[test]
    fn an_update_of_a_version_that_is_no_longer_the_last_is_found() {
        let history = [update(1, 0, 1), update(2, 0, 2), update(1, 1, 3), update(1, 1, 4)];
        assert_eq!(check(&history), Err(LostUpdate(2, 3)));
    }
}
