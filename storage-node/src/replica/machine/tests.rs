//! Replicas on real files under a log that the tests hold in their hands.

mod group;
mod transactions;
mod writes;
