//! What the crate promises, tested from outside. One program, because linking one for each file would take longer than running them.

mod adopting;
mod hostile;
mod planning;
mod power_cuts;
mod random_changes;
mod reading;
mod replication;
mod spilling;
mod support;
mod table_sums;
mod touched_keys;
mod trial;
