//! One copy of a partition.

pub mod machine;
