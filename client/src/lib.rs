//! The client library of Polylite, and the connections between the cluster's own nodes.
//!
//! A [`Client`] knows the cluster's coordinators. It gives [`Database`]s, which take SQL and give
//! [`Collection`]s of documents.
//!
//! ```no_run
//! use polylite_client::{Client, Column, CreateDatabase, Table};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> polylite_client::Result<()> {
//! let client = Client::new(["http://localhost:5000"])?;
//! let users = Table::new("users")
//!     .column(Column::new("id", "INTEGER").primary_key())
//!     .column(Column::new("name", "TEXT").not_null());
//! let shop = client.create_database(&CreateDatabase::sql("shop").table(users)).await?;
//!
//! shop.sql("INSERT INTO users (name) VALUES (?), (?)").bind("Ada").bind("Grace").execute().await?;
//! for row in &shop.sql("SELECT id, name FROM users ORDER BY name").query().await? {
//!     println!("{} {}", row.get::<i64>("id")?, row.get::<String>("name")?);
//! }
//!
//! // All statements are applied or none, whichever partitions they touch.
//! shop.batch()
//!     .sql("UPDATE users SET name = 'Ada L.' WHERE id = ?").bind(1)
//!     .sql("DELETE FROM users WHERE id = ?").bind(2)
//!     .run()
//!     .await?;
//!
//! // The same database holds documents.
//! let events = shop.collection("events");
//! events.insert(&json!({"kind": "login", "user": 1})).await?;
//! assert_eq!(events.count(json!({"kind": "login"})).await?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # When something fails
//!
//! An [`Error`] says what became of the request ([`field@Error::outcome`]) and whether the same request may
//! succeed later ([`field@Error::retryable`]). The library repeats requests by itself where that is safe, with
//! growing pauses and with other coordinators; [`RetryPolicy`] says when. Every write is sent under a name of its
//! own, an idempotency key, so that the server knows a repetition: it takes effect once, however often it is sent.
//! When no attempt got an answer, the error has [`Outcome::Unknown`]; a caller that wants to go on for longer, or
//! after a restart, gives the write a [key](Sql::idempotency_key) of its own and sends it again.
//!
//! # Between nodes
//!
//! [`peer`] holds the connections between nodes and [`node`] the typed requests over them. They are for the
//! cluster's own processes; an application has no use for them.

mod client;
mod cluster;
mod collection;
mod database;
mod declaration;
mod error;
mod http;
pub mod node;
pub mod peer;
mod row_deserializer;
mod row_stream;
mod rows;
mod sql;
mod transaction;
mod transfer;
mod value;

pub use client::{Client, ClientBuilder};
pub use cluster::{CacheStats, ClusterStatus, Node, Partition};
pub use collection::{Collection, DocumentId, Find, Updated};
pub use database::{CollectionInfo, Database, DatabaseInfo, QueryResult, Select, Which};
pub use declaration::{Column, CreateDatabase, DatabaseKind, PartitionType, Table};
pub use error::{Error, ErrorCode, Outcome, Result, local as local_error_codes};
pub use http::{Effect, Request, RetryPolicy, segment};
pub use row_stream::RowStream;
pub use rows::{Row, Rows};
pub use sql::{Batch, Executed, ReadLevel, Sql};
pub use transaction::{Transaction, TransactionOptions};
pub use transfer::{Format, Target};
pub use value::{FromValue, ToValue, Value};
