//! coordinator

pub mod catalog;
pub mod operations;
