//! What partitions do themselves gives what gathering gives, to the last bit, and what one file answers.

use crate::support::Cluster;
use crate::support::compare::same;
use common::Value;
use common::protocol::Params;
use query::{Rule, Rules};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Data sets that are tried always; more with `POLYLITE_SEEDS=<count>`.
const SEEDS: u64 = 20;

/// Statements for each.
const STATEMENTS: usize = 40;

const TABLES: [(&str, &str); 4] = [
    ("t", "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT COLLATE NOCASE, c REAL, d, e NUMERIC)"),
    ("w", "CREATE TABLE w (a, b TEXT, c REAL, d COLLATE RTRIM, e INT)"),
    ("k", "CREATE TABLE k (a TEXT COLLATE NOCASE PRIMARY KEY, b, c REAL, d INT, e TEXT) WITHOUT ROWID"),
    ("s", "CREATE TABLE s (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c REAL, d ANY, e INTEGER) STRICT"),
];

const INDEXES: [&str; 5] = [
    "CREATE INDEX ta ON t (a)",
    "CREATE INDEX tbc ON t (b, c DESC)",
    "CREATE INDEX td ON t (d)",
    "CREATE INDEX wa ON w (a, b)",
    "CREATE INDEX kd ON k (d, c)",
];

struct Generator {
    random: SmallRng,
    /// Values to choose from: few at times, so that many are equal.
    kinds: u32,
    tables: Vec<&'static str>,
}

impl Generator {
    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.random.random_range(0..choices.len())]
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn value(&mut self) -> String {
        match self.random.random_range(0..self.kinds) {
            0..4 => self.random.random_range(0..5).to_string(),
            4 => "NULL".into(),
            5 => format!("{}.0", self.random.random_range(0..5)),
            6 => format!("{}.{}", self.random.random_range(0..5), self.random.random_range(1..99)),
            7 => format!("'{}'", self.pick(&["a", "A", "b", "B ", "b", "", "1", "1.0"])),
            8 => format!("x'{:02x}'", self.random.random_range(0..3)),
            9 => "-3".into(),
            10 => self.pick(&["0.1", "1e-9", "12345.678", "-0.1", "1e15"]).into(),
            11 => self.pick(&["9223372036854775807", "-9223372036854775807", "9e18", "1e300"]).into(),
            _ => self.pick(&["-9223372036854775808", "-9223372036854775808.0", "9e999"]).into(),
        }
    }

    /// One that the strict table's column takes.
    fn typed(&mut self, column: &str) -> String {
        match column {
            "a" | "e" => self.pick(&["NULL", "0", "1", "2", "-5", "9223372036854775807"]).into(),
            "b" => self.pick(&["NULL", "'a'", "'A'", "'b '", "'1'"]).into(),
            "c" => self.pick(&["NULL", "0.5", "1", "0.1", "1e17", "-0.3"]).into(),
            _ => self.value(),
        }
    }

    fn insert(&mut self, table: &str) -> String {
        let columns = ["a", "b", "c", "d", "e"];
        let values: Vec<String> = match table {
            "s" => columns.iter().map(|column| self.typed(column)).collect(),
            _ => columns.iter().map(|_| self.value()).collect(),
        };
        let ignore = if table == "k" { "OR IGNORE " } else { "" };
        format!("INSERT {ignore}INTO {table} ({}) VALUES ({})", columns.join(", "), values.join(", "))
    }

    fn column(&mut self) -> String {
        self.pick(&["a", "b", "c", "d", "e"]).into()
    }

    fn expression(&mut self) -> String {
        match self.random.random_range(0..14) {
            0 => format!("{} + {}", self.column(), self.random.random_range(0..3)),
            1 => format!("lower({})", self.column()),
            2 => format!("{} COLLATE {}", self.column(), self.pick(&["NOCASE", "BINARY", "RTRIM"])),
            3 => format!("typeof({})", self.column()),
            4 => format!("{} % 3", self.column()),
            5 => format!("CASE WHEN {} THEN {} ELSE {} END", self.condition(), self.column(), self.column()),
            6 => format!("CAST({} AS {})", self.column(), self.pick(&["TEXT", "INTEGER", "REAL"])),
            _ => self.column(),
        }
    }

    /// A subquery that means the same wherever it stands.
    fn subquery(&mut self) -> String {
        let table = self.tables[self.random.random_range(0..self.tables.len())];
        let value = match self.random.random_range(0..4) {
            0 => self.column(),
            1 => format!("{} || ''", self.column()),
            2 => "count(*)".to_owned(),
            _ => format!("{}({})", self.pick(&["min", "max"]), self.pick(&["a", "c", "e"])),
        };
        let (condition, order) =
            (self.condition(), if value.contains('(') { "" } else { " ORDER BY a, e, c" });
        format!("(SELECT {value} FROM {table} WHERE {condition}{order})")
    }

    fn condition(&mut self) -> String {
        match self.random.random_range(0..9) {
            8 if self.chance(0.3) => match self.random.random_range(0..4) {
                0 => format!("{}EXISTS {}", self.pick(&["", "NOT "]), self.subquery()),
                1 => format!("{} {}IN {}", self.column(), self.pick(&["", "NOT "]), self.subquery()),
                _ => format!("{} {} {}", self.column(), self.pick(&["=", "<", ">="]), self.subquery()),
            },
            0 => format!("{} IS NULL", self.column()),
            1 => format!("{} IN ({}, {})", self.column(), self.value(), self.value()),
            2 => format!("{} BETWEEN {} AND {}", self.column(), self.value(), self.value()),
            3 => format!("({} OR {})", self.condition(), self.condition()),
            4 => format!("{} LIKE '{}%'", self.column(), self.pick(&["a", "1", ""])),
            _ => format!("{} {} {}", self.column(), self.pick(&["=", "<", ">=", "<>"]), self.value()),
        }
    }

    fn aggregate(&mut self) -> String {
        let filter =
            if self.chance(0.15) { format!(" FILTER (WHERE {})", self.condition()) } else { String::new() };
        let distinct = if self.chance(0.15) { "DISTINCT " } else { "" };
        let call = match self.random.random_range(0..10) {
            0 => "count(*)".to_owned(),
            1 => format!("count({distinct}{})", self.expression()),
            2 | 3 => format!("sum({distinct}{})", self.expression()),
            4 => format!("total({distinct}{})", self.column()),
            5 => format!("avg({distinct}{})", self.column()),
            6 | 7 => format!("min({})", self.expression()),
            8 => format!("max({})", self.expression()),
            _ => format!("group_concat({})", self.column()),
        };
        format!("{call}{filter}")
    }

    fn order(&mut self, terms: &[String]) -> String {
        let count = self.random.random_range(1..=2.min(terms.len()));
        let chosen: Vec<String> = (0..count)
            .map(|_| {
                let term = terms[self.random.random_range(0..terms.len())].clone();
                let direction = self.pick(&["", " DESC", " ASC", " NULLS LAST", " DESC NULLS FIRST"]);
                format!("{term}{direction}")
            })
            .collect();
        format!(" ORDER BY {}", chosen.join(", "))
    }

    fn limit(&mut self) -> String {
        match self.random.random_range(0..6) {
            0 => format!(" LIMIT {}", self.random.random_range(0..9)),
            1 => {
                format!(" LIMIT {} OFFSET {}", self.random.random_range(0..9), self.random.random_range(0..5))
            }
            2 => format!(
                " LIMIT {}",
                self.pick(&["-1", "9223372036854775807", "3 OFFSET 9223372036854775807"])
            ),
            _ => String::new(),
        }
    }

    fn select(&mut self) -> String {
        let table = self.tables[self.random.random_range(0..self.tables.len())];
        let condition = if self.chance(0.5) { format!(" WHERE {}", self.condition()) } else { String::new() };
        let mut text = match self.random.random_range(0..8) {
            0 => {
                let terms = [self.expression(), "1".into(), "2".into()];
                let order = if self.chance(0.5) { self.order(&terms) } else { String::new() };
                format!("SELECT {}, * FROM {table}{condition}{order}", self.expression())
            }
            1 => {
                let (first, second) = (self.expression(), self.expression());
                let terms = [self.expression(), "x".into(), "2".into()];
                let order = self.order(&terms);
                format!("SELECT {first} AS x, {second} FROM {table}{condition}{order}")
            }
            2 | 3 => {
                let (first, second) = (self.expression(), self.column());
                let other = if self.chance(0.3) { self.column() } else { "1".into() };
                let order = if self.chance(0.5) { self.order(&["1".into(), other]) } else { String::new() };
                format!("SELECT DISTINCT {first}, {second} FROM {table}{condition}{order}")
            }
            4 => {
                let bare = if self.chance(0.3) { format!(", {}", self.expression()) } else { String::new() };
                format!("SELECT {}, {}{bare} FROM {table}{condition}", self.aggregate(), self.aggregate())
            }
            _ => {
                let group = self.expression();
                let groups =
                    if self.chance(0.3) { format!("{group}, {}", self.column()) } else { group.clone() };
                let bare = if self.chance(0.3) { format!(", {}", self.expression()) } else { String::new() };
                let (one, other) = (self.aggregate(), self.aggregate());
                let distinct = if self.chance(0.1) { "DISTINCT " } else { "" };
                let having = if self.chance(0.2) {
                    format!(" HAVING {} > 1", self.aggregate())
                } else {
                    String::new()
                };
                let order = if self.chance(0.5) {
                    self.order(&[group.clone(), "1".into(), "2".into(), "x DESC, 1".into()])
                } else {
                    String::new()
                };
                format!(
                    "SELECT {distinct}{group}, {one} AS x, {other}{bare} FROM {table}{condition} GROUP BY {groups}{having}{order}"
                )
            }
        };
        text.push_str(&self.limit());
        text
    }
}

async fn cluster(seed: u64) -> Cluster {
    let mut cluster = match seed % 5 {
        0 => Cluster::hashed(4, None),
        1 => Cluster::hashed(3, Some("a")),
        2 => Cluster::ranged(&[0.into(), 2.into(), "a".into()], "a"),
        3 => Cluster::hashed(7, Some("d")),
        _ => Cluster::hashed(2, Some("b")),
    };
    cluster.reuses_rowids = true;
    cluster
}

/// Tries one data set; answers what differed.
async fn compare(seed: u64) -> Vec<String> {
    let (partitioned, single) = (cluster(seed).await, Cluster::hashed(1, None));
    let mut random = SmallRng::seed_from_u64(seed);
    let kinds = random.random_range(4..14);
    let mut generator = Generator { random, kinds, tables: Vec::new() };
    // Which of several equal rows one file's indexes lead to first is not promised, so with indexes what
    // gathering gives is the measure.
    let indexed = generator.chance(0.5);
    let indexes = INDEXES.into_iter().filter(|_| indexed);
    // Without rowid the key of the partitions must be the table's own.
    let tables: Vec<(&str, &str)> =
        TABLES.into_iter().filter(|(name, _)| *name != "k" || seed % 5 < 3).collect();
    generator.tables = tables.iter().map(|(name, _)| *name).collect();
    let indexes = indexes.filter(|sql| seed % 5 < 3 || !sql.contains("ON k"));
    for sql in tables.iter().map(|(_, sql)| *sql).chain(indexes) {
        partitioned.ok(sql).await;
        single.ok(sql).await;
    }
    for (table, _) in tables {
        for _ in 0..generator.random.random_range(0..40) {
            let sql = generator.insert(table);
            let (one, other) = (partitioned.sql(&sql).await, single.sql(&sql).await);
            assert_eq!(one.is_ok(), other.is_ok(), "{sql}");
        }
    }
    let mut differences = Vec::new();
    for _ in 0..STATEMENTS {
        let sql = generator.select();
        let (expected, found) = (single.sql(&sql).await, partitioned.sql(&sql).await);
        let verified = found.as_ref().err().filter(|error| error.message.starts_with("the plan answers"));
        let difference = match verified {
            Some(error) => Err(error.message.clone()),
            None if indexed => Ok(()),
            None => same(&sql, &expected, &found),
        };
        if let Err(difference) = difference {
            differences.push(format!("seed {seed}: {sql}\n{difference}\n{:#?}", partitioned.plan(&sql)));
        }
    }
    differences
}

#[tokio::test]
async fn partitions_answer_as_gathering_does() {
    let seeds = std::env::var("POLYLITE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let mut differences = Vec::new();
    for seed in 0..seeds {
        differences.extend(compare(seed).await);
    }
    let shown = differences.iter().take(5).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(differences.is_empty(), "{} differences\n{shown}", differences.len());
}

#[tokio::test]
async fn each_rule_can_be_turned_off() {
    let mut cluster = Cluster::hashed(4, None);
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)").await;
    let gathered = "MERGE the statement over gathered rows";
    for (rule, sql, with, without) in [
        (Rule::Scatter, "SELECT a FROM t WHERE a > 1", "UNION the rows", gathered),
        (Rule::TopK, "SELECT a FROM t ORDER BY a", "UNION sorted rows", gathered),
        (Rule::PartialAggregates, "SELECT sum(a) FROM t", "MERGE SELECT c0 FROM", gathered),
        (
            Rule::LocalGroups,
            "SELECT id, sum(a) FROM t GROUP BY id",
            "UNION sorted groups",
            "MERGE SELECT c0, c1",
        ),
        (Rule::Distinct, "SELECT DISTINCT a FROM t", "MERGE SELECT DISTINCT p0", gathered),
    ] {
        cluster.set_rules(Rules::default());
        assert!(cluster.plan(sql)[0].starts_with(with), "{sql}: {:?}", cluster.plan(sql));
        cluster.set_rules(Rules::default().without(rule));
        assert!(cluster.plan(sql)[0].starts_with(without), "{sql}: {:?}", cluster.plan(sql));
    }
    let grouped = "SELECT a, count(*) FROM t GROUP BY a";
    cluster.set_rules(Rules::default());
    assert!(cluster.plan(grouped)[1].contains("_groups("));
    cluster.set_rules(Rules::default().without(Rule::HashedGroups));
    assert!(!cluster.plan(grouped)[1].contains("_groups("));
    cluster.set_rules(Rules::default().without(Rule::Limit));
    assert!(!cluster.plan("SELECT a FROM t LIMIT 3")[1].contains("LIMIT"));
}

#[tokio::test]
async fn partitions_send_no_more_than_is_asked_for() {
    let mut cluster = Cluster::hashed(4, None);
    cluster.set_rules(Rules::default());
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b REAL)").await;
    cluster.ok("INSERT INTO t SELECT value, value % 7, value / 10.0 FROM generate_series(1, 2000)").await;
    for (sql, rows, most) in [
        ("SELECT * FROM t LIMIT 3", 3, 12),
        ("SELECT * FROM t ORDER BY b DESC LIMIT 2 OFFSET 1", 2, 12),
        ("SELECT count(*), sum(b) FROM t", 1, 4),
        ("SELECT a, avg(b) FROM t GROUP BY a", 7, 28),
        ("SELECT DISTINCT a FROM t", 7, 28),
        ("SELECT count(DISTINCT a) FROM t", 1, 28),
    ] {
        *cluster.rows_streamed.lock().unwrap() = 0;
        assert_eq!(cluster.rows(sql).await.len(), rows, "{sql}");
        assert!(*cluster.rows_streamed.lock().unwrap() <= most, "{sql}");
    }
}

#[tokio::test]
async fn groups_that_hashing_does_not_find_are_found_by_sqlite() {
    let mut cluster = Cluster::hashed(3, None);
    cluster.set_rules(Rules::default());
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b)").await;
    cluster.ok("INSERT INTO t (a, b) VALUES ('x', '1.5'), ('x', 2), ('y', '7z')").await;
    let sql = "SELECT a, sum(b) FROM t GROUP BY a ORDER BY a";
    let is_hashed = |cluster: &Cluster| cluster.plan(sql).iter().any(|line| line.contains("_groups("));
    assert!(is_hashed(&cluster));
    let expected: [[Value; 2]; 2] = [["x".into(), 3.5.into()], ["y".into(), 7.0.into()]];
    assert_eq!(cluster.rows(sql).await, expected);
    // It is not tried again.
    assert!(!is_hashed(&cluster));
}

#[tokio::test]
async fn a_subquery_is_answered_once_and_keeps_its_type() {
    let mut cluster = Cluster::hashed(3, None);
    cluster.ok("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INT)").await;
    cluster.ok("CREATE TABLE u (id INTEGER PRIMARY KEY, i INT, s TEXT, untyped)").await;
    cluster.ok("INSERT INTO t (a, n) VALUES ('1', 1), ('2', 2), ('3', 3), ('3', 4)").await;
    cluster.ok("INSERT INTO u (i, s, untyped) VALUES (3, '2', 3), (1, '1', 1)").await;
    let sends = |cluster: &Cluster, sql: &str| cluster.plan(sql).iter().any(|line| line.contains("SEND"));
    for (sql, count, sent) in [
        ("SELECT count(*) FROM t WHERE a = (SELECT i FROM u WHERE i = 3)", 2, true),
        ("SELECT count(*) FROM t WHERE a = (SELECT max(i) FROM u)", 2, true),
        ("SELECT count(*) FROM t WHERE n > (SELECT s FROM u WHERE id = ?1 OR s = '2')", 2, true),
        ("SELECT count(*) FROM t WHERE n IN (SELECT s FROM u)", 2, true),
        ("SELECT count(*) FROM t WHERE EXISTS (SELECT 1 FROM u WHERE i > 7)", 0, true),
        ("SELECT count(*) FROM t WHERE a = (SELECT untyped FROM u WHERE i = 3)", 0, false),
        ("SELECT count(*) FROM t WHERE n = (SELECT i FROM u WHERE u.s = t.a AND u.i < 2)", 1, false),
    ] {
        assert_eq!(sends(&cluster, &sql.replace("?1", "9")), sent, "{sql}: {:#?}", cluster.plan(sql));
        let params = if sql.contains('?') { Params::Positional(vec![9.into()]) } else { Params::None };
        let answer = cluster.with(sql, params).await.unwrap();
        assert_eq!(answer.rows.to_values().unwrap(), [[Value::from(count)]], "{sql}");
    }
    let grouped = "SELECT a, sum(n) FROM t GROUP BY a HAVING sum(n) > (SELECT avg(i) FROM u) ORDER BY a";
    assert!(sends(&cluster, grouped));
    assert_eq!(cluster.rows(grouped).await, [[Value::from("3"), Value::from(7)]]);
    cluster.set_rules(Rules::default().without(Rule::Subqueries));
    assert!(!sends(&cluster, grouped));
}
