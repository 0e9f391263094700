//! Bodies too large for one entry travel as a set of chunks.
//!
//! Nothing of a set takes effect before its last chunk, and until then the applied index stays before its
//! first one, so that a restart gathers it again from the log. A set ends unfinished when another leader's
//! entry follows, or when the same leader gave it up and proposes something else.

use bytes::Bytes;
use common::RequestId;
use common::entry::{Entry, EntryBody, EntryHeader};
use common::limits::ENTRY_CHUNK_MAX;

/// Bytes of an entry beside its chunk; a chunk with its header stays within the limit of an entry.
const OVERHEAD: usize = 128;

/// The entries that carry a body: itself where it fits in one, else a set of chunks.
pub(super) fn split(header: EntryHeader, base: u64, body: EntryBody) -> Vec<Bytes> {
    let whole = Entry { header, base, body };
    let encoded = whole.encode();
    if encoded.len() <= ENTRY_CHUNK_MAX {
        return vec![Bytes::from(encoded)];
    }
    let body = Bytes::from(postcard::to_stdvec(&whole.body).expect("every body of an entry has an encoding"));
    let size = ENTRY_CHUNK_MAX - OVERHEAD;
    let count = body.len().div_ceil(size);
    (0..count)
        .map(|position| {
            let end = body.len().min((position + 1) * size);
            let chunk = EntryBody::Chunk {
                sequence: u32::try_from(position).expect("a set has far fewer than 2^32 chunks"),
                last: position + 1 == count,
                bytes: body.slice(position * size..end),
            };
            Bytes::from(Entry { header, base, body: chunk }.encode())
        })
        .collect()
}

/// A set that is not complete yet.
#[derive(Debug)]
struct Unfinished {
    term: u64,
    request: RequestId,
    pieces: Vec<Bytes>,
}

/// Gathers the chunks of committed entries.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    unfinished: Option<Unfinished>,
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) enum Gathered {
    /// More is to come.
    Incomplete,
    /// It belongs to a set that is void; it is skipped.
    Void,
    /// The body is whole.
    Whole(EntryBody),
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

    /// Adds the next chunk of the log.
    pub(super) fn add(
        &mut self,
        term: u64,
        request: RequestId,
        sequence: u32,
        last: bool,
        bytes: Bytes,
    ) -> Result<Gathered, postcard::Error> {
        if sequence == 0 {
            self.unfinished = Some(Unfinished { term, request, pieces: Vec::new() });
        }
        let continues = self
            .unfinished
            .as_ref()
            .is_some_and(|set| set.request == request && set.pieces.len() == sequence as usize);
        if !continues {
            self.unfinished = None;
            return Ok(Gathered::Void);
        }
        let Some(set) = &mut self.unfinished else { return Ok(Gathered::Void) };
        set.pieces.push(bytes);
        if !last {
            return Ok(Gathered::Incomplete);
        }
        let pieces = self.unfinished.take().map(|set| set.pieces).unwrap_or_default();
        postcard::from_bytes(&pieces.concat()).map(Gathered::Whole)
    }
}

#[cfg(test)]
mod tests {
    use common::entry::{Change, Effect, Effects};
    use common::{Hlc, Value};

    use super::*;

    fn large() -> EntryBody {
        let row = |id: i64| Effect {
            table: 0,
            change: Change::Insert { key: vec![id.into()], row: vec![Value::Text("x".repeat(100_000))] },
        };
        EntryBody::Effects(Effects { tables: vec!["t".into()], rows: (0..35).map(row).collect() })
    }

    fn header(request: u128) -> EntryHeader {
        EntryHeader { hlc: Hlc(1), schema_version: 1, request: RequestId(request) }
    }

    fn add(gathering: &mut Gathering, term: u64, entry: &Bytes) -> Gathered {
        let entry = Entry::decode(entry).unwrap();
        let EntryBody::Chunk { sequence, last, bytes } = entry.body else { panic!("not a chunk") };
        gathering.add(term, entry.header.request, sequence, last, bytes).unwrap()
    }

    #[test]
    fn a_large_body_travels_in_pieces_and_comes_out_whole() {
        let pieces = split(header(7), 3, large());
        assert_eq!(pieces.len(), 4);
        assert!(pieces.iter().all(|piece| piece.len() <= ENTRY_CHUNK_MAX));
        let mut gathering = Gathering::default();
        for piece in &pieces[..3] {
            assert!(matches!(add(&mut gathering, 1, piece), Gathered::Incomplete));
        }
        let Gathered::Whole(body) = add(&mut gathering, 1, &pieces[3]) else { panic!("incomplete") };
        assert_eq!(body, large());
        assert!(!gathering.is_unfinished());
    }

    #[test]
    fn a_set_broken_off_is_void_and_its_rest_is_skipped() {
        let (first, second) = (split(header(7), 3, large()), split(header(8), 3, large()));
        let mut gathering = Gathering::default();
        add(&mut gathering, 1, &first[0]);
        gathering.enter_term(2);
        assert!(!gathering.is_unfinished());
        assert!(matches!(add(&mut gathering, 2, &first[1]), Gathered::Void));
        // The same leader begins another set before the first has ended.
        add(&mut gathering, 2, &first[0]);
        assert!(matches!(add(&mut gathering, 2, &second[0]), Gathered::Incomplete));
        assert!(matches!(add(&mut gathering, 2, &first[1]), Gathered::Void));
    }

    #[test]
    fn a_small_body_is_one_entry() {
        let body = EntryBody::Forget { transactions: Vec::new() };
        let entries = split(header(1), 9, body.clone());
        assert_eq!(entries.len(), 1);
        assert_eq!(Entry::decode(&entries[0]).unwrap().body, body);
    }
}
