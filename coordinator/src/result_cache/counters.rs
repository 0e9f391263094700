//! How often the cache was of use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

/// Counters since the coordinator started.
#[derive(Default)]
pub(super) struct Counters {
    total: Asked,
    databases: RwLock<BTreeMap<String, Asked>>,
    leased: AtomicU64,
    evictions: AtomicU64,
    expirations: AtomicU64,
    invalidations: AtomicU64,
}

#[derive(Default)]
struct Asked {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Asked {
    fn count(&self, hit: bool) {
        let counter = if hit { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> CacheCounts {
        CacheCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }
}

/// Answers from the cache, and others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Answers from it.
    pub hits: u64,
    /// Answers that were not there, or were out of date.
    pub misses: u64,
}

/// What has happened since the coordinator started, and what is kept now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Of all databases.
    pub total: CacheCounts,
    /// By database.
    pub databases: BTreeMap<String, CacheCounts>,
    /// Hits for which nobody was asked, because of leases.
    pub leased: u64,
    /// Answers that were dropped because there were too many.
    pub evictions: u64,
    /// Answers that were dropped because they were old.
    pub expirations: u64,
    /// Answers that were dropped because the data had changed.
    pub invalidations: u64,
    /// Answers that are kept now.
    pub entries: u64,
    /// What these take, in bytes.
    pub bytes: u64,
}

impl Counters {
    pub(super) fn asked(&self, database: &str, hit: bool) {
        self.total.count(hit);
        if let Some(asked) = self.databases.read().get(database) {
            return asked.count(hit);
        }
        self.databases.write().entry(database.to_owned()).or_default().count(hit);
    }

    pub(super) fn leased(&self) {
        self.leased.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn evicted(&self) {
        self.evictions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn expired(&self) {
        self.expirations.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn invalidated(&self) {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.databases.write().retain(|database, _| exists(database));
    }

    pub(super) fn stats(&self, entries: u64, bytes: u64) -> CacheStats {
        let databases = self.databases.read();
        CacheStats {
            total: self.total.counts(),
            databases: databases.iter().map(|(name, asked)| (name.clone(), asked.counts())).collect(),
            leased: self.leased.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            expirations: self.expirations.load(Ordering::Relaxed),
            invalidations: self.invalidations.load(Ordering::Relaxed),
            entries,
            bytes,
        }
    }
}
