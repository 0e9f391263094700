//! The coordinator's cache: repeated reads are answered from it, and never with anything but what a read
//! without it would answer.

use polylite_client::{Column, CreateDatabase, QueryResult, Table};
use serde_json::{Value as Json, json};

use super::stage::{Stage, eventually};
use super::{Category, tests};

const DATABASE: &str = "test_caching";
const TABLE: &str = "cache_test";
/// Entries that the cache is made small enough to hold.
const SMALL: u64 = 5;

pub(super) fn category() -> Category {
    Category {
        name: "caching",
        title: "Coordinator Caching",
        points: 40,
        nodes: 1,
        tests: tests![
            "Test the database was created successfully." => the_database_was_created,
            "Test retrieving initial cache statistics." => initial_statistics,
            "Test populating the cache with initial query." => populating_the_cache,
            "Test cache hits with repeated queries." => repeated_queries_hit,
            "Test that cached data contains expected content." => cached_content,
            "Test cache behavior with a different query." => a_different_query,
            "Test cache invalidation following data update." => invalidation_by_an_insert,
            "Test updating data that's in the cache." => updating_cached_data,
            "Test manually clearing the cache." => clearing_the_cache,
            "Test that query after cache clear returns updated data." => updated_data_after_clear,
            "Test that cache misses are tracked correctly." => misses_are_tracked,
            "Test that the cache is reused for subsequent queries." => reuse,
            "Test cache behavior with a query for multiple items." => several_items,
            "Test simple cache expiration by inserting a new item." => expiration,
            "Test behavior after cache expiration." => behaviour_after_expiration,
            "Prepare the cache for eviction testing by clearing it." => preparing_eviction,
            "Fill the cache with multiple items to trigger eviction." => filling_the_cache,
            "Verify cache statistics after potential eviction." => statistics_after_eviction,
            "Verify data can still be accessed even if evicted from cache." => evicted_data_are_readable,
            "Verify data integrity is maintained after eviction." => evicted_data_are_whole,
        ],
    }
}

fn row(id: i64, name: &str) -> Json {
    json!({"id": id, "name": name, "value": format!("Value {id}")})
}

fn item(id: i64) -> Json {
    row(id, &format!("Item {id}"))
}

/// A counter of the cache.
async fn counter(stage: &Stage, name: &str) -> u64 {
    let stats = stage.get("/cache/stats").await["stats"].take();
    stats[name].as_u64().unwrap_or_else(|| panic!("{name} is a number in {stats}"))
}

/// Reads an item; its row must be the one that is expected.
async fn read(stage: &Stage, id: i64, expected: Json) -> QueryResult {
    let found = stage.query(DATABASE, TABLE, json!({"id": id})).await;
    assert_eq!(found.data, expected);
    found
}

/// Inserts an item. What is cached must not hide it: it was looked for, in vain, before it was there.
async fn insert(stage: &Stage, id: i64, name: &str) {
    read(stage, id, json!([])).await;
    assert!(read(stage, id, json!([])).await.cached, "an answer without rows is an answer");
    stage.insert(DATABASE, TABLE, row(id, name)).await;
    assert!(!read(stage, id, json!([row(id, name)])).await.cached);
}

/// Changes an item's name; the change is seen at once.
async fn rename(stage: &Stage, id: i64, name: &str) {
    let done =
        stage.database(DATABASE).sql_update(TABLE, json!({"name": name}), Some(json!({"id": id}))).await;
    assert_eq!(done.expect("the row is updated").affected_rows, 1);
    assert!(!read(stage, id, json!([row(id, name)])).await.cached, "the old answer is not used any more");
}

async fn the_database_was_created(stage: &mut Stage) {
    let table = Table::new(TABLE)
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("name", "TEXT"))
        .column(Column::new("value", "TEXT"));
    stage.create(&CreateDatabase::sql(DATABASE).table(table).partition_key("id")).await;
    assert!(stage.lists(DATABASE).await);
    for id in 1..=10 {
        stage.insert(DATABASE, TABLE, item(id)).await;
    }
}

async fn initial_statistics(stage: &mut Stage) {
    let stats = stage.get("/cache/stats").await["stats"].take();
    for name in ["hits", "misses", "evictions", "expirations", "size"] {
        assert_eq!(stats[name], 0, "nothing was read: {stats}");
    }
    assert_eq!(stats["max_size"], 1_000, "{stats}");
}

async fn populating_the_cache(stage: &mut Stage) {
    assert!(!read(stage, 1, json!([item(1)])).await.cached, "the first answer comes from the data");
    assert_eq!((counter(stage, "misses").await, counter(stage, "size").await), (1, 1));
}

async fn repeated_queries_hit(stage: &mut Stage) {
    let before = (counter(stage, "hits").await, counter(stage, "misses").await);
    for _ in 0..3 {
        assert!(read(stage, 1, json!([item(1)])).await.cached);
    }
    assert_eq!((counter(stage, "hits").await, counter(stage, "misses").await), (before.0 + 3, before.1));
}

async fn cached_content(stage: &mut Stage) {
    let cached = read(stage, 1, json!([item(1)])).await;
    assert!(cached.cached);
    let body = json!({"operation": "query", "table": TABLE, "where": {"id": 1}});
    let fresh = stage.post(&format!("/query/{DATABASE}?cache=bypass"), &body).await;
    assert_eq!((&fresh["data"], fresh.get("cached")), (&cached.data, None), "both ways give the same answer");
}

async fn a_different_query(stage: &mut Stage) {
    assert!(!read(stage, 2, json!([item(2)])).await.cached, "another question has another answer");
    assert!(read(stage, 2, json!([item(2)])).await.cached);
    assert!(read(stage, 1, json!([item(1)])).await.cached);
}

async fn invalidation_by_an_insert(stage: &mut Stage) {
    insert(stage, 100, "CacheTest").await;
}

async fn updating_cached_data(stage: &mut Stage) {
    assert!(read(stage, 100, json!([row(100, "CacheTest")])).await.cached);
    rename(stage, 100, "UpdatedCacheTest").await;
}

async fn clearing_the_cache(stage: &mut Stage) {
    let counters = async |stage: &Stage| (counter(stage, "hits").await, counter(stage, "misses").await);
    let before = counters(stage).await;
    assert!(counter(stage, "size").await > 0);
    let answer = stage.post("/cache/clear", &json!({})).await;
    assert_eq!(answer["message"], "Cache cleared successfully");
    assert_eq!(counter(stage, "size").await, 0);
    assert_eq!(counters(stage).await, before, "counters keep their values");
}

async fn updated_data_after_clear(stage: &mut Stage) {
    let expected = json!([row(100, "UpdatedCacheTest")]);
    assert!(!read(stage, 100, expected.clone()).await.cached);
    assert!(read(stage, 100, expected).await.cached);
}

async fn misses_are_tracked(stage: &mut Stage) {
    stage.client().clear_cache().await.expect("the cache is cleared");
    let before = (counter(stage, "hits").await, counter(stage, "misses").await);
    read(stage, 3, json!([item(3)])).await;
    assert_eq!((counter(stage, "hits").await, counter(stage, "misses").await), (before.0, before.1 + 1));
}

async fn reuse(stage: &mut Stage) {
    let before = (counter(stage, "hits").await, counter(stage, "misses").await);
    assert!(!read(stage, 4, json!([item(4)])).await.cached);
    assert!(read(stage, 4, json!([item(4)])).await.cached);
    assert_eq!((counter(stage, "hits").await, counter(stage, "misses").await), (before.0 + 1, before.1 + 1));
}

async fn several_items(stage: &mut Stage) {
    let range = json!({"id": {"$gt": 5, "$lt": 10}});
    let expected: Json = (6..10).map(item).collect();
    assert_eq!(stage.rows(DATABASE, TABLE, range.clone()).await, expected);
    assert!(stage.query(DATABASE, TABLE, range.clone()).await.cached);
    assert_eq!(stage.rows(DATABASE, TABLE, range.clone()).await, expected);
    // A change of one of the items by another way than a query object is seen too.
    let renamed =
        stage.database(DATABASE).sql("UPDATE cache_test SET name = 'Seven' WHERE id = 7").execute().await;
    assert_eq!(renamed.expect("the row is updated").affected_rows, 1);
    assert_eq!(stage.rows(DATABASE, TABLE, range).await, json!([item(6), row(7, "Seven"), item(8), item(9)]));
}

async fn expiration(stage: &mut Stage) {
    insert(stage, 200, "BeforeExpiration").await;
    let answer = stage.post("/cache/config", &json!({"expiration_seconds": 1})).await;
    assert_eq!(answer["config"]["expiration_seconds"], 1);
    let expected = json!([row(200, "BeforeExpiration")]);
    read(stage, 200, expected.clone()).await;
    let before = counter(stage, "expirations").await;
    eventually("the entry expires", async || {
        let expirations = counter(stage, "expirations").await;
        if expirations > before { Ok(()) } else { Err(expirations) }
    })
    .await;
    assert!(!read(stage, 200, expected).await.cached);
}

async fn behaviour_after_expiration(stage: &mut Stage) {
    rename(stage, 200, "AfterExpiration").await;
    read(stage, 200, json!([row(200, "AfterExpiration")])).await;
}

async fn preparing_eviction(stage: &mut Stage) {
    stage.client().clear_cache().await.expect("the cache is cleared");
    let answer = stage.post("/cache/config", &json!({"max_size": SMALL, "expiration_seconds": 60})).await;
    assert_eq!(
        (&answer["config"]["max_size"], &answer["config"]["expiration_seconds"]),
        (&json!(SMALL), &json!(60))
    );
    let stats = stage.get("/cache/stats").await["stats"].take();
    assert_eq!((&stats["max_size"], &stats["size"]), (&json!(SMALL), &json!(0)));
}

async fn filling_the_cache(stage: &mut Stage) {
    let before = counter(stage, "misses").await;
    for id in 300..310 {
        stage.insert(DATABASE, TABLE, item(id)).await;
        assert!(!read(stage, id, json!([item(id)])).await.cached);
    }
    assert_eq!(counter(stage, "misses").await, before + 10);
}

async fn statistics_after_eviction(stage: &mut Stage) {
    let stats = stage.get("/cache/stats").await["stats"].take();
    let number = |name: &str| stats[name].as_u64().expect("a number");
    assert!((1..=SMALL).contains(&number("size")), "{stats}");
    assert!(number("evictions") >= 10 - SMALL, "{stats}");
}

async fn evicted_data_are_readable(stage: &mut Stage) {
    let mut cached = 0;
    for id in 300..310 {
        cached += u64::from(read(stage, id, json!([item(id)])).await.cached);
    }
    assert!(cached <= SMALL, "{cached} of ten answers came out of a cache of {SMALL}");
}

async fn evicted_data_are_whole(stage: &mut Stage) {
    let expected: Json = (300..310).map(item).collect();
    assert_eq!(stage.rows(DATABASE, TABLE, json!({"id": {"$gte": 300}})).await, expected);
    // The whole table, with what the other tests have changed.
    let names = [(7, "Seven"), (100, "UpdatedCacheTest"), (200, "AfterExpiration")];
    let named = |id: i64| {
        names.iter().find(|(changed, _)| *changed == id).map_or_else(|| item(id), |(_, name)| row(id, name))
    };
    let all: Json = (1..=10).chain([100, 200]).chain(300..310).map(named).collect();
    assert_eq!(stage.rows(DATABASE, TABLE, json!({})).await, all);
    stage.post("/cache/config", &json!({"max_size": 1_000})).await;
    assert_eq!(counter(stage, "max_size").await, 1_000);
}
