//! The words of the domain, shared by every crate: identifiers, values and rows, the partition map,
//! the schema, log entries, node-to-node messages, error codes and limits.
//!
//! Nothing here performs I/O, reads a clock, spawns a thread or draws a random number: time is a number
//! that the caller hands in, so that whatever is built from these types can run in a simulation.

pub mod body_stream;
pub mod brief;
pub mod catalog;
pub mod dependency;
pub mod digest;
pub mod entry;
pub mod error;
pub mod hash;
pub mod hlc;
pub mod host_rule;
pub mod idempotency;
pub mod ids;
pub mod joint;
pub mod json;
pub mod lease;
pub mod limits;
pub mod moment;
pub mod names;
pub mod partition_division;
pub mod partition_map;
pub mod pin;
pub mod protocol;
pub mod query_object;
pub mod relay;
pub mod replacing;
pub mod row;
pub mod schema;
pub mod statement;
pub mod strict_json;
pub mod tries;
pub mod value;

pub use error::{Error, ErrorCode, Outcome, Result};
pub use hlc::Hlc;
pub use ids::{NodeId, PartitionId, ReplicaId, RequestId, TransactionId};
pub use value::Value;
