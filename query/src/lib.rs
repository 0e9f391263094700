//! SQL and document queries over partitions: parse, plan (pure), run through [`access::PartitionAccess`], merge.
//!
//! `DESIGN.md` beside this crate tells how a statement finds its partitions and what is pushed to them.

pub mod access;
pub mod documents;
pub mod moment;
pub mod objects;
pub mod plan;
pub mod planner;
pub mod rows;
pub mod schema;
pub mod sql;

pub use access::{PartitionAccess, RowStream};
pub use moment::Moment;
pub use planner::Planner;
