//! Random statements over several tables, through views, WITH and subqueries, on one file and on several
//! partitions: what is left out before rows are joined must not be missed.

use crate::support::compare::same;
use crate::support::random::{Random, compare, seeds};
use crate::support::{Cluster, MIXED, VERTICAL};

/// Seeds that run always.
const SEEDS: u64 = 6;

/// Statements per seed.
const STATEMENTS: u32 = 150;

/// Keys of different affinities and collations, so that equal values are stored and found in different ways.
const SCHEMA: [&str; 10] = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, k INT, name TEXT, v)",
    "CREATE TABLE u (id INTEGER PRIMARY KEY, k TEXT, name TEXT COLLATE NOCASE, v NUMERIC)",
    "CREATE TABLE w (id INT, k REAL, name TEXT COLLATE RTRIM, v)",
    "CREATE TABLE x (k TEXT COLLATE NOCASE, name, v INT, id INT, PRIMARY KEY (k, id)) WITHOUT ROWID",
    "CREATE VIEW plain AS SELECT k AS kk, name AS nn, v AS vv FROM t WHERE id > 3",
    "CREATE VIEW joined (kk, nn, vv) AS SELECT t.k, u.name, t.v FROM t LEFT JOIN u ON t.k = u.k AND u.id > 2",
    "CREATE VIEW both_tables AS SELECT k AS kk, name AS nn, v AS vv FROM t UNION ALL SELECT k, name, v FROM u WHERE v > 1",
    "CREATE VIEW alike AS SELECT id AS kk, name AS nn, v AS vv FROM t UNION ALL SELECT id, name, v FROM t WHERE k > 2",
    "CREATE VIEW grouped AS SELECT k AS kk, max(name) AS nn, count(*) AS vv FROM w GROUP BY k",
    "CREATE VIEW first_ones AS SELECT k AS kk, name AS nn, v AS vv FROM x WHERE id < 20 ORDER BY k, id LIMIT 5",
];

struct Generator {
    random: Random,
}

impl Generator {
    fn value(&mut self) -> String {
        match self.random.number(11) {
            0 => "NULL".into(),
            1 => format!("{}.0", self.random.number(6)),
            2 => format!("{}.5", self.random.number(4)),
            3 => format!("'{}'", self.random.number(6)),
            4 => format!("'{}.0'", self.random.number(6)),
            5 => format!("'{}'", self.random.pick(&["a", "A", "b", "B ", "a ", "1e0"])),
            6 => format!("x'3{}'", self.random.number(4)),
            _ => self.random.number(7).to_string(),
        }
    }

    fn insert(&mut self) -> String {
        let table = self.random.pick(&["t", "u", "w", "x"]);
        let key = if table == "x" {
            format!("'{}'", self.random.pick(&["a", "A ", "2", "3", "3.0"]))
        } else {
            self.value()
        };
        format!(
            "INSERT OR IGNORE INTO {table} (id, k, name, v) VALUES ({}, {key}, {}, {})",
            self.random.number(30),
            self.value(),
            self.value()
        )
    }

    /// Something to read from, whose columns are `k`, `name` and `v`, or `kk`, `nn` and `vv` (then doubled).
    fn relation(&mut self) -> (String, bool) {
        match self.random.number(12) {
            0..=6 => (self.random.pick(&["t", "u", "w", "x"]).into(), false),
            7..=8 => {
                let view =
                    self.random.pick(&["plain", "joined", "both_tables", "alike", "grouped", "first_ones"]);
                (view.into(), true)
            }
            9 => {
                let (inner, condition) = (self.random.pick(&["t", "u", "w", "x"]), self.condition("", false));
                (format!("(SELECT k, name, v FROM {inner} WHERE {condition})"), false)
            }
            10 => {
                let (inner, clause) =
                    (self.random.pick(&["t", "u"]), self.random.pick(&["DISTINCT ", "", "ALL "]));
                let condition = self.condition("", false);
                (
                    format!("(SELECT {clause}k AS kk, name AS nn, v AS vv FROM {inner} WHERE {condition})"),
                    true,
                )
            }
            _ => ("given".into(), true),
        }
    }

    fn column(&mut self, prefix: &str, doubled: bool) -> String {
        let name = if doubled {
            self.random.pick(&["kk", "nn", "vv"])
        } else {
            self.random.pick(&["k", "name", "v"])
        };
        format!("{prefix}{name}")
    }

    fn condition(&mut self, prefix: &str, doubled: bool) -> String {
        let column = self.column(prefix, doubled);
        match self.random.number(9) {
            0 => format!("{column} IS NULL"),
            1 => format!("{column} IN ({}, {}, {})", self.value(), self.value(), self.value()),
            2 => format!("{column} BETWEEN {} AND {}", self.value(), self.value()),
            3 => format!("({} OR {})", self.condition(prefix, doubled), self.condition(prefix, doubled)),
            4 => format!("coalesce({column}, 2) = 2"),
            5 => format!("{column} IS NOT {}", self.value()),
            _ => format!("{column} {} {}", self.random.pick(&["=", "<", ">=", "<>", "="]), self.value()),
        }
    }

    fn equality(&mut self, left: (&str, bool), right: (&str, bool)) -> String {
        let (a, b) = (self.column(left.0, left.1), self.column(right.0, right.1));
        if self.random.number(5) == 0 { format!("{b} = {a}") } else { format!("{a} = {b}") }
    }

    fn join(&mut self) -> String {
        let (first, a) = self.relation();
        let (second, b) = self.relation();
        let kind = self.random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN", ","]);
        let mut on = self.equality(("a.", a), ("b.", b));
        while self.random.number(3) == 0 {
            let side =
                if self.random.number(2) == 0 { self.condition("a.", a) } else { self.condition("b.", b) };
            on = format!("{on} AND {side}");
        }
        let third = self.random.number(3) == 0;
        let mut from = format!("{first} a {kind} {second} b ON {on}");
        if third {
            let kind = self.random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
            let on = self.equality(("b.", b), ("c.", false));
            let table = self.random.pick(&["t", "u", "x"]);
            from = format!("{from} {kind} {table} c ON {on}");
        }
        let mut filter = match self.random.number(4) {
            0 => self.condition("b.", b),
            1 => format!("({} OR {})", self.condition("a.", a), self.condition("b.", b)),
            _ => self.condition("a.", a),
        };
        if self.random.number(3) == 0 {
            filter = format!("{filter} AND {}", self.condition("b.", b));
        }
        let (left, right) = (self.column("a.", a), self.column("b.", b));
        match self.random.number(3) {
            0 => format!("SELECT count(*), total(typeof({right}) = 'null') FROM {from} WHERE {filter}"),
            _ => format!("SELECT {left}, {right} FROM {from} WHERE {filter}"),
        }
    }

    fn subquery(&mut self) -> String {
        let (outer, a) = self.relation();
        let (inner, b) = self.relation();
        let (column, inside) = (self.column("a.", a), self.column("b.", b));
        let (filter, inner_filter) = (self.condition("a.", a), self.condition("b.", b));
        let correlated = self.equality(("b.", b), ("a.", a));
        match self.random.number(6) {
            0 => format!(
                "SELECT {column} FROM {outer} a WHERE {column} IN (SELECT {inside} FROM {inner} b WHERE {inner_filter}) AND {filter}"
            ),
            1 => format!(
                "SELECT {column} FROM {outer} a WHERE {column} NOT IN (SELECT {inside} FROM {inner} b WHERE {inner_filter}) AND {filter}"
            ),
            2 => format!(
                "SELECT {column} FROM {outer} a WHERE EXISTS (SELECT 1 FROM {inner} b WHERE {correlated} AND {inner_filter}) AND {filter}"
            ),
            3 => format!(
                "SELECT {column} FROM {outer} a WHERE NOT EXISTS (SELECT 1 FROM {inner} b WHERE {correlated} AND {inner_filter}) AND {filter}"
            ),
            4 => format!(
                "SELECT {column}, (SELECT count({inside}) FROM {inner} b WHERE {correlated}) FROM {outer} a WHERE {filter}"
            ),
            _ => format!(
                "SELECT {column} FROM {outer} a WHERE EXISTS (SELECT count(*) FROM {inner} b WHERE {correlated}) AND {filter}"
            ),
        }
    }

    fn select(&mut self) -> String {
        let statement = match self.random.number(8) {
            0..=3 => self.join(),
            4..=5 => self.subquery(),
            6 => {
                let (relation, doubled) = self.relation();
                let (column, filter) = (self.column("a.", doubled), self.condition("a.", doubled));
                format!("SELECT {column} FROM {relation} a WHERE {filter}")
            }
            _ => {
                let kind = self.random.pick(&["NATURAL JOIN", "NATURAL LEFT JOIN", "NATURAL FULL JOIN"]);
                let (first, second) =
                    (self.random.pick(&["t", "u", "w"]), self.random.pick(&["t", "u", "x"]));
                let using = self.random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
                let filter = self.condition("", false);
                if self.random.number(2) == 0 {
                    format!("SELECT * FROM {first} a {kind} {second} b WHERE {filter}")
                } else {
                    format!(
                        "SELECT * FROM {first} a {using} {second} b USING (k) WHERE {}",
                        filter.replace("name", "k").replace('v', "k")
                    )
                }
            }
        };
        let given = self.random.pick(&[
            "given AS (SELECT k AS kk, name AS nn, v AS vv FROM t WHERE v > 0)",
            "given (kk, nn, vv) AS (SELECT u.k, t.name, t.v FROM t JOIN u ON t.k = u.k)",
            "given AS (SELECT k AS kk, name AS nn, count(*) AS vv FROM u GROUP BY 1, 2)",
            "given (kk, nn, vv) AS (VALUES (1, 'a', 2), ('1', 'A', NULL))",
            "RECURSIVE given (kk, nn, vv) AS (SELECT id, name, v FROM t WHERE id < 4 UNION SELECT kk + 1, nn, vv FROM given WHERE kk < 6)",
        ]);
        if statement.contains("given") { format!("WITH {given} {statement}") } else { statement }
    }
}

/// Runs one seed; answers what differed.
async fn run(seed: u64, partitioned: Cluster) -> Vec<String> {
    let single = Cluster::hashed(1, None);
    let mut generator = Generator { random: Random::new(seed) };
    for sql in SCHEMA {
        single.ok(sql).await;
        partitioned.ok(sql).await;
    }
    for _ in 0..60 {
        let sql = generator.insert();
        same(&sql, &single.sql(&sql).await, &partitioned.sql(&sql).await).unwrap();
    }
    let statement = || generator.select();
    let (differences, with_rows) = compare(seed, STATEMENTS, (&single, &partitioned), statement).await;
    // Else the statements would show nothing.
    assert!(with_rows * 3 > STATEMENTS, "seed {seed}: only {with_rows} statements found rows");
    differences
}

#[tokio::test]
async fn joined_partitions_answer_as_one_file() {
    let mut differences = Vec::new();
    for seed in 0..seeds(SEEDS) {
        let cluster = match seed % 5 {
            0 => Cluster::hashed(4, None),
            1 => Cluster::hashed(3, Some("k")),
            2 => Cluster::ranged(&[3.into(), 10.into(), "a".into()], "id"),
            3 => Cluster::layout(VERTICAL, None),
            _ => Cluster::layout(MIXED, None),
        };
        differences.extend(run(seed, cluster).await);
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n\n"));
}

#[tokio::test]
async fn a_table_whose_columns_only_a_natural_join_compares_is_read() {
    let cluster = Cluster::hashed(3, None);
    cluster.ok("CREATE TABLE a (id INTEGER PRIMARY KEY, k)").await;
    cluster.ok("CREATE TABLE b (id INTEGER PRIMARY KEY, k)").await;
    cluster.ok("INSERT INTO a VALUES (1, 2), (2, 3)").await;
    cluster.ok("INSERT INTO b VALUES (1, 2), (2, 2)").await;
    assert_eq!(cluster.rows("SELECT * FROM a NATURAL JOIN b").await, [[1.into(), 2.into()]]);
}
