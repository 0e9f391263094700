//! How a coordinator is started.

use std::path::PathBuf;
use std::time::Duration;

use common::catalog::address;
use common::limits::REPLICATION_FACTOR_DEFAULT;
use sqlite::WorkspaceLimits;

/// What a slow transaction is, if nobody says.
pub const SLOW_TRANSACTION: Duration = Duration::from_secs(1);

/// Settings of a coordinator.
#[derive(Clone, Debug)]
pub struct CoordinatorOptions {
    /// Host to listen on, as the operator wrote it; `localhost` listens on all its addresses.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// `host` or `host:port` that others are told, if it is not what is listened on.
    pub advertise: Option<String>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Replicas of each partition of a database that does not say.
    pub replication_factor: u32,
    /// A storage node that is inactive for so long has its replicas made anew on others.
    pub repair_after: Duration,
    /// Coordinators of the cluster to join (`host:port` or `http://host:port`), if the data directory is new.
    /// Without one a new data directory founds a cluster.
    pub join: Vec<String>,
    /// Hosts that requests may name beside this machine's own.
    pub allowed_hosts: Vec<String>,
    /// The shortcuts that SELECT statements may take.
    pub sql_rules: query::Rules,
    /// What statements that are merged here may take of memory and disk. Temporary files lie in the data
    /// directory unless a folder is named.
    pub workspace: WorkspaceLimits,
    /// A transaction over partitions that takes longer is logged.
    pub slow_transaction: Duration,
}

impl CoordinatorOptions {
    /// The usual settings, with a data directory.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> CoordinatorOptions {
        CoordinatorOptions {
            host: "localhost".to_owned(),
            port: 5000,
            advertise: None,
            data_dir,
            replication_factor: REPLICATION_FACTOR_DEFAULT,
            repair_after: crate::operations::REPAIR_AFTER,
            join: Vec::new(),
            allowed_hosts: Vec::new(),
            sql_rules: query::Rules::default(),
            workspace: WorkspaceLimits::default(),
            slow_transaction: SLOW_TRANSACTION,
        }
    }

    /// Host and port that others are told once the listener has taken `port`.
    #[must_use]
    pub fn advertised(&self, port: u16) -> (String, u16) {
        let Some(advertise) = &self.advertise else { return (self.host.clone(), port) };
        match advertise.rsplit_once(':') {
            Some((host, text)) if !host.ends_with(':') => match text.parse() {
                Ok(port) => (bare(host), port),
                Err(_) => (bare(advertise), port),
            },
            _ => (bare(advertise), port),
        }
    }

    /// `host:port` that others are told.
    #[must_use]
    pub fn address(&self, port: u16) -> String {
        let (host, port) = self.advertised(port);
        address(&host, port)
    }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_what_is_listened_on_or_what_the_operator_says() {
        let told = |advertise: Option<&str>| {
            let mut options = CoordinatorOptions::new(PathBuf::new());
            options.advertise = advertise.map(str::to_owned);
            options.address(7)
        };
        assert_eq!(told(None), "localhost:7");
        assert_eq!(told(Some("db.test")), "db.test:7");
        assert_eq!(told(Some("db.test:80")), "db.test:80");
        assert_eq!(told(Some("[::1]:80")), "[::1]:80");
    }
}
