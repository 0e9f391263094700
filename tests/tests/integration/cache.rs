//! The cache of answers: used where the data have stayed the same, through whichever coordinator and by
//! whatever way they are written, and never older than a write that was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use polylite_client::{Client, Database, Request};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use tests::acknowledged_rows::{Acknowledged, WRITERS, Writer};
use tests::drawn_faults::setting;
use tests::process_cluster::{PATIENCE, ProcessCluster};
use tests::raw_http::{RawAnswer, send};
use tokio::runtime::Runtime;

const DATABASE: &str = "shop";

/// A question, asked in a way that tells where the answer comes from.
#[derive(Clone, Debug)]
struct Question {
    method: &'static str,
    path: String,
    body: Json,
    /// Where in the answer its data are.
    data: &'static str,
}

impl Question {
    fn sql(text: &str) -> Question {
        let path = format!("/databases/{DATABASE}/sql");
        Question { method: "POST", path, body: json!({ "sql": text }), data: "/results/0/rows" }
    }

    fn sql_with(text: &str, params: Json) -> Question {
        let body = json!({"sql": text, "params": params});
        Question { body, ..Question::sql(text) }
    }

    fn object(body: Json) -> Question {
        Question { method: "POST", path: format!("/query/{DATABASE}"), body, data: "/data" }
    }

    fn documents(method: &'static str, rest: &str, body: Json, data: &'static str) -> Question {
        let path = format!("/databases/{DATABASE}/collections/people{rest}");
        Question { method, path, body, data }
    }

    /// Where the answer comes from, and its data.
    fn ask(&self, url: &str) -> (String, Json) {
        self.try_ask(url).unwrap_or_else(|answer| panic!("{self:?}: {answer:?}"))
    }

    /// The same, or a refusal.
    fn try_ask(&self, url: &str) -> Result<(String, Json), RawAnswer> {
        let answer = send(url, self.method, &self.path, &self.body);
        let Some(data) = answer.body.pointer(self.data).cloned() else { return Err(answer) };
        let cache = answer.header("x-cache").unwrap_or_else(|| panic!("{self:?} says nothing of the cache"));
        Ok((cache.to_owned(), data))
    }

    /// Asks until there is an answer: processes may stand still, and others take their parts.
    fn ask_until_answered(&self, url: &str) -> (String, Json) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_ask(url) {
                Ok(answered) => return answered,
                Err(refused) => assert!(Instant::now() < deadline, "{self:?}: {refused:?}"),
            }
        }
    }
}

/// A cluster with a table of ten rows over four partitions, and a collection of two documents.
struct Shop {
    cluster: ProcessCluster,
    runtime: Runtime,
}

impl Shop {
    fn open(coordinators: usize, nodes: usize) -> Shop {
        let cluster = ProcessCluster::start(coordinators, nodes);
        cluster.run(&["create-database", "--name", DATABASE]).succeeded();
        let shop = Shop { cluster, runtime: Runtime::new().expect("a runtime starts") };
        shop.sql(0, "CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER NOT NULL)");
        shop.sql(0, "INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0)");
        for id in ["ann", "bob"] {
            shop.post(0, "/collections/people/documents", json!({"_id": id, "x": 0}));
        }
        shop
    }

    fn url(&self, coordinator: usize) -> String {
        self.cluster.coordinator_url(coordinator)
    }

    fn database(&self, coordinator: usize) -> Database {
        Client::new([self.url(coordinator)]).expect("an address").database(DATABASE)
    }

    fn sql(&self, coordinator: usize, text: &str) {
        self.runtime.block_on(self.database(coordinator).sql(text).execute()).expect(text);
    }

    /// Posts to a route of the database.
    fn post(&self, coordinator: usize, path: &str, body: Json) {
        self.send(coordinator, http_post(&format!("/databases/{DATABASE}{path}"), &body));
    }

    fn send(&self, coordinator: usize, request: Request) {
        let client = Client::new([self.url(coordinator)]).expect("an address");
        let answer: Json = self.runtime.block_on(client.send(&request)).expect("it is done");
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// Asks until the answer comes from the cache.
    fn warm(&self, coordinator: usize, question: &Question) -> Json {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (cache, data) = question.ask(&self.url(coordinator));
            if cache == "hit" {
                return data;
            }
            assert!(Instant::now() < deadline, "{question:?} is never answered from the cache");
        }
    }

    /// Asks until an answer comes from the cache for which nobody was asked.
    fn await_leased_hit(&self, coordinator: usize, question: &Question) {
        let url = self.url(coordinator);
        let leased = || {
            send(&url, "GET", "/cache/stats", &Json::Null).body["stats"]["leased_hits"]
                .as_u64()
                .expect("a count")
        };
        let (before, deadline) = (leased(), Instant::now() + PATIENCE);
        while leased() == before {
            question.ask(&url);
            assert!(Instant::now() < deadline, "{question:?} is never answered without asking");
        }
    }
}

fn http_post(path: &str, body: &Json) -> Request {
    Request::post(path, body).expect("JSON")
}

#[test]
fn every_kind_of_read_is_answered_from_the_cache_and_can_pass_it_by() {
    let shop = Shop::open(1, 1);
    let url = shop.url(0);
    let questions = [
        Question::sql("SELECT x FROM t WHERE id = 3"),
        Question::sql_with("SELECT x FROM t WHERE id = ?", json!([3])),
        Question::sql_with("SELECT x FROM t WHERE id = ?", json!([4])),
        Question::sql("SELECT count(*), sum(x) FROM t"),
        Question::sql("SELECT a.id FROM t AS a JOIN t AS b ON b.id = a.x ORDER BY a.id LIMIT 3"),
        Question::object(json!({"operation": "query", "table": "t", "where": {"id": 3}})),
        Question::object(json!({"operation": "query", "table": "t", "order_by": "id", "limit": 2})),
        Question::object(json!({"operation": "get", "collection": "people", "id": "ann"})),
        Question::documents("GET", "/documents/ann", Json::Null, "/document"),
        Question::documents("POST", "/find", json!({"filter": {"x": 0}, "sort": {"_id": 1}}), "/documents"),
        Question::documents("POST", "/count", json!({"filter": {}}), "/count"),
    ];
    for question in &questions {
        let (cache, first) = question.ask(&url);
        assert_eq!(cache, "miss", "{question:?}");
        let (cache, second) = question.ask(&url);
        assert_eq!((cache.as_str(), &second), ("hit", &first), "{question:?}");
        let separator = if question.path.contains('?') { '&' } else { '?' };
        let past = Question { path: format!("{}{separator}cache=bypass", question.path), ..question.clone() };
        assert_eq!(past.ask(&url), ("bypass".to_owned(), first), "{question:?}");
    }
    let refused = send(&url, "POST", &format!("/query/{DATABASE}?cache=only"), &questions[5].body).body;
    assert_eq!(refused["code"], "bad_request");
    let stats = send(&url, "GET", "/cache/stats", &Json::Null).body;
    let counts = json!({"hits": questions.len(), "misses": questions.len()});
    assert_eq!(
        (&stats["stats"]["databases"][DATABASE], &stats["stats"]["size"]),
        (&counts, &json!(questions.len()))
    );
    let hit = send(&url, "POST", &questions[5].path, &questions[5].body).body;
    assert_eq!(hit["cached"], true);
}

#[test]
fn a_cache_that_is_turned_off_keeps_nothing_on_any_coordinator() {
    let shop = Shop::open(2, 1);
    let question = Question::sql("SELECT count(*) FROM t");
    let before = [shop.warm(0, &question), shop.warm(1, &question)];
    let turn = |enabled: bool| send(&shop.url(1), "POST", "/cache/config", &json!({ "enabled": enabled }));
    assert_eq!(turn(false).body["config"]["enabled"], false);
    for coordinator in 0..2 {
        // The coordinator that was not asked hears of it from the other one.
        let url = shop.url(coordinator);
        let deadline = Instant::now() + PATIENCE;
        while question.ask(&url).0 != "bypass" {
            assert!(Instant::now() < deadline, "the cache is still used");
        }
        let stats = send(&url, "GET", "/cache/stats", &Json::Null).body;
        assert_eq!((&stats["stats"]["size"], &stats["stats"]["enabled"]), (&json!(0), &json!(false)));
    }
    turn(true);
    assert_eq!([shop.warm(1, &question), shop.warm(0, &question)], before);
}

#[test]
fn what_may_differ_each_time_is_not_kept() {
    let shop = Shop::open(1, 1);
    let url = shop.url(0);
    shop.sql(0, "CREATE VIEW chance AS SELECT id, random() AS r FROM t");
    for text in [
        "SELECT random() FROM t",
        "SELECT id FROM t ORDER BY random() LIMIT 1",
        "SELECT id, CURRENT_TIMESTAMP FROM t",
        "SELECT id FROM t WHERE datetime('now') > '2000-01-01'",
        "SELECT r FROM chance",
        "SELECT 1 + 1",
        "SELECT name FROM sqlite_schema",
    ] {
        for _ in 0..2 {
            assert_eq!(Question::sql(text).ask(&url).0, "bypass", "{text}");
        }
    }
    let stale = Question::sql("SELECT x FROM t WHERE id = 3");
    let stale = Question { path: format!("{}?level=stale", stale.path), ..stale };
    for _ in 0..2 {
        assert_eq!(stale.ask(&url).0, "bypass", "another level promises less");
    }
    let stats = send(&url, "GET", "/cache/stats", &Json::Null).body;
    assert_eq!((&stats["stats"]["size"], &stats["stats"]["misses"]), (&json!(0), &json!(0)));
}

#[test]
fn an_answer_is_not_given_again_after_a_change_by_any_way_through_another_coordinator() {
    let shop = Shop::open(2, 1);
    let rows = Question::sql("SELECT * FROM t ORDER BY id");
    let people = Question::documents("POST", "/find", json!({"sort": {"_id": 1}}), "/documents");
    let of_table = |path: &str, body: Json| (rows.clone(), http_post(path, &body));
    let of_people = |request: Request| (people.clone(), request);
    let sql = format!("/databases/{DATABASE}/sql");
    let object = format!("/query/{DATABASE}");
    let collection = format!("/databases/{DATABASE}/collections/people");
    let one = |method: &str, body: Json| {
        let method = method.parse().expect("a method");
        let request = Request::new(method, format!("{collection}/documents/ann"));
        if body.is_null() { request } else { request.json(&body).expect("JSON") }
    };
    let import = |query: &str, line: &str| {
        let path = format!("/databases/{DATABASE}/import?{query}&format=ndjson");
        Request::post(path, &serde_json::from_str::<Json>(line).expect("JSON")).expect("JSON")
    };
    let changes = [
        of_table(&sql, json!({"sql": "UPDATE t SET x = 1 WHERE id = 3"})),
        of_table(&sql, json!({"sql": "UPDATE t SET x = x + 1"})),
        of_table(&sql, json!({"sql": "INSERT INTO t VALUES (11, 0)"})),
        of_table(&sql, json!({"sql": "INSERT INTO t SELECT id + 100, x FROM t"})),
        of_table(&sql, json!({"sql": "DELETE FROM t WHERE id > 100"})),
        of_table(
            &sql,
            json!({"statements": ["UPDATE t SET x = 7 WHERE id = 1", "UPDATE t SET x = 7 WHERE id = 2"]}),
        ),
        of_table(&object, json!({"operation": "insert", "table": "t", "values": {"id": 12, "x": 0}})),
        of_table(
            &object,
            json!({"operation": "update", "table": "t", "values": {"x": 5}, "where": {"id": 12}}),
        ),
        of_table(&object, json!({"operation": "delete", "table": "t", "where": {"id": 12}})),
        (rows.clone(), import("table=t", r#"{"id": 13, "x": 13}"#)),
        of_table(&sql, json!({"sql": "ALTER TABLE t ADD COLUMN y DEFAULT 'new'"})),
        of_people(http_post(&format!("{collection}/documents"), &json!({"_id": "cleo", "x": 1}))),
        of_people(one("PUT", json!({"x": 2}))),
        of_people(one("PATCH", json!({"x": 3}))),
        of_people(http_post(
            &format!("{collection}/update"),
            &json!({"filter": {}, "update": {"$inc": {"x": 1}}}),
        )),
        of_people(one("DELETE", Json::Null)),
        of_people(http_post(&format!("{collection}/delete"), &json!({"filter": {"_id": "bob"}}))),
        of_people(http_post(
            &object,
            &json!({"operation": "insert", "collection": "people", "document": {"x": 9}}),
        )),
        of_people(import("collection=people", r#"{"_id": "dan", "x": 4}"#)),
        of_people(http_post(&sql, &json!({"sql": "DELETE FROM people"}))),
    ];
    for (question, change) in changes {
        let before = shop.warm(0, &question);
        let described = format!("{change:?}");
        shop.send(1, change);
        let (cache, after) = question.ask(&shop.url(0));
        assert_ne!(after, before, "the answer is older than {described}");
        assert_eq!(cache, "miss", "{described}");
        assert_eq!(after, question.ask(&shop.url(1)).1, "{described}");
    }
    // A database of the same name is another database.
    let before = shop.warm(0, &rows);
    shop.runtime.block_on(shop.database(1).drop_database()).expect("the database is dropped");
    shop.cluster.run(&["create-database", "--name", DATABASE]).succeeded();
    shop.sql(1, "CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER NOT NULL)");
    let (cache, after) = rows.ask(&shop.url(0));
    assert_eq!((cache.as_str(), after), ("miss", json!([])), "before it was {before}");
}

#[test]
fn an_answer_outlives_changes_of_tables_that_it_does_not_depend_on() {
    let shop = Shop::open(2, 1);
    shop.sql(0, "CREATE TABLE other (id INTEGER PRIMARY KEY, x INTEGER)");
    shop.sql(0, "INSERT INTO other VALUES (1, 1), (2, 2), (3, 3), (4, 4)");
    let of_one = Question::sql("SELECT sum(x) FROM t");
    let of_both = Question::sql("SELECT count(*) FROM t JOIN other ON other.x = t.x + 1");
    let deadline = Instant::now() + PATIENCE;
    for round in 1.. {
        let before = (shop.warm(0, &of_one), shop.warm(0, &of_both));
        assert_eq!(before, (json!([[0]]), json!([[i64::from(round == 1) * 10]])));
        shop.sql(1, "UPDATE other SET x = x + 10");
        let (cache, count) = of_both.ask(&shop.url(0));
        assert_eq!((cache.as_str(), count), ("miss", json!([[0]])));
        // Unless a leader has just changed, which may happen at any time.
        if of_one.ask(&shop.url(0)).0 == "hit" {
            break;
        }
        assert!(Instant::now() < deadline, "every change makes the answer be computed anew");
    }
    // Where a row is found by another table, that one counts.
    shop.sql(0, "CREATE TABLE named (id INTEGER PRIMARY KEY, x UNIQUE)");
    let by_value = Question::sql("SELECT id FROM named WHERE x = 99");
    assert_eq!(shop.warm(0, &by_value), json!([]));
    shop.sql(1, "INSERT INTO named VALUES (50, 99)");
    assert_eq!(by_value.ask(&shop.url(0)), ("miss".to_owned(), json!([[50]])));
}

#[test]
fn an_answer_about_named_keys_outlives_changes_of_other_rows() {
    let shop = Shop::open(2, 1);
    // Every partition has rows that are not asked for.
    let many: Vec<String> = (101..=200).map(|id| format!("({id}, 0)")).collect();
    shop.sql(0, &format!("INSERT INTO t VALUES {}", many.join(", ")));
    let people: Vec<Json> = (0..100).map(|number| json!({ "_id": format!("p{number}"), "x": 0 })).collect();
    let collection = format!("/databases/{DATABASE}/collections/people");
    shop.send(0, http_post(&format!("{collection}/documents"), &json!({ "documents": people })));
    let questions = [
        Question::sql("SELECT x FROM t WHERE id = 3"),
        Question::sql_with("SELECT count(*), sum(x) FROM t WHERE id IN (?, ?) AND x >= 0", json!([3, 1_003])),
        Question::object(json!({"operation": "query", "table": "t", "where": {"id": 3}})),
        Question::object(json!({"operation": "get", "collection": "people", "id": "ann"})),
        Question::documents("GET", "/documents/ann", Json::Null, "/document"),
        Question::documents(
            "POST",
            "/find",
            json!({"filter": {"_id": "ann", "x": {"$gte": 0}}}),
            "/documents",
        ),
    ];
    let others = || {
        shop.sql(1, "UPDATE t SET x = x + 1 WHERE id > 100");
        let update = json!({"filter": {"_id": {"$ne": "ann"}}, "update": {"$inc": {"x": 1}}});
        shop.send(1, http_post(&format!("{collection}/update"), &update));
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        questions.iter().for_each(|question| drop(shop.warm(0, question)));
        others();
        // Unless a leader has just changed, which may happen at any time.
        if questions.iter().all(|question| question.ask(&shop.url(0)).0 == "hit") {
            break;
        }
        assert!(Instant::now() < deadline, "every change makes an answer be computed anew");
    }
    let ann = |change: Json| {
        let update = json!({"filter": {"_id": "ann"}, "update": change});
        http_post(&format!("{collection}/update"), &update)
    };
    let sql = |text: &str| http_post(&format!("/databases/{DATABASE}/sql"), &json!({ "sql": text }));
    let delete = http_post(&format!("{collection}/delete"), &json!({"filter": {"_id": "ann"}}));
    for (change, changed) in [
        (sql("UPDATE t SET x = 50 WHERE id = 3"), &questions[..3]),
        (sql("UPDATE t SET x = x + 1"), &questions[..3]),
        (sql("UPDATE t SET id = 1003 WHERE id = 101"), &questions[1..2]),
        (sql("DELETE FROM t WHERE id IN (3, 4)"), &questions[..3]),
        (sql("INSERT OR REPLACE INTO t VALUES (3, 9), (1003, 9), (5, 9)"), &questions[..3]),
        (ann(json!({"$inc": {"x": 1}})), &questions[3..]),
        (delete, &questions[5..]),
    ] {
        let before: Vec<Json> = changed.iter().map(|question| shop.warm(0, question)).collect();
        let described = format!("{change:?}");
        shop.send(1, change);
        for (question, before) in changed.iter().zip(before) {
            let (cache, after) = question.ask(&shop.url(0));
            assert_eq!(cache, "miss", "{question:?} after {described}");
            assert_ne!(after, before, "{question:?} after {described}");
        }
    }
    let gone = send(&shop.url(0), "GET", &questions[4].path, &Json::Null).body;
    assert_eq!(gone["code"], "document_not_found");
}

#[test]
fn keys_are_told_apart_in_a_database_of_one_partition_too() {
    let shop = Shop::open(1, 1);
    shop.cluster.run(&["create-database", "--name", "small", "--partitions", "1"]).succeeded();
    let question = |text: &str| {
        let path = "/databases/small/sql".to_owned();
        Question { path, ..Question::sql(text) }
    };
    let run = |text: &str| shop.send(0, http_post("/databases/small/sql", &json!({ "sql": text })));
    run("CREATE TABLE t (name TEXT PRIMARY KEY, x INTEGER)");
    run("INSERT INTO t VALUES ('a', 1), ('b', 2)");
    let of_a = question("SELECT x FROM t WHERE name = 'a'");
    let beside = question("SELECT x, (SELECT count(*) FROM t) FROM t WHERE name = 'a'");
    let deadline = Instant::now() + PATIENCE;
    loop {
        shop.warm(0, &of_a);
        run("UPDATE t SET x = x + 1 WHERE name = 'b'");
        if of_a.ask(&shop.url(0)).0 == "hit" {
            break;
        }
        assert!(Instant::now() < deadline, "every change makes the answer be computed anew");
    }
    assert_eq!(shop.warm(0, &beside), json!([[1, 2]]));
    run("INSERT INTO t VALUES ('c', 3)");
    assert_eq!(beside.ask(&shop.url(0)), ("miss".to_owned(), json!([[1, 3]])));
    run("UPDATE t SET name = 'a2' WHERE name = 'a'");
    assert_eq!(of_a.ask(&shop.url(0)), ("miss".to_owned(), json!([])));
}

#[test]
fn answers_stay_true_when_their_leader_dies() {
    let mut shop = Shop::open(1, 3);
    let question = Question::sql("SELECT id, x FROM t ORDER BY id");
    for dead in 0..3 {
        let before = shop.warm(0, &question);
        shop.cluster.kill_node(dead);
        let (_, after) = question.ask(&shop.url(0));
        assert_eq!(after, before);
        shop.sql(0, "UPDATE t SET x = x + 1");
        let (cache, after) = question.ask(&shop.url(0));
        assert_eq!(cache, "miss");
        assert_ne!(after, before);
        shop.cluster.restart_node(dead);
        tests::replica_files::await_equal_positions(&shop.cluster, DATABASE, 3);
    }
}

#[test]
fn a_hit_asks_nobody_while_leases_hold_and_no_write_is_missed_when_a_holder_stands_still() {
    let mut shop = Shop::open(2, 1);
    let question = Question::sql("SELECT sum(x) FROM t");
    for coordinator in 0..2 {
        shop.await_leased_hit(coordinator, &question);
    }
    // The one that stands still cannot give its leases back; the write waits until they are over.
    shop.cluster.coordinator(1).signal("STOP");
    shop.sql(0, "UPDATE t SET x = x + 1");
    let answered = question.ask(&shop.url(0)).1;
    shop.cluster.coordinator(1).signal("CONT");
    assert_eq!(answered, json!([[10]]));
    assert_eq!(question.ask_until_answered(&shop.url(1)).1, answered);
}

#[test]
fn no_write_is_missed_while_processes_stand_still() {
    let rounds = setting("POLYLITE_CACHE_PAUSES").unwrap_or(6);
    let mut shop = Shop::open(2, 3);
    let acknowledged = Arc::<Acknowledged>::default();
    let stop = Arc::new(AtomicBool::new(false));
    let hits = AtomicU64::new(0);
    let writers: Vec<_> = (1..=WRITERS)
        .map(|id| {
            let database = shop.database(usize::try_from(id % 2).expect("0 or 1"));
            let writer = Writer { database, id, rest_max: Duration::ZERO };
            shop.runtime.spawn(writer.run(acknowledged.clone(), stop.clone()))
        })
        .collect();
    let urls = shop.cluster.coordinator_urls();
    let mut random = SmallRng::from_os_rng();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| read_while(&urls, |_| !stop.load(Ordering::SeqCst), &acknowledged, &hits));
        }
        for _ in 0..rounds {
            // How long, and who, is what is tried out: much longer than a lease, or much shorter.
            let away = Duration::from_millis(random.random_range(20..1_200));
            let number = random.random_range(0..5);
            let process =
                if number < 2 { shop.cluster.coordinator(number) } else { shop.cluster.node(number - 2) };
            process.signal("STOP");
            std::thread::sleep(away);
            process.signal("CONT");
            std::thread::sleep(away);
        }
        stop.store(true, Ordering::SeqCst);
    });
    for writer in writers {
        shop.runtime.block_on(writer).expect("the writer ends well");
    }
    let written = acknowledged.sum();
    assert!(written > 0);
    eprintln!("{written} writes, {} answers from the cache", hits.load(Ordering::Relaxed));
}

/// Asks both coordinators until a number of answers has come, each in two ways, and compares each answer with
/// what was acknowledged before it was asked for.
fn read(urls: &[String], number: u64, acknowledged: &Acknowledged, hits: &AtomicU64) {
    read_while(urls, |round| round < number, acknowledged, hits);
}

/// The same for as many rounds as `goes_on` says.
fn read_while(urls: &[String], goes_on: impl Fn(u64) -> bool, acknowledged: &Acknowledged, hits: &AtomicU64) {
    for round in (0..).take_while(|round| goes_on(*round)) {
        let url = &urls[usize::try_from(round % urls.len() as u64).expect("a small number")];
        let id = i64::try_from(round).expect("a small number") / 3 % WRITERS + 1;
        let known: Vec<i64> = (1..=WRITERS).map(|id| acknowledged.of(id)).collect();
        let least = known[usize::try_from(id - 1).expect("a small number")];
        let one = Question::object(json!({"operation": "query", "table": "t", "where": {"id": id}}));
        let all = Question::sql(&format!("SELECT sum(x) FROM t WHERE id <= {WRITERS}"));
        for (question, path, least) in [(one, "/0/x", least), (all, "/0/0", known.iter().sum())] {
            let (cache, data) = question.ask_until_answered(url);
            let found =
                data.pointer(path).and_then(Json::as_i64).unwrap_or_else(|| panic!("{question:?}: {data}"));
            assert!(found >= least, "{cache}: {question:?} answered {found}, after {least} was acknowledged");
            hits.fetch_add(u64::from(cache == "hit"), Ordering::Relaxed);
        }
    }
}

/// Readers of two coordinators while writers write through both. `POLYLITE_CACHE_READS` sets the number of reads,
/// `POLYLITE_CACHE_RESTS` how many milliseconds a writer rests at most: without rests there are few hits.
#[test]
fn no_answer_is_older_than_an_acknowledged_write() {
    let reads = setting("POLYLITE_CACHE_READS").unwrap_or(1_200);
    let rest = Duration::from_millis(setting("POLYLITE_CACHE_RESTS").unwrap_or(0));
    let shop = Shop::open(2, 3);
    let acknowledged = Arc::<Acknowledged>::default();
    let stop = Arc::new(AtomicBool::new(false));
    let hits = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (1..=WRITERS)
        .map(|id| {
            let database = shop.database(usize::try_from(id % 2).expect("0 or 1"));
            let writer = Writer { database, id, rest_max: rest };
            shop.runtime.spawn(writer.run(acknowledged.clone(), stop.clone()))
        })
        .collect();
    let urls = shop.cluster.coordinator_urls();
    const READERS: u64 = 3;
    let begin = Barrier::new(READERS as usize);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                begin.wait();
                read(&urls, reads / 2 / READERS, &acknowledged, &hits);
            });
        }
    });
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        shop.runtime.block_on(writer).expect("the writer ends well");
    }
    let written = acknowledged.sum();
    assert!(written > 0);
    eprintln!("{written} writes, {reads} reads, {} of them from the cache", hits.load(Ordering::Relaxed));
    // When all is quiet, the cache is used.
    let question = Question::sql("SELECT sum(x) FROM t");
    assert_eq!(shop.warm(0, &question), shop.warm(1, &question));
}

#[test]
fn an_answer_from_the_cache_shows_all_partitions_at_one_moment() {
    let shop = Shop::open(2, 1);
    shop.sql(0, "UPDATE t SET x = 100");
    let question = Question::sql("SELECT sum(x) FROM t");
    let total = json!([[1_000]]);
    let mut hits = 0;
    for round in 0..40 {
        // Money moves between two partitions, through one coordinator or the other, while both are asked.
        let database = shop.database(round % 2);
        let (from, to) = (round % 10 + 1, (round + 3) % 10 + 1);
        let moved = shop.runtime.spawn(async move {
            let batch = database.batch().sql(format!("UPDATE t SET x = x - 7 WHERE id = {from}"));
            batch.sql(format!("UPDATE t SET x = x + 7 WHERE id = {to}")).run().await
        });
        for asked in 0..6 {
            let (cache, data) = question.ask(&shop.url(asked % 2));
            if cache == "hit" {
                assert_eq!(data, total, "half of a transfer is seen");
                hits += 1;
            }
        }
        shop.runtime.block_on(moved).expect("the transfer ends").expect("the money is moved");
        for coordinator in 0..2 {
            assert_eq!(shop.warm(coordinator, &question), total);
        }
    }
    eprintln!("{hits} of 240 answers beside transfers came from the cache");
}
