use common::partition_map::PartitionMethod;
use common::schema::{DatabaseKind, PartitionType, Schema};

use super::*;

const LIMITS: CacheLimits =
    CacheLimits { enabled: true, entries: 1_000, bytes: 64 << 20, expiration_seconds: 60 };

fn database() -> Arc<Database> {
    Arc::new(Database {
        name: "d".into(),
        kind: DatabaseKind::Sql,
        partition_type: PartitionType::Horizontal,
        partition_key: None,
        method: PartitionMethod::Hash,
        replication_factor: 1,
        state: common::catalog::DatabaseState::Ready,
        schema: Schema::default(),
        schema_change: None,
        buckets: Vec::new(),
        column_groups: common::catalog::one_column_group(),
        attribute_groups: Vec::new(),
        created_at: 0,
        retired: Vec::new(),
        successors: std::collections::BTreeMap::new(),
        buckets_asked: 0,
    })
}

fn question(number: u64) -> Question {
    Question::new("sql", "d", &number).unwrap()
}

fn kept(answer: u64) -> Kept {
    Kept::new(Arc::new(answer), database(), Vec::new(), Vec::new())
}

fn answer(cache: &ResultCache, number: u64) -> Option<u64> {
    let kept = cache.get(&question(number))?;
    kept.answer.clone().downcast::<u64>().ok().map(|answer| *answer)
}

#[test]
fn an_answer_is_kept_until_it_is_given_up() {
    let cache = ResultCache::default();
    assert!(cache.obey(LIMITS));
    assert_eq!(answer(&cache, 1), None);
    cache.put(question(1), kept(10));
    cache.put(question(2), kept(20));
    assert_eq!((answer(&cache, 1), answer(&cache, 2)), (Some(10), Some(20)));
    assert_eq!(cache.stats().entries, 2);
    assert!(cache.stats().bytes > 0);
    cache.forget(&question(1));
    assert_eq!((answer(&cache, 1), answer(&cache, 2)), (None, Some(20)));
    assert_eq!(cache.stats().invalidations, 1);
    cache.clear();
    assert_eq!((cache.stats().entries, answer(&cache, 2)), (0, None));
}

#[test]
fn questions_differ_by_kind_database_and_text() {
    let all = [
        Question::new("sql", "d", &"x"),
        Question::new("find", "d", &"x"),
        Question::new("sql", "e", &"x"),
        Question::new("sql", "d", &"y"),
    ];
    for (left, right) in
        all.iter().enumerate().flat_map(|(at, left)| all[at + 1..].iter().map(move |right| (left, right)))
    {
        assert_ne!(left, right);
    }
    assert!(Question::new("sql", "d", &"x".repeat(QUESTION_BYTES_MAX)).is_none(), "too long to be kept");
}

#[test]
fn neither_limit_is_passed_and_what_is_dropped_is_counted() {
    let cache = ResultCache::default();
    cache.obey(CacheLimits { entries: 5, ..LIMITS });
    for number in 0..100 {
        cache.put(question(number), kept(number));
    }
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.evictions), (5, 95));

    cache.obey(CacheLimits { bytes: 2_000, ..LIMITS });
    for number in 0..100 {
        cache.put(question(number), kept(number));
    }
    let stats = cache.stats();
    assert!(stats.entries > 0 && stats.bytes <= 2_000, "{stats:?}");
}

#[test]
fn a_scan_does_not_drive_out_what_is_asked_often() {
    let cache = ResultCache::default();
    cache.obey(CacheLimits { entries: 100, ..LIMITS });
    // Who asks how often counts from when there is little room left.
    for number in 0..100 {
        cache.put(question(number), kept(number));
    }
    for _ in 0..10 {
        assert_eq!((0..50).filter_map(|number| answer(&cache, number)).count(), 50);
        assert_eq!(cache.stats().entries, 100, "asking for them takes them into account");
    }
    for number in 1_000..10_000 {
        // What is not asked for any more is forgotten in time, as it should be.
        let _asked_often = answer(&cache, number % 50);
        if answer(&cache, number).is_none() {
            cache.put(question(number), kept(number));
        }
    }
    let stayed = (0..50).filter_map(|number| answer(&cache, number)).count();
    assert!(stayed >= 45, "{stayed} of 50 hot answers survived a scan of 9000");
}

#[test]
fn an_old_answer_is_not_given_and_is_counted() {
    let cache = ResultCache::default();
    cache.obey(CacheLimits { expiration_seconds: 1, ..LIMITS });
    cache.put(question(1), kept(1));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while answer(&cache, 1).is_some() {
        assert!(std::time::Instant::now() < deadline, "the answer does not expire");
        std::thread::yield_now();
    }
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.expirations, stats.evictions), (0, 1, 0));
}

#[test]
fn limits_can_be_changed_and_may_forbid_to_keep_anything() {
    let cache = ResultCache::default();
    assert!(!cache.obey(CacheLimits { entries: 0, ..LIMITS }));
    cache.put(question(1), kept(1));
    assert_eq!(answer(&cache, 1), None);
    assert!(cache.obey(LIMITS));
    cache.put(question(1), kept(1));
    assert!(cache.obey(LIMITS), "the same limits change nothing");
    assert_eq!(answer(&cache, 1), Some(1));
}

#[test]
fn hits_and_misses_are_counted_by_database() {
    let cache = ResultCache::default();
    cache.count("a", false);
    cache.count("a", true);
    cache.count("b", true);
    let stats = cache.stats();
    assert_eq!(stats.total, CacheCounts { hits: 2, misses: 1 });
    assert_eq!(stats.databases["a"], CacheCounts { hits: 1, misses: 1 });
    let mut catalog = Catalog::default();
    let mut other = (*database()).clone();
    other.name = "b".into();
    catalog.databases.insert("b".into(), other);
    cache.retain(&catalog);
    assert_eq!(cache.stats().databases.keys().collect::<Vec<_>>(), ["b"]);
}
