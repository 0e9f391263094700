//! The client: a cluster and what can be asked of it as a whole.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::{CacheStats, ClusterStatus, Node, Nodes, Partition, Partitions};
use crate::database::{Database, DatabaseInfo};
use crate::declaration::CreateDatabase;
use crate::error::Result;
use crate::http::{Request, RetryPolicy, Settings, Transport, segment};

/// A cluster, by the addresses of its coordinators. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// A client of a cluster. Any coordinator answers any request; with several addresses the next one is
    /// asked when one fails. Nothing is sent yet.
    ///
    /// # Errors
    /// If there is no address, or one is not an `http://` or `https://` URL.
    pub fn new<U: Into<String>>(coordinators: impl IntoIterator<Item = U>) -> Result<Client> {
        Client::builder(coordinators).build()
    }

    /// A client with other settings than the usual.
    pub fn builder<U: Into<String>>(coordinators: impl IntoIterator<Item = U>) -> ClientBuilder {
        ClientBuilder {
            settings: Settings {
                endpoints: coordinators.into_iter().map(Into::into).collect(),
                timeout: Duration::from_secs(30),
                connect_timeout: Duration::from_secs(3),
                retry: RetryPolicy::default(),
                api_key: None,
                certificates: Vec::new(),
            },
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Sends any request and reads its answer: for routes that have no method of their own here.
    pub async fn send<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        self.transport.json(request).await
    }

    /// Creates a database; when this returns, every partition takes writes.
    pub async fn create_database(&self, database: &CreateDatabase) -> Result<Database> {
        self.transport.bytes(&Request::post("/databases", database)?).await?;
        Ok(self.database(database.name()))
    }

    /// Names of the databases.
    pub async fn list_databases(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Answer {
            databases: Vec<String>,
        }
        Ok(self.transport.json::<Answer>(&Request::get("/databases")).await?.databases)
    }

    /// A database by name; nobody is asked whether it exists.
    #[must_use]
    pub fn database(&self, name: impl Into<String>) -> Database {
        Database::new(self.clone(), name.into())
    }

    /// What the catalog says of a database.
    pub async fn describe(&self, database: &str) -> Result<DatabaseInfo> {
        self.database(database).describe().await
    }

    /// Drops a database with all its data.
    pub async fn drop_database(&self, database: &str) -> Result<()> {
        self.database(database).drop_database().await
    }

    /// The storage nodes, by id.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self.transport.json::<Nodes>(&Request::get("/nodes")).await?.nodes.into_values().collect())
    }

    /// The partitions of a database, or of all of them.
    pub async fn partitions(&self, database: Option<&str>) -> Result<Vec<Partition>> {
        let path = database
            .map_or_else(|| "/partitions".to_owned(), |name| format!("/partitions/{}", segment(name)));
        let answer: Partitions = self.transport.json(&Request::get(path)).await?;
        Ok(answer.partitions.into_values().collect())
    }

    /// How the cluster is.
    pub async fn status(&self) -> Result<ClusterStatus> {
        self.transport.json(&Request::get("/cluster/status")).await
    }

    /// What the asked coordinator's cache has done.
    pub async fn cache_stats(&self) -> Result<CacheStats> {
        #[derive(Deserialize)]
        struct Answer {
            stats: CacheStats,
        }
        Ok(self.transport.json::<Answer>(&Request::get("/cache/stats")).await?.stats)
    }

    /// Empties the asked coordinator's cache.
    pub async fn clear_cache(&self) -> Result<()> {
        // Doing it twice is as good as once.
        self.transport.bytes(&Request::new(http::Method::POST, "/cache/clear").reads()).await.map(drop)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Settings of a client.
///
/// ```
/// use std::time::Duration;
/// use polylite_client::Client;
///
/// let client = Client::builder(["http://10.0.0.1:5000", "http://10.0.0.2:5000"])
///     .timeout(Duration::from_secs(5))
///     .api_key("…")
///     .build();
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    settings: Settings,
}

impl ClientBuilder {
    /// Longest time for a request, all its attempts together; 30 seconds if not said. Streams and imports
    /// take as long as they take.
    pub fn timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.settings.timeout = timeout;
        self
    }

    /// Longest time for opening a connection; 3 seconds if not said.
    pub fn connect_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How often and how patiently requests are repeated where that is safe.
    pub fn retry(mut self, policy: RetryPolicy) -> ClientBuilder {
        self.settings.retry = policy;
        self
    }

    /// The key that every request is authorised by.
    pub fn api_key(mut self, key: impl Into<String>) -> ClientBuilder {
        self.settings.api_key = Some(key.into());
        self
    }

    /// Certificates (PEM) to trust instead of the system's.
    pub fn trust_only(mut self, pem: impl Into<Vec<u8>>) -> ClientBuilder {
        self.settings.certificates.push(pem.into());
        self
    }

    /// The client.
    ///
    /// # Errors
    /// If a setting cannot be used; nothing is sent yet.
    pub fn build(self) -> Result<Client> {
        Ok(Client { transport: Arc::new(Transport::new(self.settings)?) })
    }
}
