//! Of a joined table only those rows are read that match what a condition leaves of the other.

use crate::support::Cluster;
use query::{Rule, Rules};

/// 200 groups, and `items` rows that name them.
async fn cluster(items: u32) -> Cluster {
    let mut cluster = Cluster::hashed(4, None);
    cluster.set_rules(Rules::default());
    cluster.ok("CREATE TABLE groups (id INTEGER PRIMARY KEY, name TEXT, code TEXT COLLATE NOCASE)").await;
    cluster.ok("CREATE TABLE items (id INTEGER PRIMARY KEY, of_group INT, code TEXT, n INT)").await;
    cluster
        .ok("WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 199) \
             INSERT INTO groups SELECT i, 'g' || (i % 100), 'C' || i FROM c")
        .await;
    cluster
        .ok(&format!(
            "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < {}) \
             INSERT INTO items SELECT i, i % 200, 'c' || (i % 200), i FROM c",
            items - 1
        ))
        .await;
    cluster
}

/// What a statement answers, with and without the rule, and the rows that partitions sent with it.
async fn streamed(cluster: &mut Cluster, sql: &str) -> u64 {
    cluster.set_rules(Rules::none());
    let expected = cluster.rows(sql).await;
    cluster.set_rules(Rules::default());
    *cluster.rows_streamed.lock().unwrap() = 0;
    assert_eq!(cluster.rows(sql).await, expected, "{sql}");
    *cluster.rows_streamed.lock().unwrap()
}

#[tokio::test]
async fn partitions_send_rows_that_match() {
    let mut cluster = cluster(2_000).await;
    for (sql, most) in [
        (
            "SELECT g.id, i.n FROM groups g JOIN items i ON i.of_group = g.id WHERE g.name = 'g7' ORDER BY 1, 2",
            22,
        ),
        (
            "SELECT g.id, i.n FROM groups g LEFT JOIN items i ON i.of_group = g.id WHERE g.name = 'g7' ORDER BY 1, 2",
            22,
        ),
        (
            "SELECT g.id, i.n FROM groups g JOIN items i ON i.code = g.code WHERE g.name = 'g7' ORDER BY 1, 2",
            2,
        ),
        (
            "SELECT g.id, i.n FROM groups g JOIN items i ON g.code = i.code WHERE g.name = 'g7' ORDER BY 1, 2",
            22,
        ),
        ("SELECT n FROM items WHERE of_group IN (SELECT id FROM groups WHERE name = 'g7') ORDER BY 1", 22),
        (
            "SELECT name FROM groups g WHERE EXISTS (SELECT 1 FROM items i WHERE i.of_group = g.id AND i.n = 7)",
            2,
        ),
        (
            "SELECT id, (SELECT count(*) FROM items i WHERE i.of_group = g.id) FROM groups g WHERE name = 'g7' ORDER BY 1",
            22,
        ),
        ("SELECT g.id FROM groups g WHERE name = 'none' AND id IN (SELECT of_group FROM items)", 0),
    ] {
        let rows = streamed(&mut cluster, sql).await;
        assert!(rows <= most, "{sql}: {rows} rows");
    }
}

#[tokio::test]
async fn nothing_is_sent_where_the_comparison_would_convert_the_column() {
    let cluster = Cluster::hashed(3, None);
    cluster.ok("CREATE TABLE numbers (id INTEGER PRIMARY KEY, k INT, wanted INT)").await;
    cluster.ok("CREATE TABLE texts (id INTEGER PRIMARY KEY, k TEXT, untyped)").await;
    cluster.ok("INSERT INTO numbers VALUES (1, 10, 1), (2, 11, 0)").await;
    cluster
        .ok("INSERT INTO texts VALUES (1, '10', '10'), (2, '10.0', 10), (3, '1e1', '10.0'), (4, '11', 11)")
        .await;
    for column in ["k", "untyped"] {
        let sql = format!(
            "SELECT t.id FROM numbers n JOIN texts t ON t.{column} = n.k WHERE n.wanted = 1 ORDER BY 1"
        );
        let plan = cluster.plan(&sql);
        assert!(!plan.iter().any(|line| line.contains("KEYS")), "{plan:#?}");
        assert_eq!(cluster.rows(&sql).await.len(), 3, "{sql}");
    }
    // The other way round the column is a number, which any text that is one becomes.
    let sql = "SELECT n.id FROM numbers n JOIN texts t ON t.k = n.k WHERE t.untyped = '10.0'";
    assert!(cluster.plan(sql).iter().any(|line| line.contains("KEYS of texts.k")));
    assert_eq!(cluster.rows(sql).await, [[1.into()]]);
}

#[tokio::test]
async fn with_too_many_values_everything_is_gathered() {
    let mut cluster = cluster(12_000).await;
    let sql = "SELECT i.id, g.name FROM items i JOIN groups g ON g.id = i.n WHERE i.n >= 0";
    assert_eq!(streamed(&mut cluster, sql).await, 12_200);
}

#[tokio::test]
async fn the_rule_can_be_turned_off() {
    let mut cluster = cluster(10).await;
    let sql = "SELECT n FROM items WHERE of_group IN (SELECT id FROM groups WHERE name = 'g7')";
    assert!(cluster.plan(sql).iter().any(|line| line.contains("KEYS")));
    cluster.set_rules(Rules::default().without(Rule::KeyShipping));
    assert!(!cluster.plan(sql).iter().any(|line| line.contains("KEYS")));
}
