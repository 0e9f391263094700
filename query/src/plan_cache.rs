//! Plans of texts that were seen lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::Result;

use crate::plan::Planned;

/// Most plans of one generation.
const PLANS_MAX: usize = 2_048;

/// Most bytes of texts of one generation. A plan is a small multiple of its text.
const TEXT_MAX: usize = 4 << 20;

/// Plans, and the errors of texts that cannot be planned, by text. There are two generations: what is used moves
/// to the young one; when that is full it becomes the old one, and what the old one still holds is forgotten. So
/// what is used now and then stays, at the cost of two look-ups.
#[derive(Default)]
pub(crate) struct PlanCache {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Arc<str>, Result<Arc<Planned>>>,
    old: HashMap<Arc<str>, Result<Arc<Planned>>>,
    /// Bytes of the young generation's texts.
    text: usize,
}

impl PlanCache {
    /// The plan of a text, or its error, if the text is known.
    pub(crate) fn get(&self, sql: &str) -> Option<Result<Arc<Planned>>> {
        let mut generations = self.generations();
        if let Some(found) = generations.young.get(sql) {
            return Some(found.clone());
        }
        let (text, found) = generations.old.remove_entry(sql)?;
        generations.insert(text, found.clone());
        Some(found)
    }

    /// Keeps a plan, or an error.
    pub(crate) fn insert(&self, sql: &str, planned: Result<Arc<Planned>>) {
        self.generations().insert(Arc::from(sql), planned);
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, sql: Arc<str>, planned: Result<Arc<Planned>>) {
        if self.young.len() >= PLANS_MAX || self.text + sql.len() > TEXT_MAX {
            self.old = std::mem::take(&mut self.young);
            self.text = 0;
        }
        self.text += sql.len();
        self.young.insert(sql, planned);
    }
}

#[cfg(test)]
mod tests {
    use common::Error;

    use super::*;

    #[test]
    fn what_is_used_stays_and_the_oldest_goes() {
        let cache = PlanCache::default();
        let error = || Err(Error::bad_request("no"));
        cache.insert("used", error());
        cache.insert("unused", error());
        for number in 0..3 * PLANS_MAX {
            cache.insert(&number.to_string(), error());
            assert!(cache.get("used").is_some());
        }
        assert!(cache.get("unused").is_none());
        let generations = cache.generations();
        assert!(generations.young.len() + generations.old.len() <= 2 * PLANS_MAX);
    }

    #[test]
    fn long_texts_make_room_for_each_other() {
        let cache = PlanCache::default();
        for number in 0..40 {
            cache.insert(&format!("{number}{}", " ".repeat(1 << 20)), Err(Error::bad_request("no")));
        }
        let generations = cache.generations();
        assert!(generations.young.len() + generations.old.len() <= 2 * (TEXT_MAX >> 20));
    }
}
