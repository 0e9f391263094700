//! What a run is like. Every seed draws its own sizes and fault rates: fixed ones find only the faults that
//! they were tuned for.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::PlantedBug;

/// Settings of one run. Times are in simulated microseconds, rates in faults per million chances.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything random in the run comes from it.
    pub seed: u64,
    /// Replicas of the partition: 3 or 5.
    pub replicas: usize,
    /// Clients, each with one operation under way.
    pub clients: usize,
    /// Registers, each a row.
    pub registers: u64,
    /// How long clients work and faults happen; then everything is healed and checked.
    pub busy_us: u64,
    /// Length of a Raft tick.
    pub tick_us: u64,
    /// Longest time that a message travels.
    pub delay_us: u64,
    /// Longest time that a sync takes.
    pub sync_us: u64,
    /// Messages lost.
    pub loss: u32,
    /// Messages doubled.
    pub duplication: u32,
    /// Election time-outs differ by at most this many ticks: few let votes split.
    pub election_ticks_spread: u32,
    /// Mean time between crashes of a node; 0 for none.
    pub crash_every_us: u64,
    /// Crashes of a node that has just answered whether it would vote, or voted. Where these happen, elections do
    /// often, and collide.
    pub crash_after_vote: u32,
    /// Longest time that a node stays down.
    pub down_us: u64,
    /// Whether a crash may take every node at once (a power cut of the whole place).
    pub power_cuts: bool,
    /// Mean time between cuts of the network; 0 for none.
    pub cut_every_us: u64,
    /// Operations that their client sends to any node, not to the one that it takes for the leader: where these are
    /// many, some clients know a new leader while others still ask the old one.
    pub stray: u32,
    /// Mean time between pauses of a node; 0 for none.
    pub pause_every_us: u64,
    /// Mean time between disks that are full for a while or fail to sync; 0 for none.
    pub disk_fault_every_us: u64,
    /// Mean time between files that are changed behind their replica's back; 0 for none.
    pub harm_every_us: u64,
    /// The log is truncated when it holds this many entries below the state on disk.
    pub log_entries: u64,
    /// Proposals larger than this travel as sets of chunks.
    pub entry_bytes: usize,
    /// A fault in the program under test.
    pub bug: Option<PlantedBug>,
}

impl Settings {
    /// Draws the settings of a seed.
    #[must_use]
    pub fn drawn(seed: u64) -> Settings {
        // Another stream than the run's own, so that a change here does not change every run.
        let mut random = StdRng::seed_from_u64(seed ^ 0x7365_7474_696e_6773);
        let mut sometimes = |chance: f64, low: u64, high: u64| {
            if random.random_bool(chance) { random.random_range(low..high) } else { 0 }
        };
        let loss = sometimes(0.6, 100, 60_000);
        let duplication = sometimes(0.5, 100, 40_000);
        let crash_every_us = sometimes(0.8, 40_000, 1_000_000);
        let cut_every_us = sometimes(0.6, 200_000, 2_000_000);
        let pause_every_us = sometimes(0.5, 100_000, 1_500_000);
        let small = |rate: u64| u32::try_from(rate).expect("rates are below a million");
        let settings = Settings {
            seed,
            replicas: if random.random_bool(0.3) { 5 } else { 3 },
            clients: random.random_range(2..13),
            registers: random.random_range(1..7),
            busy_us: random.random_range(1_000_000..4_000_000),
            tick_us: 10_000,
            delay_us: random.random_range(200..30_000),
            sync_us: random.random_range(100..10_000),
            loss: small(loss),
            duplication: small(duplication),
            election_ticks_spread: random.random_range(2..16),
            crash_every_us,
            crash_after_vote: 0,
            down_us: if random.random_bool(0.5) { 30_000 } else { 800_000 },
            power_cuts: random.random_bool(0.5),
            cut_every_us,
            stray: 0,
            pause_every_us,
            log_entries: random.random_range(5..200),
            // Small enough, a batch of any kind is a set of chunks.
            entry_bytes: if random.random_bool(0.4) { random.random_range(60..200) } else { 1 << 20 },
            bug: None,
            disk_fault_every_us: 0,
            harm_every_us: 0,
        };
        let kind = random.random_range(0..10);
        let often = random.random_range(100_000..2_000_000);
        let settings =
            Settings { disk_fault_every_us: if random.random_bool(0.3) { often } else { 0 }, ..settings };
        let often = random.random_range(50_000..1_000_000);
        // A disk that fails to read would be taken for one that has changed what it holds.
        let is_harmful = random.random_bool(0.3) && settings.disk_fault_every_us == 0;
        let settings = Settings { harm_every_us: if is_harmful { often } else { 0 }, ..settings };
        match kind {
            0 => settings.contested(),
            1 => settings.lonely(),
            _ => settings,
        }
    }

    /// The same run about elections: leaders die often and are soon back, candidates stand at about the same moment,
    /// and who has voted loses power and is asked again.
    #[must_use]
    pub fn contested(self) -> Settings {
        Settings {
            replicas: 3,
            clients: 2,
            tick_us: 4_000,
            election_ticks_spread: 2,
            delay_us: self.delay_us.max(20_000),
            sync_us: 100,
            crash_every_us: 15_000 + self.seed % 40_000,
            crash_after_vote: 800_000,
            down_us: 20_000,
            ..self
        }
    }

    /// The same run about leaders that are cut off from the others, but not from their clients.
    #[must_use]
    pub fn lonely(self) -> Settings {
        Settings {
            clients: 12,
            registers: 2,
            tick_us: 4_000,
            delay_us: 2_000,
            sync_us: 1_000,
            loss: 0,
            crash_every_us: 0,
            pause_every_us: 0,
            cut_every_us: 150_000,
            stray: 300_000,
            ..self
        }
    }

    /// The same run with files that are often not what was written.
    #[must_use]
    pub fn harmful(self) -> Settings {
        Settings { harm_every_us: 100_000, disk_fault_every_us: 0, ..self }
    }

    /// The same run with a fault in the program under test.
    #[must_use]
    pub fn with_bug(mut self, bug: PlantedBug) -> Settings {
        self.bug = Some(bug);
        self
    }
}
