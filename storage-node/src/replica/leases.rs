//! Leases that a replica grants to coordinators while it leads: see [`common::lease`].
//!
//! A coordinator with a lease answers reads of what it knows without asking. So nothing may change the partition's
//! state, be it seen or acknowledged, before every lease is given back or over. Four rules make that so:
//!
//! - **Nothing begins while a lease is out**, but what is only tried. Before a batch is executed the leases are called
//!   back, and nothing is granted until the batch is over. What this leader proposes is then in the log only while there are no leases, so
//!   that it does not matter where and when its entries are landed. Nor is anything granted while a transaction
//!   is prepared, whose commit may be seen on another partition already.
//! - **A grant is entered before leadership is confirmed** by a round of messages, and told only if it is still
//!   entered afterwards. So the holder asked before any later leader was elected.
//! - **A new leader begins nothing** for as long as its predecessor's leases may last. Only a partition that has
//!   never had any state, of which nothing was granted, need not wait.
//! - **A lease is given back by its number**: a holder's word about an earlier one does not end a later one.
//!
//! A partition that was just written is not leased, so that one that is written often pays nothing. The time is
//! handed in, by the clock of leases.

use std::collections::BTreeMap;
use std::time::Duration;

use common::lease::LEASE_KEPT;
use common::protocol::LeaseHolder;

/// For how long after a write nothing is granted: so many times a second at most has a write to call leases back.
const QUIET: Duration = Duration::from_millis(250);
/// For how long nothing is granted to a holder that let a lease run out instead of giving it back.
const SHUNNED: Duration = Duration::from_secs(10);
/// Most holders of a partition's leases at a time.
const HOLDERS_MAX: usize = 64;

/// The leases that one replica has granted. See the module.
#[derive(Debug)]
pub struct Grants {
    /// Whether this replica leads, and has led the whole term with a sound file.
    leading: bool,
    /// Whether it knows all that was committed, and nothing is prepared.
    settled: bool,
    /// Whether a batch is executed or on its way through the log.
    writing: bool,
    /// Until when leases may last that another leader has granted.
    others_until: Duration,
    /// When something was last to be written.
    written: Option<Duration>,
    /// By holder.
    held: BTreeMap<u64, Held>,
    /// Holders that let a lease run out, and until when they get no other.
    shunned: BTreeMap<u64, Duration>,
    granted: u64,
}

#[derive(Debug)]
struct Held {
    number: u64,
    holder: LeaseHolder,
    until: Duration,
    /// Whether it was called back.
    called: bool,
}

/// A holder is to be asked for its leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// The lease.
    pub number: u64,
    /// Its holder.
    pub holder: LeaseHolder,
    /// When the lease is over anyway.
    pub until: Duration,
}

/// Whether a batch may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may, at once.
    Open,
    /// Not yet. These are to be asked.
    Shut(Vec<Recall>),
}

impl Default for Grants {
    fn default() -> Self {
        Grants {
            leading: false,
            settled: false,
            writing: false,
            others_until: Duration::ZERO,
            written: None,
            held: BTreeMap::new(),
            shunned: BTreeMap::new(),
            granted: 0,
        }
    }
}

impl Grants {
    /// The replica has become the leader of a term: to be called after it was elected.
    pub fn begin_leading(&mut self, now: Duration) {
        self.leading = true;
        self.others_until = now + LEASE_KEPT;
        // Those of an earlier term of its own end in the same time.
        self.held.clear();
    }

    /// The replica does not lead any more, or has lost its file. What it has granted still binds it.
    pub fn end_leading(&mut self) {
        self.leading = false;
    }

    /// Where the replica stands: whether it is ready to write with nothing prepared, and whether a batch is under way.
    pub fn update(&mut self, settled: bool, writing: bool) {
        self.settled = settled;
        self.writing = writing;
    }

    /// Enters a lease; answers its number. `base` is the log index of the last entry that changed the state.
    pub fn grant(&mut self, holder: &LeaseHolder, base: u64, now: Duration) -> Option<u64> {
        let quiet = self.written.is_none_or(|written| now >= written + QUIET);
        let shunned = self.shunned.get(&holder.process).is_some_and(|until| now < *until);
        let room = self.held.len() < HOLDERS_MAX || self.held.contains_key(&holder.process);
        if !self.leading || !self.settled || self.writing || base == 0 || !quiet || shunned || !room {
            return None;
        }
        self.granted += 1;
        let held =
            Held { number: self.granted, holder: holder.clone(), until: now + LEASE_KEPT, called: false };
        self.held.insert(holder.process, held);
        Some(self.granted)
    }

    /// Whether a lease that was entered has not been called back since: then it may be told.
    #[must_use]
    pub fn stands(&self, process: u64, number: u64) -> bool {
        self.held.get(&process).is_some_and(|held| held.number == number && !held.called)
    }

    /// A batch is to be executed. `base` is the log index of the last entry that changed the state.
    pub fn begin_write(&mut self, base: u64, now: Duration) -> Gate {
        self.written = Some(now);
        self.drop_overdue(now);
        if base == 0 {
            self.others_until = Duration::ZERO;
        }
        if self.held.is_empty() && now >= self.others_until {
            self.writing = true;
            return Gate::Open;
        }
        let uncalled = self.held.values_mut().filter(|held| !held.called);
        let recall = |held: &mut Held| {
            held.called = true;
            Recall { number: held.number, holder: held.holder.clone(), until: held.until }
        };
        Gate::Shut(uncalled.map(recall).collect())
    }

    /// A holder has given back its leases up to a number.
    pub fn given_back(&mut self, process: u64, number: u64) {
        if self.held.get(&process).is_some_and(|held| held.number <= number) {
            self.held.remove(&process);
        }
    }

    fn drop_overdue(&mut self, now: Duration) {
        let shunned = &mut self.shunned;
        shunned.retain(|_, until| now < *until);
        self.held.retain(|process, held| {
            let over = now >= held.until;
            if over && held.called {
                shunned.insert(*process, now + SHUNNED);
            }
            !over
        });
    }
}

#[cfg(test)]
mod tests;
