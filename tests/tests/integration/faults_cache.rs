//! Answers out of the cache, and reads with bookmarks, while processes are killed (SIGKILL) and paused: none is older
//! than what was acknowledged before it was asked for.
//!
//! `POLYLITE_FAULTS_SEED` repeats the choices of a run, `POLYLITE_FAULTS_COORDINATORS` sets how many coordinators there
//! are, `POLYLITE_FAULTS_CACHE_READS` and `POLYLITE_FAULTS_BOOKMARK_READS` how many reads are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polylite_client::{Client, Database};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tests::acknowledged_rows::{Acknowledged, WRITERS, Writer};
use tests::drawn_faults::{setting, strike};
use tests::process_cluster::ProcessCluster;
use tests::raw_http::{RawAnswer, try_send_with};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const DATABASE: &str = "shop";
const NODES: usize = 3;
/// Clients that read at a time.
const READERS: u64 = 6;
/// Longest rest of a writer: between its writes answers are kept, and leases granted.
const REST_MAX: Duration = Duration::from_millis(2_000);
/// Longest calm between two strikes, in milliseconds.
const CALM_MAX: u64 = 3_000;
/// Longest time until a read is answered: processes are away, or stand still, for seconds at a time.
const ANSWER_MAX: Duration = Duration::from_secs(90);

/// A cluster with a table of rows over four partitions, and the seed of what happens to it.
struct Stage {
    cluster: ProcessCluster,
    coordinators: usize,
    runtime: Runtime,
    random: SmallRng,
}

impl Stage {
    fn open() -> Stage {
        let seed = setting("POLYLITE_FAULTS_SEED").unwrap_or_else(rand::random);
        let mut random = SmallRng::seed_from_u64(seed);
        let drawn = random.random_range(2..=3);
        let coordinators = setting("POLYLITE_FAULTS_COORDINATORS").unwrap_or(drawn);
        eprintln!("POLYLITE_FAULTS_SEED={seed}, {coordinators} coordinators");
        let coordinators = usize::try_from(coordinators).expect("a small number");
        let cluster = ProcessCluster::start(coordinators, NODES);
        cluster.run(&["create-database", "--name", DATABASE]).succeeded();
        let stage =
            Stage { cluster, coordinators, runtime: Runtime::new().expect("a runtime starts"), random };
        let rows: Vec<String> = (1..=2 * WRITERS).map(|id| format!("({id}, 0)")).collect();
        for text in [
            "CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER NOT NULL)".to_owned(),
            format!("INSERT INTO t VALUES {}", rows.join(", ")),
        ] {
            stage.runtime.block_on(stage.anywhere().sql(text).execute()).expect("the table is made");
        }
        stage
    }

    /// The database through all coordinators.
    fn anywhere(&self) -> Database {
        Client::new(self.cluster.coordinator_urls()).expect("addresses are URLs").database(DATABASE)
    }

    /// The database through each coordinator alone.
    fn each(&self) -> Vec<Database> {
        let urls = self.cluster.coordinator_urls().into_iter();
        urls.map(|url| Client::new([url]).expect("an address is a URL").database(DATABASE)).collect()
    }

    fn start_writers(&self, acknowledged: &Arc<Acknowledged>, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
        let writer = |id| Writer { database: self.anywhere(), id, rest_max: REST_MAX };
        let start = |id| self.runtime.spawn(writer(id).run(acknowledged.clone(), stop.clone()));
        (1..=WRITERS).map(start).collect()
    }

    /// Strikes until all readers have ended.
    fn strike_while<T>(&mut self, readers: &[JoinHandle<T>]) -> u64 {
        let mut strikes = 0;
        while readers.iter().any(|reader| !reader.is_finished()) {
            strike(&mut self.cluster, &mut self.random, (self.coordinators, NODES));
            strikes += 1;
            // Calm enough for leases to be granted, now and then.
            std::thread::sleep(Duration::from_millis(self.random.random_range(0..CALM_MAX)));
        }
        strikes
    }
}

/// Asks until there is an answer.
async fn until_answered<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "nobody answers: {error:?}"),
        }
    }
}

/// Reads rows and sums through one coordinator. Answers how many of the rows came out of its cache.
async fn read(database: Database, number: u64, acknowledged: Arc<Acknowledged>) -> u64 {
    let mut hits = 0;
    for round in 0..number {
        let id = i64::try_from(round).expect("a small number") / 3 % WRITERS + 1;
        let (question, least, found) = if round % 5 < 3 {
            let least = acknowledged.of(id);
            let question = json!({"operation": "query", "table": "t", "where": {"id": id}});
            let answer = until_answered(|| database.query_object(&question)).await;
            hits += u64::from(answer.cached);
            (question.to_string(), least, answer.data[0]["x"].as_i64())
        } else {
            let least = acknowledged.sum();
            let text = format!("SELECT sum(x) FROM t WHERE id <= {WRITERS}");
            let rows = until_answered(|| database.sql(&text).query()).await;
            (text, least, rows.scalar().ok())
        };
        assert!(found >= Some(least), "{question} answered {found:?}, after {least} was acknowledged");
    }
    hits
}

#[test]
fn no_answer_out_of_the_cache_is_older_than_an_acknowledged_write() {
    let reads = setting("POLYLITE_FAULTS_CACHE_READS").unwrap_or(3_000);
    let mut stage = Stage::open();
    let (acknowledged, stop) = (Arc::<Acknowledged>::default(), Arc::new(AtomicBool::new(false)));
    let writers = stage.start_writers(&acknowledged, &stop);
    // One that is away holds up its own readers alone.
    let start = |database| stage.runtime.spawn(read(database, reads / READERS, acknowledged.clone()));
    let each = stage.each().into_iter().cycle();
    let readers: Vec<_> = each.take(usize::try_from(READERS).expect("few")).map(start).collect();
    let strikes = stage.strike_while(&readers);
    stop.store(true, Ordering::SeqCst);
    let hits: u64 = readers
        .into_iter()
        .map(|reader| stage.runtime.block_on(reader).expect("no answer was too old"))
        .sum();
    for writer in writers {
        stage.runtime.block_on(writer).expect("the writer ends");
    }
    let written = acknowledged.sum();
    eprintln!("{written} writes, {reads} reads, {hits} rows from the cache, {strikes} strikes");
    // When all is quiet, the cache is used.
    let client = Client::new([stage.cluster.coordinator_url(0)]).expect("an address is a URL");
    let database = client.database(DATABASE);
    let begun = Instant::now();
    stage.runtime.block_on(async {
        let hits = async || until_answered(|| client.cache_stats()).await.hits;
        let before = hits().await;
        while hits().await == before {
            assert!(begun.elapsed() < ANSWER_MAX, "nothing is answered from the cache");
            until_answered(|| database.sql("SELECT sum(x) FROM t").query()).await;
        }
    });
}

/// Reads stale rows through one coordinator after the other, each with the bookmark of the read before.
fn read_with_bookmarks(urls: &[String], number: u64) {
    let mut bookmark = "b0".to_owned();
    let mut seen = 0;
    for round in 0..number {
        let url = &urls[usize::try_from(round).expect("a small number") % urls.len()];
        // Now and then what is true now, so that the replicas are behind the bookmark.
        let level = if round % 3 == 0 { "linearizable" } else { "stale" };
        let body = json!({"sql": format!("SELECT sum(x) FROM t WHERE id <= {WRITERS}"), "level": level});
        let answer = ask(url, &bookmark, &body);
        let found = answer.body["results"][0]["rows"][0][0].as_i64().expect("a sum");
        assert!(found >= seen, "{level}: {found} at {bookmark}, after {seen} was seen");
        seen = found;
        bookmark = answer.header("x-bookmark").expect("every answer has one").to_owned();
    }
}

fn ask(url: &str, bookmark: &str, body: &Json) -> RawAnswer {
    let deadline = Instant::now() + ANSWER_MAX;
    loop {
        let path = format!("/databases/{DATABASE}/sql");
        let answer = try_send_with(url, "POST", &path, &[("X-Bookmark", bookmark)], body);
        match answer {
            Ok(answer) if answer.status == 200 => return answer,
            Ok(refused) => assert!(refused.status >= 500 && Instant::now() < deadline, "{refused:?}"),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

#[test]
fn no_read_with_a_bookmark_is_older_than_it() {
    let reads = setting("POLYLITE_FAULTS_BOOKMARK_READS").unwrap_or(1_200);
    let mut stage = Stage::open();
    let (acknowledged, stop) = (Arc::<Acknowledged>::default(), Arc::new(AtomicBool::new(false)));
    let writers = stage.start_writers(&acknowledged, &stop);
    let urls = stage.cluster.coordinator_urls();
    let start = |_| {
        let urls = urls.clone();
        stage.runtime.spawn_blocking(move || read_with_bookmarks(&urls, reads / READERS))
    };
    let readers: Vec<_> = (0..READERS).map(start).collect();
    let strikes = stage.strike_while(&readers);
    stop.store(true, Ordering::SeqCst);
    for ended in readers.into_iter().chain(writers) {
        stage.runtime.block_on(ended).expect("no answer was older than its bookmark");
    }
    eprintln!("{} writes, {reads} reads, {strikes} strikes", acknowledged.sum());
}
