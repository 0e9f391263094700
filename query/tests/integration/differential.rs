//! The same random statements on one file and on several partitions answer the same.

use crate::support::compare::same;
use crate::support::{Cluster, MIXED, VERTICAL};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Seeds that run always; more with `POLYLITE_SEEDS=<count>`.
const SEEDS: u64 = 12;

struct Generator {
    random: SmallRng,
}

impl Generator {
    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.random.random_range(0..choices.len())]
    }

    fn value(&mut self) -> String {
        match self.random.random_range(0..12) {
            0 => "NULL".into(),
            1 => format!("{}.0", self.random.random_range(0..6)),
            2 => format!("{}.5", self.random.random_range(0..6)),
            3 => format!("'{}'", self.random.random_range(0..6)),
            4 => format!("'{}'", self.pick(&["a", "A", "b", "B ", " 1", "1.0", "1e0"])),
            5 => format!("x'{:02x}'", self.random.random_range(0..3)),
            6 => "9223372036854775807".into(),
            7 => "-1".into(),
            _ => self.random.random_range(0..8).to_string(),
        }
    }

    fn column(&mut self) -> &'static str {
        self.pick(&["a", "b", "c", "d"])
    }

    fn term(&mut self, prefix: &str) -> String {
        match self.random.random_range(0..6) {
            0 => self.value(),
            1 => format!("{prefix}{} + {}", self.column(), self.random.random_range(0..4)),
            2 => format!("lower({prefix}{})", self.column()),
            _ => format!("{prefix}{}", self.column()),
        }
    }

    fn condition(&mut self, prefix: &str) -> String {
        let column = self.column();
        match self.random.random_range(0..9) {
            0 => format!("{prefix}{column} IS NULL"),
            1 => format!("{prefix}{column} IN ({}, {})", self.value(), self.value()),
            2 => format!("{prefix}{column} BETWEEN {} AND {}", self.value(), self.value()),
            3 => format!("{prefix}{column} LIKE '{}%'", self.pick(&["a", "1", ""])),
            4 => format!("({} OR {})", self.condition(prefix), self.condition(prefix)),
            5 => format!("{} AND {}", self.condition(prefix), self.condition(prefix)),
            6 => format!("{prefix}id = {}", self.random.random_range(0..30)),
            _ => format!(
                "{} {} {}",
                self.term(prefix),
                self.pick(&["=", "<", ">=", "<>", "IS"]),
                self.term(prefix)
            ),
        }
    }

    fn table(&mut self) -> &'static str {
        self.pick(&["t", "u", "w"])
    }

    fn select(&mut self) -> String {
        let (table, other) = (self.table(), self.table());
        match self.random.random_range(0..8) {
            0 => format!("SELECT *, rowid FROM {table} WHERE {}", self.condition("")),
            1 => format!(
                "SELECT x.a, y.b FROM {table} x {} {other} y ON x.{} = y.{} WHERE {} ORDER BY x.id, x.rowid, y.id, y.rowid",
                self.pick(&["JOIN", "LEFT JOIN", "CROSS JOIN"]),
                self.column(),
                self.column(),
                self.condition("x.")
            ),
            2 => format!(
                "SELECT {0}, count(*), sum(typeof(b) = 'integer'), min(c), max(d) FROM {table} GROUP BY {0} ORDER BY {0}",
                self.column()
            ),
            3 => format!(
                "SELECT DISTINCT {} FROM {table} ORDER BY 1, rowid LIMIT {}",
                "c",
                self.random.random_range(0..9)
            )
            .replace(", rowid", ""),
            4 => format!(
                "SELECT id FROM {table} WHERE {} IN (SELECT {} FROM {other} WHERE {}) ORDER BY id DESC",
                self.column(),
                self.column(),
                self.condition("")
            ),
            5 => format!(
                "SELECT id, {0}, rank() OVER (ORDER BY {0}, id) FROM {table} WHERE {1} LIMIT {2} OFFSET 1",
                self.column(),
                self.condition(""),
                self.random.random_range(1..9)
            ),
            6 => format!(
                "SELECT a FROM {table} WHERE {} UNION SELECT b FROM {other} ORDER BY 1",
                self.condition("")
            ),
            _ => format!(
                "SELECT sum((SELECT count(*) FROM {other} y WHERE y.a = x.a)), group_concat(x.b ORDER BY x.id, x.rowid) FROM {table} x WHERE {}",
                self.condition("x.")
            ),
        }
    }

    fn change(&mut self) -> String {
        let table = self.table();
        let clause = self.pick(&["", "", "", "OR IGNORE ", "OR REPLACE "]);
        match self.random.random_range(0..7) {
            0 => format!("DELETE FROM {table} WHERE {} AND {}", self.condition(""), self.condition("")),
            1 => format!(
                "UPDATE {clause}{table} SET {} = {} WHERE {}",
                self.column(),
                self.term(""),
                self.condition("")
            ),
            2 => format!(
                "INSERT INTO {table} (a, b, c, d) SELECT b, a, d, c FROM {} WHERE {} ORDER BY rowid",
                self.table(),
                self.condition("")
            ),
            3 => format!(
                "INSERT INTO {table} (a, b, c, d) VALUES ({}, {}, {}, {}) RETURNING *",
                self.value(),
                self.value(),
                self.value(),
                self.value()
            ),
            _ => format!(
                "INSERT {clause}INTO {table} (id, a, b, c, d) VALUES ({}, {}, {}, {}, {})",
                self.random.random_range(0..30),
                self.value(),
                self.value(),
                self.value(),
                self.value()
            ),
        }
    }
}

const SCHEMA: [&str; 3] = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT, c REAL, d)",
    "CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE UNIQUE, b NUMERIC, c, d INT)",
    "CREATE TABLE w (id INT, a INT, b TEXT COLLATE RTRIM, c BLOB, d NUMERIC, UNIQUE (b, d))",
];

/// Runs one seed; answers what differed.
async fn compare(seed: u64, mut partitioned: Cluster) -> Vec<String> {
    partitioned.reuses_rowids = true;
    let single = Cluster::hashed(1, None);
    let mut generator = Generator { random: SmallRng::seed_from_u64(seed) };
    for sql in SCHEMA {
        single.ok(sql).await;
        partitioned.ok(sql).await;
    }
    let mut differences = Vec::new();
    for step in 0..150 {
        let is_change = step < 40 || generator.random.random_bool(0.3);
        let sql = if is_change { generator.change() } else { generator.select() };
        let (expected, found) = (single.sql(&sql).await, partitioned.sql(&sql).await);
        if let Err(difference) = same(&sql, &expected, &found) {
            let plan = partitioned.plan(&sql);
            differences.push(format!("seed {seed}, step {step}: {sql}\n{difference}\n{plan:#?}"));
        }
        for table in ["t", "u", "w"].into_iter().filter(|_| is_change) {
            let all = format!("SELECT rowid, * FROM {table} ORDER BY rowid");
            let (expected, found) = (single.rows(&all).await, partitioned.rows(&all).await);
            if found != expected {
                differences
                    .push(format!("seed {seed}, step {step}: {table} after {sql}\n{found:?}\n{expected:?}"));
                return differences;
            }
        }
    }
    differences
}

#[tokio::test]
async fn several_partitions_answer_as_one_file() {
    let seeds = std::env::var("POLYLITE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let mut differences = Vec::new();
    for seed in 0..seeds {
        let cluster = match seed % 6 {
            0 => Cluster::hashed(5, None),
            1 => Cluster::hashed(3, Some("a")),
            2 => Cluster::ranged(&[10.into(), 20.into(), "a".into()], "id"),
            3 => Cluster::hashed(2, Some("d")),
            4 => Cluster::layout(VERTICAL, None),
            _ => Cluster::layout(MIXED, Some("a")),
        };
        differences.extend(compare(seed, cluster).await);
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n\n"));
}
