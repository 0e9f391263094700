//! The node's hybrid logical clock, shared by its replicas and its connections.
//!
//! It never runs backwards, not even over a restart: a bound that no reading has reached yet is kept on disk, so
//! that what was promised by the clock (see [`crate::replica::promises`]) is not forgotten.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Hlc;
use parking_lot::Mutex;

use crate::layout::{read_word, write_durably};

/// How far ahead of the readings the bound on disk lies: after a crash the clock may be this much early.
const AHEAD_MS: u64 = 4_000;
/// The bound is written again when less than this is left.
const AHEAD_LEAST_MS: u64 = 1_200;
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(400);

/// A clock that never runs backwards and runs ahead of every clock that it hears of.
#[derive(Clone, Default)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// `None` for a clock that is not kept.
    file: Option<PathBuf>,
    /// The bound in the file.
    written: Mutex<Hlc>,
}

#[derive(Default)]
struct State {
    last: Hlc,
    /// No reading is later, until the file says so.
    bound: Hlc,
}

impl Clock {
    /// A clock that goes on where the one that was kept in the file stopped.
    pub fn kept(file: PathBuf) -> io::Result<Clock> {
        let last = match read_word(&file)? {
            Some(text) => Hlc(text.parse().map_err(io::Error::other)?),
            None => Hlc::default(),
        };
        let state = Mutex::new(State { last, bound: last });
        Ok(Clock { shared: Arc::new(Shared { state, file: Some(file), written: Mutex::new(last) }) })
    }

    /// A reading later than every reading before it and every one observed. Waits for the disk only if the clock
    /// has leapt ahead.
    #[must_use]
    pub fn now(&self) -> Hlc {
        let mut state = self.shared.state.lock();
        state.last = state.last.next(wall_millis());
        if state.last > state.bound {
            state.bound = ahead_of(state.last);
            self.shared.write(state.bound);
        }
        state.last
    }

    /// Takes notice of another node's clock.
    pub fn observe(&self, remote: Hlc) {
        let mut state = self.shared.state.lock();
        state.last = state.last.observe(remote);
    }

    /// Keeps the bound on disk ahead of the readings, so that none of them waits for it. Never ends.
    pub async fn keep_ahead(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(bound) = self.next_bound() else { continue };
            let clock = self.clone();
            if tokio::task::spawn_blocking(move || clock.raise(bound)).await.is_err() {
                tracing::error!("the clock's bound could not be written");
            }
        }
    }

    /// The bound to write, when the one on disk is near.
    fn next_bound(&self) -> Option<Hlc> {
        let state = self.shared.state.lock();
        let now = state.last.max(Hlc::from_millis(wall_millis()));
        (state.bound.millis() < now.millis() + AHEAD_LEAST_MS).then(|| ahead_of(now))
    }

    fn raise(&self, bound: Hlc) {
        self.shared.write(bound);
        let mut state = self.shared.state.lock();
        state.bound = state.bound.max(bound);
    }
}

impl Shared {
    fn write(&self, bound: Hlc) {
        let Some(file) = &self.file else { return };
        let mut written = self.written.lock();
        if bound <= *written {
            return;
        }
        match write_durably(file, bound.0.to_string().as_bytes()) {
            Ok(()) => *written = bound,
            Err(error) => tracing::error!(path = %file.display(), %error, "the clock could not be written"),
        }
    }
}

fn ahead_of(reading: Hlc) -> Hlc {
    Hlc::from_millis(reading.millis() + AHEAD_MS)
}

impl polylite_client::peer::PeerClock for Clock {
    fn now(&self) -> Hlc {
        Clock::now(self)
    }

    fn observe(&self, remote: Hlc) {
        Clock::observe(self, remote);
    }
}

/// Microseconds since some moment of this process; never runs backwards. Deadlines are counted by it.
#[must_use]
pub fn monotonic_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch, as the operating system has it.
#[must_use]
pub fn wall_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_later_than_what_was_observed() {
        let clock = Clock::default();
        let ahead = Hlc::from_millis(wall_millis() + 60_000);
        clock.observe(ahead);
        assert!(clock.now() > ahead);
    }

    #[test]
    fn no_reading_is_forgotten_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let clock = Clock::kept(file.clone()).unwrap();
        clock.raise(clock.next_bound().expect("nothing is on disk yet"));
        assert_eq!(clock.next_bound(), None);
        clock.observe(Hlc::from_millis(wall_millis() + 3_600_000));
        let before = clock.now();
        drop(clock);
        let clock = Clock::kept(file.clone()).unwrap();
        let after = clock.now();
        assert!(after > before);
        drop(clock);
        assert!(Clock::kept(file).unwrap().now() > after);
    }
}
