//! Answers of reads that are kept for the next one who asks the same.
//!
//! This is the store: what is kept within which limits, and how often that was of use. That an answer is as
//! fresh as a read without it is the gateway's affair (`gateway::cached`), which confirms each one before it is
//! used.
//!
//! Which answers stay when there are too many is decided by TinyLFU, an estimate of how often each was asked
//! for (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", 2017): many questions
//! that are asked once do not drive out the few that are asked often.

mod counters;
pub mod leases;
mod weight;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::PartitionId;
use common::catalog::{CacheLimits, Catalog, Database};
use common::dependency::Dependency;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use parking_lot::RwLock;

pub use counters::{CacheCounts, CacheStats};
pub use weight::{OVERHEAD, Weighed};

use counters::Counters;
use weight::Scale;

/// Questions of more bytes than this are not kept: they are rarely asked twice.
const QUESTION_BYTES_MAX: usize = 64 << 10;

/// What was asked, in full: equal questions about equal data have equal answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    asked: Bytes,
}

impl Question {
    /// A question of some kind to a database. What is asked has one encoding within its kind. `None` if it is
    /// too long to be kept.
    #[must_use]
    pub fn new(kind: &str, database: &str, asked: &impl serde::Serialize) -> Option<Question> {
        let bytes = common::protocol::encode(&(kind, database, asked));
        (bytes.len() <= QUESTION_BYTES_MAX).then_some(Question { asked: bytes })
    }
}

/// An answer, and what it was computed on.
pub struct Kept {
    /// The answer, of the type that goes with the question's kind.
    pub answer: Arc<dyn Any + Send + Sync>,
    /// The database as the question was planned on.
    pub database: Arc<Database>,
    /// What the answer depends on; nothing stands for everything.
    pub dependencies: Vec<Dependency>,
    /// The partitions that were read, each with a log index at which what the answer depends on was as in the oldest
    /// state that was seen.
    read: Vec<(PartitionId, AtomicU64)>,
    bytes: usize,
}

impl Kept {
    /// An answer of so many bytes.
    #[must_use]
    pub fn new<T: Weighed + Send + Sync + 'static>(
        answer: Arc<T>,
        database: Arc<Database>,
        read: Vec<(PartitionId, u64)>,
        dependencies: Vec<Dependency>,
    ) -> Kept {
        let of_dependencies =
            size_of_val(dependencies.as_slice()) + dependencies.iter().map(Dependency::bytes).sum::<usize>();
        let bytes = answer.bytes() + size_of_val(read.as_slice()) + of_dependencies;
        let read = read.into_iter().map(|(partition, index)| (partition, index.into())).collect();
        Kept { answer, database, dependencies, read, bytes }
    }

    /// The partitions that were read, each with the newest log index at which what the answer depends on is known to have
    /// been as it was read.
    #[must_use]
    pub fn read(&self) -> Vec<(PartitionId, u64)> {
        self.read.iter().map(|(partition, index)| (*partition, index.load(Ordering::Relaxed))).collect()
    }

    /// What it depends on is the same at a later log index of a partition.
    pub fn confirm(&self, partition: PartitionId, index: u64) {
        for (_, since) in self.read.iter().filter(|(read, _)| *read == partition) {
            since.fetch_max(index, Ordering::Relaxed);
        }
    }
}

/// The answers that one coordinator keeps.
#[derive(Default)]
pub struct ResultCache {
    state: RwLock<Option<State>>,
    counters: Arc<Counters>,
}

/// The answers under one set of limits.
struct State {
    limits: CacheLimits,
    /// Absent if the limits allow nothing.
    entries: Option<Entries>,
}

/// Hashed with a seed of the process, so that nobody can choose questions that share a hash.
type Entries = Cache<Question, Arc<Kept>, foldhash::fast::RandomState>;

impl ResultCache {
    /// Whether anything is kept under these limits. When they have changed, what was kept is given up.
    pub fn obey(&self, limits: CacheLimits) -> bool {
        if let Some(state) = &*self.state.read()
            && state.limits == limits
        {
            return state.entries.is_some();
        }
        let entries = self.build(limits);
        let keeps = entries.is_some();
        *self.state.write() = Some(State { limits, entries });
        keeps
    }

    fn build(&self, limits: CacheLimits) -> Option<Entries> {
        let scale = Scale::of(limits)?;
        let counters = self.counters.clone();
        let built = Cache::builder()
            .max_capacity(scale.capacity())
            .weigher(move |question: &Question, kept: &Arc<Kept>| {
                scale.weight(question.asked.len() + kept.bytes)
            })
            .time_to_live(Duration::from_secs(limits.expiration_seconds))
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Size => counters.evicted(),
                RemovalCause::Expired => counters.expired(),
                // Somebody asked for it.
                RemovalCause::Explicit | RemovalCause::Replaced => {}
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        Some(built)
    }

    fn entries(&self) -> Option<Entries> {
        self.state.read().as_ref().and_then(|state| state.entries.clone())
    }

    /// The answer that is kept for a question.
    #[must_use]
    pub fn get(&self, question: &Question) -> Option<Arc<Kept>> {
        self.state.read().as_ref()?.entries.as_ref()?.get(question)
    }

    /// Keeps an answer.
    pub fn put(&self, question: Question, kept: Kept) {
        if let Some(entries) = self.entries() {
            entries.insert(question, Arc::new(kept));
        }
    }

    /// Gives up an answer that is out of date.
    pub fn forget(&self, question: &Question) {
        if let Some(entries) = self.entries() {
            entries.invalidate(question);
            self.counters.invalidated();
        }
    }

    /// A question about a database was answered, from what is kept or not.
    pub fn count(&self, database: &str, hit: bool) {
        self.counters.asked(database, hit);
    }

    /// For a hit nobody had to be asked.
    pub fn count_leased(&self) {
        self.counters.leased();
    }

    /// Gives up everything that is kept. The counters stay.
    pub fn clear(&self) {
        if let Some(entries) = self.entries() {
            entries.invalidate_all();
            entries.run_pending_tasks();
        }
    }

    /// Forgets what concerns databases that are gone.
    pub fn retain(&self, catalog: &Catalog) {
        self.counters.retain(|database| catalog.databases.contains_key(database));
    }

    /// What has happened so far, and what is kept now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let (mut entries, mut bytes) = (0, 0);
        if let Some(kept) = self.entries() {
            // Entries that have expired are dropped, and counted, by this.
            kept.run_pending_tasks();
            for (question, answer) in &kept {
                entries += 1;
                bytes += (question.asked.len() + answer.bytes) as u64;
            }
        }
        self.counters.stats(entries, bytes)
    }
}

#[cfg(test)]
mod tests;
