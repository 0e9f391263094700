//! SQL and document queries over partitions: parse, plan (pure), run through [`access::PartitionAccess`], merge.
//!
//! `DESIGN.md` beside this crate tells how a statement finds its partitions and what is pushed to them.

pub mod access;
mod ast;
mod deferral;
mod dependencies;
pub mod documents;
mod expansion;
mod filter;
mod functions;
mod generated;
mod idle_databases;
pub mod moment;
mod nesting;
pub mod objects;
mod plan;
mod plan_cache;
pub mod planner;
pub mod relocation;
mod route;
pub mod rows;
pub mod schema;
mod scope;
mod shadow;
pub mod sql;
mod statistics;
mod table;

pub use access::{PartitionAccess, RowStream};
pub use moment::Moment;
pub use plan::{Partitions, PlanNode, PlanRow, Rule, Rules};
pub use planner::Planner;
pub use sql::{Measured, greatest_rowid};
pub use statistics::Statistics;
