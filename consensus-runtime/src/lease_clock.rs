//! The clock that leases are counted by.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Linux counts the time while the machine is suspended only with this one; elsewhere the monotonic clock does.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// The time since some moment of this machine. It never runs backwards, is not set, and goes on while the process is
/// stopped and while the machine is suspended.
#[must_use]
pub fn lease_clock() -> Duration {
    let now = clock_gettime(CLOCK);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}
