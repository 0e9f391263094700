//! The last of the disk is kept in reserve. What the node needs to go on at all (its log, what is committed
//! already, copies for other replicas, decisions of transactions) may use it; clients' writes may not.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Error, ErrorCode, Result};
use parking_lot::Mutex;

/// The reserve is a twentieth of the disk …
const RESERVE_SHARE: u64 = 20;
/// … but no more than this, in bytes.
const RESERVE_MAX: u64 = 2 << 30;
/// How often the disk is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Space of a file system in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What this process may still use.
    pub available: u64,
}

impl Space {
    fn is_down_to_reserve(self) -> bool {
        self.available < (self.total / RESERVE_SHARE).min(RESERVE_MAX)
    }
}

/// Keeps the reserve of one file system.
pub struct DiskReserve {
    look: Box<dyn Fn() -> io::Result<Space> + Send + Sync>,
    /// When the disk was looked at last, and whether only the reserve was left.
    seen: Mutex<Option<(Instant, bool)>>,
}

impl DiskReserve {
    /// The reserve of the file system that holds a folder.
    #[must_use]
    pub fn of(folder: PathBuf) -> DiskReserve {
        DiskReserve::seen_by(move || {
            let space = rustix::fs::statvfs(&folder)?;
            let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
            Ok(Space { total: bytes(space.f_blocks), available: bytes(space.f_bavail) })
        })
    }

    fn seen_by(look: impl Fn() -> io::Result<Space> + Send + Sync + 'static) -> DiskReserve {
        DiskReserve { look: Box::new(look), seen: Mutex::new(None) }
    }

    /// Refuses a client's write if only the reserve is left. Looks at the disk at most once a second.
    pub fn check(&self) -> Result<()> {
        let mut seen = self.seen.lock();
        let fresh = seen.filter(|(at, _)| at.elapsed() < LOOK);
        let (_, is_down) = fresh.unwrap_or_else(|| (Instant::now(), self.is_down_to_reserve()));
        if fresh.is_none() {
            *seen = Some((Instant::now(), is_down));
        }
        if !is_down {
            return Ok(());
        }
        Err(Error::new(ErrorCode::DiskFull, "the disk of a storage node is full but for its reserve")
            .with_hint("free space on its disk, or drop databases"))
    }

    fn is_down_to_reserve(&self) -> bool {
        match (self.look)() {
            Ok(space) => space.is_down_to_reserve(),
            Err(error) => {
                tracing::warn!(%error, "the space left on the disk is not known");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_reserve_is_a_share_of_small_disks_and_bounded_on_large_ones() {
        let down = |total, available| Space { total, available }.is_down_to_reserve();
        assert!(!down(20 * GIB, GIB));
        assert!(down(20 * GIB, GIB - 1));
        assert!(!down(4_000 * GIB, 2 * GIB));
        assert!(down(4_000 * GIB, 2 * GIB - 1));
    }

    #[test]
    fn writes_are_refused_before_the_reserve_is_used() {
        let full = DiskReserve::seen_by(|| Ok(Space { total: 100 * GIB, available: GIB }));
        let error = full.check().unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::DiskFull, common::Outcome::NotApplied));
        let unknown = DiskReserve::seen_by(|| Err(io::Error::other("no such disk")));
        assert!(unknown.check().is_ok());
        assert!(DiskReserve::of(std::env::temp_dir()).look.as_ref()().unwrap().total > 0);
    }
}
