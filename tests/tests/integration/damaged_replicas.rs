//! Replicas whose files are not what was written: they are found, serve nothing, and are rebuilt.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use polylite_client::{Client, Request};
use serde_json::Value as Json;
use tests::process_cluster::ProcessCluster;
use tests::replica_files::{assert_equal_after_stop, await_equal_positions};
use tokio::runtime::Runtime;

const DATABASE: &str = "watched";

/// By when a damaged replica must be found, and by when it must be whole again.
const PATIENCE: Duration = Duration::from_secs(60);

const FLAGS: [&str; 4] = ["--compare-every", "1", "--scrub-pause", "1"];

struct Watched {
    cluster: ProcessCluster,
    runtime: Runtime,
    client: Client,
}

impl Watched {
    fn open() -> Watched {
        let cluster = ProcessCluster::start_with(&[], 3, &FLAGS);
        cluster.run(&["create-database", "--name", DATABASE, "--partitions", "1"]).succeeded();
        for statement in [
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)",
            "INSERT INTO t SELECT value, 'name ' || value, value % 7 FROM generate_series(1, 3000)",
        ] {
            cluster.run(&["sql", "--db-name", DATABASE, statement]).succeeded();
        }
        await_equal_positions(&cluster, DATABASE, 3);
        let runtime = Runtime::new().expect("a runtime starts");
        let client = Client::new(cluster.coordinator_urls()).expect("addresses");
        Watched { cluster, runtime, client }
    }

    fn get(&self, path: &str) -> Json {
        self.runtime.block_on(self.client.send(&Request::get(path))).expect("an answer")
    }

    fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.runtime.block_on(self.client.partitions(Some(DATABASE)));
            if let Some(leader) = listed.expect("the partition is listed")[0].leader.clone() {
                return leader.strip_prefix("node-").expect("ours").parse().expect("a number");
            }
            assert!(Instant::now() < deadline, "nobody leads the partition");
        }
    }

    /// The file of the node's only replica.
    fn file(&self, node: usize) -> PathBuf {
        let folder = self.cluster.node_folders()[node].join("partitions");
        let only = |folder: PathBuf| {
            let mut inside: Vec<PathBuf> = std::fs::read_dir(folder)
                .expect("the folder is there")
                .map(|entry| entry.expect("it is readable").path())
                .filter(|path| path.is_dir() && !path.ends_with("outgoing"))
                .collect();
            inside.sort();
            inside.pop().expect("a replica is there")
        };
        only(only(folder)).join("data.db")
    }

    /// Waits until the node's log tells both that its replica was put into quarantine and that it was replaced.
    fn await_rebuilt(&self, node: usize) -> String {
        let log = self.cluster.folder().join(format!("node-{node}.log"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = std::fs::read_to_string(&log).expect("the log is readable");
            if told.contains("a replica is quarantined") && told.contains("a damaged file was replaced") {
                return told;
            }
            assert!(Instant::now() < deadline, "not found or not rebuilt: {told}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn await_nothing_quarantined(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.get("/cluster/status")["quarantined"] != Json::Array(Vec::new()) {
            assert!(Instant::now() < deadline, "{}", self.get("/cluster/status"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Changes one row behind the replica's back, as a fault in the program would.
fn change_a_row(file: &PathBuf) {
    let location = sqlite::Location::file(file);
    let mut applier = sqlite::Applier::open(&location).expect("the file opens");
    applier.begin().expect("nobody else writes");
    let change = common::entry::Change::Update {
        old_key: vec![1_500.into()],
        key: vec![1_500.into()],
        old_row: None,
        row: vec![1_500.into(), common::Value::Text("forged".into()), 0.into()],
    };
    let rows = vec![common::entry::Effect { table: 0, change }];
    applier.apply(&common::entry::Effects { tables: vec!["t".into()], rows }).expect("the row is there");
    applier.commit().expect("it is written");
}

/// Changes bytes of a text that is stored in the file, as a failing disk would.
fn flip_stored_text(file: &PathBuf) {
    // Frames of the write-ahead log have checksums, pages of the file have none.
    sqlite::Maintenance::open(&sqlite::Location::file(file))
        .expect("it opens")
        .checkpoint(Duration::ZERO)
        .expect("it moves");
    let bytes = std::fs::read(file).expect("the file is readable");
    let opened = std::fs::File::options().write(true).open(file).expect("the file opens");
    let at = bytes.windows(9).position(|text| text == b"name 1234").expect("the text is in the file");
    opened.write_at(b"nbme", at as u64).expect("bytes are written");
}

#[test]
fn a_changed_row_in_a_follower_is_found_and_the_replica_rebuilt() {
    let mut watched = Watched::open();
    let follower = (watched.leader() + 1) % 3;
    change_a_row(&watched.file(follower));
    let told = watched.await_rebuilt(follower);
    assert!(told.contains("the rows of t are not those that were written"), "{told}");
    let update = "UPDATE t SET n = n + 1 WHERE id % 2 = 0";
    watched.cluster.run(&["sql", "--db-name", DATABASE, update]).succeeded();
    watched.await_nothing_quarantined();
    assert_equal_after_stop(&mut watched.cluster, DATABASE, 3);
}

#[test]
fn flipped_bytes_in_the_leaders_file_cost_it_the_lead_and_nobody_an_answer() {
    let mut watched = Watched::open();
    let leader = watched.leader();
    flip_stored_text(&watched.file(leader));
    watched.await_rebuilt(leader);
    watched.await_nothing_quarantined();
    let read = watched.client.database(DATABASE).sql("SELECT name FROM t WHERE id = 1234").query();
    let name: String = watched.runtime.block_on(read).expect("a read").scalar().expect("a text");
    assert_eq!(name, "name 1234");
    assert_equal_after_stop(&mut watched.cluster, DATABASE, 3);
}
