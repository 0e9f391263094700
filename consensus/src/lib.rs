//! One Raft group as a deterministic state machine without input or output.
//!
//! The only home of the `raft` crate. A [`Group`] is given events (`tick`, `step`, `propose`, `read`, …) and
//! hands out what has to be done as data: [`Work`] names the messages to send at once and what to persist;
//! once that is durable, [`Group::persisted`] releases the rest: messages that promised it, entries to
//! apply, answered reads, a change of role. It knows no clock, thread, file, socket or random source: time is
//! a count of ticks, and every random choice comes from the seed in its [`GroupOptions`]. So the same seed
//! and the same events give the same outputs, bit for bit.
//!
//! The log is read through [`LogView`]; writing it is the caller's work. `DESIGN.md` has the reasons.

mod configuration;
mod election_clock;
mod errors;
mod group;
mod log;
mod membership;
mod message;
mod options;
mod snapshot;
mod status;
mod storage;
mod wire;
mod work;

pub use configuration::{AppliedConfiguration, Configuration, MembershipChange, MembershipStep};
pub use errors::{DecodeError, LogError, MembershipError, NotLeader, OpenError, ProposeError, StepError};
pub use group::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Group, InstallOutcome};
pub use log::{EntryKind, HardState, LogEntry, LogStart, LogView};
pub use message::{MESSAGE_BYTES_MAX, Message, MessageKind};
pub use options::GroupOptions;
#[cfg(feature = "planted-bugs")]
pub use options::PlantedBug;
pub use snapshot::{SnapshotDescription, SnapshotOffer, SnapshotRequest};
pub use status::{GroupCounters, PeerProgress, PeerState, Status};
pub use work::{
    Committed, CommittedKind, Persist, Proposed, ReadState, Released, Role, RoleChange, Token, Work,
};

#[cfg(test)]
mod tests;
