//! The catalog: what the coordinators agree on.
//!
//! [`Command`]s are the entries of the coordinators' own Raft group; [`apply()`] is the pure function that
//! carries one out; [`CatalogStore`] keeps the state, replicates it and answers from it.

mod apply;
mod command;
mod kept_answers;
pub(crate) mod random;
mod state;
mod store;

pub use apply::{apply, database_not_found, filling_epoch, is_open, serving_epoch, undone_version};
pub use command::{Answer, Command, NewDatabase, NewPartition, Proposal};
pub use kept_answers::{digest_text, recall};
pub use state::CatalogState;
pub use store::{CatalogOptions, CatalogStore, DirectoryError, OpenCatalogError, SnapshotError};
pub(crate) use store::{coordinator_address, now_ms};
