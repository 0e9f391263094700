//! A storage node: hosts replicas of partitions, each a SQLite file under a Raft group.

pub mod clock;
pub mod config;
pub mod layout;
pub mod replica;
