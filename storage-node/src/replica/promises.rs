//! Of which moments a snapshot shows the partition's state.
//!
//! Everything that commits on a partition does so at a moment of the hybrid logical clock, in order. A snapshot shows
//! all that committed up to its last transaction, and stays true up to the moment before the next one. That moment
//! is promised: whatever commits later on this partition does so later on the clock as well. Three things make
//! the promise hold:
//!
//! - A batch takes its moment under the same lock under which it is noted here, so whoever promises afterwards
//!   sees it, and whoever promised before is an earlier reading of the clock than it.
//! - A prepared transaction commits later than its prepare, so nothing is promised beyond that.
//! - The promise is made before the round of messages that confirms leadership. A majority has heard of the
//!   clock then, each with a reading no earlier, and the next leader hears of it from one of them with its vote.
//!   No node forgets its clock (see [`crate::clock`]).
//!
//! After J. Corbett et al., "Spanner: Google's Globally-Distributed Database" (2012), section 4.1.3, without its
//! clocks: nobody waits for time to pass, readers compare what partitions promise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::Hlc;
use parking_lot::{Condvar, Mutex};

use super::machine::Machine;

/// How long the next commit waits at most for snapshots that are being opened. Opening takes microseconds; one
/// that takes longer shows a later state than was asked for, and is opened again.
const HOLD: Duration = Duration::from_millis(10);

/// What a replica may promise. See the module.
#[derive(Debug, Default)]
pub struct Promises {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the replica leads and knows all that was committed.
    writable: bool,
    /// The earliest moment at which the batch commits that runs or is on its way through the log.
    batch: Option<Hlc>,
    /// The prepare of a transaction that is not decided.
    prepared: Option<Hlc>,
    /// The moments that snapshots which are being opened are to show.
    opening: BTreeMap<u64, Hlc>,
    next: u64,
}

impl State {
    /// The earliest moment at which anything may commit that has begun already.
    fn pending(&self) -> Hlc {
        self.batch.into_iter().chain(self.prepared).min().unwrap_or(Hlc::MAX)
    }
}

/// Why nothing is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpromised {
    /// Another replica leads.
    NotLeader,
    /// What began before the moment was not over in time.
    TimedOut,
}

impl Promises {
    /// A batch begins; answers its reading of the clock, before which it does not commit.
    pub fn begin_batch(&self, now: impl FnOnce() -> Hlc) -> Hlc {
        let mut state = self.state.lock();
        let moment = now();
        state.batch = Some(moment);
        moment
    }

    /// Takes over where the machine stands; what has committed can be read by now.
    pub fn update(&self, machine: &Machine) {
        let mut state = self.state.lock();
        state.writable = machine.is_writable();
        if !machine.has_batch_under_way() {
            state.batch = None;
        }
        #[cfg(feature = "planted-bugs")]
        if machine.has_bug(super::machine::PlantedBug::SnapshotsKnowOnlyLargeTransactions) {
            state.batch = None;
        }
        state.prepared = machine.prepared().map(|prepared| prepared.hlc);
        self.wake(&state);
    }

    /// The replica's file is gone.
    pub fn withdraw(&self) {
        let mut state = self.state.lock();
        state.writable = false;
        self.wake(&state);
    }

    fn wake(&self, state: &State) {
        if !state.opening.is_empty() {
            self.changed.notify_all();
        }
    }

    /// Lets snapshots be opened that the next commit must not be seen in.
    pub fn wait_for_openings(&self) {
        let mut state = self.state.lock();
        let due = |state: &State| state.opening.values().any(|at| *at < state.pending());
        if due(&state) {
            let until = Instant::now() + HOLD;
            while due(&state) && !self.changed.wait_until(&mut state, until).timed_out() {}
        }
    }

    /// Waits until a snapshot can be opened that shows the moment `at`; without one, it can be at once.
    /// `promised` is a reading of the clock later than `at`, before which nothing commits that has not begun yet.
    pub fn open(&self, at: Option<Hlc>, promised: Hlc, deadline: Instant) -> Result<Opening<'_>, Unpromised> {
        let at = at.unwrap_or_default();
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.opening.insert(number, at);
        let refused = loop {
            if !state.writable {
                break Unpromised::NotLeader;
            }
            let pending = state.pending();
            if pending > at {
                let until = promised.min(Hlc(pending.0 - 1));
                return Ok(Opening { promises: self, number, until });
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break Unpromised::TimedOut;
            }
        };
        state.opening.remove(&number);
        self.changed.notify_all();
        Err(refused)
    }
}

/// A snapshot is being opened; the next commit waits a moment for it.
#[derive(Debug)]
pub struct Opening<'a> {
    promises: &'a Promises,
    number: u64,
    until: Hlc,
}

impl Opening<'_> {
    /// What the snapshot does not show commits later than this.
    #[must_use]
    pub fn until(&self) -> Hlc {
        self.until
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.promises.state.lock().opening.remove(&self.number);
        self.promises.changed.notify_all();
    }
}
