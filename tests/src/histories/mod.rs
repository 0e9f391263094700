//! Checkers of what clients saw: each takes a history and names the first thing in it that cannot be. They know
//! nothing of clusters; workloads record histories, in the simulation and against processes.
//!
//! | checker | what must not be |
//! |---|---|
//! | [`bank`] | money made or lost by transfers, in any read |
//! | [`counters`] | increments lost, or counted twice |
//! | [`lost_update`] | two updates computed from the same version |
//! | [`write_skew`] | two changes that are each allowed by what the other changes |
//! | [`long_fork`] | two readers that see two writes in opposite orders |
//! | [`list_append`] | cycles of dependencies between transactions, and reads of what never was |
//! | [`vertical_rows`] | a row of which some columns are older than others |

pub mod bank;
pub mod counters;
mod dependencies;
pub mod list_append;
pub mod long_fork;
pub mod lost_update;
pub mod vertical_rows;
pub mod write_skew;
