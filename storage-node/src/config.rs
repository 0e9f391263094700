//! What a storage node is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use common::NodeId;

pub use crate::upkeep::UpkeepOptions;

/// How often a node reports to a coordinator.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Above this size of a replica's write-ahead log, in bytes, the oldest stream of rows is ended that keeps it from beginning
/// anew.
pub const WAL_BYTES_MAX: u64 = 1 << 30;
/// So long, at most once a second, writes may wait for readers that keep a log from beginning anew which has grown to twice
/// the size where it should.
pub const WAL_PATIENCE: Duration = Duration::from_millis(100);
/// A replica that has changed since its last checkpoint makes one after this long …
pub const IDLE_CHECKPOINT: Duration = Duration::from_secs(30);
/// … and brings its write-ahead log into its file above this size, in bytes.
pub const IDLE_WAL_BYTES: u64 = 1 << 20;
/// Entries kept in the log below the synced applied index, so that a replica that was away for a moment
/// catches up by log instead of by snapshot.
pub const LOG_ENTRIES_KEPT: u64 = 4_096;
/// Not more than so many bytes of them: a node reads all of its log when it starts.
pub const LOG_BYTES_KEPT: u64 = 64 << 20;
/// A prepared transaction older than this is asked about at its decider.
pub const IN_DOUBT_AFTER: Duration = Duration::from_secs(1);
/// The same while its coordinator's connection stands. That breaks at once when the coordinator dies, and within seconds
/// when it stands still.
pub const IN_DOUBT_WATCHED_AFTER: Duration = Duration::from_secs(6);
/// Reads of a replica that run at a time; more wait, without holding a thread.
pub const READS_PER_REPLICA: usize = 8;
/// Connections that hold pinned snapshots of a replica at a time.
pub const PINNED_READERS_PER_REPLICA: usize = 256;
/// What SQLite may hold in memory in the process, in bytes, over all replicas and connections. The operating system keeps
/// pages of the files, too.
pub const SQLITE_HEAP_BYTES: u32 = 128 << 20;
/// Streams of rows out of a replica at a time. They go at the receiver's pace and must not keep reads out.
pub const STREAMS_PER_REPLICA: usize = 24;

/// How a storage node is started.
#[derive(Clone, Debug)]
pub struct StorageNodeOptions {
    /// Host to listen on, as the operator wrote it; `localhost` listens on all its addresses.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// `host` or `host:port` that others are told, if it is not what is listened on.
    pub advertise: Option<String>,
    /// Host names that requests may use, beside this machine's own.
    pub allowed_hosts: Vec<String>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Coordinators to register with, as `host:port` or `http://host:port`. More are learned from them.
    pub coordinators: Vec<String>,
    /// The id it wants; without one it keeps what it had, or the coordinators choose.
    pub node_id: Option<NodeId>,
    /// How it looks after its replicas.
    pub upkeep: UpkeepOptions,
}

impl StorageNodeOptions {
    /// What others are told once the listener has taken `port`.
    #[must_use]
    pub fn advertised(&self, port: u16) -> (String, u16) {
        let Some(advertise) = &self.advertise else {
            return (self.host.clone(), port);
        };
        match advertise.rsplit_once(':') {
            Some((host, text)) if !host.ends_with(':') => match text.parse() {
                Ok(port) => (host.to_owned(), port),
                Err(_) => (advertise.clone(), port),
            },
            _ => (advertise.clone(), port),
        }
    }

    /// The coordinators' addresses without scheme and trailing slash.
    #[must_use]
    pub fn coordinator_addresses(&self) -> Vec<String> {
        self.coordinators
            .iter()
            .map(|url| url.trim_start_matches("http://").trim_end_matches('/').to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(advertise: Option<&str>) -> StorageNodeOptions {
        StorageNodeOptions {
            host: "0.0.0.0".into(),
            port: 0,
            advertise: advertise.map(str::to_owned),
            allowed_hosts: Vec::new(),
            data_dir: PathBuf::new(),
            coordinators: vec!["http://localhost:5000/".into(), "other:1".into()],
            node_id: None,
            upkeep: UpkeepOptions::default(),
        }
    }

    #[test]
    fn others_are_told_what_the_operator_advertises() {
        assert_eq!(options(None).advertised(5100), ("0.0.0.0".into(), 5100));
        assert_eq!(options(Some("db1")).advertised(5100), ("db1".into(), 5100));
        assert_eq!(options(Some("db1:80")).advertised(5100), ("db1".into(), 80));
    }

    #[test]
    fn coordinators_are_named_by_url_or_address() {
        assert_eq!(options(None).coordinator_addresses(), ["localhost:5000", "other:1"]);
    }
}
