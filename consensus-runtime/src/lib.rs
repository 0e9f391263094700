//! Performs the work of many Raft groups: one worker thread, one shared durable log, one sync per round.
//!
//! [`Runtime`] is a handle to the worker. Each group has a [`GroupHost`], the partition's own code, which the
//! worker tells what is committed, and a [`GroupHandle`], through which the partition proposes and reads.
//! Messages leave through the host program's [`Transport`] and come in through [`Runtime::deliver`].
//!
//! A round takes whatever events are waiting, lets every concerned group work out what follows, sends what may
//! be sent at once, writes what all groups have to persist as one batch into the [`SharedLog`], syncs it once,
//! and then sends, hands out and answers what depended on that. `DESIGN.md` has the reasons.
//!
//! A simulation uses [`SharedLog`] alone, over a simulated file system, and drives `consensus::Group` itself.

mod group_handle;
mod host;
mod inbox;
mod lease_clock;
mod metrics;
mod options;
mod outbox;
mod reply;
mod runtime;
mod shared_log;
mod worker;

pub use group_handle::{CommittedLog, GroupHandle, ReadError};
pub use host::{GroupHost, GroupSpec, Installed, PeerAddress, SnapshotRefused, StagedOutcome};
pub use lease_clock::lease_clock;
pub use metrics::{Metrics, MetricsSnapshot};
pub use options::{FatalError, RuntimeOptions};
pub use outbox::{Envelope, Transport};
pub use reply::Reply;
pub use runtime::{Runtime, StartError, Stopped};
pub use shared_log::{
    FORMAT_VERSION, GroupRecord, GroupView, LogBatch, LogOptions, LogWriteError, OpenLogError, SharedLog,
};

/// What [`SharedLog::open_with_file_system`] needs of a file system.
pub use raft_engine::env as file_system;

pub use consensus::{
    AppliedConfiguration, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Committed, CommittedKind, Configuration, LogError,
    MembershipChange, MembershipError, MembershipStep, ProposeError, Proposed, Role, RoleChange,
    SnapshotDescription, SnapshotOffer, SnapshotRequest, Status,
};
