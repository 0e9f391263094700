//! The client library against a server that answers by a script.

mod answers;
mod retries;
mod script;
