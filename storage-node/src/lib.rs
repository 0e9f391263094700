//! A storage node: hosts replicas of partitions, each a SQLite file under a Raft group.
//!
//! From the outside in: [`http`] is the listener, [`service`] answers peers, [`membership`] speaks to the
//! coordinators, [`registry`] runs what they assign, and a [`replica`] is one copy of one partition, whose
//! deterministic core is [`replica::machine`]. `DESIGN.md` has the reasons.

mod brief_reads;
pub mod clock;
pub mod config;
pub mod disk;
pub mod http;
pub mod layout;
pub mod membership;
pub mod neighbours;
mod node;
mod random;
pub mod registry;
pub mod replica;
pub mod service;
pub mod transport;
pub mod upkeep;

pub use config::StorageNodeOptions;
pub use node::{StartError, StorageNode};
