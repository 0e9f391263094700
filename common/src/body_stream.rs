//! The bytes that a set of chunks carries: a head, then one effect after the other to the end. So whoever lands
//! a large body holds one effect at a time, and never the whole.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::entry::{Effect, EntryBody};
use crate::{PartitionId, TransactionId};

/// What comes before the effects of a body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BodyHead {
    /// Effects that are landed.
    Effects {
        /// The tables named by [`Effect::table`].
        tables: Vec<String>,
    },
    /// Effects that are stored until their transaction is decided. See [`EntryBody::Prepare`].
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// The participant whose log holds the decision.
        decider: PartitionId,
        /// Every participant.
        participants: Vec<PartitionId>,
        /// The tables named by [`Effect::table`].
        tables: Vec<String>,
    },
    /// A body of another kind; no effects follow.
    Whole(EntryBody),
    /// Effects that are landed with the decision. See [`EntryBody::Commit`].
    Commit {
        /// The transaction.
        transaction: TransactionId,
        /// Who carries it out.
        participants: Vec<PartitionId>,
        /// The tables named by [`Effect::table`].
        tables: Vec<String>,
    },
}

/// A body as the bytes that chunks are cut from.
///
/// # Panics
/// Never: every part has an encoding.
#[must_use]
pub fn encode_body(body: EntryBody) -> Vec<u8> {
    let (head, effects) = match body {
        EntryBody::Effects(effects) => (BodyHead::Effects { tables: effects.tables }, effects.rows),
        EntryBody::Prepare { transaction, decider, participants, effects } => {
            let tables = effects.tables;
            (BodyHead::Prepare { transaction, decider, participants, tables }, effects.rows)
        }
        EntryBody::Commit { transaction, participants, effects } => {
            let tables = effects.tables;
            (BodyHead::Commit { transaction, participants, tables }, effects.rows)
        }
        other => (BodyHead::Whole(other), Vec::new()),
    };
    effects.into_iter().fold(encode_head(&head), |bytes, effect: Effect| {
        // Each one is let go of as soon as it is encoded.
        encode_onto(&effect, bytes)
    })
}

/// A head as its bytes.
///
/// # Panics
/// Never: every part has an encoding.
#[must_use]
pub fn encode_head(head: &BodyHead) -> Vec<u8> {
    encode_onto(head, Vec::new())
}

fn encode_onto<T: Serialize>(part: &T, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(part, bytes).expect("every part of a body has an encoding")
}

/// Where the pieces of a body come from, in order.
pub trait BodySource {
    /// Why a piece is not to be had; also that the bytes are not those of a body.
    type Error: From<postcard::Error>;

    /// The next piece, `None` after the last.
    fn next_piece(&mut self) -> Result<Option<Bytes>, Self::Error>;
}

/// Decodes a body piece by piece.
pub struct BodyReader<S> {
    source: S,
    /// Bytes that were read and not decoded yet begin at `decoded`.
    buffer: Vec<u8>,
    decoded: usize,
    exhausted: bool,
    held_max: usize,
}

impl<S: BodySource> BodyReader<S> {
    /// Reads from the first piece on.
    pub fn new(source: S) -> BodyReader<S> {
        BodyReader { source, buffer: Vec::new(), decoded: 0, exhausted: false, held_max: 0 }
    }

    /// What the body begins with.
    pub fn head(&mut self) -> Result<BodyHead, S::Error> {
        self.next_part()?.ok_or_else(|| postcard::Error::DeserializeUnexpectedEnd.into())
    }

    /// The next effect, `None` after the last.
    pub fn next_effect(&mut self) -> Result<Option<Effect>, S::Error> {
        self.next_part()
    }

    /// The next bytes, undecoded, `None` at the end: for whoever only puts the effects away.
    pub fn next_bytes(&mut self) -> Result<Option<Bytes>, S::Error> {
        if self.decoded == self.buffer.len() {
            return self.source.next_piece();
        }
        let rest = Bytes::copy_from_slice(&self.buffer[self.decoded..]);
        (self.buffer, self.decoded) = (Vec::new(), 0);
        Ok(Some(rest))
    }

    /// Most bytes that were held at a time.
    #[must_use]
    pub fn held_max(&self) -> usize {
        self.held_max
    }

    fn next_part<T: DeserializeOwned>(&mut self) -> Result<Option<T>, S::Error> {
        loop {
            let rest = &self.buffer[self.decoded..];
            if rest.is_empty() && self.exhausted {
                return Ok(None);
            }
            if !rest.is_empty() {
                match postcard::take_from_bytes::<T>(rest) {
                    Ok((part, after)) => {
                        self.decoded = self.buffer.len() - after.len();
                        return Ok(Some(part));
                    }
                    Err(postcard::Error::DeserializeUnexpectedEnd) if !self.exhausted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.fill()?;
        }
    }

    /// Reads as many bytes again as wait for their end, so that a large effect is not begun anew for every piece.
    fn fill(&mut self) -> Result<(), S::Error> {
        self.buffer.drain(..self.decoded);
        self.decoded = 0;
        let wanted = (2 * self.buffer.len()).max(1);
        while self.buffer.len() < wanted && !self.exhausted {
            match self.source.next_piece()? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => self.exhausted = true,
            }
            self.held_max = self.held_max.max(self.buffer.capacity());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Change, Effects};

    struct Pieces(std::vec::IntoIter<Vec<u8>>);

    impl BodySource for Pieces {
        type Error = postcard::Error;

        fn next_piece(&mut self) -> Result<Option<Bytes>, postcard::Error> {
            Ok(self.0.next().map(Bytes::from))
        }
    }

    fn reader(bytes: &[u8], piece: usize) -> BodyReader<Pieces> {
        BodyReader::new(Pieces(bytes.chunks(piece).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter()))
    }

    fn effects(sizes: &[usize]) -> Effects {
        let row = |(id, size): (usize, &usize)| Effect {
            table: 0,
            change: Change::Insert {
                key: vec![(id as i64).into()],
                row: vec![crate::Value::Text("x".repeat(*size)), crate::Value::Blob(vec![7; *size])],
            },
        };
        Effects { tables: vec!["t".into()], rows: sizes.iter().enumerate().map(row).collect() }
    }

    #[test]
    fn a_body_comes_out_of_pieces_of_any_size_as_it_went_in() {
        let body = effects(&[0, 1, 300, 5_000, 2]);
        let bytes = encode_body(EntryBody::Effects(body.clone()));
        for piece in [1, 7, 100, 4_096, bytes.len()] {
            let mut reader = reader(&bytes, piece);
            assert_eq!(reader.head().unwrap(), BodyHead::Effects { tables: body.tables.clone() });
            let mut rows = Vec::new();
            while let Some(effect) = reader.next_effect().unwrap() {
                rows.push(effect);
            }
            assert_eq!(rows, body.rows, "in pieces of {piece}");
        }
    }

    #[test]
    fn no_more_is_held_than_a_few_pieces_and_effects() {
        let body = effects(&vec![1_000; 2_000]);
        let bytes = encode_body(EntryBody::Effects(body));
        let mut reader = reader(&bytes, 10_000);
        reader.head().unwrap();
        while reader.next_effect().unwrap().is_some() {}
        assert!(bytes.len() > 4_000_000 && reader.held_max() < 64_000, "{}", reader.held_max());
    }

    #[test]
    fn a_body_that_is_cut_off_is_malformed() {
        let bytes = encode_body(EntryBody::Effects(effects(&[50, 50])));
        let mut reader = reader(&bytes[..bytes.len() - 1], 16);
        reader.head().unwrap();
        assert!(reader.next_effect().unwrap().is_some());
        assert_eq!(reader.next_effect(), Err(postcard::Error::DeserializeUnexpectedEnd));
    }

    #[test]
    fn what_follows_the_head_can_be_put_away_undecoded() {
        let body = effects(&[10, 20, 30]);
        let bytes = encode_body(EntryBody::Effects(body.clone()));
        let mut first = reader(&bytes, 9);
        let head = first.head().unwrap();
        let mut kept = vec![encode_head(&head)];
        while let Some(piece) = first.next_bytes().unwrap() {
            kept.push(piece.to_vec());
        }
        let mut second = BodyReader::new(Pieces(kept.into_iter()));
        second.head().unwrap();
        assert_eq!(second.next_effect().unwrap().as_ref(), body.rows.first());
    }
}
