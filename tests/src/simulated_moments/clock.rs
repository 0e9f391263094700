//! The nodes' clocks: each has a wall clock of its own, and hears of the others only by messages.

use common::Hlc;
use rand::Rng as _;
use rand::rngs::StdRng;

/// Longest difference between two wall clocks, in milliseconds.
const SKEW_MS: u64 = 40;

/// The clocks of all nodes.
#[derive(Debug)]
pub struct Clocks {
    time_us: u64,
    ahead_ms: Vec<u64>,
    last: Vec<Hlc>,
}

impl Clocks {
    pub fn new(nodes: usize, random: &mut StdRng) -> Clocks {
        let ahead_ms = (0..nodes).map(|_| random.random_range(0..SKEW_MS)).collect();
        Clocks { time_us: 1_000_000_000, ahead_ms, last: vec![Hlc::default(); nodes] }
    }

    /// Time passes.
    pub fn pass(&mut self, random: &mut StdRng) {
        self.time_us += random.random_range(0..400);
    }

    /// The time that deadlines are counted by.
    pub fn now_ms(&self) -> u64 {
        self.time_us / 1_000
    }

    /// The same in microseconds.
    pub fn now_us(&self) -> u64 {
        self.time_us
    }

    /// A reading of a node's clock.
    pub fn now(&mut self, node: usize) -> Hlc {
        self.last[node] = self.last[node].next(self.time_us / 1_000 + self.ahead_ms[node]);
        self.last[node]
    }

    /// A node hears of a reading.
    pub fn observe(&mut self, node: usize, reading: Hlc) {
        self.last[node] = self.last[node].observe(reading);
    }

    /// A message travels from one node to another.
    pub fn tell(&mut self, from: usize, to: usize) {
        let reading = self.now(from);
        self.observe(to, reading);
    }
}
