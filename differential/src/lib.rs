//! Comparing a database with one SQLite file: scripts in the format of SQLite's logic tests, and random
//! statements from a seed, run on both side by side.
//!
//! What is compared is an [`Engine`]: files in this process, or a cluster behind HTTP. The reference is plain
//! SQLite ([`Reference`]). A [`trial`] is one random schema with statements over it; what differs in it is
//! [`minimise`]d and printed as a script. [`script`] reads logic tests, [`script_run`] runs them.

pub mod answer;
pub mod batch;
pub mod compare;
pub mod generator;
pub mod layout;
pub mod minimise;
pub mod reference;
pub mod refused;
pub mod script;
pub mod script_run;
pub mod seed;
pub mod trial;

pub use answer::{Answer, Answered, Engine, Refusal};
pub use compare::{Difference, Order, difference};
pub use layout::Layout;
pub use reference::Reference;
