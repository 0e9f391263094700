//! A number in a database of one partition that is only ever raised: whoever reads less than was acknowledged before has
//! read something stale.

use std::time::Instant;

use polylite_client::{Client, CreateDatabase, Database};
use tokio::runtime::Runtime;

use crate::process_cluster::{PATIENCE, ProcessCluster};

/// The database's name.
pub const DATABASE: &str = "bank";

/// The number, and the cluster that keeps it.
pub struct RaisedClock {
    /// The cluster.
    pub cluster: ProcessCluster,
    /// Runs what waits for it.
    pub runtime: Runtime,
    /// The database.
    pub database: Database,
    client: Client,
}

impl RaisedClock {
    /// A clock that shows 0. One node leads everything.
    #[must_use]
    pub fn over(cluster: ProcessCluster) -> RaisedClock {
        let client = Client::new(cluster.coordinator_urls()).expect("an address");
        let runtime = Runtime::new().expect("a runtime starts");
        let database = runtime.block_on(async {
            let database = client.create_database(&CreateDatabase::sql(DATABASE).partitions(1)).await?;
            database.sql("CREATE TABLE clocks (id INTEGER PRIMARY KEY, n INTEGER)").execute().await?;
            database.sql("INSERT INTO clocks VALUES (1, 0)").execute().await?;
            Ok::<_, polylite_client::Error>(database)
        });
        RaisedClock { cluster, runtime, client, database: database.expect("the database is made") }
    }

    /// The number of the node that leads the partition.
    #[must_use]
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.runtime.block_on(self.client.partitions(Some(DATABASE)));
            if let Some(leader) = listed.expect("the partition is listed")[0].leader.clone() {
                let number = leader.strip_prefix("node-").expect("a node of ours");
                return number.parse().expect("a number");
            }
            assert!(Instant::now() < deadline, "nobody leads the partition");
        }
    }

    /// Raises the clock. What was sent to a leader that does not answer may be applied or not; asking again does no harm.
    pub fn raise_to(&self, value: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let update = self.database.sql("UPDATE clocks SET n = max(n, ?) WHERE id = 1").bind(value);
            match self.runtime.block_on(update.execute()) {
                Ok(done) => return assert_eq!(done.affected_rows, 1),
                Err(error) => assert!(Instant::now() < deadline, "the others take no writes: {error:?}"),
            }
        }
    }

    /// What the clock shows to whoever asks a coordinator.
    pub fn read(&self) -> impl Future<Output = polylite_client::Result<i64>> + Send + use<> {
        let database = self.database.clone();
        async move {
            let rows = database.sql("SELECT n FROM clocks WHERE id = 1").query().await?;
            rows.scalar::<i64>()
        }
    }
}
