//! Random statements over tables with keys of every kind, on one file and on several partitions.

use crate::support::compare::same;
use crate::support::{Cluster, MIXED, VERTICAL};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Seeds that run always; more with `POLYLITE_SEEDS=<count>`.
const SEEDS: u64 = 27;

/// A table `t` and how its rows are spread.
struct Shape {
    ddl: &'static str,
    columns: &'static [&'static str],
    /// What keeps its rows apart, for UPSERT.
    conflict: &'static str,
    key: Option<&'static str>,
    /// In the order of which its rows are unambiguous.
    order: &'static str,
    ranged: bool,
}

const SHAPES: [Shape; 9] = [
    Shape {
        ddl: "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, a INT, b)",
        columns: &["k", "a", "b"],
        conflict: "k",
        key: None,
        order: "rowid",
        ranged: false,
    },
    Shape {
        ddl: "CREATE TABLE t (x INT, y TEXT, a REAL, b UNIQUE, PRIMARY KEY (x, y))",
        columns: &["x", "y", "a", "b"],
        conflict: "x, y",
        key: None,
        order: "rowid",
        ranged: false,
    },
    Shape {
        ddl: "CREATE TABLE t (x TEXT, y INT, a, b NUMERIC, PRIMARY KEY (x, y)) WITHOUT ROWID",
        columns: &["x", "y", "a", "b"],
        conflict: "x, y",
        key: None,
        order: "x, y",
        ranged: false,
    },
    Shape {
        ddl: "CREATE TABLE t (id INTEGER PRIMARY KEY, y ANY, a INT NOT NULL DEFAULT 7, b TEXT CHECK (length(b) < 3)) STRICT",
        columns: &["id", "y", "a", "b"],
        conflict: "id",
        key: None,
        order: "id",
        ranged: false,
    },
    Shape {
        ddl: "CREATE TABLE t (k BLOB, a INT UNIQUE, b TEXT COLLATE RTRIM UNIQUE)",
        columns: &["k", "a", "b"],
        conflict: "a",
        key: Some("k"),
        order: "rowid",
        ranged: false,
    },
    Shape {
        ddl: "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, k NUMERIC UNIQUE, b AS (k || 'x') STORED, c DEFAULT (1 + 1))",
        columns: &["id", "k", "c"],
        conflict: "k",
        key: Some("k"),
        order: "rowid",
        ranged: true,
    },
    Shape {
        ddl: "CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE, a UNIQUE ON CONFLICT IGNORE, b)",
        columns: &["id", "k", "a", "b"],
        conflict: "a",
        key: Some("k"),
        order: "id",
        ranged: true,
    },
    Shape {
        ddl: "CREATE TABLE t (a PRIMARY KEY ON CONFLICT REPLACE, b UNIQUE, c)",
        columns: &["a", "b", "c"],
        conflict: "a",
        key: None,
        order: "rowid",
        ranged: false,
    },
    Shape {
        ddl: "CREATE TABLE t (a, b, c)",
        columns: &["a", "b", "c"],
        conflict: "",
        key: None,
        order: "rowid",
        ranged: true,
    },
];

struct Generator<'a> {
    random: SmallRng,
    shape: &'a Shape,
}

impl Generator<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn pick<'b>(&mut self, choices: &[&'b str]) -> &'b str {
        choices[self.below(choices.len())]
    }

    fn value(&mut self) -> String {
        match self.below(14) {
            0 | 1 => "NULL".into(),
            2 => format!("{}.0", self.below(6)),
            3 => "1.5".into(),
            4 => format!("'{}'", self.below(6)),
            5 => format!("'{}'", self.pick(&["a", "A", "b", "B ", " 1", "1.0", "1e0", "", "äÖ", "long"])),
            6 => format!("x'{}'", self.pick(&["", "00", "61", "0000"])),
            // After the greatest rowid SQLite draws others by chance; after negative ones alone it goes on
            // from the greatest of them, where partitions begin at 1.
            7 | 8 if self.shape.columns.contains(&"id") => self.pick(&["1e300", "-0.0"]).into(),
            7 => self.pick(&["9223372036854775807", "9007199254740993", "1e300", "-0.0"]).into(),
            8 => "-1".into(),
            _ => self.below(9).to_string(),
        }
    }

    fn column(&mut self) -> &'static str {
        self.pick(self.shape.columns)
    }

    fn condition(&mut self) -> String {
        let column = self.column();
        match self.below(8) {
            0 => format!("{column} IS NULL"),
            1 => format!("{column} IN ({}, {}, {})", self.value(), self.value(), self.value()),
            2 => format!("{column} BETWEEN {} AND {}", self.value(), self.value()),
            3 => format!("({} OR {})", self.condition(), self.condition()),
            4 => format!("{column} > {} AND {}", self.value(), self.condition()),
            5 => format!("typeof({column}) = '{}'", self.pick(&["integer", "text", "null"])),
            _ => format!("{column} = {}", self.value()),
        }
    }

    fn row(&mut self) -> String {
        let values: Vec<String> = self.shape.columns.iter().map(|_| self.value()).collect();
        format!("({})", values.join(", "))
    }

    fn change(&mut self) -> String {
        let columns = self.shape.columns.join(", ");
        let (set, from) = (self.column(), self.column());
        let returning = if self.below(4) == 0 { format!(" RETURNING {columns}") } else { String::new() };
        match self.below(12) {
            0 => format!("DELETE FROM t WHERE {} AND {}{returning}", self.condition(), self.condition()),
            1 => format!("UPDATE t SET {set} = {} WHERE {}{returning}", self.value(), self.condition()),
            2 => {
                let clause = self.pick(&["", "OR IGNORE ", "OR REPLACE "]);
                format!("UPDATE {clause}t SET {set} = {from} WHERE {}", self.condition())
            }
            3 => format!(
                "UPDATE t SET {set} = s.v FROM (SELECT {} AS k, {} AS v) AS s WHERE t.{from} = s.k",
                self.value(),
                self.value()
            ),
            4 => format!(
                "INSERT INTO t ({columns}) SELECT {columns} FROM t WHERE {} ORDER BY {} LIMIT 3",
                self.condition(),
                self.shape.order
            ),
            5 if !self.shape.conflict.is_empty() => format!(
                "INSERT INTO t ({columns}) VALUES {} ON CONFLICT ({}) DO UPDATE SET {set} = excluded.{from}{returning}",
                self.row(),
                self.shape.conflict
            ),
            6 => format!("INSERT INTO t ({columns}) VALUES {} ON CONFLICT DO NOTHING", self.row()),
            7 => format!("INSERT OR REPLACE INTO t ({columns}) VALUES {}, {}", self.row(), self.row()),
            8 => format!("INSERT INTO t ({set}) VALUES ({}){returning}", self.value()),
            _ => format!("INSERT INTO t ({columns}) VALUES {}{returning}", self.row()),
        }
    }

    fn select(&mut self) -> String {
        let (column, other, order) = (self.column(), self.column(), self.shape.order);
        match self.below(7) {
            0 => format!("SELECT * FROM t WHERE {}", self.condition()),
            1 => format!("SELECT * FROM v WHERE n > {} ORDER BY n, 1", self.below(3)),
            2 => format!(
                "WITH c AS (SELECT {column} AS p, {other} AS q FROM t WHERE {}) SELECT count(*), count(p), total(q) FROM c",
                self.condition()
            ),
            3 => format!(
                "SELECT {column}, row_number() OVER (PARTITION BY typeof({other}) ORDER BY {order}) FROM t ORDER BY {order} LIMIT 5"
            ),
            4 => format!(
                "SELECT count(*) FROM t x JOIN t y ON x.{column} = y.{other} WHERE x.{}",
                self.column()
            ),
            5 => {
                format!("SELECT {column}, count(*), max({other}) FROM t GROUP BY {column} ORDER BY {column}")
            }
            _ => format!("SELECT * FROM t WHERE {column} = {} AND {}", self.value(), self.condition()),
        }
    }
}

async fn compare(seed: u64) -> Vec<String> {
    let shape = &SHAPES[usize::try_from(seed).unwrap() % SHAPES.len()];
    // Each shape comes in each layout.
    let layout = usize::try_from(seed).unwrap() / SHAPES.len() % 3;
    let mut partitioned = match (shape.ranged, shape.key) {
        (_, key) if layout == 1 => Cluster::layout(VERTICAL, key),
        (_, key) if layout == 2 => Cluster::layout(MIXED, key),
        (true, key) => Cluster::ranged(&[2.into(), 5.into(), "a".into()], key.unwrap_or("a")),
        (false, key) => Cluster::hashed(2 + u32::try_from(seed % 4).unwrap(), key),
    };
    partitioned.reuses_rowids = true;
    let single = Cluster::hashed(1, None);
    let view = format!("CREATE VIEW v AS SELECT {0}, count(*) AS n FROM t GROUP BY {0}", shape.columns[1]);
    for sql in [shape.ddl, &view] {
        single.ok(sql).await;
        partitioned.ok(sql).await;
    }
    let mut generator = Generator { random: SmallRng::seed_from_u64(seed), shape };
    let mut differences = Vec::new();
    for step in 0..90 {
        let is_change = step < 30 || generator.below(2) == 0;
        let sql = if is_change { generator.change() } else { generator.select() };
        let (expected, found) = (single.sql(&sql).await, partitioned.sql(&sql).await);
        if let Err(difference) = same(&sql, &expected, &found) {
            differences.push(format!("seed {seed}, step {step}: {sql}\n{}\n{difference}", shape.ddl));
        }
        if is_change {
            let all = format!("SELECT {0}, * FROM t ORDER BY {0}", shape.order);
            let (expected, found) = (single.rows(&all).await, partitioned.rows(&all).await);
            if found != expected {
                differences.push(format!(
                    "seed {seed}, step {step}: after {sql}\n{}\n{found:?}\n{expected:?}",
                    shape.ddl
                ));
                break;
            }
        }
    }
    differences
}

#[tokio::test]
async fn keys_of_every_kind_answer_as_one_file() {
    let seeds = std::env::var("POLYLITE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let mut differences = Vec::new();
    for seed in 0..seeds {
        differences.extend(compare(seed).await);
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n\n"));
}
