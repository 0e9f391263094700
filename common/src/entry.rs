//! What a partition's Raft log holds.
//!
//! An entry carries its header, the state it was computed on, and effects: rows as values, never the
//! statements that made them (DDL excepted, which is deterministic).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::partition_map::BucketRange;
use crate::protocol::{SchemaStep, Verdict};
use crate::{Hlc, PartitionId, RequestId, TransactionId, Value};

/// Version of the encoding, the first byte of every entry.
pub const FORMAT: u8 = 2;

/// One entry of a partition's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When and under what name it was proposed.
    pub header: EntryHeader,
    /// Index of the last state-changing entry that the proposer had executed on. Apply ignores the entry
    /// if that is not the last one it applied: an effect lands only on the state it was computed on.
    pub base: u64,
    /// What it does.
    pub body: EntryBody,
}

/// What every entry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryHeader {
    /// The proposer's clock.
    pub hlc: Hlc,
    /// Schema version that the effects were computed under.
    pub schema_version: u64,
    /// Name of the proposal; whoever waits for the entry recognises it by this.
    pub request: RequestId,
}

/// What an entry does to the partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EntryBody {
    /// Rows change.
    Effects(Effects),
    /// A piece of a body too large for one entry, encoded by [`crate::body_stream`]. The pieces of a set follow
    /// each other; nothing is applied until the last one, which makes the whole body take effect.
    Chunk {
        /// Position in the set, from 0.
        sequence: u32,
        /// Whether it is the last of the set.
        last: bool,
        /// The piece.
        bytes: Bytes,
    },
    /// The schema changes. Ignored by a partition that is at this version or a later one.
    Schema {
        /// Version that the partition has afterwards.
        version: u64,
        /// DDL, run in order in one transaction.
        statements: Vec<String>,
    },
    /// A part of a transaction over several partitions is stored, and the partition gated for other writers.
    Prepare {
        /// The transaction.
        transaction: TransactionId,
        /// The participant whose log holds the decision.
        decider: PartitionId,
        /// Every participant, the decider included; the decider forgets when all have confirmed.
        participants: Vec<PartitionId>,
        /// Rows that change when the transaction commits.
        effects: Effects,
    },
    /// The outcome of a transaction: in the decider's log it decides, in another's it carries out. The
    /// first one in the decider's log wins.
    Decision {
        /// The transaction.
        transaction: TransactionId,
        /// Whether it commits, and when, as the decider has said; in the decider's own log it commits at the
        /// entry's clock.
        verdict: Verdict,
    },
    /// Every participant has confirmed these transactions; their decisions may be forgotten.
    Forget {
        /// The transactions.
        transactions: Vec<TransactionId>,
    },
    /// The partition's place in the map changes. Requests planned on an older epoch are refused from here on.
    Assign {
        /// The epoch that starts.
        epoch: u64,
        /// What the partition owns from here on.
        range: BucketRange,
    },
    /// In the decider's log: the transaction commits, unless another decision came first, and rows change with it:
    /// the decider's own part, if that was not prepared, or the answer that is kept.
    Commit {
        /// The transaction.
        transaction: TransactionId,
        /// Who carries it out; the decider need not have prepared anything.
        participants: Vec<PartitionId>,
        /// The rows.
        effects: Effects,
    },
    /// The leader's digest of everything that is replicated. Whoever has another one at this index has diverged,
    /// or the leader has.
    Digest {
        /// The digest.
        digest: u128,
    },
}

impl EntryBody {
    /// Whether it changes the state that effects are computed on, and so must name, and becomes, a base.
    #[must_use]
    pub fn changes_state(&self) -> bool {
        !matches!(self, EntryBody::Chunk { last: false, .. } | EntryBody::Digest { .. })
    }
}

/// Rows that changed, in the order in which SQLite changed them, and what became of the schema in between.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effects {
    /// The tables named by [`Effect::table`].
    pub tables: Vec<String>,
    /// The changes.
    pub rows: Vec<Effect>,
}

/// One row inserted, changed or deleted, or a step of a change of the schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Index into [`Effects::tables`]; of no meaning for a step of a change of the schema. A name is that of the
    /// table which has it when the effect's turn comes.
    pub table: u16,
    /// What happened.
    pub change: Change,
}

/// What happened to a row. A key is the rowid as one integer or, in a WITHOUT ROWID table, the primary
/// key's values. A row is the values of all stored columns in table order, generated ones left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// A row appeared.
    Insert {
        /// Its key.
        key: Vec<Value>,
        /// Its columns.
        row: Vec<Value>,
    },
    /// A row changed; its key may have changed too.
    Update {
        /// The key it had.
        old_key: Vec<Value>,
        /// The key it has.
        key: Vec<Value>,
        /// The columns it had, where the database keeps them (change feeds, digests).
        old_row: Option<Vec<Value>>,
        /// The columns it has.
        row: Vec<Value>,
    },
    /// A row disappeared.
    Delete {
        /// The key it had.
        key: Vec<Value>,
        /// The columns it had, where the database keeps them.
        old_row: Option<Vec<Value>>,
    },
    /// The schema changed: later effects are about the tables that there are then.
    Schema(SchemaStep),
}

/// The bytes are not an entry of a format known here.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version of the program.
    #[error("log entry has format {0}; this version reads up to {FORMAT}")]
    Format(u8),
    /// Not an entry.
    #[error("malformed log entry: {0}")]
    Malformed(#[from] postcard::Error),
}

impl Entry {
    /// The entry as bytes for the log.
    ///
    /// # Panics
    /// Never: every part has an encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("every part of an entry has an encoding")
    }

    /// The entry out of the log's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(postcard::from_bytes(rest)?),
            Some((&other, _)) => Err(DecodeError::Format(other)),
            None => Err(DecodeError::Malformed(postcard::Error::DeserializeUnexpectedEnd)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was_written() {
        let entry = Entry {
            header: EntryHeader { hlc: Hlc(7), schema_version: 2, request: RequestId(9) },
            base: 41,
            body: EntryBody::Effects(Effects {
                tables: vec!["t".into()],
                rows: vec![Effect {
                    table: 0,
                    change: Change::Update {
                        old_key: vec![1.into()],
                        key: vec![2.into()],
                        old_row: None,
                        row: vec![Value::Null, Value::Blob(vec![0, 1])],
                    },
                }],
            }),
        };
        assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
    }

    #[test]
    fn another_format_is_refused() {
        assert!(matches!(Entry::decode(&[99, 1, 2]), Err(DecodeError::Format(99))));
        assert!(Entry::decode(&[]).is_err());
    }
}
