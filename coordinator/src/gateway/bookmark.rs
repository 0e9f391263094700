//! Bookmarks: what a client has seen, as opaque text that it hands back to see at least that.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::{Error, PartitionId, Result};

/// First character of every bookmark; another one is of another version.
const FORMAT: char = 'b';
/// Longest text that is read.
const LENGTH_MAX: usize = 8 << 10;

/// Log indexes that a client has seen, of the catalog and of partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bookmark {
    /// Version of the catalog.
    pub catalog: u64,
    partitions: BTreeMap<PartitionId, u64>,
}

impl Bookmark {
    /// A client has seen the catalog at a version.
    #[must_use]
    pub fn of_catalog(version: u64) -> Bookmark {
        Bookmark { catalog: version, partitions: BTreeMap::new() }
    }

    /// Reads a bookmark's text.
    pub fn parse(text: &str) -> Result<Bookmark> {
        let malformed = || {
            Error::bad_request("X-Bookmark is not a bookmark")
                .with_hint("send the bookmark of an earlier answer back as it came")
        };
        let rest = text.strip_prefix(FORMAT).filter(|_| text.len() <= LENGTH_MAX).ok_or_else(malformed)?;
        let mut parts = rest.split('-');
        let catalog = parts.next().and_then(|version| version.parse().ok()).ok_or_else(malformed)?;
        let mut bookmark = Bookmark { catalog, partitions: BTreeMap::new() };
        for part in parts {
            let (partition, index) = part.split_once('.').ok_or_else(malformed)?;
            let partition = PartitionId(partition.parse().map_err(|_| malformed())?);
            bookmark.see(partition, index.parse().map_err(|_| malformed())?);
        }
        Ok(bookmark)
    }

    /// Takes note of a partition's log index.
    pub fn see(&mut self, partition: PartitionId, index: u64) {
        let seen = self.partitions.entry(partition).or_default();
        *seen = index.max(*seen);
    }

    /// Takes note of all that another one has seen.
    pub fn merge(&mut self, other: &Bookmark) {
        self.catalog = self.catalog.max(other.catalog);
        other.partitions.iter().for_each(|(partition, index)| self.see(*partition, *index));
    }

    /// The log index of a partition that was seen; 0 for none.
    #[must_use]
    pub fn of(&self, partition: PartitionId) -> u64 {
        self.partitions.get(&partition).copied().unwrap_or_default()
    }

    /// The bookmark as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(16 + 12 * self.partitions.len());
        // Writing to a string cannot fail.
        let _ = write!(text, "{FORMAT}{}", self.catalog);
        for (partition, index) in &self.partitions {
            let _ = write!(text, "-{partition}.{index}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_comes_back_as_it_was() {
        let mut bookmark = Bookmark { catalog: 12, ..Bookmark::default() };
        bookmark.see(PartitionId(3), 45);
        bookmark.see(PartitionId(3), 44);
        bookmark.see(PartitionId(10), 1);
        assert_eq!(bookmark.text(), "b12-3.45-10.1");
        let read = Bookmark::parse(&bookmark.text()).unwrap();
        assert_eq!(read, bookmark);
        assert_eq!((read.of(PartitionId(3)), read.of(PartitionId(4))), (45, 0));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "x1", "b", "b1-", "b1-2", "b1-2.x", "b1-2.3.4", &format!("b{}", "1".repeat(9_000))] {
            assert!(Bookmark::parse(text).is_err(), "{text}");
        }
    }
}
