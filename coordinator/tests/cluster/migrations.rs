//! Requests that change the schema and rows together.

use serde_json::{Value as Json, json};

use crate::{Cluster, shop};

const SQL: &str = "/databases/shop/sql";

impl Cluster {
    async fn statements(&self, statements: &[String]) -> Json {
        self.post(SQL, json!({ "statements": statements })).await
    }

    async fn found(&self, sql: &str) -> Json {
        self.sql(sql).await["rows"].clone()
    }
}

fn texts(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|&sql| sql.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_and_a_migration_are_one_request_each_and_outlive_a_restart() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    let mut dump = texts(&["CREATE TABLE songs (id INTEGER PRIMARY KEY, title TEXT NOT NULL)"]);
    dump.extend((1..=300).map(|id| format!("INSERT INTO songs VALUES ({id}, 'song {}')", id % 100)));
    dump.extend(texts(&[
        "CREATE INDEX by_title ON songs (title)",
        "CREATE TABLE plays (song INT REFERENCES songs, n INT)",
        "INSERT INTO plays SELECT id, length(title) FROM songs WHERE id <= 9",
        "CREATE VIEW titles AS SELECT DISTINCT title FROM songs",
    ]));
    let told = cluster.statements(&dump).await;
    assert_eq!(told["results"].as_array().unwrap().len(), dump.len());
    assert_eq!(told["results"][dump.len() - 2]["affected_rows"], 9);
    let migration = texts(&[
        "ALTER TABLE users ADD COLUMN cents INT",
        "UPDATE users SET cents = price * 100",
        "CREATE TABLE new_plays (song INTEGER PRIMARY KEY REFERENCES songs, n INT NOT NULL, at TEXT DEFAULT 'never')",
        "INSERT INTO new_plays (song, n) SELECT song, n FROM plays",
        "DROP TABLE plays",
        "ALTER TABLE new_plays RENAME TO plays",
    ]);
    cluster.sql("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')").await;
    cluster.statements(&migration).await;
    let cluster = cluster.restart().await;
    assert_eq!(cluster.found("SELECT count(*), count(DISTINCT title) FROM songs").await, json!([[300, 100]]));
    assert_eq!(cluster.found("SELECT count(*) FROM titles").await, json!([[100]]));
    assert_eq!(cluster.found("SELECT count(*), sum(n), min(at) FROM plays").await, json!([[9, 54, "never"]]));
    assert_eq!(cluster.found("SELECT sum(cents) FROM users").await, json!([[600]]));
    cluster.sql("INSERT INTO plays (song, n) VALUES (10, 1)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_leaves_neither_rows_nor_schema() {
    let cluster = Cluster::start().await;
    cluster.post("/databases", shop()).await;
    cluster.sql("INSERT INTO users (id, name) VALUES (1, 'a'), (2, 'b'), (3, 'a')").await;
    let schema = "SELECT name, sql FROM sqlite_schema ORDER BY name";
    let before = (cluster.found(schema).await, cluster.found("SELECT * FROM users ORDER BY id").await);
    for (statements, refused) in [
        (
            ["CREATE TABLE t (id)", "INSERT INTO t VALUES (1)", "INSERT INTO users (id) VALUES (2)"],
            "unique_violation",
        ),
        (
            ["DELETE FROM users WHERE id = 2", "DROP TABLE users", "INSERT INTO users (id) VALUES (9)"],
            "sql_error",
        ),
        (
            ["UPDATE users SET price = 0", "CREATE UNIQUE INDEX names ON users (name)", "SELECT 1"],
            "unique_violation",
        ),
        (
            ["ALTER TABLE users ADD COLUMN x", "UPDATE users SET x = 1", "CREATE TABLE users (id)"],
            "sql_error",
        ),
    ] {
        let told = cluster.refused(SQL, json!({ "statements": statements })).await;
        assert_eq!(told.1, refused, "{statements:?}");
        let now = (cluster.found(schema).await, cluster.found("SELECT * FROM users ORDER BY id").await);
        assert_eq!(now, before, "{statements:?}");
    }
    let mended = [
        "DELETE FROM users WHERE id = 3",
        "CREATE UNIQUE INDEX names ON users (name)",
        "INSERT INTO users (id, name) VALUES (4, 'c')",
    ];
    cluster.statements(&texts(&mended)).await;
    assert_eq!(cluster.found("SELECT count(*) FROM users").await, json!([[3]]));
    let told = cluster.refused(SQL, json!({ "sql": "INSERT INTO users (id, name) VALUES (5, 'c')" })).await;
    assert_eq!(told, (409, "unique_violation".to_owned()));
}
