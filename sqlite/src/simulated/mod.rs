//! A disk that forgets at a power cut what was not synced, for simulations: as plain files, and as a SQLite
//! VFS. Everything random about it comes from its seed.
//!
//! What a power cut does: of each file's 512-byte sectors written since its last sync, every one is kept or
//! forgotten by itself, so writes are lost, torn and reordered. Names (files made, renamed, deleted) become
//! durable in their order, no later than the next sync of any file, as journalling file systems do it; a
//! power cut undoes a tail of the pending ones. Handles from before a power cut fail from then on.
//!
//! One thread at a time: the simulation is single-threaded, and so are the locks.

mod disk;
mod faults;
mod locks;
mod random;
mod shared_memory;
#[cfg(test)]
mod tests;
mod vfs;

pub use disk::SimulatedDisk;
pub use faults::Counters;
