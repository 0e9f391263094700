//! What the crate promises, tested from outside. One program, because linking one for each file would take longer than running them.

mod failing_disk;
mod failover;
mod reads;
mod shared_log;
mod slow_disk;
mod snapshots;
mod support;
