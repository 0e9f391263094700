//! Operations on real storage nodes, over real connections.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::catalog::{Catalog, Database, NodeStatus, OperationState, ReplicaRole, one_column_group};
use common::partition_map::{PartitionMethod, hash_ranges};
use common::protocol::{PartitionTarget, ReplicaReport, Statement, WorkItem, WriteRequest};
use common::schema::{DatabaseKind, ObjectKind, PartitionType, Schema, SchemaObject};
use common::{ErrorCode, NodeId, PartitionId, Result};
use coordinator::health::ClusterHealth;
use coordinator::operations::{DatabaseSpec, Operations};
use coordinator::{Coordinator, CoordinatorOptions};
use polylite_client::node::StorageClient;
use polylite_client::peer::{PeerOptions, PeerPool};
use polylite_client::{Client, Request};
use query::schema::SchemaChange;
use serde_json::{Value as Json, json};
use storage_node::{StorageNode, StorageNodeOptions};
use tempfile::TempDir;

/// Longer than anything takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(30);
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x)";

struct Cluster {
    coordinator: Coordinator,
    operations: Operations,
    health: ClusterHealth,
    storage: StorageClient,
    nodes: Vec<StorageNode>,
    folders: Vec<TempDir>,
}

impl Cluster {
    async fn start(count: usize) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let mut options = CoordinatorOptions::new(folder.path().to_owned());
        "127.0.0.1".clone_into(&mut options.host);
        options.port = 0;
        let coordinator = Coordinator::start(options).await.unwrap();
        // Beside the coordinator's own: a client of the same catalog.
        let storage = StorageClient::new(PeerPool::new(PeerOptions::default()));
        let catalog = coordinator.catalog().clone();
        let health = ClusterHealth::new(catalog.clone(), storage.clone());
        let operations = Operations::new(catalog, health.clone(), storage.clone());
        let (nodes, folders) = (Vec::new(), vec![folder]);
        let mut cluster = Cluster { coordinator, operations, health, storage, nodes, folders };
        for _ in 0..count {
            cluster.add_node().await;
        }
        cluster
    }

    async fn add_node(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let count = self.nodes.len() + 1;
        let node = self.start_node(folder.path(), count, 0).await;
        self.nodes.push(node);
        self.folders.push(folder);
        let registered = |catalog: &Catalog| (catalog.nodes.len() == count).then_some(());
        self.sees(registered).await;
    }

    async fn start_node(&self, folder: &Path, number: usize, port: u16) -> StorageNode {
        let options = StorageNodeOptions {
            host: "127.0.0.1".into(),
            port,
            advertise: None,
            allowed_hosts: Vec::new(),
            data_dir: folder.to_owned(),
            coordinators: vec![self.coordinator.address().to_owned()],
            node_id: Some(NodeId(format!("n{number}"))),
            upkeep: Default::default(),
        };
        StorageNode::start(options).await.unwrap()
    }

    async fn create(&self, name: &str, partitions: u32) -> Arc<Database> {
        self.operations.create_database(spec(name, partitions), LONG).await.unwrap()
    }

    fn partitions(&self, name: &str) -> Vec<PartitionId> {
        let catalog = self.view();
        catalog.databases[name].partitions().map(|(_, _, partition)| partition).collect()
    }

    fn view(&self) -> Arc<Catalog> {
        self.coordinator.catalog().view()
    }

    async fn sees(&self, shows: impl Fn(&Catalog) -> Option<()>) {
        self.coordinator.catalog().wait_until(LONG, shows).await.expect("the catalog shows it in time");
    }

    /// What the leader of a partition says of it, once there is one.
    async fn report(&self, partition: PartitionId) -> ReplicaReport {
        let deadline = Instant::now() + LONG;
        loop {
            let facts = self.health.ask(&[partition]).await.remove(&partition).unwrap();
            if let Some(report) = facts.leader_report().filter(|report| report.writable) {
                return report.clone();
            }
            assert!(Instant::now() < deadline, "partition {partition} has no leader");
        }
    }

    /// Runs a statement on the leader of a partition.
    async fn write(&self, partition: PartitionId, schema_version: u64, sql: &str) -> Result<u64> {
        let report = self.report(partition).await;
        let catalog = self.view();
        let replicas = &catalog.partitions[&partition].replicas;
        let node = &replicas.iter().find(|replica| replica.id == report.replica).unwrap().node;
        let statement = Statement { sql: sql.into(), ..Statement::default() };
        let target = PartitionTarget { partition, epoch: 1, schema_version, timeout_ms: 5_000 };
        let write = WriteRequest { target, work: vec![WorkItem::Statement(statement)], max_rows: 10 };
        let address = catalog.nodes[node].address();
        Ok(self.storage.write(&address, write).await?.results[0].affected_rows)
    }

    async fn stop(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
        self.coordinator.shutdown().await;
    }
}

fn spec(name: &str, partitions: u32) -> DatabaseSpec {
    let schema =
        Schema { version: 1, objects: vec![object(ObjectKind::Table, "t", TABLE)], ..Schema::default() };
    DatabaseSpec {
        name: name.into(),
        kind: DatabaseKind::Sql,
        partition_type: PartitionType::Horizontal,
        partition_key: None,
        method: PartitionMethod::Hash,
        ranges: hash_ranges(partitions),
        column_groups: one_column_group(),
        attribute_groups: Vec::new(),
        replication_factor: 3,
        schema,
        statements: vec![TABLE.into()],
        group_statements: Vec::new(),
    }
}

fn schema_change(schema: Schema, statements: &[&str]) -> SchemaChange {
    let statements = statements.iter().map(|sql| (*sql).to_owned()).collect();
    SchemaChange { schema, statements, group_statements: Vec::new() }
}

fn object(kind: ObjectKind, name: &str, sql: &str) -> SchemaObject {
    SchemaObject { kind, name: name.into(), table: "t".into(), sql: sql.into() }
}

fn with_object(before: &Schema, name: &str, sql: &str) -> Schema {
    let mut after = before.clone();
    after.version += 1;
    after.objects.push(object(ObjectKind::Index, name, sql));
    after
}

/// Whether every partition has so many voters and nothing is under way.
fn is_whole(catalog: &Catalog, replicas: usize) -> Option<()> {
    let voters = |partition: &common::catalog::Partition| {
        partition.replicas.len() == replicas
            && partition.replicas.iter().all(|replica| replica.role == ReplicaRole::Voter)
    };
    let ended = |state| !matches!(state, OperationState::Pending | OperationState::Running);
    let idle = catalog.operations.values().all(|operation| ended(operation.state));
    (idle && catalog.partitions.values().all(voters)).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_takes_writes_when_its_creation_is_answered() {
    let cluster = Cluster::start(3).await;
    let before = Instant::now();
    let database = cluster.create("d", 4).await;
    eprintln!("4 partitions with 3 replicas each were created in {:?}", before.elapsed());
    assert_eq!((database.schema.version, database.buckets.len()), (1, 4));
    let mut leaders = BTreeSet::new();
    for partition in cluster.partitions("d") {
        assert_eq!(cluster.write(partition, 1, "INSERT INTO t VALUES (1, 1)").await.unwrap(), 1);
        let facts = cluster.health.ask(&[partition]).await.remove(&partition).unwrap();
        assert_eq!((facts.rows, facts.schema_version, facts.replicas.len()), (1, 1, 3));
        let replicas = &cluster.view().partitions[&partition].replicas;
        leaders
            .extend(replicas.iter().find(|replica| Some(replica.id) == facts.leader).map(|r| r.node.clone()));
    }
    assert!(leaders.len() >= 2, "leaders are spread: {leaders:?}");
    let again = cluster.operations.create_database(spec("d", 4), LONG).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::DatabaseExists);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_storage_nodes_the_error_says_so() {
    let cluster = Cluster::start(0).await;
    let error = cluster.operations.create_database(spec("d", 1), LONG).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NoStorageNodes);
    assert!(cluster.view().databases.is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_is_gone_and_its_name_free() {
    let cluster = Cluster::start(1).await;
    cluster.create("d", 2).await;
    let first = cluster.partitions("d");
    cluster.operations.drop_database("d", LONG).await.unwrap();
    assert!(cluster.view().databases.is_empty());
    let error = cluster.operations.drop_database("d", LONG).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DatabaseNotFound);
    cluster.create("d", 2).await;
    assert!(cluster.partitions("d").iter().all(|partition| !first.contains(partition)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_is_published_when_every_partition_has_it() {
    let cluster = Cluster::start(1).await;
    let before = cluster.create("d", 3).await.schema.clone();
    let sql = "CREATE INDEX i ON t (x)";
    let after = with_object(&before, "i", sql);
    cluster.operations.change_schema("d", 1, schema_change(after.clone(), &[sql]), LONG).await.unwrap();
    assert_eq!(cluster.view().databases["d"].schema, after);
    for partition in cluster.partitions("d") {
        assert_eq!(cluster.report(partition).await.schema_version, 2);
    }
    let stale = cluster.operations.change_schema("d", 1, schema_change(after, &[]), LONG).await.unwrap_err();
    assert_eq!((stale.code, stale.version), (ErrorCode::StaleSchema, Some(2)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_one_partition_refuses_is_undone_on_all() {
    let cluster = Cluster::start(1).await;
    let before = cluster.create("d", 3).await.schema.clone();
    let partitions = cluster.partitions("d");
    cluster.write(partitions[1], 1, "INSERT INTO t VALUES (1, 7), (2, 7)").await.unwrap();
    let sql = "CREATE UNIQUE INDEX i ON t (x)";
    let change = || {
        cluster.operations.change_schema("d", 1, schema_change(with_object(&before, "i", sql), &[sql]), LONG)
    };
    let refused = change().await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::UniqueViolation, "{refused:?}");
    let schema = cluster.view().databases["d"].schema.clone();
    assert_eq!((schema.version, &schema.objects), (3, &before.objects));
    for partition in &partitions {
        assert_eq!(cluster.report(*partition).await.schema_version, 3);
    }
    // With the duplicate gone the same change goes through, so no partition has kept the index.
    cluster.write(partitions[1], 3, "DELETE FROM t WHERE id = 2").await.unwrap();
    let again = with_object(&schema, "i", sql);
    cluster.operations.change_schema("d", 3, schema_change(again, &[sql]), LONG).await.unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_made_when_nodes_join() {
    let mut cluster = Cluster::start(1).await;
    cluster.create("d", 2).await;
    for partition in cluster.partitions("d") {
        cluster.write(partition, 1, "INSERT INTO t VALUES (1, 1), (2, 2)").await.unwrap();
    }
    cluster.add_node().await;
    cluster.add_node().await;
    cluster.sees(|catalog| is_whole(catalog, 3)).await;
    for partition in cluster.partitions("d") {
        let report = cluster.report(partition).await;
        assert_eq!((report.voters.len(), report.rows), (3, 2));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_copied_to_the_node_that_is_asked_for_it() {
    let mut cluster = Cluster::start(1).await;
    let single = DatabaseSpec { replication_factor: 1, ..spec("d", 2) };
    cluster.operations.create_database(single, LONG).await.unwrap();
    cluster.add_node().await;
    let node = Client::new([format!("http://{}", cluster.nodes[1].address())]).unwrap();
    let wanted = |name: &str| json!({ "db_name": name, "source_node": { "id": "n1" } });
    let ask = Request::post("/replications", &wanted("d")).unwrap();
    let answer: Json = node.send(&ask).await.unwrap();
    assert_eq!(answer["message"], "Replication of database 'd' started");
    cluster.sees(|catalog| is_whole(catalog, 2)).await;
    let listed: Json = node.send(&Request::get("/replications")).await.unwrap();
    let task = &listed["tasks"][0];
    assert_eq!(
        (&task["status"], &task["progress"], &task["db_name"]),
        (&"completed".into(), &100.into(), &"d".into())
    );
    let path = format!("/replications/{}", task["id"].as_str().unwrap());
    let refused = node.send::<Json>(&Request::delete(path)).await.unwrap_err();
    assert_eq!(refused.status, Some(400), "{refused:?}");
    let unknown = Request::post("/replications", &wanted("nothing")).unwrap();
    assert_eq!(node.send::<Json>(&unknown).await.unwrap_err().status, Some(404));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_gets_new_replicas_under_new_ids() {
    let mut cluster = Cluster::start(3).await;
    cluster.create("d", 2).await;
    let partitions = cluster.partitions("d");
    for partition in &partitions {
        cluster.write(*partition, 1, "INSERT INTO t VALUES (1, 1)").await.unwrap();
    }
    let before: BTreeSet<_> = replica_ids(&cluster.view());
    let node = cluster.nodes.pop().unwrap();
    let port = node.address().port();
    node.shutdown().await;
    let inactive =
        |catalog: &Catalog| (catalog.nodes[&NodeId::from("n3")].status == NodeStatus::Inactive).then_some(());
    cluster.sees(inactive).await;

    let folder = tempfile::tempdir().unwrap();
    let node = cluster.start_node(folder.path(), 3, port).await;
    cluster.nodes.push(node);
    cluster.folders.push(folder);
    let renewed = |catalog: &Catalog| {
        is_whole(catalog, 3)?;
        (replica_ids(catalog).difference(&before).count() == partitions.len()).then_some(())
    };
    cluster.sees(renewed).await;
    for partition in &partitions {
        cluster.write(*partition, 1, "INSERT INTO t VALUES (2, 2)").await.unwrap();
    }
    cluster.stop().await;
}

fn replica_ids(catalog: &Catalog) -> BTreeSet<common::ReplicaId> {
    catalog.partitions.values().flat_map(|partition| &partition.replicas).map(|replica| replica.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_is_inactive_at_once_and_active_when_it_is_back() {
    let mut cluster = Cluster::start(1).await;
    let status = |wanted: NodeStatus| {
        move |catalog: &Catalog| (catalog.nodes[&NodeId::from("n1")].status == wanted).then_some(())
    };
    let node = cluster.nodes.pop().unwrap();
    let port = node.address().port();
    node.shutdown().await;
    let store = cluster.coordinator.catalog();
    let soon = Duration::from_secs(2);
    assert!(store.wait_until(soon, status(NodeStatus::Inactive)).await.is_some(), "before it is missed");
    let node = cluster.start_node(cluster.folders[1].path(), 1, port).await;
    cluster.nodes.push(node);
    cluster.sees(status(NodeStatus::Active)).await;
    assert_eq!(cluster.view().nodes.len(), 1);
    cluster.stop().await;
}
