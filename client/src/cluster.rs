//! What the cluster says about itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

#[derive(Deserialize)]
pub(crate) struct Nodes {
    pub nodes: BTreeMap<String, Node>,
}

/// A storage node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Node {
    /// Its name.
    pub id: String,
    /// Host that it is reached at.
    pub host: String,
    /// Port that it is reached at.
    pub port: u16,
    /// `active`, `suspected`, `inactive`, `draining` or `syncing`.
    pub status: String,
    /// Databases that it holds partitions of.
    #[serde(default)]
    pub databases: Vec<String>,
    /// What else the server says.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

#[derive(Deserialize)]
pub(crate) struct Partitions {
    pub partitions: BTreeMap<String, Partition>,
}

/// A partition of a database.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Partition {
    /// Its id.
    pub id: String,
    /// Its database.
    pub database_name: String,
    /// `HORIZONTAL`, `VERTICAL` or `MIXED`.
    pub partition_type: String,
    /// The column or attribute that decides where a row lives.
    #[serde(default)]
    pub partition_key: Option<String>,
    /// What it owns: a range of hash slots or of keys.
    #[serde(default)]
    pub partition_value: Json,
    /// The columns that it holds, as `table.column`; all if `None`.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// Nodes that hold a replica.
    #[serde(default)]
    pub storage_nodes: Vec<String>,
    /// The node whose replica leads.
    #[serde(default)]
    pub leader: Option<String>,
    /// Rows in it.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Size of its file in bytes.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// What else the server says.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

/// How the cluster is, as the asked coordinator sees it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClusterStatus {
    /// Whether the asked coordinator leads the catalog.
    pub is_leader: bool,
    /// Address of the one that leads.
    #[serde(default)]
    pub leader: Option<String>,
    /// Address of the asked one.
    pub address: String,
    /// Raft term of the catalog.
    #[serde(default)]
    pub term: Option<u64>,
    /// What else the server says.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

/// What a coordinator's cache has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CacheStats {
    /// Answers found in it.
    pub hits: u64,
    /// Answers not found in it.
    pub misses: u64,
    /// Entries dropped because it was full.
    #[serde(default)]
    pub evictions: u64,
    /// Entries dropped because they were old.
    #[serde(default)]
    pub expirations: u64,
    /// Entries now.
    pub size: u64,
    /// Most entries.
    #[serde(default)]
    pub max_size: u64,
}
