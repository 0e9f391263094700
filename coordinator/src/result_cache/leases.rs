//! Leases on partitions that this coordinator holds: see [`common::lease`].
//!
//! While one holds, nothing changes the partition's state, and answers that were computed on it are true without
//! asking. It counts from before it was asked for. When it is called back it ends at once, and with it every one that
//! was asked for before and is still on its way: whoever calls back has entered these already. The time is handed in,
//! by the clock of leases.

use std::collections::HashMap;
use std::time::Duration;

use common::lease::LEASE;
use common::protocol::{Lease, LeaseHolder};
use common::{Error, ErrorCode, PartitionId, Result};
use parking_lot::RwLock;

/// Less than this is left of a lease that is asked for again while it is used.
const RENEWED: Duration = Duration::from_millis(150);

/// The leases of one coordinator. See the module.
#[derive(Debug)]
pub struct HeldLeases {
    holder: LeaseHolder,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<PartitionId, Partition>,
    asked: u64,
}

#[derive(Debug, Default)]
struct Partition {
    held: Option<Held>,
    /// What was asked for up to this number is void.
    void: u64,
    /// The number of the newest that was asked for while another was held.
    renewal: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    lease: Lease,
    until: Duration,
}

/// A lease that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    partition: PartitionId,
    number: u64,
    /// Before it was asked for: from then it counts.
    pub at: Duration,
}

/// What is known of a partition without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its state has stayed as it was. With a log index up to which that is so.
    Unchanged {
        /// The log index.
        index: u64,
        /// Whether it is time to ask for the lease again.
        renew: bool,
    },
    /// Its state has changed.
    Changed,
    /// Nothing: there is no lease.
    Unknown,
}

impl HeldLeases {
    /// None yet.
    #[must_use]
    pub fn of(holder: LeaseHolder) -> HeldLeases {
        HeldLeases { holder, state: RwLock::default() }
    }

    /// Who holds them.
    #[must_use]
    pub fn holder(&self) -> &LeaseHolder {
        &self.holder
    }

    /// A lease is about to be asked for.
    pub fn ask(&self, partition: PartitionId, now: Duration) -> Asked {
        let mut state = self.state.write();
        state.asked += 1;
        let number = state.asked;
        let entry = state.partitions.entry(partition).or_default();
        if entry.held.is_some() {
            entry.renewal = Some(number);
        }
        Asked { partition, number, at: now }
    }

    /// What was asked for was answered, or will not be.
    pub fn answered(&self, asked: Asked, lease: Option<Lease>) {
        let mut state = self.state.write();
        let entry = state.partitions.entry(asked.partition).or_default();
        entry.renewal.take_if(|number| *number == asked.number);
        let Some(lease) = lease.filter(|_| asked.number > entry.void) else { return };
        let until = asked.at + LEASE;
        if entry.held.is_none_or(|held| held.until < until) {
            entry.held = Some(Held { lease, until });
        }
    }

    /// Gives back the leases on a partition, those included that are on their way: from when this returns no answer
    /// relies on them. Refuses where another process is meant.
    pub fn give_back(&self, partition: PartitionId, process: u64) -> Result<()> {
        if process != self.holder.process {
            return Err(Error::new(ErrorCode::Unavailable, "the leases are held by another process"));
        }
        let mut state = self.state.write();
        let asked = state.asked;
        let entry = state.partitions.entry(partition).or_default();
        *entry = Partition { void: asked, ..Partition::default() };
        Ok(())
    }

    /// What is known of partitions since log indexes, all at one moment: the one at which `now` is called.
    pub fn standings(&self, read: &[(PartitionId, u64)], now: impl FnOnce() -> Duration) -> Vec<Standing> {
        let state = self.state.read();
        // Under the lock: what is given back is not relied on at any later moment.
        let now = now();
        read.iter().map(|(partition, since)| state.standing(*partition, *since, now)).collect()
    }

    /// Forgets partitions that are gone.
    pub fn retain(&self, exists: impl Fn(PartitionId) -> bool) {
        self.state.write().partitions.retain(|partition, _| exists(*partition));
    }
}

impl State {
    fn standing(&self, partition: PartitionId, since: u64, now: Duration) -> Standing {
        let Some(entry) = self.partitions.get(&partition) else { return Standing::Unknown };
        let Some(held) = entry.held.filter(|held| now < held.until) else { return Standing::Unknown };
        if held.lease.base > since {
            return Standing::Changed;
        }
        let renew = entry.renewal.is_none() && now + RENEWED >= held.until;
        Standing::Unchanged { index: held.lease.index, renew }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId(7);
    const LEASED: Option<Lease> = Some(Lease { base: 5, index: 9 });

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn none() -> HeldLeases {
        HeldLeases::of(LeaseHolder { process: 1, address: "coordinator:5000".into() })
    }

    fn standing(leases: &HeldLeases, since: u64, now: Duration) -> Standing {
        leases.standings(&[(PARTITION, since)], || now)[0]
    }

    fn is_held(leases: &HeldLeases, now: Duration) -> bool {
        standing(leases, 5, now) != Standing::Unknown
    }

    #[test]
    fn a_lease_counts_from_before_it_was_asked_for() {
        let leases = none();
        let asked = leases.ask(PARTITION, ms(1_000));
        assert!(!is_held(&leases, ms(1_001)));
        // However long the answer takes.
        leases.answered(asked, LEASED);
        assert!(is_held(&leases, ms(1_000) + LEASE - ms(1)));
        assert!(!is_held(&leases, ms(1_000) + LEASE));
    }

    #[test]
    fn it_tells_whether_the_state_has_changed_since() {
        let leases = none();
        leases.answered(leases.ask(PARTITION, ms(0)), LEASED);
        assert_eq!(standing(&leases, 4, ms(1)), Standing::Changed);
        assert_eq!(standing(&leases, 5, ms(1)), Standing::Unchanged { index: 9, renew: false });
        let other = leases.standings(&[(PARTITION, 5), (PartitionId(8), 5)], || ms(1));
        assert_eq!(other[1], Standing::Unknown);
    }

    #[test]
    fn one_that_is_called_back_ends_with_all_that_are_on_their_way() {
        let leases = none();
        leases.answered(leases.ask(PARTITION, ms(0)), LEASED);
        let under_way = leases.ask(PARTITION, ms(10));
        assert!(leases.give_back(PARTITION, 2).is_err(), "these are another's");
        assert!(is_held(&leases, ms(11)));
        leases.give_back(PARTITION, 1).unwrap();
        assert!(!is_held(&leases, ms(11)));
        leases.answered(under_way, LEASED);
        assert!(!is_held(&leases, ms(12)), "it was entered before it was called back");
        leases.answered(leases.ask(PARTITION, ms(20)), LEASED);
        assert!(is_held(&leases, ms(21)));
    }

    #[test]
    fn one_that_is_used_is_asked_for_again_once_before_it_ends() {
        let leases = none();
        leases.answered(leases.ask(PARTITION, ms(0)), LEASED);
        let renews = |now| matches!(standing(&leases, 5, now), Standing::Unchanged { renew: true, .. });
        let late = LEASE - RENEWED;
        assert!(!renews(late - ms(1)));
        assert!(renews(late));
        let renewal = leases.ask(PARTITION, late);
        assert!(!renews(late), "that is under way");
        leases.answered(renewal, None);
        assert!(renews(late), "it was refused");
        leases.answered(leases.ask(PARTITION, late), LEASED);
        assert!(!renews(late) && is_held(&leases, late + LEASE - ms(1)));
    }
}
