//! Idempotency keys: a client names a write, so that sending it again changes nothing and gets the first answer.
//!
//! A key lives for [`KEY_LIFE_MS`], or is `session.sequence`, of which the newest [`SESSION_KEYS_MAX`] of each
//! session are remembered.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::hash::SLOTS;
use crate::protocol::StatementResult;
use crate::{Error, PartitionId, Result};

/// How long a key that belongs to no session is remembered, in milliseconds.
pub const KEY_LIFE_MS: u64 = 10 * 60 * 1_000;
/// Keys of a session that are remembered: the newest ones.
pub const SESSION_KEYS_MAX: i64 = 1_000;
/// How long a session that is not used is remembered, in milliseconds: a day, as Kafka remembers its producers
/// (<https://kafka.apache.org/documentation/#brokerconfigs_producer.id.expiration.ms>).
pub const SESSION_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Largest answer that is kept, in bytes.
pub const KEPT_ANSWER_MAX: usize = 256 << 10;
/// Longest key.
const KEY_MAX: usize = 255;

/// What a client calls one write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key out of a header: 1 to 255 visible ASCII characters.
    pub fn parse(text: &[u8]) -> Result<IdempotencyKey> {
        let visible = (1..=KEY_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(text).ok().filter(|_| visible);
        text.map(|text| IdempotencyKey(text.to_owned())).ok_or_else(|| {
            Error::bad_request("Idempotency-Key must be 1 to 255 visible ASCII characters")
                .with_hint("use a UUID, or a name of the session, a point and a number that grows")
        })
    }

    /// The key of one part of the request that this is the key of. No client can send it.
    #[must_use]
    pub fn part(&self, number: usize) -> IdempotencyKey {
        IdempotencyKey(format!("{} {number}", self.0))
    }

    /// The name of a transaction over several requests, under which its commit is kept. No client can send it.
    #[must_use]
    pub fn of_transaction(name: &str) -> IdempotencyKey {
        IdempotencyKey(format!("transaction {name}"))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The session and the place in it, where the key is `session.sequence`.
    #[must_use]
    pub fn session(&self) -> Option<(&str, i64)> {
        let (session, sequence) = self.0.rsplit_once('.')?;
        let digits = !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit());
        let sequence = sequence.parse().ok().filter(|_| digits && !session.is_empty())?;
        Some((session, sequence))
    }

    /// The slot whose bucket keeps the key. Those of one session have the same.
    #[must_use]
    pub fn slot(&self) -> u32 {
        let name = self.session().map_or(self.as_str(), |(session, _)| session);
        u32::try_from(xxh3_64(name.as_bytes()) % u64::from(SLOTS)).unwrap_or(0)
    }
}

/// A write that has a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedRequest {
    /// Its key.
    pub key: IdempotencyKey,
    /// What [`request_digest`] makes of the request: the key must not be used for another one.
    pub digest: u128,
}

/// A digest of everything that says what a request does.
#[must_use]
pub fn request_digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}

/// What is to be kept under a key, unless something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeps {
    /// Nothing: it is only looked up.
    Nothing,
    /// That the request's answer is kept by another partition.
    Claim(PartitionId),
    /// Nothing any more: the claim is given up, because the request was refused.
    Release,
    /// The answer.
    Answer(Bytes),
    /// The results of the work that the key goes along with, and what the coordinator wants back with them.
    Results(Bytes),
    /// That the partition keeps the answer which decides the transaction that this is a part of.
    Decider(PartitionId),
    /// The answer of a transaction, with its commit.
    Committed(CommittedAnswer),
}

/// A key on its way to the partition that remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// Whose key.
    pub request: KeyedRequest,
    /// What to keep.
    pub keeps: Keeps,
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kept {
    /// The answer as the client got it.
    Answer(Bytes),
    /// Results that the answer is made of.
    Results(KeptResults),
    /// Another partition keeps it, if the request came to an end.
    Elsewhere(PartitionId),
    /// Another partition keeps the answer: both were committed together.
    Decided(PartitionId),
    /// The answer of a transaction.
    Committed(CommittedAnswer),
}

/// What a request was answered whose transaction has committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedAnswer {
    /// The answer as the client got it.
    pub answer: Bytes,
    /// Who takes part. Until a participant knows of the commit, its reads do not show it: it is to be asked before the
    /// answer is told to somebody else.
    pub participants: Vec<PartitionId>,
}

/// Results that a partition keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptResults {
    /// What the coordinator wanted back with them.
    pub context: Bytes,
    /// Log index at which the leader expected the work to be in the partition's state.
    pub index: u64,
    /// The results.
    pub results: Vec<StatementResult>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_visible_ascii() {
        for bad in ["", "a b", "ä", "a\u{7f}", &"x".repeat(256)] {
            assert!(IdempotencyKey::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(key(&"x".repeat(255)).as_str().len(), 255);
        assert!(IdempotencyKey::parse(key("a").part(1).as_str().as_bytes()).is_err());
    }

    #[test]
    fn a_sequence_follows_the_last_point() {
        assert_eq!(key("s.12").session(), Some(("s", 12)));
        assert_eq!(key("a.b.0").session(), Some(("a.b", 0)));
        for plain in ["s", ".5", "s.", "s.x", "s.-1", "s.+1", "s.99999999999999999999"] {
            assert_eq!(key(plain).session(), None, "{plain}");
        }
        assert_eq!(key("s.12").part(3).session(), None);
    }

    #[test]
    fn keys_of_a_session_have_one_home() {
        let slots: std::collections::BTreeSet<u32> =
            (0..50).map(|sequence| key(&format!("s.{sequence}")).slot()).collect();
        assert_eq!(slots.len(), 1);
        let slots: std::collections::BTreeSet<u32> =
            (0..50).map(|number| key(&format!("k{number}")).slot()).collect();
        assert!(slots.len() > 40 && slots.iter().all(|slot| *slot < SLOTS), "{slots:?}");
    }

    #[test]
    fn parts_of_a_request_do_not_run_into_each_other() {
        assert_ne!(request_digest([&b"ab"[..], b"c"]), request_digest([&b"a"[..], b"bc"]));
    }
}
