//! The HTTP interface: one file for each subject, and what they share.
//!
//! A request passes [`edge`] (its id, the host rule, panics), the router, and a handler; an error comes back
//! as a [`failure::Failure`] and is written in that one place. `body`, `fields` and `request` read what clients send; `answer` and `row_stream` write what they get.

mod answer;
mod app;
mod body;
mod cache;
mod cluster;
mod column_groups;
mod csv_records;
mod databases;
mod document_csv;
mod document_indexes;
mod document_requests;
mod documents;
mod edge;
mod explain;
mod export;
mod failure;
mod fields;
mod import;
mod import_batches;
mod later_routes;
mod left;
mod listener;
mod nodes;
mod once;
mod openapi;
mod partitioning;
mod partitions;
mod placement;
mod query_objects;
mod relay;
mod replacing;
mod request;
mod router;
mod row_stream;
mod service;
mod sql;
mod table_description;
mod tables;
mod transaction_control;
mod transactions;

pub use app::{App, AppParts};
pub use edge::Face;
pub use listener::{Listeners, serve};
pub(crate) use relay::answer as answer_relayed;
pub(crate) use router::{Routes, router};
