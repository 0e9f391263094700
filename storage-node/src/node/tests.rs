//! Three nodes in one process, without a coordinator: the tests assign partitions themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::partition_map::BucketRange;
use common::protocol::{
    Assignment, Assignments, BriefAnswer, BriefRead, BriefTarget, JointPurpose, JointRequest,
    MembershipChange, Params, PartitionTarget, PeerAddress, ReadLevel, ReadRequest, ReplicaReport,
    RequestWork, Statement, Verdict, WorkItem, WriteReply, WriteRequest,
};
use common::schema::{DatabaseKind, PartitionType};
use common::{Error, ErrorCode, PartitionId, ReplicaId, Result, TransactionId, Value};
use futures_util::StreamExt as _;
use polylite_client::node::StorageClient;
use polylite_client::peer::{PeerOptions, PeerPool};

use super::StorageNode;
use crate::config::{StorageNodeOptions, UpkeepOptions};

const PARTITION: PartitionId = PartitionId(1);
/// Longer than a machine that is busy with other things keeps anybody waiting.
const PATIENCE: Duration = Duration::from_secs(120);
/// Nodes are asked again this often by whoever waits for something that they do not tell by themselves.
const POLL: Duration = Duration::from_millis(10);

fn assignments(version: u64, replicas: Vec<Assignment>) -> Assignments {
    Assignments { cluster: "ours".into(), version, replicas }
}

struct Cluster {
    folders: Vec<tempfile::TempDir>,
    nodes: Vec<Option<StorageNode>>,
    addresses: Vec<String>,
    client: StorageClient,
    version: u64,
    upkeep: UpkeepOptions,
}

impl Cluster {
    async fn start(count: usize) -> Cluster {
        Cluster::start_with(count, UpkeepOptions::default()).await
    }

    async fn start_with(count: usize, upkeep: UpkeepOptions) -> Cluster {
        let folders: Vec<_> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut cluster = Cluster {
            folders,
            nodes: (0..count).map(|_| None).collect(),
            addresses: vec![String::new(); count],
            client: StorageClient::new(PeerPool::new(PeerOptions::default())),
            version: 0,
            upkeep,
        };
        for number in 0..count {
            cluster.start_node(number, 0).await;
        }
        cluster
    }

    async fn start_node(&mut self, number: usize, port: u16) {
        let options = StorageNodeOptions {
            host: "127.0.0.1".into(),
            port,
            advertise: None,
            allowed_hosts: Vec::new(),
            data_dir: self.folders[number].path().to_owned(),
            coordinators: Vec::new(),
            node_id: Some(format!("n{number}").as_str().into()),
            upkeep: self.upkeep.clone(),
        };
        let node = StorageNode::start(options).await.unwrap();
        self.addresses[number] = node.address().to_string();
        self.nodes[number] = Some(node);
    }

    async fn stop_node(&mut self, number: usize) {
        self.nodes[number].take().unwrap().shutdown().await;
    }

    async fn restart_node(&mut self, number: usize) {
        let port = self.addresses[number].rsplit_once(':').unwrap().1.parse().unwrap();
        self.start_node(number, port).await;
    }

    fn assignment(&self, number: usize, members: &[usize], founders: Option<Vec<ReplicaId>>) -> Assignment {
        let peer = |&member: &usize| {
            let node = format!("n{member}").as_str().into();
            (replica_id(member), PeerAddress { node, address: self.addresses[member].clone() })
        };
        Assignment {
            partition: PARTITION,
            uuid: "a-b-c".into(),
            replica: replica_id(number),
            peers: members.iter().map(peer).collect::<BTreeMap<_, _>>(),
            founders,
            stands_first: number == 0,
            database: "db".into(),
            kind: DatabaseKind::Sql,
            partition_type: PartitionType::Horizontal,
            partition_key: None,
            range: BucketRange::Slots { first: 0, last: 16_383 },
            epoch: 1,
            mapped: true,
        }
    }

    /// Has some nodes run a replica each; the founders are those of the first call.
    async fn assign(&mut self, members: &[usize], founders: &[usize]) {
        self.version += 1;
        let ids: Vec<ReplicaId> = founders.iter().map(|&founder| replica_id(founder)).collect();
        for &number in members {
            let founders = founders.contains(&number).then(|| ids.clone());
            let replicas = vec![self.assignment(number, members, founders)];
            let assignments = assignments(self.version, replicas);
            self.client.assign(&self.addresses[number], assignments).await.unwrap();
        }
    }

    /// A partition with one table on these nodes.
    async fn found(&mut self, members: &[usize]) {
        self.assign(members, members).await;
        let ddl = vec!["CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)".to_owned()];
        self.at_leader(|client, address| {
            let ddl = ddl.clone();
            async move { client.change_schema(&address, PARTITION, 1, ddl, PATIENCE).await }
        })
        .await
        .unwrap();
    }

    /// Asks one node after the other until one that leads answers.
    async fn at_leader<T, F>(&self, ask: impl Fn(StorageClient, String) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let start = Instant::now();
        loop {
            let mut last = None;
            for (address, node) in self.addresses.iter().zip(&self.nodes) {
                if node.is_none() {
                    continue;
                }
                match ask(self.client.clone(), address.clone()).await {
                    Err(error) if is_passing(&error) => last = Some(error),
                    answer => return answer,
                }
            }
            if start.elapsed() > PATIENCE {
                return Err(last.unwrap());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn write(&self, sql: &str) -> Result<WriteReply> {
        self.at_leader(|client, address| async move { client.write(&address, write(sql, 10_000)).await })
            .await
    }

    async fn read(&self, sql: &str) -> Vec<Vec<Value>> {
        let answer = self
            .at_leader(|client, address| async move {
                client.read(&address, read(sql, ReadLevel::Linearizable)).await
            })
            .await;
        rows(&answer.unwrap().0.rows)
    }

    /// Waits until a replica's report is as wanted.
    async fn wait(&self, number: usize, wanted: impl Fn(&ReplicaReport) -> bool) -> ReplicaReport {
        let start = Instant::now();
        loop {
            let reports = self.client.replicas(&self.addresses[number], Vec::new(), PATIENCE).await;
            match reports.map(|reports| reports.into_iter().next()) {
                Ok(Some(report)) if wanted(&report) => return report,
                other => assert!(start.elapsed() < PATIENCE, "still {other:?}"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            for number in (0..self.nodes.len()).filter(|&number| self.nodes[number].is_some()) {
                let reports = self.client.replicas(&self.addresses[number], Vec::new(), PATIENCE).await;
                if reports.unwrap_or_default().first().is_some_and(|report| report.writable) {
                    return number;
                }
            }
            assert!(start.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn stop(mut self) {
        for number in 0..self.nodes.len() {
            if self.nodes[number].is_some() {
                self.stop_node(number).await;
            }
        }
    }
}

/// Whether another replica, or the same one a moment later, may answer.
fn is_passing(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::NotLeader
            | ErrorCode::LeadershipLost
            | ErrorCode::Unavailable
            | ErrorCode::PartitionNotFound
            | ErrorCode::StaleSchema
            | ErrorCode::StalePartitionMap
    )
}

fn replica_id(number: usize) -> ReplicaId {
    ReplicaId(number as u64 + 11)
}

fn target(timeout_ms: u64) -> PartitionTarget {
    PartitionTarget { partition: PARTITION, epoch: 1, schema_version: 1, timeout_ms }
}

fn write(sql: &str, timeout_ms: u64) -> WriteRequest {
    let statement = Statement { sql: sql.into(), params: Params::None };
    WriteRequest { target: target(timeout_ms), work: vec![WorkItem::Statement(statement)], max_rows: 100 }
}

/// A part of a transaction that the partition itself decides.
fn prepare(transaction: TransactionId, sql: &str) -> JointRequest {
    let WriteRequest { target, work, max_rows } = write(sql, 10_000);
    JointRequest {
        target,
        transaction,
        participants: vec![PARTITION],
        requests: vec![RequestWork { work, max_rows }],
        purpose: JointPurpose::Prepare { decider: PARTITION, waits: true },
    }
}

fn read(sql: &str, level: ReadLevel) -> ReadRequest {
    let statement = Statement { sql: sql.into(), params: Params::None };
    ReadRequest { target: target(10_000), level, at_least: 0, statement, max_rows: Some(1_000), pin: None }
}

fn rows(block: &common::row::RowBlock) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    block
        .for_each(|row| {
            rows.push(row.iter().map(|value| value.to_value()).collect());
            Ok::<(), common::row::MalformedRow>(())
        })
        .unwrap();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_a_leaders_end_and_everybodys_restart() {
    let mut cluster = Cluster::start(3).await;
    cluster.found(&[0, 1, 2]).await;
    let reply = cluster.write("INSERT INTO t VALUES (1, 'one')").await.unwrap();
    assert_eq!(reply.results[0].affected_rows, 1);
    assert_eq!(cluster.read("SELECT name FROM t").await, [[Value::from("one")]]);

    // Once the group exists, coordinators no longer name its founders.
    cluster.assign(&[0, 1, 2], &[]).await;
    let leader = cluster.leader().await;
    cluster.stop_node(leader).await;
    cluster.write("INSERT INTO t VALUES (2, 'two')").await.unwrap();
    assert_eq!(cluster.read("SELECT count(*) FROM t").await, [[Value::from(2)]]);
    cluster.restart_node(leader).await;
    let index = cluster.write("INSERT INTO t VALUES (3, 'three')").await.unwrap().index;
    cluster.wait(leader, |report| report.applied >= index && report.rows == 3).await;

    for number in 0..3 {
        cluster.stop_node(number).await;
    }
    for number in 0..3 {
        cluster.restart_node(number).await;
    }
    assert_eq!(cluster.read("SELECT max(id) FROM t").await, [[Value::from(3)]]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_takes_a_snapshot_and_becomes_a_voter() {
    let mut cluster = Cluster::start(3).await;
    cluster.found(&[0, 1]).await;
    cluster
        .write("INSERT INTO t SELECT value, hex(randomblob(50)) FROM generate_series(1, 5000)")
        .await
        .unwrap();
    cluster.assign(&[0, 1, 2], &[0, 1]).await;
    let leader = cluster.leader().await;
    let change = |cluster: &Cluster, change| {
        let client = cluster.client.clone();
        let address = cluster.addresses[leader].clone();
        async move {
            let report = client.replicas(&address, Vec::new(), PATIENCE).await.unwrap().remove(0);
            client.change_membership(&address, PARTITION, change, report.configuration_index).await.unwrap();
            report.configuration_index
        }
    };
    let stale = change(&cluster, MembershipChange::AddLearner(replica_id(2))).await;
    let report = cluster.wait(2, |report| report.rows == 5_000).await;
    assert!(report.applied > 0);
    let refused = cluster
        .client
        .change_membership(
            &cluster.addresses[leader],
            PARTITION,
            MembershipChange::Promote(replica_id(2)),
            stale,
        )
        .await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::SerializationFailure, "planned on older members");
    change(&cluster, MembershipChange::Promote(replica_id(2))).await;
    cluster.wait(2, |report| report.voters.len() == 3).await;

    // With the new voter the group outlives one of the old ones, also after the new one's restart.
    cluster.stop_node(2).await;
    cluster.restart_node(2).await;
    cluster.stop_node(leader).await;
    cluster.write("INSERT INTO t VALUES (9999, 'x')").await.unwrap();
    assert_eq!(cluster.read("SELECT count(*) FROM t").await, [[Value::from(5_001)]]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_replaced_by_another_replicas() {
    let mut cluster = Cluster::start(3).await;
    cluster.found(&[0, 1, 2]).await;
    cluster
        .write("INSERT INTO t SELECT value, hex(randomblob(50)) FROM generate_series(1, 2000)")
        .await
        .unwrap();
    let victim = (cluster.leader().await + 1) % 3;
    let index = cluster.write("INSERT INTO t VALUES (5000, 'x')").await.unwrap().index;
    cluster.wait(victim, |report| report.applied >= index).await;
    cluster.stop_node(victim).await;
    let generation = cluster.folders[victim].path().join("partitions/1/0");
    std::fs::remove_file(generation.join("data.db")).unwrap();
    cluster.restart_node(victim).await;
    cluster.wait(victim, |report| report.rows == 2_001).await;
    let stale = cluster
        .client
        .read(&cluster.addresses[victim], read("SELECT count(*) FROM t", ReadLevel::Stale))
        .await;
    assert_eq!(rows(&stale.unwrap().0.rows), [[Value::from(2_001)]]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_a_write_says_so_in_time() {
    let mut cluster = Cluster::start(3).await;
    cluster.found(&[0, 1, 2]).await;
    let leader = cluster.leader().await;
    for number in (0..3).filter(|&number| number != leader) {
        cluster.stop_node(number).await;
    }
    let write = write("INSERT INTO t VALUES (1, 'x')", 700);
    let answered =
        tokio::time::timeout(PATIENCE, cluster.client.write(&cluster.addresses[leader], write)).await;
    let error = answered.expect("it does not wait for the others").unwrap_err();
    assert!(
        matches!(error.code, ErrorCode::NoQuorum | ErrorCode::LeadershipLost | ErrorCode::NotLeader),
        "{error:?}"
    );
    if error.code == ErrorCode::NoQuorum {
        assert_eq!(error.outcome, common::Outcome::Unknown);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_nobody_finishes_is_ended_by_its_decider() {
    let mut cluster = Cluster::start(2).await;
    cluster.found(&[0, 1]).await;
    let deadline = common::Hlc::from_millis(crate::clock::wall_millis() + 60_000);
    let transaction = TransactionId { deadline, unique: 1 };
    let prepared = cluster.at_leader(|client, address| async move {
        client.joint(&address, prepare(transaction, "INSERT INTO t VALUES (1, 'x')")).await
    });
    prepared.await.unwrap();
    let leader = cluster.leader().await;
    cluster.wait(leader, |report| report.in_doubt == 1).await;
    // A write waits for the decision, which is to abort: nobody told the decider to commit.
    cluster.write("INSERT INTO t VALUES (1, 'y')").await.unwrap();
    assert_eq!(cluster.read("SELECT name FROM t").await, [[Value::from("y")]]);
    cluster.wait(leader, |report| report.in_doubt == 0).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_seen_a_prepare_reads_what_was_decided_on_every_replica() {
    let mut cluster = Cluster::start(2).await;
    cluster.found(&[0, 1]).await;
    let deadline = common::Hlc::from_millis(crate::clock::wall_millis() + 60_000);
    for number in 1.. {
        let transaction = TransactionId { deadline, unique: number };
        let sql = format!("INSERT INTO t VALUES ({number}, 'x')");
        let prepared = cluster.at_leader(|client, address| {
            let part = prepare(transaction, &sql);
            async move { client.joint(&address, part).await }
        });
        let seen = prepared.await.unwrap().index;
        let mut stale = read(&format!("SELECT count(*) FROM t WHERE id = {number}"), ReadLevel::Stale);
        stale.at_least = seen;
        // They are on their way before anything is decided.
        let reads = cluster.addresses.iter().map(|address| cluster.client.read(address, stale.clone()));
        let mut reads = std::pin::pin!(futures_util::future::join_all(reads));
        let early = tokio::time::timeout(Duration::from_millis(100), &mut reads).await.ok();
        let decided = cluster.at_leader(|client, address| async move {
            let commit = Verdict { commit: true, at: common::Hlc::default() };
            client.decide(&address, PARTITION, transaction, commit, true, PATIENCE).await
        });
        // A decider that is not told in time has decided itself, and another transaction is tried.
        if decided.await.unwrap().commit {
            let found = if let Some(early) = early { early } else { reads.await };
            for answer in found {
                assert_eq!(rows(&answer.unwrap().0.rows), [[Value::from(1)]]);
            }
            break;
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_reads_stream_and_followers_name_the_leader() {
    let mut cluster = Cluster::start(2).await;
    cluster.found(&[0, 1]).await;
    cluster
        .write("INSERT INTO t SELECT value, hex(randomblob(500)) FROM generate_series(1, 3000)")
        .await
        .unwrap();
    let leader = cluster.leader().await;
    let mut request = read("SELECT * FROM t", ReadLevel::Linearizable);
    request.max_rows = None;
    let mut stream = cluster.client.stream(&cluster.addresses[leader], request.clone()).await.unwrap();
    assert_eq!(stream.header.columns, ["id", "name"]);
    let (mut total, mut blocks) = (0, 0);
    while let Some(block) = stream.next().await {
        total += block.unwrap().rows;
        blocks += 1;
    }
    assert_eq!(total, 3_000);
    assert!(blocks > 10, "rows came in {blocks} blocks");
    let follower = 1 - leader;
    let error = cluster.client.stream(&cluster.addresses[follower], request).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::NotLeader);
    assert_eq!(error.leader, Some(replica_id(leader)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brief_reads_tell_of_which_moments_they_are_and_long_ones_are_left_to_others() {
    let mut cluster = Cluster::start(3).await;
    cluster.found(&[0, 1, 2]).await;
    let brief = async |sql: &str, at: Option<common::Hlc>| {
        let read = |client: StorageClient, address: String| async move {
            let ReadRequest { target, statement, .. } = read(sql, ReadLevel::Linearizable);
            let partitions = vec![BriefTarget { target, at_least: 0, at }];
            let read = BriefRead { statement, max_rows: 1_000, partitions };
            client.read_briefly(&address, vec![read], Duration::from_secs(30)).await?.remove(0)
        };
        let BriefAnswer { rows, shows } = cluster.at_leader(read).await.unwrap();
        (rows, shows)
    };
    let mut until = common::Hlc::default();
    for id in 1..=20 {
        cluster.write(&format!("INSERT INTO t VALUES ({id}, 'n')")).await.unwrap();
        let (found, shows) = brief("SELECT max(id) FROM t", None).await;
        assert_eq!(rows(&found.expect("a short answer")), [[Value::from(id)]]);
        assert!(until < shows.since, "what was promised not to happen has happened");
        assert!(shows.since <= shows.until);
        until = shows.until;
    }
    let later = common::Hlc::from_millis(until.millis() + 5);
    let (found, shows) = brief("SELECT max(id) FROM t", Some(later)).await;
    assert_eq!(rows(&found.expect("a short answer")), [[Value::from(20)]]);
    assert!(shows.since <= later && later <= shows.until, "the moment that is named is shown");
    // A statement that is kept prepared has only what it does now counted.
    let all_brief = |client: StorageClient, address: String| async move {
        let ReadRequest { target, statement, .. } =
            read("SELECT * FROM t ORDER BY id", ReadLevel::Linearizable);
        let partitions = vec![BriefTarget { target, at_least: 0, at: None }; 50];
        let reads = vec![BriefRead { statement, max_rows: 1_000, partitions }];
        let answers = client.read_briefly(&address, reads, Duration::from_secs(30)).await?;
        answers.into_iter().collect::<Result<Vec<BriefAnswer>>>()
    };
    for answer in cluster.at_leader(all_brief).await.unwrap() {
        assert_eq!(answer.rows.expect("20 rows are found in a moment").rows, 20);
    }
    for long in [
        "SELECT value FROM generate_series(1, 1001)",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000000) SELECT count(*) FROM c",
    ] {
        assert_eq!(brief(long, None).await.0, None, "{long}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_keeps_changes_waiting_is_ended_and_may_be_asked_for_again() {
    let mut cluster = Cluster::start(1).await;
    cluster.found(&[0]).await;
    // More than is sent ahead to a receiver that does not read.
    let sql = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 200000) \
               SELECT i, hex(zeroblob(500)) FROM n";
    cluster.leader().await;
    let request = ReadRequest { max_rows: None, ..read(sql, ReadLevel::Leader) };
    let mut stream = cluster.client.stream(&cluster.addresses[0], request).await.unwrap();
    let node = cluster.nodes[0].as_ref().unwrap();
    assert!(node.service().registry().get(PARTITION).unwrap().end_oldest_stream());
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the stream has come to its end"),
        }
    };
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.code.retryable());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_no_longer_assigned_is_removed() {
    let mut cluster = Cluster::start(1).await;
    cluster.found(&[0]).await;
    cluster.version += 1;
    let nothing = assignments(cluster.version, Vec::new());
    let old = assignments(1, vec![cluster.assignment(0, &[0], None)]);
    cluster.client.assign(&cluster.addresses[0], nothing).await.unwrap();
    assert!(!cluster.folders[0].path().join("partitions/1").exists());
    // A coordinator that lags behind does not bring it back.
    cluster.client.assign(&cluster.addresses[0], old).await.unwrap();
    assert!(cluster.client.replicas(&cluster.addresses[0], Vec::new(), PATIENCE).await.unwrap().is_empty());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_of_another_cluster_remove_nothing_also_after_a_restart() {
    let mut cluster = Cluster::start(1).await;
    cluster.found(&[0]).await;
    let foreign = Assignments { cluster: "theirs".into(), ..assignments(cluster.version + 1, Vec::new()) };
    for restarted in [false, true] {
        if restarted {
            cluster.stop_node(0).await;
            cluster.restart_node(0).await;
        }
        let ask = |client: StorageClient, address: String| {
            let foreign = foreign.clone();
            async move { client.assign(&address, foreign).await }
        };
        let refused = cluster.at_leader(ask).await.unwrap_err();
        assert!(refused.message.contains("ours") && refused.message.contains("theirs"), "{refused}");
        assert!(cluster.folders[0].path().join("partitions/1").exists());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_nobody_waits_for_ends_at_once() {
    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let mut cluster = Cluster::start(1).await;
    cluster.found(&[0]).await;
    let leader = cluster.leader().await;
    let address = cluster.addresses[leader].clone();
    let replica = cluster.nodes[leader].as_ref().unwrap().service().registry().get(PARTITION).unwrap();
    let running = async |count: u64| {
        let reached = async {
            while replica.statements().running() != count {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("statements begin and end as they should")
    };
    for round in 1..=2 {
        let (client, address) = (cluster.client.clone(), address.clone());
        let asked = tokio::spawn(async move {
            let request = read(ENDLESS, ReadLevel::Leader);
            if round == 1 {
                client.read(&address, request).await.map(drop)
            } else {
                client.stream(&address, ReadRequest { max_rows: None, ..request }).await?.next().await;
                Ok(())
            }
        });
        running(1).await;
        asked.abort();
        running(0).await;
        assert_eq!(replica.statements().cancelled(), round);
    }
    cluster.stop().await;
}

/// Reading a file again must not let the write-ahead log grow with what is written meanwhile: the next start reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_read_again_does_not_let_the_write_ahead_log_grow() {
    const LIMIT: u64 = 512 << 10;
    const ROW: u64 = 100_000;
    // It would take hours.
    let slowly = UpkeepOptions {
        scrub_pause: Duration::ZERO,
        scrub_rate: 64,
        wal_bytes: LIMIT,
        ..UpkeepOptions::default()
    };
    let mut cluster = Cluster::start_with(1, slowly).await;
    cluster.found(&[0]).await;
    let replica = cluster.nodes[0].as_ref().unwrap().service().registry().get(PARTITION).unwrap();
    let file = replica.dir().database(0);
    let maintenance = sqlite::Maintenance::open(&sqlite::Location::file(&file)).unwrap();
    let tidy = async |limit: u64, reading: bool| {
        let reached = async {
            let is_reached = || {
                let bounded = maintenance.wal_bytes().unwrap() <= limit;
                bounded && (!reading || replica.published().scrubs().is_reading())
            };
            while !is_reached() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the log begins anew while the file is read");
    };
    while replica.published().scrubs().ended() == 0 {
        tidy(3 * LIMIT, true).await;
        cluster.write(&format!("INSERT INTO t (name) VALUES (hex(zeroblob({})))", ROW / 2)).await.unwrap();
    }
    tidy(LIMIT, false).await;
    drop(maintenance);
    let size = std::fs::metadata(file.with_extension("db-wal")).unwrap().len();
    assert!(size < 4 * LIMIT, "the log's file has {size} bytes");
    cluster.stop().await;
}
