//! How long a lease on a partition holds.
//!
//! A coordinator that holds a lease knows that a partition's state stays as it is, so that it can give an answer
//! again without asking. Whoever grants one lets no change of the state be seen until the lease has been given back
//! or is over. Both count by clocks of their own: the holder from before it asked, the granter from after it was
//! asked, and for a tenth longer. So the holder ends first as long as neither clock runs a tenth faster than the
//! other. After C. Gray, D. Cheriton, "Leases: An Efficient Fault-Tolerant Mechanism for Distributed File Cache
//! Consistency" (1989).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a holder relies on a lease, counted from before it asked for it.
pub const LEASE: Duration = Duration::from_millis(300);

/// How long whoever has granted a lease keeps to it, counted from after it was asked; and how long a new leader
/// lets nothing be changed, because it does not know what its predecessor has granted.
pub const LEASE_KEPT: Duration = Duration::from_millis(330);

/// A coordinator that wants a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// Its process: random, so that nobody answers for one that was there before.
    pub process: u64,
    /// `host:port` at which it is asked to give leases back.
    pub address: String,
}

/// What the holder of a lease knows: nothing changes the partition's state as long as the lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Log index of the last entry that changed the state.
    pub base: u64,
    /// Log index up to which that is so already.
    pub index: u64,
}
