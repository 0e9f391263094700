//! The HTTP interface.

mod answer;
mod app;
mod body;
mod edge;
mod failure;
mod fields;
mod host_rule;
mod request;
mod row_stream;
mod sql;
mod strict_json;
