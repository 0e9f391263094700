//! Clients that add to counters while processes die. Each addition has an idempotency key and is sent again until it
//! is acknowledged, however often and to whichever coordinator: afterwards each counter is the number of additions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use polylite_client::{Client, Database, Error, Request, Result, RetryPolicy};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::histories::counters::{Additions, check, check_answers};

/// Counters in a table, and as many documents: enough to lie in all partitions.
const COUNTERS: u64 = 8;
/// Pause of a client after an error.
const PAUSE: Duration = Duration::from_millis(20);
/// A request that takes longer is given up, and sent again.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Errors that are no answer pass within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client adds to, with each turn another.
#[derive(Clone, Copy, Debug)]
enum Addition {
    /// One counter: its partition does all by itself.
    One,
    /// All counters: a transaction over the partitions.
    All,
    /// One document.
    Document,
}

/// How often each addition was acknowledged.
#[derive(Default)]
struct Acknowledged {
    one: Vec<AtomicU64>,
    all: AtomicU64,
    document: AtomicU64,
}

/// Clients at work.
pub struct CountingClients {
    runtime: Runtime,
    database: Database,
    client: Client,
    acknowledged: Arc<Acknowledged>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<u64>>>,
}

impl CountingClients {
    /// Makes the counters in a database and starts the clients.
    ///
    /// # Panics
    /// If the counters cannot be made.
    #[must_use]
    pub fn start(coordinators: &[String], database: &str, clients: usize) -> CountingClients {
        let runtime = Runtime::new().expect("a runtime starts");
        let client = Client::new(coordinators.to_vec()).expect("addresses are URLs");
        let database = client.database(database);
        runtime.block_on(create_counters(&database)).expect("the counters are made");
        let acknowledged = Arc::new(Acknowledged {
            one: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            ..Acknowledged::default()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..clients).map(|number| {
            let mut addresses = coordinators.to_vec();
            addresses.rotate_left(number % coordinators.len());
            let once = RetryPolicy { attempts_max: 1, ..RetryPolicy::default() };
            let client = Client::builder(addresses).timeout(REQUEST_LIMIT).retry(once).build();
            let counting = Counting {
                number,
                client: client.expect("addresses are URLs"),
                path: format!("/databases/{}", database.name()),
                acknowledged: acknowledged.clone(),
            };
            runtime.spawn(counting.run(stop.clone()))
        });
        let tasks = tasks.collect();
        CountingClients { runtime, database, client, acknowledged, stop, tasks }
    }

    /// Waits until `count` more additions are acknowledged.
    ///
    /// # Panics
    /// If it takes longer than `limit`.
    pub fn await_progress(&self, count: u64, limit: Duration) {
        let begun = Instant::now();
        let goal = self.acknowledged.total() + count;
        while self.acknowledged.total() < goal {
            assert!(begun.elapsed() < limit, "no {count} additions in {limit:?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Lets every client come to the end of its addition, and checks the counters.
    ///
    /// # Panics
    /// If a counter is not the number of additions.
    pub fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let answers: Vec<u64> = self
            .tasks
            .into_iter()
            .flat_map(|task| self.runtime.block_on(task).expect("a client ends well"))
            .collect();
        check_answers(&answers).expect("no two additions are answered the same");
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = of(&self.acknowledged.all);
        let rows = self.runtime.block_on(self.database.sql("SELECT n FROM counters ORDER BY id").query());
        let rows = rows.expect("the counters can be read");
        for (row, one) in rows.iter().zip(&self.acknowledged.one) {
            let counter: i64 = row.get("n").expect("a number");
            let additions = Additions { applied: of(one) + all, unknown: 0 };
            check(additions, counter.unsigned_abs()).expect("a counter is the number of additions");
        }
        let path = format!("/databases/{}/collections/counters_too/find", self.database.name());
        let find = Request::post(path, &json!({})).expect("JSON").reads();
        let found: Json = self.runtime.block_on(self.client.send(&find)).expect("the documents can be read");
        let documents = found["documents"].as_array().expect("documents");
        let sum: u64 = documents.iter().map(|document| document["n"].as_u64().expect("a number")).sum();
        let additions = Additions { applied: of(&self.acknowledged.document), unknown: 0 };
        check(additions, sum).expect("the documents' counters are the number of additions");
        eprintln!("{} additions, {all} of them to all counters", self.acknowledged.total());
    }
}

impl Acknowledged {
    fn total(&self) -> u64 {
        let one = self.one.iter().map(|counter| counter.load(Ordering::Relaxed)).sum::<u64>();
        one + self.all.load(Ordering::Relaxed) + self.document.load(Ordering::Relaxed)
    }
}

async fn create_counters(database: &Database) -> Result<()> {
    database.sql("CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)").execute().await?;
    let rows: Vec<String> = (0..COUNTERS).map(|id| format!("({id}, 0)")).collect();
    database.sql(format!("INSERT INTO counters VALUES {}", rows.join(", "))).execute().await?;
    let documents: Vec<Json> = (0..COUNTERS).map(|id| json!({"_id": id, "n": 0})).collect();
    database.collection("counters_too").insert_many(&documents).await.map(drop)
}

struct Counting {
    number: usize,
    client: Client,
    path: String,
    acknowledged: Arc<Acknowledged>,
}

impl Counting {
    /// Adds until it is told to stop; tells what the additions to the first counter alone were answered.
    async fn run(self, stop: Arc<AtomicBool>) -> Vec<u64> {
        let mut answers = Vec::new();
        let mut turn = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            turn += 1;
            let addition = match turn % 4 {
                0 => Addition::All,
                1 => Addition::Document,
                _ => Addition::One,
            };
            let counter = turn / 4 % COUNTERS;
            let request = self.request(addition, counter, turn);
            let answer = self.until_acknowledged(&request).await;
            match addition {
                Addition::One => {
                    self.acknowledged.one[usize::try_from(counter).expect("few counters")]
                        .fetch_add(1, Ordering::Relaxed);
                    let told = answer["results"][0]["rows"][0][0].as_u64().expect("the counter after it");
                    // Values of the same counter: no two are the same.
                    answers.push(told * COUNTERS + counter);
                }
                Addition::All => drop(self.acknowledged.all.fetch_add(1, Ordering::Relaxed)),
                Addition::Document => drop(self.acknowledged.document.fetch_add(1, Ordering::Relaxed)),
            }
        }
        answers
    }

    fn request(&self, addition: Addition, counter: u64, turn: u64) -> Request {
        let (path, body) = match addition {
            Addition::One => {
                let sql = "UPDATE counters SET n = n + 1 WHERE id = ? RETURNING n";
                ("sql", json!({"sql": sql, "params": [counter]}))
            }
            Addition::All => ("sql", json!({"sql": "UPDATE counters SET n = n + 1"})),
            Addition::Document => (
                "collections/counters_too/update",
                json!({"filter": {"_id": counter}, "update": {"$inc": {"n": 1}}}),
            ),
        };
        let key = format!("client-{}.{turn}", self.number);
        let request = Request::post(format!("{}/{path}", self.path), &body).expect("JSON");
        request.idempotency_key(&key).expect("a key")
    }

    async fn until_acknowledged(&self, request: &Request) -> Json {
        let begun = Instant::now();
        loop {
            match self.client.send::<Json>(request).await {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(is_passing(&error), "{request:?} was refused: {error:?}");
                    assert!(begun.elapsed() < PATIENCE, "{request:?} is not answered: {error:?}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether the cluster's state is the reason, and not the request.
fn is_passing(error: &Error) -> bool {
    error.retryable || error.status.is_none_or(|status| status >= 500 || status == 409)
}
