//! Bodies too large for one entry travel as a set of chunks.
//!
//! Nothing of a set takes effect before its last chunk, and until then the applied index stays before its
//! first one, so that a restart meets it again in the log. Only the places of its chunks are kept meanwhile: in
//! the end they are read back one after the other, so that a set of any size takes little memory. A set ends
//! unfinished when another leader's entry follows, or when the same leader gave it up and proposes something else.

use bytes::Bytes;
use common::RequestId;
use common::body_stream::{BodySource, encode_body};
use common::entry::{Entry, EntryBody, EntryHeader};
use consensus_runtime::CommittedLog;

use super::Fault;

/// Bytes of an entry beside its chunk, at most.
const OVERHEAD: usize = 128;

/// A chunk takes this part of what an entry may: whatever holds messages on their way counts them, not their bytes.
const CHUNKS_PER_ENTRY: usize = 4;

/// The entries that carry a body: itself where it fits in one of `entry_max` bytes, else a set of chunks.
pub(super) fn split(header: EntryHeader, base: u64, body: EntryBody, entry_max: usize) -> Pieces {
    let whole = Entry { header, base, body };
    if may_fit(&whole.body, entry_max) {
        let encoded = whole.encode();
        if encoded.len() <= entry_max {
            return Pieces { cut: None, entry: Some(Bytes::from(encoded)) };
        }
    }
    let size = (entry_max / CHUNKS_PER_ENTRY).max(1);
    let body = Bytes::from(encode_body(whole.body));
    Pieces { cut: Some(Cut { header, base, body, size, next: 0 }), entry: None }
}

/// Whether it is worth a try: a million of effects is encoded once, not twice.
fn may_fit(body: &EntryBody, entry_max: usize) -> bool {
    match body {
        EntryBody::Effects(effects)
        | EntryBody::Prepare { effects, .. }
        | EntryBody::Commit { effects, .. } => effects.rows.len() <= entry_max,
        _ => true,
    }
}

/// The entries of one proposal, each made when it is its turn.
#[derive(Debug)]
pub(super) struct Pieces {
    entry: Option<Bytes>,
    cut: Option<Cut>,
}

#[derive(Debug)]
struct Cut {
    header: EntryHeader,
    base: u64,
    body: Bytes,
    size: usize,
    next: usize,
}

impl Pieces {
    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.entry.as_ref().map_or(0, Bytes::len) + self.cut.as_ref().map_or(0, |cut| cut.body.len())
    }

    /// Whether all were taken.
    pub(super) fn is_empty(&self) -> bool {
        self.entry.is_none() && self.cut.is_none()
    }

    /// Bytes of the next one, about.
    pub(super) fn next_bytes(&self) -> usize {
        self.entry.as_ref().map_or_else(|| self.cut.as_ref().map_or(0, |cut| cut.size + OVERHEAD), Bytes::len)
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(entry) = self.entry.take() {
            return Some(entry);
        }
        let cut = self.cut.as_mut()?;
        let start = cut.next * cut.size;
        let end = cut.body.len().min(start + cut.size);
        let last = end == cut.body.len();
        let chunk = EntryBody::Chunk {
            sequence: u32::try_from(cut.next).expect("a set has far fewer than 2^32 chunks"),
            last,
            bytes: cut.body.slice(start..end),
        };
        let entry = Entry { header: cut.header, base: cut.base, body: chunk }.encode();
        cut.next += 1;
        if last {
            self.cut = None;
        }
        Some(Bytes::from(entry))
    }
}

/// A set that is not complete yet.
#[derive(Debug)]
struct Unfinished {
    term: u64,
    request: RequestId,
    /// Where its chunks stand in the log.
    indexes: Vec<u64>,
}

/// Notes where the chunks of committed entries stand.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    unfinished: Option<Unfinished>,
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// More is to come.
    Incomplete,
    /// It belongs to a set that is void; it is skipped.
    Void,
    /// The set is whole: its chunks stand at these indexes.
    Whole(Vec<u64>),
}

impl Gathering {
    /// Whether a set has begun and is neither complete nor void.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    /// An entry of this term is next in the log: the set of an earlier term will not be continued.
    pub(super) fn enter_term(&mut self, term: u64) {
        if self.unfinished.as_ref().is_some_and(|set| set.term < term) {
            self.unfinished = None;
        }
    }

    /// An entry that is no chunk follows: its proposer has given up the set.
    pub(super) fn void(&mut self) {
        self.unfinished = None;
    }

    /// Adds the next chunk of the log, at `index`.
    pub(super) fn add(
        &mut self,
        (index, term): (u64, u64),
        request: RequestId,
        sequence: u32,
        last: bool,
    ) -> Gathered {
        if sequence == 0 {
            self.unfinished = Some(Unfinished { term, request, indexes: Vec::new() });
        }
        let Some(set) = self
            .unfinished
            .as_mut()
            .filter(|set| set.request == request && set.indexes.len() == sequence as usize)
        else {
            self.unfinished = None;
            return Gathered::Void;
        };
        set.indexes.push(index);
        match last {
            false => Gathered::Incomplete,
            true => Gathered::Whole(self.unfinished.take().map(|set| set.indexes).unwrap_or_default()),
        }
    }
}

/// The chunks of a whole set, read back from the log.
pub(super) struct SetInLog<'l> {
    log: &'l dyn CommittedLog,
    indexes: std::vec::IntoIter<u64>,
}

impl<'l> SetInLog<'l> {
    pub(super) fn new(log: &'l dyn CommittedLog, indexes: Vec<u64>) -> SetInLog<'l> {
        SetInLog { log, indexes: indexes.into_iter() }
    }
}

impl BodySource for SetInLog<'_> {
    type Error = Fault;

    fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(index) = self.indexes.next() else { return Ok(None) };
        match Entry::decode(&self.log.data(index)?)?.body {
            EntryBody::Chunk { bytes, .. } => Ok(Some(bytes)),
            _ => Err(Fault::Changed { index }),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::body_stream::BodyReader;
    use common::entry::{Change, Effect, Effects};
    use common::limits::ENTRY_CHUNK_MAX;
    use common::{Hlc, Value};
    use consensus_runtime::LogError;

    use super::*;

    fn large() -> Effects {
        let row = |id: i64| Effect {
            table: 0,
            change: Change::Insert { key: vec![id.into()], row: vec![Value::Text("x".repeat(100_000))] },
        };
        Effects { tables: vec!["t".into()], rows: (0..35).map(row).collect() }
    }

    fn set_of(request: u128) -> Vec<Bytes> {
        let header = EntryHeader { hlc: Hlc(1), schema_version: 1, request: RequestId(request) };
        split(header, 3, EntryBody::Effects(large()), ENTRY_CHUNK_MAX).collect()
    }

    fn add(gathering: &mut Gathering, index: u64, term: u64, entry: &Bytes) -> Gathered {
        let entry = Entry::decode(entry).unwrap();
        let EntryBody::Chunk { sequence, last, .. } = entry.body else { panic!("not a chunk") };
        gathering.add((index, term), entry.header.request, sequence, last)
    }

    /// A log whose first entry stands at index 1.
    struct Entries(Vec<Bytes>);

    impl CommittedLog for Entries {
        fn data(&self, index: u64) -> Result<Bytes, LogError> {
            Ok(self.0[usize::try_from(index).unwrap() - 1].clone())
        }
    }

    #[test]
    fn a_large_body_travels_in_pieces_and_is_read_back_whole() {
        let pieces = set_of(7);
        assert_eq!(pieces.len(), 14);
        assert!(pieces.iter().all(|piece| piece.len() <= ENTRY_CHUNK_MAX));
        let mut gathering = Gathering::default();
        let (last, before) = pieces.split_last().unwrap();
        for (piece, index) in before.iter().zip(1..) {
            assert_eq!(add(&mut gathering, index, 1, piece), Gathered::Incomplete);
        }
        let Gathered::Whole(indexes) = add(&mut gathering, 14, 1, last) else { panic!("incomplete") };
        assert!(!gathering.is_unfinished());
        let log = Entries(pieces);
        let mut reader = BodyReader::new(SetInLog::new(&log, indexes));
        reader.head().unwrap();
        let rows = std::iter::from_fn(|| reader.next_effect().unwrap());
        assert_eq!(rows.collect::<Vec<_>>(), large().rows);
    }

    #[test]
    fn a_set_broken_off_is_void_and_its_rest_is_skipped() {
        let (first, second) = (set_of(7), set_of(8));
        let mut gathering = Gathering::default();
        add(&mut gathering, 1, 1, &first[0]);
        gathering.enter_term(2);
        assert!(!gathering.is_unfinished());
        assert_eq!(add(&mut gathering, 2, 2, &first[1]), Gathered::Void);
        // The same leader begins another set before the first has ended.
        add(&mut gathering, 3, 2, &first[0]);
        assert_eq!(add(&mut gathering, 4, 2, &second[0]), Gathered::Incomplete);
        assert_eq!(add(&mut gathering, 5, 2, &first[1]), Gathered::Void);
    }

    #[test]
    fn a_small_body_is_one_entry() {
        let body = EntryBody::Forget { transactions: Vec::new() };
        let header = EntryHeader { hlc: Hlc(1), schema_version: 1, request: RequestId(1) };
        let entries: Vec<Bytes> = split(header, 9, body.clone(), ENTRY_CHUNK_MAX).collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(Entry::decode(&entries[0]).unwrap().body, body);
    }
}
