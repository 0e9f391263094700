//! Where replicas live: pure functions of the catalog. They choose, the catalog's commands check and enter
//! the choice, and nodes reconcile what they run with what is assigned to them.

mod assignments;
mod load;
mod new_database;
mod rebalance;
mod repair;
mod resizing;

pub use assignments::assignments;
pub(crate) use assignments::peers;
pub use load::{Measured, PartitionLoad};
pub use new_database::choose_nodes;
pub use rebalance::{is_settled, next_leader, next_move};
pub use repair::{Patience, repairs, stuck_on, under_replicated};
pub use resizing::{Resizing, resizings};

#[cfg(test)]
pub(crate) mod fixture;
