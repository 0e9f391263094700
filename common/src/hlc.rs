//! Hybrid logical clock: wall time that never runs backwards and orders causally related events.
//!
//! After S. Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed
//! Databases" (2014), with both parts packed into 64 bits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 48 bits of milliseconds since the Unix epoch, then a 16-bit counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The largest reading; later than every other.
    pub const MAX: Hlc = Hlc(u64::MAX);

    /// A reading at a wall time, before any other event of that millisecond.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Hlc {
        Hlc(millis << 16)
    }

    /// The wall-clock part, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The reading for the next local event, given the last reading (`self`) and the wall clock now.
    /// A full counter carries into the milliseconds: order matters more than closeness to the wall clock.
    #[must_use]
    pub fn next(self, wall_millis: u64) -> Hlc {
        Hlc((self.0 + 1).max(wall_millis << 16))
    }

    /// The clock after it has heard of `remote`.
    #[must_use]
    pub fn observe(self, remote: Hlc) -> Hlc {
        self.max(remote)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::Hlc;

    #[test]
    fn readings_grow_when_the_wall_clock_stands_still_or_jumps_back() {
        let first = Hlc::default().next(1_000);
        let second = first.next(1_000);
        let third = second.next(10);
        assert!(first < second && second < third);
        assert_eq!(third.millis(), 1_000);
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        let full = Hlc((5 << 16) | 0xffff);
        assert_eq!(full.next(5), Hlc::from_millis(6));
    }
}
