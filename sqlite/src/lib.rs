//! The only home of SQLite.
//!
//! A partition is one SQLite file. Its leader runs clients' statements on an [`Executor`], which captures
//! the rows they change; every other replica lands those rows through an [`Applier`]; reads go through a
//! [`ReaderPool`]. A coordinator prepares client text on a [`Shadow`], an empty database with the client's
//! schema, and gathers rows into a [`MergeDatabase`] to run the client's text there.
//!
//! All client SQL is hostile: it reaches SQLite only through connections made by the recipes in
//! [`recipe`], whose authorizer allows what is known to be harmless and nothing else.
//!
//! Text in SQLite need not be UTF-8, here it must be: answers replace malformed bytes by U+FFFD, and a
//! write that would store malformed text is refused, because replicas could not store the same.
//!
//! This is the one crate with unsafe code: calls that rusqlite does not offer safely (the pre-update
//! hook, a few status calls), virtual tables, and the VFS of temporary files and of the simulated disk.
#![allow(unsafe_code)]

pub mod applier;
mod attempted_rows;
mod authorizer;
pub mod baseline;
mod binding;
pub mod budget;
mod capture;
mod change_counts;
mod connection;
mod definition;
pub mod document_fields;
pub mod error;
pub mod executor;
pub mod fixed_moment;
pub mod grouping;
pub mod heap;
mod images;
mod join_columns;
mod keys;
mod layout;
pub mod maintenance;
pub mod merge;
pub mod packed;
pub mod partial_sum;
pub(crate) mod pinned;
mod query;
pub mod reader;
pub mod recipe;
mod row_images;
mod scan_plan;
pub mod schema;
pub mod scrub;
pub mod shadow;
pub mod shipped_rows;
#[cfg(feature = "simulation")]
pub mod simulated;
pub mod single_file;
mod spill;
pub mod stream_table;
pub mod system;
pub mod table_sums;
mod touched_keys;
pub mod trial;
pub mod workspace;

pub use applier::{Applier, Landed};
pub use budget::Budget;
pub use change_counts::DoneBefore;
pub use error::Failure;
pub use executor::{BatchPlace, Executor};
pub use keys::TABLE as KEYS_TABLE;
pub use maintenance::Maintenance;
pub use merge::{Gathered, MergeDatabase};
pub use query::Flow;
pub use reader::{PinnedReader, PooledReader, Reader, ReaderPool, Snapshot};
pub use recipe::{Location, assert_build};
pub use scrub::{Finding, scrub};
pub use shadow::{Consequences, Description, Shadow, TableAccess};
pub use stream_table::{RowSource, was_read_twice};
pub use system::{Position, Prepared, System, SystemState};
pub use table_sums::{Digest, TableSum, TableSums};
pub use touched_keys::{KeyColumns, Touched, TouchedKeys, WatchList};
pub use trial::{ForeignKeys, Refused, ScriptTrial, Segment, Trial, TrialDatabase, TrialStep};
pub use workspace::{Workspace, WorkspaceLimits, WorkspaceUse};
