//! What the tests of one category act on: a cluster of their own, and clients of it.

use std::time::{Duration, Instant};

use polylite_client::{
    Client, CreateDatabase, Database, PartitionType, QueryResult, Request, RetryPolicy, Select,
};
use serde_json::Value as Json;

use crate::process_cluster::{PATIENCE, ProcessCluster};

/// Time between two looks at something that is awaited.
const PAUSE: Duration = Duration::from_millis(20);

/// A cluster and its clients.
pub struct Stage {
    /// Absent when the suite is shown to fail without a server.
    cluster: Option<ProcessCluster>,
    client: Client,
    /// What a test leaves to one after it.
    pub left: Json,
}

impl Stage {
    /// Starts a coordinator and storage nodes.
    #[must_use]
    pub fn start(nodes: usize) -> Stage {
        let cluster = ProcessCluster::start_at("localhost", 1, nodes);
        let client = Client::new(cluster.coordinator_urls()).expect("an address");
        Stage { cluster: Some(cluster), client, left: Json::Null }
    }

    /// A stage on which nobody acts: nothing listens where its client asks.
    #[must_use]
    pub fn without_server() -> Stage {
        // Bound and given back: nobody listens there now, and the system does not give it out again soon.
        let bound = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = bound.local_addr().expect("an address");
        drop(bound);
        let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
        let client = Client::builder([format!("http://{address}")]).retry(once).build().expect("a client");
        Stage { cluster: None, client, left: Json::Null }
    }

    /// The processes.
    pub fn cluster(&mut self) -> &mut ProcessCluster {
        self.cluster.as_mut().expect("there is no cluster")
    }

    /// The last words of each process.
    #[must_use]
    pub fn log_tails(&self, lines: usize) -> String {
        let folder = self.cluster.as_ref().map(|cluster| cluster.folder().to_owned());
        let entries = folder.into_iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
        let mut told = String::new();
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let all: Vec<&str> = log.lines().collect();
                told.push_str(&format!("--- {}\n", path.display()));
                told.push_str(&all[all.len().saturating_sub(lines)..].join("\n"));
                told.push('\n');
            }
        }
        told
    }

    /// A client of the coordinator.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A database.
    #[must_use]
    pub fn database(&self, name: &str) -> Database {
        self.client.database(name)
    }

    /// A client of a storage node's own routes.
    pub fn node(&mut self, number: usize) -> Client {
        Client::new([self.cluster().node_url(number)]).expect("an address")
    }

    /// The answer of the coordinator to a GET, which must be a success.
    pub async fn get(&self, path: &str) -> Json {
        successful(self.client.send(&Request::get(path)).await.expect(path))
    }

    /// The answer of a storage node to a GET, which must be a success.
    pub async fn node_get(&mut self, number: usize, path: &str) -> Json {
        successful(self.node(number).send(&Request::get(path)).await.expect(path))
    }

    /// The answer of the coordinator to a POST, which must be a success.
    pub async fn post(&self, path: &str, body: &Json) -> Json {
        let request = Request::post(path, body).expect("JSON");
        successful(self.client.send(&request).await.expect(path))
    }

    /// What a storage node answers from the replicas that it has itself.
    pub async fn node_query(&mut self, number: usize, database: &str, query: &Json) -> Json {
        let node = self.node(number);
        let request = Request::post(format!("/query/{database}"), query).expect("JSON").reads();
        let mut answer = successful(node.send(&request).await.expect("the node answers"));
        sorted_by_id(answer["data"].take())
    }

    /// Makes a database.
    pub async fn create(&self, database: &CreateDatabase) {
        self.client.create_database(database).await.expect("the database is made");
    }

    /// Whether a database is listed.
    pub async fn lists(&self, database: &str) -> bool {
        let listed = self.client.list_databases().await.expect("the databases are listed");
        listed.iter().any(|name| name == database)
    }

    /// What the catalog tells of a database, as it is answered.
    pub async fn describe(&self, database: &str) -> Json {
        self.get(&format!("/databases/{database}")).await["database"].take()
    }

    /// The partitions of a database, as they are answered.
    pub async fn partitions(&self, database: &str) -> Vec<Json> {
        let answer = self.get(&format!("/partitions/{database}")).await;
        let partitions = answer["partitions"].as_object().expect("an object by id");
        for (id, partition) in partitions {
            assert_eq!(partition["id"], **id, "a partition is keyed by its id");
            assert_eq!(partition["database_name"], database);
        }
        partitions.values().cloned().collect()
    }

    /// Asserts which way a database is divided, by its metadata and by those of each partition.
    pub async fn assert_divided(&self, database: &str, way: PartitionType, key: Option<&str>) -> Vec<Json> {
        let described = self.describe(database).await;
        assert_eq!(described["partition_type"], way.as_str());
        assert_eq!(described["partition_key"].as_str(), key);
        let partitions = self.partitions(database).await;
        assert!(!partitions.is_empty(), "{database} has no partition");
        for partition in &partitions {
            assert_eq!(partition["partition_type"], way.as_str());
            assert_eq!(partition["partition_key"].as_str(), key);
        }
        partitions
    }

    /// Inserts a row by a query object; it must be answered as it was given.
    pub async fn insert(&self, database: &str, table: &str, row: Json) {
        let done = self.database(database).sql_insert(table, row.clone()).await.expect("the row is inserted");
        assert_eq!((done.data, done.affected_rows), (Json::Array(vec![row]), 1));
    }

    /// Rows of a table by a query object, in the order of their ids.
    pub async fn rows(&self, database: &str, table: &str, conditions: Json) -> Json {
        sorted_by_id(self.query(database, table, conditions).await.data)
    }

    /// The answer to a query object.
    pub async fn query(&self, database: &str, table: &str, conditions: Json) -> QueryResult {
        let select = Select { conditions: Some(conditions), ..Select::default() };
        self.database(database).sql_query(table, &select).await.expect("the rows are read")
    }

    /// Rows of an SQL statement, as objects.
    pub async fn sql(&self, database: &str, text: &str) -> Json {
        let body = serde_json::json!({ "sql": text });
        let path = format!("/databases/{database}/sql?rows=objects");
        self.post(&path, &body).await["results"][0]["rows"].take()
    }
}

/// Waits until `look` finds what is awaited, and gives that; what else it sees is told if it never does.
pub async fn eventually<T, S: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what} was awaited in vain: {seen:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Rows in the order of their ids: without ORDER BY they may come in any.
#[must_use]
pub fn sorted_by_id(rows: Json) -> Json {
    let Json::Array(mut rows) = rows else { return rows };
    rows.sort_by_key(|row| row["id"].as_i64());
    Json::Array(rows)
}

#[track_caller]
fn successful(answer: Json) -> Json {
    assert_eq!(answer["success"], true, "{answer}");
    answer
}
