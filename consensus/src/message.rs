//! Messages between the replicas of a group, opaque but for what a transport needs to know.

use std::fmt;

use bytes::Bytes;
use common::ReplicaId;
use protobuf::Message as _;
use raft::eraftpb::{self, MessageType};

use crate::errors::DecodeError;
use crate::snapshot::SnapshotDescription;
use crate::wire;

/// Largest encoded message that is decoded. A leader's messages stay well below: one entry, or entries of
/// [`crate::GroupOptions::message_bytes_max`] bytes.
pub const MESSAGE_BYTES_MAX: usize = common::limits::FRAME_MAX;

/// A message from one replica of a group to another.
#[derive(Clone, PartialEq)]
pub struct Message(pub(crate) eraftpb::Message);

/// What a message is about, as far as its treatment on the way depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A leader's entries, or its probe for the end of a log.
    Append,
    /// The answer to it.
    AppendResponse,
    /// A leader is alive; also carries the question whether it still leads.
    Heartbeat,
    /// The answer to it.
    HeartbeatResponse,
    /// A candidate asks, or asks whether it should ask, for a vote.
    Vote,
    /// The answer to it.
    VoteResponse,
    /// The addressee shall ask for votes at once: leadership is handed over.
    TimeoutNow,
    /// The offer of a snapshot.
    Snapshot,
    /// The snapshot that was offered could not be installed.
    SnapshotFailure,
    /// A kind that is refused when it comes from the network.
    Other,
}

impl Message {
    /// The replica that sent it.
    #[must_use]
    pub fn from(&self) -> ReplicaId {
        ReplicaId(self.0.from)
    }

    /// The replica that it is for.
    #[must_use]
    pub fn to(&self) -> ReplicaId {
        ReplicaId(self.0.to)
    }

    /// The sender's term; of a question about a possible vote, the term that it would be for.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.0.term
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        match self.0.get_msg_type() {
            MessageType::MsgAppend => MessageKind::Append,
            MessageType::MsgAppendResponse => MessageKind::AppendResponse,
            MessageType::MsgHeartbeat => MessageKind::Heartbeat,
            MessageType::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => MessageKind::Vote,
            MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
                MessageKind::VoteResponse
            }
            MessageType::MsgTimeoutNow => MessageKind::TimeoutNow,
            MessageType::MsgSnapshot => MessageKind::Snapshot,
            MessageType::MsgSnapStatus => MessageKind::SnapshotFailure,
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgPropose
            | MessageType::MsgUnreachable
            | MessageType::MsgCheckQuorum
            | MessageType::MsgTransferLeader
            | MessageType::MsgReadIndex
            | MessageType::MsgReadIndexResp => MessageKind::Other,
        }
    }

    /// Whether it must not wait behind entries: a late heartbeat costs an election.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        matches!(
            self.kind(),
            MessageKind::Heartbeat
                | MessageKind::HeartbeatResponse
                | MessageKind::Vote
                | MessageKind::VoteResponse
                | MessageKind::TimeoutNow
        )
    }

    /// The snapshot that it offers, if it is such an offer and well formed.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotDescription> {
        (self.kind() == MessageKind::Snapshot)
            .then(|| SnapshotDescription::from_raft(self.0.get_snapshot()))
            .flatten()
    }

    /// Bytes of the entries that it carries.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.get_entries().iter().map(|entry| entry.data.len()).sum()
    }

    /// The message as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.0.write_to_bytes().expect("a message without required fields encodes").into()
    }

    /// Reads what [`Message::encode`] wrote. Bounded in size and depth: hostile bytes cost no more than their
    /// length.
    ///
    /// # Errors
    /// If the bytes are too many, or not a message.
    pub fn decode(bytes: &Bytes) -> Result<Message, DecodeError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeError::TooLarge(bytes.len()));
        }
        wire::is_message(bytes).map_err(|reason| DecodeError::Malformed(reason.to_owned()))?;
        let mut message = eraftpb::Message::default();
        message.merge_from_bytes(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))?;
        Ok(Message(message))
    }

    pub(crate) fn heartbeat(from: u64, to: u64, term: u64, commit: u64) -> Message {
        Message(eraftpb::Message { from, to, term, commit, ..Message::of(MessageType::MsgHeartbeat) })
    }

    pub(crate) fn heartbeat_response(from: u64, to: u64, term: u64, commit: u64) -> Message {
        Message(eraftpb::Message { from, to, term, commit, ..Message::of(MessageType::MsgHeartbeatResponse) })
    }

    fn of(kind: MessageType) -> eraftpb::Message {
        let mut message = eraftpb::Message::default();
        message.set_msg_type(kind);
        message
    }

    pub(crate) fn snapshot_failure(from: ReplicaId, to: ReplicaId, term: u64) -> Message {
        let mut message = Message::of(MessageType::MsgSnapStatus);
        message.from = from.0;
        message.to = to.0;
        message.term = term;
        message.reject = true;
        Message(message)
    }

    /// Why the fields contradict each other, if they do. The library takes them on trust, and panics.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        let message = &self.0;
        if message.from == 0 || message.from == message.to {
            return Some("no sender");
        }
        match self.kind() {
            MessageKind::Append => {
                let entries = message.get_entries();
                let indexes =
                    entries.iter().zip(1..).all(|(e, n)| message.index.checked_add(n) == Some(e.index));
                let mut terms = entries.iter().map(|entry| entry.term);
                let ordered = terms.try_fold(message.log_term, |last, term| (last <= term).then_some(term));
                (!indexes || ordered.is_none_or(|last| last > message.term))
                    .then_some("entries that do not follow each other")
            }
            MessageKind::Snapshot => match self.snapshot() {
                Some(offer) if offer.index > 0 && offer.term <= message.term => {
                    offer.configuration.configuration.voters.is_empty().then_some("a snapshot without voters")
                }
                _ => Some("a snapshot without description"),
            },
            _ => None,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = &self.0;
        write!(f, "{:?} {}→{} term={}", message.get_msg_type(), message.from, message.to, message.term)?;
        let numbers = [
            ("index", message.index),
            ("log_term", message.log_term),
            ("commit", message.commit),
            ("reject_hint", message.reject_hint),
        ];
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            write!(f, " {name}={number}")?;
        }
        if message.reject {
            f.write_str(" reject")?;
        }
        if let [first, .., last] | [first @ last] = message.get_entries() {
            write!(f, " entries={}..={}", first.index, last.index)?;
        }
        if let Some(snapshot) = self.snapshot() {
            write!(f, " snapshot={}@{}", snapshot.index, snapshot.term)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppliedConfiguration, Configuration};

    fn samples() -> Vec<Message> {
        let mut append =
            eraftpb::Message { from: 1, to: 2, term: 5, index: 8, log_term: 4, ..Default::default() };
        append.set_msg_type(MessageType::MsgAppend);
        for index in 9..12 {
            let data = Bytes::from_static(b"content");
            append.mut_entries().push(eraftpb::Entry { index, term: 5, data, ..Default::default() });
        }
        let mut offer = eraftpb::Message { from: 1, to: 2, term: 5, ..Default::default() };
        offer.set_msg_type(MessageType::MsgSnapshot);
        let configuration = Configuration::of_voters([1, 2, 3].map(ReplicaId));
        let description = SnapshotDescription {
            index: 8,
            term: 4,
            configuration: AppliedConfiguration { index: 7, configuration },
            bytes: Bytes::from_static(b"where"),
        };
        offer.set_snapshot(description.to_raft());
        vec![Message(append), Message(offer), Message::snapshot_failure(ReplicaId(1), ReplicaId(2), 5)]
    }

    #[test]
    fn messages_survive_the_wire() {
        for message in samples() {
            assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
            assert_eq!(message.contradiction(), None);
        }
        let configuration_index = samples()[1].snapshot().map(|offer| offer.configuration.index);
        assert_eq!(configuration_index, Some(7));
    }

    #[test]
    fn damaged_bytes_are_refused_or_decoded_but_never_panic() {
        for message in samples() {
            let bytes = message.encode().to_vec();
            for position in 0..bytes.len() {
                for byte in [0, 0x7f, 0x80, 0xff, bytes[position] ^ 1] {
                    let mut damaged = bytes.clone();
                    damaged[position] = byte;
                    if let Ok(decoded) = Message::decode(&Bytes::from(damaged)) {
                        // Looking at it is safe, whatever it says.
                        drop((decoded.kind(), decoded.contradiction(), format!("{decoded:?}")));
                    }
                }
                let cut = Message::decode(&Bytes::copy_from_slice(&bytes[..position]));
                assert!(cut.as_ref() != Ok(&message), "a part is not the whole");
            }
        }
        let too_large = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(Message::decode(&too_large), Err(DecodeError::TooLarge(MESSAGE_BYTES_MAX + 1)));
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_a_contradiction() {
        type Damage = fn(&mut eraftpb::Message);
        let damages: [Damage; 5] = [
            |message| message.index = u64::MAX,
            |message| message.mut_entries()[1].index = 20,
            |message| message.mut_entries()[1].term = 6,
            |message| message.log_term = 6,
            |message| message.from = 0,
        ];
        for damage in damages {
            let mut message = samples().swap_remove(0);
            damage(&mut message.0);
            assert!(message.contradiction().is_some(), "{message:?}");
        }
    }
}
