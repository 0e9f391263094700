//! Replicas on real files under a log that the tests hold in their hands.

mod comparing;
mod group;
mod joint;
mod keys;
#[cfg(feature = "planted-bugs")]
mod planted_bugs;
mod published;
mod schema;
mod transactions;
mod writes;
