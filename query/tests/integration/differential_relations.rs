//! Random statements over tables that triggers and foreign keys relate, by plain SQLite and on several partitions.

use crate::support::Cluster;
use crate::support::compare::same;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sqlite::single_file::SingleFile;

/// Seeds that run always; more with `POLYLITE_SEEDS=<count>`.
const SEEDS: u64 = 12;

const STEPS: usize = 40;

const TABLES: [&str; 5] = ["p", "c", "tree", "log", "total"];

/// What the actions of the foreign keys of a seed are.
const ACTIONS: [&str; 6] = [
    "",
    "ON DELETE CASCADE ON UPDATE CASCADE",
    "ON DELETE SET NULL ON UPDATE SET NULL",
    "ON DELETE SET DEFAULT ON UPDATE CASCADE",
    "ON DELETE RESTRICT",
    "ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
];

fn schema(random: &mut SmallRng) -> Vec<String> {
    let mut action = || ACTIONS[random.random_range(0..ACTIONS.len())];
    let mut statements = vec![
        "CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT UNIQUE COLLATE NOCASE, n INT)".to_owned(),
        format!(
            "CREATE TABLE c (id INTEGER PRIMARY KEY, p INT DEFAULT 1 REFERENCES p {}, \
             code TEXT COLLATE NOCASE REFERENCES p (code) {}, x INT)",
            action(),
            action()
        ),
        format!("CREATE TABLE tree (id INTEGER PRIMARY KEY, up INT REFERENCES tree {}, x INT)", action()),
        "CREATE TABLE log (what TEXT, n)".to_owned(),
        "CREATE TABLE total (name TEXT PRIMARY KEY, n INT) WITHOUT ROWID".to_owned(),
        "CREATE VIEW both AS SELECT p.id, p.n, c.x FROM p JOIN c ON c.p = p.id".to_owned(),
    ];
    let triggers = [
        "CREATE TRIGGER g1 AFTER INSERT ON p BEGIN INSERT INTO log VALUES ('p+', new.id); END",
        "CREATE TRIGGER g2 AFTER DELETE ON c BEGIN INSERT INTO log VALUES ('c-', old.id), (old.code, old.p); END",
        "CREATE TRIGGER g3 AFTER UPDATE OF n, code ON p WHEN new.n IS NOT old.n BEGIN
             UPDATE c SET x = new.n WHERE p = new.id; END",
        "CREATE TRIGGER g4 BEFORE INSERT ON tree WHEN new.x > 7 BEGIN SELECT RAISE(ABORT, 'x is too great'); END",
        "CREATE TRIGGER g5 BEFORE UPDATE ON tree WHEN new.x < 0 BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER g6 AFTER INSERT ON c BEGIN
             INSERT INTO total VALUES ('c', 1) ON CONFLICT (name) DO UPDATE SET n = n + 1; END",
        "CREATE TRIGGER g7 INSTEAD OF INSERT ON both BEGIN
             INSERT INTO p (n) VALUES (new.n); INSERT INTO c (p, x) SELECT max(id), new.x FROM p; END",
        "CREATE TRIGGER g8 INSTEAD OF DELETE ON both BEGIN DELETE FROM c WHERE p = old.id AND x = old.x; END",
        "CREATE TRIGGER g9 AFTER DELETE ON tree BEGIN UPDATE tree SET x = x + 1 WHERE id < old.id; END",
    ];
    // The order in which several triggers for one event fire is not defined.
    statements.extend(triggers.iter().filter(|_| random.random_range(0..3) > 0).map(|sql| (*sql).to_owned()));
    statements
}

struct Generator {
    random: SmallRng,
}

impl Generator {
    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn id(&mut self) -> String {
        if self.below(12) == 0 { "NULL".into() } else { self.below(9).to_string() }
    }

    fn code(&mut self) -> &'static str {
        ["'a'", "'A'", "'b'", "'c'", "'C'", "NULL"][self.below(6)]
    }

    fn conflict(&mut self) -> &'static str {
        ["", "", "", "OR REPLACE ", "OR IGNORE ", "OR ABORT "][self.below(6)]
    }

    fn statement(&mut self) -> String {
        let (id, other, code, clause) = (self.id(), self.id(), self.code(), self.conflict());
        match self.below(20) {
            0 | 1 => format!("INSERT {clause}INTO p (id, code, n) VALUES ({id}, {code}, {other})"),
            2 => format!("INSERT INTO p (code, n) VALUES ({code}, 1), (NULL, {id})"),
            3 | 4 => format!("INSERT {clause}INTO c (p, code, x) VALUES ({id}, {code}, {other})"),
            5 => format!("INSERT INTO c (p, x) SELECT id, n FROM p WHERE id > {id} ORDER BY id"),
            6 | 7 => format!("INSERT {clause}INTO tree VALUES ({id}, {other}, {})", self.below(9)),
            8 => format!("INSERT INTO tree (up, x) VALUES ({id}, 1), ({other}, 2)"),
            9 => format!("UPDATE {clause}p SET id = {id} WHERE id = {other}"),
            10 => format!("UPDATE {clause}p SET code = {code}, n = n + 1 WHERE id = {id} RETURNING id, code"),
            11 => format!("UPDATE c SET p = {id} WHERE id = {other} OR x = {other}"),
            12 => format!("UPDATE c SET code = {code} WHERE p = {id}"),
            13 => format!("UPDATE tree SET x = x - {id} WHERE id > {other}"),
            14 => format!("DELETE FROM p WHERE id = {id}"),
            15 => format!("DELETE FROM p WHERE n > (SELECT avg(x) FROM c) AND id > {id}"),
            16 => format!("DELETE FROM c WHERE x = {id} RETURNING id"),
            17 => format!("DELETE FROM tree WHERE id = {id}"),
            18 => format!("INSERT INTO both (n, x) VALUES ({id}, {other})"),
            _ => format!("DELETE FROM both WHERE id = {id}"),
        }
    }
}

async fn compare(seed: u64) -> Vec<String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut partitioned = Cluster::hashed(1 + u32::try_from(seed % 4).unwrap(), None);
    partitioned.reuses_rowids = true;
    let single = SingleFile::new().unwrap();
    let mut script = schema(&mut random);
    for sql in &script {
        single.run(sql).unwrap();
        partitioned.ok(sql).await;
    }
    let mut generator = Generator { random };
    for step in 0..STEPS {
        let sql = generator.statement();
        let (expected, found) = (single.execute(&sql), partitioned.sql(&sql).await);
        let mut difference = same(&sql, &expected, &found).err();
        for table in TABLES {
            let all = format!(
                "SELECT * FROM {table} ORDER BY 1, 2, {}",
                if table == "log" || table == "total" { 1 } else { 3 }
            );
            let (expected, found) = (single.query(&all).unwrap(), partitioned.rows(&all).await);
            if difference.is_none() && found != expected {
                difference = Some(format!("{table}\n{found:?}\n{expected:?}"));
            }
        }
        script.push(sql);
        if let Some(difference) = difference {
            return vec![format!("seed {seed}, step {step}:\n{};\n{difference}", script.join(";\n"))];
        }
    }
    Vec::new()
}

#[tokio::test]
async fn related_tables_change_as_in_one_file() {
    let seeds = std::env::var("POLYLITE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let mut differences = Vec::new();
    for seed in 0..seeds {
        differences.extend(compare(seed).await);
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n\n"));
}
