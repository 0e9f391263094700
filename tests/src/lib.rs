//! What tests of the whole product stand on: clusters of real processes, and programs on a terminal.

pub mod binary;
pub mod process_cluster;
pub mod terminal;
