//! Sees everything that happens: a fingerprint of the run, and what must hold at every moment.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use storage_node::replica::machine::Compared;

use super::Violation;

/// Watches a run.
#[derive(Debug, Default)]
pub struct Witness {
    fingerprint: DefaultHasher,
    leaders: BTreeMap<u64, usize>,
    committed: BTreeMap<u64, (u64, Bytes)>,
    digests: BTreeMap<u64, u128>,
}

impl Witness {
    /// Something happened.
    pub fn note(&mut self, what: &impl Hash) {
        what.hash(&mut self.fingerprint);
    }

    /// A hash over everything noted so far.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }

    /// Terms that had a leader.
    #[must_use]
    pub fn terms(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A node became leader. No term has two.
    pub fn leads(&mut self, term: u64, place: usize) -> Result<(), Violation> {
        self.note(&("leads", term, place));
        let first = *self.leaders.entry(term).or_insert(place);
        if first == place {
            return Ok(());
        }
        Err(Violation(format!("replicas {} and {} both led term {term}", first + 1, place + 1)))
    }

    /// A node was asked by the log for its digest. At one index all have the same, whenever they come to it, but for
    /// those whose files were harmed.
    pub fn compared(&mut self, compared: Compared, is_whole: bool) -> Result<(), Violation> {
        self.note(&("compared", compared.index, compared.own));
        if !is_whole || *self.digests.entry(compared.index).or_insert(compared.own) == compared.own {
            return Ok(());
        }
        Err(Violation(format!("replicas have other rows at index {}", compared.index)))
    }

    /// A node learned that an entry is committed. No other entry ever is, at that index.
    pub fn committed(&mut self, index: u64, term: u64, data: &Bytes) -> Result<(), Violation> {
        self.note(&("committed", index, term, data));
        let first = self.committed.entry(index).or_insert_with(|| (term, data.clone()));
        if *first == (term, data.clone()) {
            return Ok(());
        }
        Err(Violation(format!(
            "index {index} was committed in term {} and again, otherwise, in {term}",
            first.0
        )))
    }
}
