//! Names for writes, by which the server knows a repetition.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Sessions that a client has on the server. It remembers the newest 1,000 names of each, so that a write can be
/// repeated while some 16,000 others overtake it.
const SESSIONS: u64 = 16;

/// The sessions of one client.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Random: no other client's.
    name: String,
    next: AtomicU64,
}

impl Sessions {
    pub(super) fn new() -> Sessions {
        let name = format!("{:032x}", SmallRng::from_os_rng().random::<u128>());
        Sessions { name, next: AtomicU64::new(0) }
    }

    /// A name for one more write: `session.sequence`.
    pub(super) fn name_write(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}.{}", self.name, number % SESSIONS, number / SESSIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_occurs_twice_and_sequences_grow() {
        let (first, second) = (Sessions::new(), Sessions::new());
        let mut names: Vec<String> = (0..100).map(|_| first.name_write()).collect();
        assert!(names[0].ends_with("-0.0") && names[16].ends_with("-0.1") && names[17].ends_with("-1.1"));
        names.extend((0..100).map(|_| second.name_write()));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 200);
    }
}
