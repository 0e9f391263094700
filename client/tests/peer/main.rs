//! Connections between nodes over real sockets.

mod calls;
mod desk;
mod failures;
mod one_way;
mod streams;
mod typed;
