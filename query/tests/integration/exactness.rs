//! Statements whose answer was once another one than that of one file, on databases divided in every way.

use std::path::Path;

use crate::support::engine::Partitions;
use crate::support::{Cluster, MIXED, VERTICAL};
use differential::{Engine as _, Order, Reference, difference};

/// Runs the statements on one file and on partitions; every answer and every error must be the same.
fn alike(statements: &[&str]) {
    if let Some(difference) = differences(statements).first() {
        panic!("{difference}");
    }
}

/// Where partitions answer otherwise than one file, for each way of dividing the first statement that shows it.
fn differences(statements: &[&str]) -> Vec<String> {
    let divided = [
        ("one partition", Cluster::hashed(1, None)),
        ("4 horizontal", Cluster::hashed(4, None)),
        ("ranges", Cluster::ranged(&[2.into(), 5.into(), "a".into()], "a")),
        ("3 vertical", Cluster::layout(VERTICAL, None)),
        ("4 x 2 mixed", Cluster::layout(MIXED, None)),
    ];
    let first = |(name, cluster): (&str, Cluster)| {
        let (mut file, mut partitions) = (Reference::new(), Partitions::new(cluster));
        statements.iter().find_map(|sql| {
            let (expected, found) = (file.run(sql), partitions.run(sql));
            let difference = difference(&expected, &found, Order::Any)?;
            Some(format!("{name}: {sql}: {}\n{}", difference.kind, difference.text))
        })
    };
    divided.into_iter().filter_map(first).collect()
}

/// Runs a file of statements: one a line, in which `\\n` stands for the end of a line; an empty line begins with an
/// empty database.
fn alike_in(path: impl AsRef<Path>) {
    let script = std::fs::read_to_string(path).expect("the script can be read");
    let run = |part: &str| {
        let statements: Vec<String> = part.lines().map(|line| line.replace("\\n", "\n")).collect();
        differences(&statements.iter().map(String::as_str).collect::<Vec<&str>>())
    };
    let found: Vec<String> = script.split("\n\n").flat_map(run).collect();
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

fn alike_in_own(file: &str) {
    alike_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/statements").join(file));
}

#[test]
#[ignore = "runs the file that POLYLITE_SCRIPT names"]
fn a_script_answers_as_one_file() {
    alike_in(std::env::var("POLYLITE_SCRIPT").expect("POLYLITE_SCRIPT names a file"));
}

#[test]
fn constraints_triggers_and_columns_made_of_others_are_those_of_one_file() {
    alike_in_own("constraints.sql");
}

#[test]
fn schemas_and_what_drivers_ask_are_those_of_one_file() {
    alike_in_own("schema.sql");
}

#[test]
fn tables_whose_columns_are_computed_counted_and_collated_are_those_of_one_file() {
    alike_in_own("column_groups.sql");
}

#[test]
fn a_key_that_compares_otherwise_than_its_column_names_one_row() {
    alike(&[
        "CREATE TABLE t (a TEXT COLLATE NOCASE, b, c, PRIMARY KEY (a COLLATE BINARY)) WITHOUT ROWID",
        "INSERT INTO t VALUES ('x', 1, 2), ('X', 3, 4), ('y', 5, 6)",
        "SELECT * FROM t",
        "SELECT * FROM t WHERE a = 'X'",
        "UPDATE t SET b = b + 1 WHERE c = 4",
        "UPDATE t SET a = 'Y' WHERE c = 2",
        "DELETE FROM t WHERE a = 'x' AND c = 4",
        "SELECT b, c FROM t ORDER BY b",
    ]);
}

#[test]
fn migrations_and_dumps_are_those_of_one_file() {
    alike_in_own("migrations.sql");
}

#[test]
fn requests_that_read_the_schema_or_defer_foreign_keys_are_those_of_one_file() {
    alike_in_own("requests.sql");
}

#[test]
fn tables_that_refer_to_each_other_are_those_of_one_file() {
    alike_in_own("relations.sql");
}

#[test]
fn what_applications_send_answers_as_one_file() {
    alike_in_own("applications.sql");
}

#[test]
fn queries_of_many_kinds_answer_as_one_file() {
    alike_in_own("queries.sql");
}

#[test]
fn minus_zero_becomes_zero() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c)",
        "INSERT INTO t VALUES (1, 'x', -0.0, 2.5), (2, -0.0, 0.0, 1)",
        "SELECT * FROM t ORDER BY id",
        "UPDATE t SET b = c - c WHERE c > (SELECT min(c) FROM t)",
        "SELECT * FROM t ORDER BY id",
        "UPDATE t SET b = -b",
        "SELECT * FROM t ORDER BY id",
    ]);
}

#[test]
fn rows_of_a_key_that_compares_otherwise_than_its_column_stand_for_groups() {
    alike(&[
        "CREATE TABLE u (b COLLATE NOCASE, e, PRIMARY KEY (b COLLATE BINARY)) WITHOUT ROWID",
        "INSERT INTO u VALUES ('a', 'B'), ('A', 'c'), ('C', 'c'), ('c', NULL)",
        "SELECT e, b FROM u GROUP BY e ORDER BY e",
        "SELECT b, max(e) FROM u GROUP BY e IS NULL ORDER BY 2",
    ]);
}

#[test]
fn the_rowid_of_a_row_that_an_upsert_leaves_out_is_the_next_one() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b UNIQUE, c)",
        "INSERT INTO t VALUES (30, 'x', 1, 'ab')",
        "INSERT INTO t (a, b) VALUES ('x', 7) ON CONFLICT (a) DO UPDATE SET c = excluded.id",
        "SELECT * FROM t",
        "INSERT INTO t (a, b) VALUES ('x', 1), ('y', 2), ('y', 3) ON CONFLICT DO UPDATE SET c = excluded.rowid || c",
        "SELECT * FROM t ORDER BY id",
        "INSERT INTO t (a) VALUES ('y') ON CONFLICT (a) DO UPDATE SET id = excluded.id RETURNING id",
        "INSERT INTO t (a) VALUES ('z') RETURNING id",
        "SELECT * FROM t ORDER BY id",
    ]);
}

#[test]
fn a_generated_rowid_that_refers_to_a_parent_finds_it() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b UNIQUE)",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, b, FOREIGN KEY (id) REFERENCES t)",
        "CREATE TABLE w (id INTEGER PRIMARY KEY REFERENCES t (b), c)",
        "INSERT INTO t (a, b) VALUES (3, 1)",
        "REPLACE INTO u (b) VALUES (4)",
        "INSERT INTO w DEFAULT VALUES",
        "INSERT INTO u (b) VALUES (5)",
        "SELECT * FROM u",
    ]);
}

#[test]
fn the_constraint_is_named_that_one_file_names() {
    alike(&[
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (a, b, c, d REFERENCES p, e CHECK (e < 9), PRIMARY KEY (b), UNIQUE (c), UNIQUE (a))",
        "CREATE UNIQUE INDEX later ON t (b, e)",
        "INSERT INTO p VALUES (4)",
        "INSERT INTO t VALUES (1, 1, 1, 4, 1), (2, 2, 2, 4, 2)",
        "INSERT INTO t VALUES (1, 1, 1, 6, 1)",
        "INSERT INTO t VALUES (1, 7, 1, 4, 1)",
        "INSERT INTO t VALUES (1, 7, 8, 6, 1)",
        "INSERT INTO t VALUES (5, 5, 5, 5, 5), (6, 6, 6, 4, 10)",
        "INSERT INTO t VALUES (5, 5, 1, 4, 5), (6, 6, 6, 4, 10)",
        "INSERT INTO t VALUES (6, 6, 6, 4, 10), (5, 5, 1, 4, 5)",
        "UPDATE t SET c = 1, a = 1, d = 5",
        "UPDATE t SET a = 7",
        "SELECT * FROM t",
    ]);
}

#[test]
fn rows_are_numbered_before_their_values_are_checked() {
    alike(&[
        "CREATE TABLE u (a INTEGER PRIMARY KEY CHECK (a < 8), b, c UNIQUE)",
        "INSERT OR IGNORE INTO u (b, c) VALUES (0, 0.25) RETURNING *",
        "INSERT INTO u (b, c) SELECT b, 'x' FROM u",
        "CREATE TABLE log (n INTEGER PRIMARY KEY, what)",
        "CREATE TRIGGER g AFTER INSERT ON u WHEN NEW.a < 5 BEGIN INSERT INTO log (what) VALUES (NEW.a); END",
        "INSERT INTO u (b) VALUES (1), (2), (3), (4)",
        "INSERT INTO u (b) VALUES (1), (2), (3), (4)",
        "SELECT * FROM u",
        "SELECT * FROM log",
    ]);
}

#[test]
fn types_of_strict_tables_are_looked_at_after_a_conflict_of_the_rowid() {
    alike(&[
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a INT, b BLOB, c TEXT UNIQUE) STRICT",
        "INSERT INTO u VALUES (2, 300, NULL, 'x')",
        "INSERT INTO u VALUES (2, 0, 'C', 'y') ON CONFLICT DO NOTHING",
        "INSERT INTO u VALUES (2, 0, 'C', 'y') ON CONFLICT DO UPDATE SET a = 5",
        "INSERT OR IGNORE INTO u VALUES (3, 0, 'C', 'x')",
        "INSERT INTO u VALUES (3, 0, 'C', 'y') ON CONFLICT DO NOTHING",
        "SELECT * FROM u",
    ]);
}

#[test]
fn a_default_that_replaces_null_decides_where_the_row_lies() {
    alike(&[
        "CREATE TABLE t (a, b DEFAULT 'c', PRIMARY KEY (b)) WITHOUT ROWID",
        "INSERT INTO t (a) VALUES (1)",
        "REPLACE INTO t VALUES (5, NULL)",
        "SELECT * FROM t",
        "CREATE TABLE u (a NOT NULL DEFAULT 'c', b, c)",
        "REPLACE INTO u VALUES (NULL, x'41', 4.0)",
        "UPDATE u SET a = '_'",
        "SELECT * FROM u",
    ]);
}

#[test]
fn a_view_over_no_table_is_there_although_nothing_of_it_is_read() {
    alike(&["CREATE VIEW v AS SELECT * FROM (VALUES (1.75))", "SELECT 1.75 FROM v ORDER BY 1"]);
}

#[test]
fn a_text_that_is_not_utf_8_stays_as_it_is_while_it_is_gathered() {
    alike(&[
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a, computed AS (CAST(a AS TEXT)))",
        "INSERT INTO u (a) VALUES (x'ff'), ('é'), (x'c3'), (x'6161ff')",
        "WITH one AS (SELECT 1) SELECT a, hex(computed), length(computed), CAST(computed AS BLOB) FROM u",
        "SELECT count(DISTINCT computed), hex(max(computed)) FROM u",
        "SELECT hex(computed) FROM u ORDER BY computed DESC LIMIT 2",
    ]);
}

#[test]
fn a_rowid_may_be_declared_unique_as_well() {
    alike(&[
        "CREATE TABLE t (a, b INTEGER UNIQUE, c, d, e, PRIMARY KEY (b))",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a, b, c, UNIQUE (id))",
        "CREATE TABLE w (id INTEGER PRIMARY KEY, a, b, c)",
        "CREATE UNIQUE INDEX i ON w (id)",
        "INSERT INTO t VALUES (2.0, 3, 9, 1, 2)",
        "INSERT INTO t (a) VALUES (1)",
        "INSERT INTO t (b) VALUES (3)",
        "INSERT INTO u (a) VALUES (5), (6)",
        "INSERT INTO u (id) VALUES (1)",
        "INSERT INTO w (a) VALUES (5), (6)",
        "INSERT OR REPLACE INTO w VALUES (2, 7, 7, 7)",
        "UPDATE u SET id = id + 10",
        "SELECT * FROM t",
        "SELECT * FROM u",
        "SELECT * FROM w",
    ]);
}

#[test]
fn autoincrement_counts_over_partitions() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE ON CONFLICT REPLACE, b)",
        "CREATE TABLE s (n)",
        "SELECT * FROM sqlite_sequence",
        "INSERT INTO t (a) VALUES (1), (2)",
        "INSERT INTO t (a, b) SELECT n, n FROM s",
        "INSERT INTO t (a) VALUES (2)",
        "DELETE FROM t WHERE id > 1",
        "INSERT INTO t (a) VALUES (5)",
        "INSERT INTO t (id, a) VALUES (70, 6)",
        "DELETE FROM t WHERE id = 70",
        "SELECT name, seq FROM sqlite_sequence",
        "INSERT INTO t (a) VALUES (7) RETURNING id",
        "INSERT OR IGNORE INTO t (id, a) VALUES (71, 7)",
        "SELECT * FROM t",
        "SELECT seq FROM sqlite_sequence WHERE name = 't'",
    ]);
}

#[test]
fn a_counter_counts_rows_that_a_conflict_clause_left_out() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE NOT NULL, b)",
        "CREATE TABLE log (n)",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.id); END",
        "INSERT INTO t (id, a) VALUES (23, 1)",
        "INSERT OR IGNORE INTO t (a, b) SELECT a, id FROM t",
        "INSERT OR IGNORE INTO t (id, a) VALUES (40, 1)",
        "SELECT name, seq FROM sqlite_sequence",
        "INSERT INTO t (a) VALUES (2) RETURNING id",
        "INSERT INTO t (a) VALUES (NULL)",
        "SELECT name, seq FROM sqlite_sequence",
        "SELECT * FROM log",
    ]);
}

#[test]
fn a_text_that_was_run_before_shows_the_columns_of_now() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x)",
        "INSERT INTO t VALUES (1, 2)",
        "SELECT * FROM t WHERE id = 1",
        "ALTER TABLE t ADD COLUMN b DEFAULT 7",
        "SELECT * FROM t WHERE id = 1",
        "ALTER TABLE t DROP COLUMN x",
        "SELECT * FROM t WHERE id = 1",
    ]);
}

#[test]
fn keys_of_tables_without_rowid_and_of_split_tables_are_unique() {
    alike(&[
        "CREATE TABLE t (a, b, c, d, PRIMARY KEY (b), UNIQUE (c)) WITHOUT ROWID",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a, b, c, d)",
        "INSERT INTO t VALUES (1, 2, 3, 4), (2, 3, 4, 5)",
        "INSERT INTO t VALUES (1, 5, 3, 4)",
        "REPLACE INTO t VALUES (1, 5, 3, 4)",
        "INSERT INTO u (a, b, c, d) VALUES (1, 1, 1, 1), (1, 2, 2, 1), (NULL, 3, 3, 3)",
        "CREATE UNIQUE INDEX i ON u (a, d)",
        "CREATE UNIQUE INDEX j ON u (b, c)",
        "CREATE UNIQUE INDEX k ON t (a, d)",
        "INSERT INTO u (a, b, c, d) VALUES (5, 3, 3, 5)",
        "INSERT INTO t VALUES (1, 9, 9, 4)",
        "UPDATE t SET c = 3",
        "SELECT * FROM t",
        "SELECT * FROM u",
    ]);
}

#[test]
fn dropping_a_table_lets_foreign_keys_act() {
    alike(&[
        "CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT UNIQUE)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p ON DELETE CASCADE)",
        "CREATE TABLE n (id INTEGER PRIMARY KEY, p TEXT REFERENCES p (code) ON DELETE SET NULL)",
        "CREATE TABLE r (id INTEGER PRIMARY KEY, c INT REFERENCES c)",
        "CREATE TABLE log (what)",
        "CREATE TRIGGER on_p AFTER DELETE ON p BEGIN INSERT INTO log VALUES ('p'); END",
        "CREATE TRIGGER on_c AFTER DELETE ON c BEGIN INSERT INTO log VALUES ('c'); END",
        "INSERT INTO p VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "INSERT INTO c VALUES (1, 1), (2, 1), (3, 2), (4, NULL)",
        "INSERT INTO n VALUES (1, 'a'), (2, 'b'), (3, NULL)",
        "INSERT INTO r VALUES (1, 3)",
        "DROP TABLE p",
        "SELECT * FROM c",
        "SELECT * FROM n",
        "DELETE FROM r",
        "DROP TABLE p",
        "SELECT * FROM c",
        "SELECT * FROM n",
        "SELECT * FROM log",
        "DROP TABLE c",
    ]);
}

#[test]
fn a_row_that_refers_to_itself_keeps_its_table_only_if_it_restricts() {
    alike(&[
        "CREATE TABLE tree (id INTEGER PRIMARY KEY, up INT REFERENCES tree)",
        "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)",
        "DROP TABLE tree",
        "CREATE TABLE tree (id INTEGER PRIMARY KEY, up INT REFERENCES tree ON DELETE RESTRICT)",
        "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2)",
        "DROP TABLE tree",
        "SELECT * FROM tree",
    ]);
}

#[test]
fn the_constraint_is_named_that_a_refused_row_violates_first() {
    alike(&[
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a DEFAULT 3.75 UNIQUE, b)",
        "INSERT INTO u VALUES (30, 1.75, 2.5)",
        // The second row is in conflict with the first one, and with the row that is there.
        "INSERT INTO u (id, b) VALUES (15, 0.0), (30, 4.5)",
        "UPDATE u SET id = id + 1, a = 7 WHERE b > 0",
        "INSERT INTO u (id, a, b) VALUES (40, 8, 1), (41, 9, 2)",
        "UPDATE u SET id = CASE id WHEN 41 THEN 31 ELSE id END, a = 7 WHERE id > 39",
        "CREATE TABLE t (a, b UNIQUE, c, d UNIQUE)",
        "INSERT INTO t (a, b, c, d) VALUES ('A', 6, 4.0, 4)",
        "INSERT INTO t (a, b, c, d) VALUES ('x', 2, 2.25, 6), ('C', 2, 4.5, 4)",
        "INSERT INTO t (a, b, c, d) VALUES ('x', 2, 2.25, 6), ('C', 6, 4.5, 6)",
        "CREATE TABLE w (k TEXT, x NOT NULL, y UNIQUE, PRIMARY KEY (k, y)) WITHOUT ROWID",
        "INSERT INTO w VALUES ('a', 1, 1), ('b', 2, 2)",
        "INSERT INTO w VALUES ('c', 3, 3), ('a', 3, 3), ('a', 1, 1)",
        "INSERT INTO w VALUES ('c', 3, 3), ('a', NULL, 1)",
        "CREATE TRIGGER g AFTER INSERT ON u BEGIN INSERT INTO t (b, d) VALUES (NEW.id, 4), (NEW.id, NEW.a); END",
        "INSERT INTO u (id, a) VALUES (6, 10)",
        "SELECT * FROM u",
        "SELECT * FROM t",
        "SELECT * FROM w",
    ]);
}

#[test]
fn a_rowid_that_is_generated_may_be_given_later_in_the_statement() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a)",
        "INSERT INTO t VALUES (18, 0)",
        "INSERT INTO t VALUES (NULL, 1), (19, 2)",
        "INSERT OR IGNORE INTO t VALUES (NULL, 1), (19, 2)",
        "INSERT INTO t VALUES (NULL, 3), (40, 4), (NULL, 5), (30, 6), (NULL, 7)",
        "INSERT INTO t (a) VALUES (8)",
        "INSERT INTO t VALUES (9223372036854775806, 9), (NULL, 10)",
        "SELECT * FROM t",
    ]);
}

#[test]
fn a_statement_that_is_refused_uses_no_rowids_up() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE, b)",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a, b)",
        "INSERT INTO t (id, a, b) VALUES (1, '2', 1)",
        "INSERT INTO u (id, a, b) VALUES (1, '2', 1)",
        "INSERT INTO t VALUES (1, x'', NULL), (NULL, 'B', 3)",
        "INSERT INTO u VALUES (1, x'', NULL), (NULL, 'B', 3)",
        "INSERT INTO t VALUES (NULL, 7, NULL), (NULL, 7, 3)",
        "INSERT INTO t DEFAULT VALUES RETURNING *",
        "INSERT INTO u DEFAULT VALUES RETURNING *",
    ]);
}

#[test]
fn values_of_generated_columns_are_not_asked_for_beforehand() {
    alike(&[
        "CREATE TABLE t (a, b INTEGER)",
        "CREATE TABLE u (a INTEGER, computed AS (a + 1))",
        "INSERT INTO t VALUES (1, 2), (2, 3), (3, 9)",
        "INSERT INTO u (a) VALUES (1), (2), (5)",
        "DELETE FROM u WHERE u.computed AND u.computed IN (SELECT q.b FROM t q WHERE (q.b, q.a) > (0, 1))",
        "UPDATE t SET a = (SELECT max(computed) FROM u WHERE computed = t.b + 4)",
        "SELECT * FROM u",
        "SELECT * FROM t",
    ]);
}

#[test]
fn a_column_with_a_check_is_added_if_all_rows_pass_it() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT CHECK (a < 100), b TEXT, c)",
        "ALTER TABLE t ADD COLUMN d DEFAULT 4 CHECK (d <> 3)",
        "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3, 'z'), (40, 'w'), (5, 'v')",
        "ALTER TABLE t ADD COLUMN e DEFAULT 3 CHECK (e <> 3)",
        "ALTER TABLE t ADD COLUMN e INT CHECK (a < 40 OR e IS NOT NULL)",
        "ALTER TABLE t ADD COLUMN e INT CHECK (b <> 'w' OR e IS NOT NULL)",
        "ALTER TABLE t ADD COLUMN e TEXT CHECK (length(e) < 3 OR a > 40)",
        "ALTER TABLE t ADD COLUMN f",
        "UPDATE t SET e = 'long'",
        "UPDATE t SET e = 'ok' WHERE a = 3",
        "INSERT INTO t (a, d) VALUES (6, 3)",
        "PRAGMA table_info(t)",
        "SELECT * FROM t",
        "CREATE TABLE s (id INTEGER PRIMARY KEY, a INT, b TEXT) STRICT",
        "INSERT INTO s (a) VALUES (1), (2), (3)",
        "ALTER TABLE s ADD COLUMN c INT DEFAULT 'no'",
        "ALTER TABLE s ADD COLUMN c INT DEFAULT 5",
        "SELECT * FROM s",
    ]);
}

#[test]
fn queries_that_only_pick_mean_the_same_inside_others() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT COLLATE NOCASE, c REAL, n INT)",
        "INSERT INTO t (a, b, c, n) VALUES (1, 'x', 1.5, 1), ('1', 'X', 2, 2), (NULL, 'y', 2.5, 3), (1.0, 'Y', 3, 4), (2, 'z', 4, 5)",
        "CREATE VIEW v AS SELECT b, n, n + 1 AS next, c FROM t WHERE n < 5",
        "CREATE VIEW w (p, q) AS SELECT b, next FROM v WHERE c > 1.5",
        "SELECT b, count(*), max(next) FROM v GROUP BY b ORDER BY 3 DESC",
        "SELECT * FROM w ORDER BY q DESC LIMIT 2",
        "SELECT v.*, next || '' FROM v WHERE next = '3'",
        "SELECT sum(q), group_concat(p) FROM w",
        "SELECT DISTINCT p FROM w WHERE p = 'Y'",
        "SELECT p COLLATE BINARY, count(*) FROM w GROUP BY 1 ORDER BY 1",
        "WITH x AS (SELECT a, n FROM t) SELECT a, count(*), total(n) FROM x GROUP BY a ORDER BY 1, 2, 3",
        "WITH x (n, a) AS (SELECT a, n FROM t) SELECT n, a FROM x WHERE a > 2 ORDER BY a",
        "WITH t AS (SELECT 7 AS n, a FROM main.t) SELECT n, count(a) FROM t GROUP BY n",
        "WITH x AS (SELECT n FROM t) SELECT n FROM t WHERE n IN (SELECT n FROM x) ORDER BY n",
        "SELECT n AS a, a AS n FROM (SELECT a, n FROM t) ORDER BY a, n",
        "SELECT n AS a FROM (SELECT n FROM t) WHERE a > 2 ORDER BY a",
        "SELECT n AS a FROM (SELECT n FROM t) GROUP BY a HAVING a < 4 ORDER BY a",
        "SELECT o.n + 1 AS n FROM (SELECT n, -n AS m FROM t) AS o ORDER BY n, o.m",
        "SELECT x.m FROM (SELECT -n AS m FROM (SELECT n FROM t WHERE n > 1) WHERE n < 5) AS x ORDER BY x.m LIMIT 2",
        "SELECT rowid FROM (SELECT rowid, a FROM t WHERE n > 3) ORDER BY 1",
        "SELECT r, count(*) FROM (SELECT rowid % 2 AS r FROM t) GROUP BY r",
        "SELECT a FROM (SELECT a, a FROM t) ORDER BY 1",
        "SELECT count(*) FROM (SELECT 1 FROM t)",
        "SELECT one FROM (SELECT 1 AS one, n FROM t) GROUP BY one",
        "SELECT \"n+1\" FROM (SELECT n+1 FROM t) ORDER BY 1",
        "SELECT missing FROM (SELECT n FROM t)",
        "SELECT a FROM (SELECT n FROM t)",
        "SELECT id FROM w",
    ]);
}

#[test]
fn a_unique_index_finds_equal_rows_without_rowids() {
    alike(&[
        "CREATE TABLE t (a, b, c TEXT COLLATE NOCASE, PRIMARY KEY (b)) WITHOUT ROWID",
        "INSERT INTO t VALUES (1, 'p', 'x'), (2, 'q', 'y'), (2, 'r', 'Y'), (NULL, 's', NULL), (NULL, 'u', 'z')",
        "CREATE UNIQUE INDEX i ON t (a)",
        "CREATE UNIQUE INDEX i ON t (c)",
        "CREATE UNIQUE INDEX i ON t (c, a)",
        "UPDATE t SET a = 3 WHERE b = 'r'",
        "CREATE UNIQUE INDEX i ON t (a)",
        "CREATE UNIQUE INDEX j ON t (c, a)",
        "INSERT INTO t VALUES (3, 'v', 'w')",
        "UPDATE t SET a = 2 WHERE b = 'r'",
        "SELECT * FROM t",
    ]);
}

#[test]
fn a_renamed_column_stays_unique() {
    alike(&[
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a, b)",
        "CREATE UNIQUE INDEX i ON u (a, b)",
        "INSERT INTO u (a, b) VALUES (1, 1), (2, 2)",
        "ALTER TABLE u RENAME a TO \"new name\"",
        "INSERT INTO u (\"new name\", b) VALUES (1, 1)",
        "REPLACE INTO u (\"new name\", b) VALUES (1, 1)",
        "INSERT INTO u (\"new name\", b) VALUES (2, 2) ON CONFLICT DO UPDATE SET b = 3",
        "ALTER TABLE u RENAME TO v",
        "ALTER TABLE v RENAME b TO B",
        "REPLACE INTO v VALUES (7, 2, 3)",
        "SELECT * FROM v",
    ]);
}

#[test]
fn a_row_that_a_trigger_makes_needs_its_parent() {
    alike(&[
        "CREATE TABLE t (id PRIMARY KEY, a)",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a, b, FOREIGN KEY (id) REFERENCES t)",
        "CREATE TRIGGER g BEFORE DELETE ON u BEGIN INSERT INTO u (a) VALUES (OLD.b); END",
        "INSERT INTO t (id, a) VALUES (7, 0)",
        "INSERT INTO u VALUES (7, '01', 3.0)",
        "DELETE FROM u WHERE NOT (u.b, u.id) IS (0.0, 3.5)",
        "ALTER TABLE t ADD k",
        "DELETE FROM u WHERE NOT (u.b, u.id) IS (0.0, 3.5)",
        "SELECT * FROM u",
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p)",
        "INSERT INTO p VALUES (1), (2), (3)",
        "INSERT INTO c VALUES (1, 1), (2, 2)",
        // The first row lacks its parent then; that the other one leaves its own does not make up for it.
        "UPDATE c SET p = CASE id WHEN 1 THEN 9 ELSE 3 END",
        "SELECT * FROM c",
    ]);
}

#[test]
fn parents_that_a_change_does_not_concern_are_left_alone() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a)",
        "CREATE TABLE u (id, a, b UNIQUE, FOREIGN KEY (id) REFERENCES t)",
        "CREATE TABLE w (b REFERENCES u (b))",
        "INSERT INTO t VALUES (16, 2.25)",
        "INSERT INTO u (id, a, b) VALUES (16, 'x', 7)",
        "UPDATE u SET b = q.v FROM (SELECT id AS v FROM u) AS q",
        "INSERT INTO w VALUES (16)",
        "UPDATE u SET b = q.v + 1 FROM (SELECT id AS v FROM u) AS q",
        "SELECT * FROM u",
    ]);
}

#[test]
fn a_later_statement_of_a_request_counts_on_from_rowids_that_an_earlier_one_gives() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE)",
        "CREATE TABLE u (id INTEGER PRIMARY KEY AUTOINCREMENT, a)",
        "INSERT INTO t (a) VALUES ('x')",
        "BEGIN;\nINSERT INTO t VALUES (100, 'y');\nINSERT INTO t (a) VALUES ('z'), ('zz');\nCOMMIT",
        "BEGIN;\nINSERT INTO t VALUES (50, 1);\nINSERT INTO t (a) VALUES (2);\nINSERT INTO t (a) VALUES (3);\nCOMMIT",
        "SELECT * FROM t",
        "INSERT INTO t (a) VALUES ('next')",
        "BEGIN;\nINSERT INTO u VALUES (9, 'y');\nINSERT INTO u (a) VALUES ('z');\nINSERT INTO u (a) VALUES ('z');\nCOMMIT",
        "INSERT INTO u (a) VALUES ('next')",
        "SELECT * FROM t",
        "SELECT * FROM u",
    ]);
}

#[test]
fn rows_that_a_statement_leaves_out_use_no_rowids_of_a_later_one_up() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b)",
        "INSERT INTO t (a) VALUES ('x')",
        "BEGIN;\nINSERT OR IGNORE INTO t VALUES (100, 'x', 1);\nINSERT INTO t (a) VALUES ('z');\nCOMMIT",
        "BEGIN;\nINSERT INTO t (a) VALUES ('x') ON CONFLICT DO UPDATE SET b = 5;\nINSERT INTO t (a) VALUES ('v');\nCOMMIT",
        "SELECT * FROM t",
        "INSERT INTO t (a) VALUES ('next')",
        "SELECT * FROM t",
    ]);
}

#[test]
fn a_deferred_foreign_key_is_checked_after_a_statement_that_is_none() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "CREATE TABLE u (a, b REFERENCES t DEFERRABLE INITIALLY DEFERRED, c REFERENCES t)",
        "BEGIN;\nINSERT INTO u VALUES (1, 7, NULL);\nnonsense;\nCOMMIT",
        "BEGIN;\nINSERT INTO u VALUES (1, NULL, 7);\nnonsense;\nCOMMIT",
        "BEGIN;\nINSERT INTO u VALUES (1, 7, NULL);\nDELETE FROM u;\nCOMMIT",
        "SELECT * FROM u",
    ]);
}

#[test]
fn the_first_statement_of_a_request_that_is_refused_is_named() {
    alike(&[
        "CREATE TABLE t (b PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE w (a PRIMARY KEY, b)",
        "INSERT INTO w VALUES (0, 4), (1, 4), (2, 4), (3, 4)",
        "BEGIN;\nINSERT INTO w VALUES (0, 1);\nINSERT INTO t DEFAULT VALUES;\nCOMMIT",
        "BEGIN;\nINSERT INTO w VALUES (1, 1);\nINSERT INTO t DEFAULT VALUES;\nCOMMIT",
        "BEGIN;\nINSERT INTO w VALUES (9, 1);\nINSERT INTO t DEFAULT VALUES;\nINSERT INTO w VALUES (3, 1);\nCOMMIT",
        "SELECT * FROM w",
    ]);
}

#[test]
fn unique_indexes_over_expressions_and_some_of_the_rows_span_partitions() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, mail TEXT, gone INT, n REAL)",
        "INSERT INTO t VALUES (1, 'Ann@x', 0, 1.0), (2, 'bob@x', 0, 2.5), (3, 'BOB@x', 1, 2)",
        "CREATE UNIQUE INDEX by_mail ON t (lower(mail))",
        "CREATE UNIQUE INDEX by_mail ON t (lower(mail)) WHERE NOT gone",
        "CREATE UNIQUE INDEX by_n ON t (n) WHERE n IS NOT NULL",
        "CREATE UNIQUE INDEX by_both ON t (mail COLLATE NOCASE, round(n))",
        "INSERT INTO t VALUES (4, 'ANN@X', 0, 7)",
        "INSERT INTO t VALUES (4, 'eve@X', 1, 1)",
        "INSERT INTO t VALUES (4, 'ANN@X', 1, 1.25)",
        "INSERT INTO t VALUES (4, 'ANN@X', 1, 7), (5, NULL, 0, NULL), (6, NULL, 0, NULL)",
        "UPDATE t SET gone = 0 WHERE id = 3",
        "UPDATE t SET gone = 0 WHERE id = 4",
        "UPDATE t SET gone = NOT gone WHERE id IN (2, 3)",
        "INSERT INTO t VALUES (7, 'bob@X', 0, 9) ON CONFLICT (lower(mail)) WHERE NOT gone DO UPDATE SET n = excluded.n RETURNING *",
        "INSERT OR REPLACE INTO t VALUES (8, 'bOb@x', 0, 10)",
        "INSERT OR IGNORE INTO t VALUES (9, 'ann@x', 0, 11), (10, 'eve', 0, 10), (11, 'eve', 0, 12)",
        "DELETE FROM t WHERE lower(mail) = 'ann@x'",
        "INSERT INTO t (mail, gone, n) VALUES ('ann@x', 0, 1)",
        "ALTER TABLE t RENAME COLUMN mail TO email",
        "INSERT INTO t (email, gone, n) VALUES ('ANN@x', 0, 99)",
        "ALTER TABLE t RENAME TO people",
        "INSERT INTO people (email, gone, n) VALUES ('ANN@x', 0, 99)",
        "INSERT INTO people (email, gone, n) VALUES ('ANN@x', 1, 1)",
        "SELECT * FROM people",
        "DROP INDEX by_mail",
        "INSERT INTO people (email, gone, n) VALUES ('ANN@x', 0, 99)",
        "SELECT * FROM people",
    ]);
}

#[test]
fn constraints_with_collations_of_their_own_and_over_generated_columns_span_partitions() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b AS (a || 'x'), UNIQUE (a COLLATE NOCASE), UNIQUE (b COLLATE RTRIM))",
        "INSERT INTO t (a) VALUES ('one'), ('two'), (NULL), (NULL)",
        "INSERT INTO t (a) VALUES ('ONE')",
        "INSERT INTO t (a) VALUES ('three'), ('Two')",
        "UPDATE t SET a = 'TWO' WHERE a = 'two'",
        "UPDATE OR REPLACE t SET a = 'ONE' WHERE a = 'TWO'",
        "SELECT * FROM t",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, n INT, digit INT AS (n % 10) STORED UNIQUE)",
        "INSERT INTO u (n) VALUES (1), (12), (23)",
        "INSERT INTO u (n) VALUES (33)",
        "INSERT INTO u (n) VALUES (33) ON CONFLICT (digit) DO UPDATE SET n = n + 1",
        "UPDATE u SET n = n + 10",
        "SELECT * FROM u",
        "CREATE TABLE w (k TEXT PRIMARY KEY, n INT) WITHOUT ROWID",
        "INSERT INTO w VALUES ('a', 1), ('b', -2), ('c', 3), ('d', -4)",
        "CREATE UNIQUE INDEX wn ON w (abs(n))",
        "INSERT INTO w VALUES ('e', 2)",
        "INSERT INTO w VALUES ('e', 5), ('f', 6)",
        "UPDATE w SET k = k || k",
        "DELETE FROM w WHERE n = 5",
        "INSERT INTO w VALUES ('g', -5)",
        "DROP INDEX wn",
        "INSERT INTO w VALUES ('h', 5)",
        "CREATE UNIQUE INDEX wn ON w (abs(n))",
        "SELECT * FROM w",
    ]);
}

#[test]
fn rows_behind_a_text_that_is_not_utf_8_meet_those_they_are_in_conflict_with() {
    alike(&[
        "CREATE TABLE u (id INTEGER PRIMARY KEY, a, b UNIQUE)",
        "INSERT INTO u VALUES (3, 'B', 'a'), (29, 'C', 'B')",
        "INSERT INTO u VALUES (16, upper(x'ff'), 'ab'), (3, 2.0, '2'), ('x', NULL, '3')",
        "INSERT INTO u VALUES (16, upper(x'ff'), 'ab'), (17, 2.0, 'B'), ('x', NULL, '3')",
        "SELECT * FROM u",
    ]);
}

#[test]
fn rows_without_rowids_are_visited_in_the_directions_of_their_key() {
    alike(&[
        "CREATE TABLE w (a TEXT COLLATE NOCASE, b INT, c, PRIMARY KEY (a, b DESC)) WITHOUT ROWID",
        "INSERT INTO w VALUES ('x', 1, 1), ('X', 2, 2), ('y', 1, 3), ('y', 5, 4), ('Y', 3, 5)",
        "SELECT a, group_concat(b), group_concat(c) FROM w GROUP BY a ORDER BY a",
        "SELECT group_concat(a || b) FROM w",
        "SELECT c, a FROM w LIMIT 3",
        "SELECT a, c FROM w ORDER BY a LIMIT 2",
        "CREATE TABLE v (k INT, x, PRIMARY KEY (k DESC)) WITHOUT ROWID",
        "INSERT INTO v VALUES (1, 'a'), (2, 'b'), (3, 'A'), (4, 'b'), (5, 'c')",
        "SELECT group_concat(x), min(x), k FROM v",
        "SELECT x, k, count(*) FROM v GROUP BY x COLLATE NOCASE",
        "SELECT DISTINCT x COLLATE NOCASE FROM v",
        "SELECT k, x FROM v LIMIT 2",
        "SELECT k, count(*) FROM v GROUP BY k LIMIT 2",
        "UPDATE v SET k = k + 1",
        "UPDATE v SET x = (SELECT group_concat(k) FROM v)",
        "SELECT * FROM v ORDER BY k",
    ]);
}

#[test]
fn a_column_is_dropped_whatever_column_group_it_lies_in() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, f INT, b TEXT, c REAL, d, e UNIQUE)",
        "INSERT INTO t VALUES (1, 1, 'x', 1.0, 1, 1), (2, 2, 'y', 2.5, x'00', 2), (3, 3, NULL, -0.0, NULL, NULL)",
        "ALTER TABLE t DROP COLUMN c",
        "SELECT * FROM t",
        "INSERT INTO t VALUES (4, 4, 'z', 'new', 4)",
        "UPDATE t SET b = b || '!', d = id WHERE id <> 2",
        "UPDATE t SET f = f + 1",
        "DELETE FROM t WHERE id = 3 RETURNING *",
        "REPLACE INTO t VALUES (5, 5, 'five', 5, 2)",
        "SELECT * FROM t",
        "ALTER TABLE t DROP COLUMN d",
        "ALTER TABLE t DROP COLUMN e",
        "CREATE UNIQUE INDEX i ON t (f, b)",
        "INSERT INTO t VALUES (6, 6, 'six')",
        "INSERT INTO t SELECT id + 10, f, b FROM t",
        "ALTER TABLE t ADD COLUMN c DEFAULT 'again'",
        "UPDATE t SET c = b WHERE id = 1",
        "SELECT * FROM t",
        "DROP INDEX i",
        "ALTER TABLE t DROP COLUMN b",
        "UPDATE t SET id = id + 100",
        "ALTER TABLE t DROP COLUMN f",
        "DELETE FROM t WHERE id = 101",
        "SELECT * FROM t",
        "CREATE TABLE w (k TEXT COLLATE NOCASE, x, y, z, PRIMARY KEY (k)) WITHOUT ROWID",
        "INSERT INTO w VALUES ('a', 1, 2, 3), ('B', 4, 5, 6)",
        "ALTER TABLE w DROP COLUMN y",
        "INSERT INTO w VALUES ('A', 7, 8) ON CONFLICT (k) DO UPDATE SET x = excluded.x, z = 9",
        "ALTER TABLE w DROP COLUMN z",
        "UPDATE w SET k = 'c' WHERE x = 4",
        "SELECT * FROM w",
        "ALTER TABLE w DROP COLUMN x",
        "DELETE FROM w WHERE k = 'C'",
        "SELECT * FROM w",
    ]);
}

#[test]
fn a_view_may_promise_other_columns_than_its_query_has() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a)",
        "CREATE VIEW v (x, y) AS SELECT a FROM t",
        "CREATE VIEW v (x, y) AS SELECT a FROM t",
        "CREATE VIEW IF NOT EXISTS v (x, y) AS SELECT a FROM t",
        "SELECT * FROM v",
        "INSERT INTO t (a) VALUES (1)",
        "SELECT count(*) FROM t, v",
        "DROP VIEW v",
        "SELECT * FROM t",
    ]);
}

#[test]
fn distinct_constants_of_no_rows_are_none() {
    alike(&[
        "CREATE TABLE u (b, c)",
        "SELECT count(DISTINCT 1.5), max(q1.b) FROM u q1",
        "SELECT count(DISTINCT 1) FROM u",
        "SELECT sum(DISTINCT 2), count(*) FROM u",
        "INSERT INTO u VALUES (1, 'a'), (2, 'b')",
        "SELECT count(DISTINCT 1.5), max(q1.b) FROM u q1",
        "SELECT sum(DISTINCT 2), count(*) FROM u",
        "SELECT c, count(DISTINCT 1) FROM u GROUP BY c",
    ]);
}

#[test]
fn windows_of_one_partition_each_mean_the_same() {
    alike(&[
        "CREATE TABLE t (a TEXT COLLATE NOCASE, b INT, c REAL, n INT, PRIMARY KEY (a, b))",
        "INSERT INTO t VALUES ('x', 1, 0.1, 5), ('X', 2, 0.2, 5), ('y', 1, 0.3, 7), ('x', 3, 1e20, 1), ('Y', 4, -1e20, NULL), (NULL, 5, 1.0, 2), (NULL, 6, 2.0, 2)",
        "SELECT a, b, rank() OVER (PARTITION BY a, b ORDER BY n) AS r FROM t ORDER BY b, r, a",
        "SELECT b, sum(c) OVER (PARTITION BY a, b ORDER BY n ROWS 1 PRECEDING), count(*) OVER (PARTITION BY b, n, a) FROM t ORDER BY 1, 2, 3",
        "SELECT b, row_number() OVER (PARTITION BY a) AS rn FROM t ORDER BY rn, b LIMIT 3 OFFSET 1",
        "CREATE TABLE u (k TEXT COLLATE NOCASE PRIMARY KEY, v INT, w)",
        "INSERT INTO u VALUES ('a', 1, 'p'), ('b', 2, 'q'), ('c', 3, 'p'), (NULL, 4, 'r'), (NULL, 5, 'r')",
        "SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS n, sum(v) OVER (PARTITION BY k) FROM u ORDER BY v",
        "SELECT x.v, max(x.v) OVER (PARTITION BY x.key) AS m FROM (SELECT k AS key, -v AS v FROM u) AS x ORDER BY x.v LIMIT 3",
        "SELECT v, lag(w, 1, 'none') OVER (PARTITION BY k COLLATE BINARY ORDER BY v) FROM u ORDER BY v",
        "SELECT v, nth_value(w, 0) OVER (PARTITION BY k) FROM u ORDER BY v",
        "SELECT v, ntile(2) OVER (PARTITION BY k ORDER BY v DESC) + v FROM u ORDER BY 2 DESC, 1",
        "SELECT DISTINCT count(*) OVER (PARTITION BY k) FROM u ORDER BY 1",
        "SELECT k, count(*), sum(count(*)) OVER (PARTITION BY k) FROM u GROUP BY k ORDER BY 1",
    ]);
}

#[test]
fn a_statement_over_answers_of_queries_within_is_what_it_is_in_one_file() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b TEXT, c, d REAL, e INT)",
        "INSERT INTO t VALUES (1, 'x', '1', 1, 1, 1), (2, 'X', '01', '1', 2, 1), (3, 'y', '2', 1.0, 2.5, 2), (4, NULL, NULL, NULL, NULL, NULL), (5, 'x', '10', x'31', 3, 10)",
        "CREATE TABLE u (id INTEGER PRIMARY KEY, t TEXT, n INT)",
        "INSERT INTO u VALUES (1, '1', 1), (2, '2', 2), (3, '10', 10), (4, '1.0', 4)",
        "CREATE VIEW v (k, many) AS SELECT b, count(*) FROM t GROUP BY b",
        "CREATE VIEW w AS SELECT e, count(*), sum(d) AS s FROM t GROUP BY e",
        // What is compared with a column is converted, what is computed is not.
        "SELECT b, typeof(b), b = 1, n = '1', n = 1 FROM (SELECT b, count(*) AS n FROM t GROUP BY b) ORDER BY b",
        "SELECT x.b, y.n FROM (SELECT b FROM t GROUP BY b) x JOIN (SELECT n FROM u GROUP BY n) y ON x.b = y.n ORDER BY 1, 2",
        "SELECT x.m, y.n FROM (SELECT max(b) AS m FROM t GROUP BY e) x JOIN (SELECT n FROM u GROUP BY n) y ON x.m = y.n ORDER BY 1, 2",
        "SELECT x.m, y.n FROM (SELECT e + 0 AS m FROM t GROUP BY e) x JOIN (SELECT t AS n FROM u GROUP BY t) y ON x.m = y.n ORDER BY 1, 2",
        "SELECT x.c, y.c FROM (SELECT DISTINCT c FROM t) x JOIN (SELECT DISTINCT c FROM t) y ON x.c = y.c ORDER BY 1, 2",
        "SELECT a, count(*) FROM (SELECT a, b FROM t GROUP BY a, b) GROUP BY a ORDER BY 1",
        "SELECT * FROM (SELECT DISTINCT a FROM t) WHERE a = 'X'",
        "SELECT a FROM t GROUP BY a UNION SELECT t FROM u GROUP BY t ORDER BY 1",
        "SELECT max(a) FROM t UNION SELECT 'X' ORDER BY 1",
        "SELECT 'X' AS k UNION SELECT a FROM t GROUP BY a ORDER BY k",
        "SELECT b, 7 FROM t GROUP BY b UNION ALL SELECT t, count(*) FROM u GROUP BY t ORDER BY 1, 2 LIMIT 4",
        "SELECT k, typeof(k), k = 1 FROM (SELECT b AS k FROM t GROUP BY b UNION ALL SELECT n FROM u GROUP BY n) ORDER BY 1, 2",
        "SELECT k, k = '1' FROM (SELECT e + 1 AS k FROM t GROUP BY e UNION ALL SELECT n FROM u GROUP BY n) ORDER BY 1, 2",
        "SELECT count(*), min(k) FROM (SELECT count(*) AS k FROM t UNION ALL SELECT count(*) FROM u)",
        "SELECT k, many + 1 FROM v WHERE many > 1",
        "SELECT * FROM v ORDER BY k LIMIT 2",
        "SELECT \"count(*)\", s FROM w ORDER BY e",
        "SELECT \"count(*)\", \"sum( d )\" FROM (SELECT count(*), sum( d ) FROM t)",
        "SELECT * FROM (SELECT a, a FROM t ORDER BY id LIMIT 2)",
        "SELECT v.k, w.s FROM v LEFT JOIN w ON v.k = w.e ORDER BY 1, 2",
        "WITH t AS (SELECT n AS b FROM u GROUP BY n) SELECT * FROM (SELECT count(*) AS many FROM t), (SELECT max(b) FROM t)",
        "WITH x AS (SELECT e, sum(d) AS s FROM t GROUP BY e), y AS (SELECT max(s) AS s FROM x) SELECT e FROM x JOIN y USING (s)",
        "WITH RECURSIVE c (i) AS (SELECT min(e) FROM t UNION ALL SELECT i + 1 FROM c WHERE i < 3) SELECT i, (SELECT count(*) FROM u) FROM c",
        "SELECT (SELECT count(*) FROM t), (SELECT a FROM t ORDER BY id LIMIT 1) = 'X', 2 IN (SELECT b FROM t), EXISTS (SELECT 1 FROM u WHERE n > 99)",
        "SELECT *, (SELECT x.e + count(*) FROM u) FROM (SELECT e FROM t GROUP BY e) x ORDER BY 1",
        "SELECT id FROM (SELECT id, d FROM t ORDER BY d DESC LIMIT 3) WHERE d > 2 ORDER BY id",
        "SELECT group_concat(n) FROM (SELECT e, count(*) AS n FROM t GROUP BY e)",
        "SELECT abs(m) FROM (SELECT -9223372036854775807 - count(*) AS m FROM t GROUP BY e)",
        "SELECT e, sum(n) OVER (ORDER BY e) FROM (SELECT e, count(*) AS n FROM t GROUP BY e) ORDER BY e",
        "SELECT id FROM t ORDER BY rank() OVER (PARTITION BY id ORDER BY a), id DESC LIMIT 2",
    ]);
}

#[test]
fn a_table_that_is_made_of_a_query_changes_no_rows() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "CREATE TABLE u AS SELECT a, count(*) AS n FROM t GROUP BY a",
        "SELECT * FROM u ORDER BY a",
    ]);
}

#[test]
fn conflicts_in_indexes_over_expressions_and_partial_ones_end_as_in_one_file() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b, c AS (b * 2), UNIQUE (a COLLATE NOCASE), UNIQUE (c))",
        "CREATE UNIQUE INDEX i ON t (lower(a), typeof(b)) WHERE b IS NOT NULL",
        "CREATE UNIQUE INDEX j ON t (b COLLATE RTRIM) WHERE b > 'a'",
        "INSERT INTO t (id, a, b) VALUES (1, 'x', 1), (2, 'y', 2), (3, NULL, 'b'), (4, 'z', 'c '), (5, NULL, NULL)",
        "INSERT INTO t (a, b) VALUES ('X', 7) ON CONFLICT DO NOTHING",
        "INSERT INTO t (a, b) VALUES ('X', 7) ON CONFLICT (a COLLATE NOCASE) DO UPDATE SET b = excluded.b RETURNING *",
        "INSERT INTO t (a, b) VALUES ('q', 'c') ON CONFLICT (b COLLATE RTRIM) WHERE b > 'a' DO UPDATE SET a = 'zz' RETURNING *",
        "REPLACE INTO t (id, a, b) VALUES (9, 'ZZ', 2.0) RETURNING *",
        "SELECT * FROM t ORDER BY id",
        "UPDATE OR IGNORE t SET b = 7",
        "UPDATE OR REPLACE t SET b = 'b ' WHERE id > 4",
        "SELECT * FROM t ORDER BY id",
        "INSERT INTO t (a, b) VALUES ('X', 7), ('w', 'b')",
        "INSERT INTO t (a, b) SELECT a || 'n', b FROM t WHERE true ON CONFLICT DO UPDATE SET a = excluded.a || t.id",
        "UPDATE t SET b = 1, a = 'X'",
        "SELECT * FROM t ORDER BY id",
    ]);
}

#[test]
fn a_statement_of_a_request_may_ask_what_those_before_it_did() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, b)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, t INT REFERENCES t, b)",
        "INSERT INTO t (a) VALUES ('x')",
        "BEGIN;\nINSERT INTO t (a) VALUES ('y');\nINSERT INTO child (t, b) VALUES (last_insert_rowid(), 'of y');\nSELECT last_insert_rowid();\nCOMMIT",
        "BEGIN;\nUPDATE t SET b = a;\nSELECT changes();\nINSERT INTO t (a, b) VALUES ('z', changes());\nCOMMIT",
        "BEGIN;\nINSERT INTO t (id, a) VALUES (70, 'v');\nINSERT OR IGNORE INTO t (a) VALUES ('v');\nSELECT changes(), last_insert_rowid();\nDELETE FROM child WHERE t = last_insert_rowid();\nSELECT changes();\nCOMMIT",
        "BEGIN;\nINSERT INTO child (t) SELECT id FROM t WHERE id < 3;\nUPDATE t SET b = changes() WHERE id = last_insert_rowid();\nCOMMIT",
        "SELECT * FROM t ORDER BY id",
        "SELECT * FROM child ORDER BY id",
    ]);
}

#[test]
fn a_statement_of_a_request_may_ask_how_much_those_before_it_changed_in_all() {
    alike(&[
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p ON DELETE CASCADE ON UPDATE SET NULL, b)",
        "CREATE TABLE log (id INTEGER PRIMARY KEY, t, n)",
        "CREATE TRIGGER p_log AFTER INSERT ON p BEGIN INSERT INTO log (t, n) VALUES (total_changes(), changes()); UPDATE log SET n = n + changes(); END",
        "SELECT total_changes()",
        "INSERT INTO p VALUES (total_changes(), total_changes()), (1, changes()), (2, 'b'), (3, 'c')",
        "INSERT INTO c VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 2, 'z'), (4, total_changes(), changes())",
        "UPDATE p SET a = total_changes() WHERE id = 1",
        "SELECT total_changes(), changes(), count(*) FROM p",
        "SELECT total_changes(), changes(), id FROM p WHERE id = 1",
        "SELECT name, total_changes() FROM sqlite_schema WHERE name = 'p'",
        "BEGIN;\nSELECT total_changes(), changes();\nDELETE FROM p WHERE id = 1;\nSELECT total_changes(), changes();\nUPDATE p SET id = 20 WHERE id = 2;\nSELECT changes(), total_changes();\nINSERT INTO p (a) VALUES ('d'), ('e');\nSELECT changes(), total_changes();\nSELECT * FROM log;\nCOMMIT",
        "BEGIN;\nSELECT changes(), total_changes() FROM p WHERE id = 3;\nUPDATE p SET a = total_changes() WHERE id > 2;\nREPLACE INTO c VALUES (4, 3, total_changes());\nINSERT OR IGNORE INTO c VALUES (4, 3, 1), (5, 3, changes());\nDELETE FROM c WHERE id > 100;\nINSERT INTO log (t, n) SELECT total_changes(), changes();\nCOMMIT",
        "BEGIN;\nINSERT INTO c (p, b) SELECT id, total_changes() FROM p ORDER BY id;\nDELETE FROM log;\nSELECT changes(), total_changes();\nCREATE TABLE copy AS SELECT * FROM c;\nSELECT changes(), total_changes();\nDROP TABLE p;\nSELECT changes(), total_changes();\nCOMMIT",
        "SELECT * FROM p ORDER BY id",
        "SELECT * FROM c ORDER BY id",
        "SELECT * FROM log ORDER BY id",
    ]);
}

#[test]
fn a_new_column_is_refused_in_the_words_of_one_file() {
    alike(&[
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (a TEXT, b INT, c)",
        "ALTER TABLE t ADD COLUMN early INT REFERENCES p DEFAULT 1",
        "INSERT INTO t VALUES ('x', 1, 2), ('y', 3, 4)",
        "ALTER TABLE t ADD COLUMN u INT UNIQUE",
        "ALTER TABLE t ADD COLUMN u INT PRIMARY KEY",
        "ALTER TABLE t ADD COLUMN u INT REFERENCES p DEFAULT 1",
        "ALTER TABLE t ADD COLUMN u INT NOT NULL",
        "ALTER TABLE t ADD COLUMN u INT DEFAULT (1 + 1)",
        "ALTER TABLE t ADD COLUMN u INT DEFAULT CURRENT_TIMESTAMP",
        "ALTER TABLE t ADD COLUMN u INT REFERENCES p DEFAULT NULL",
        "UPDATE t SET u = 5",
        "SELECT * FROM t",
    ]);
}

#[test]
fn the_rowid_goes_by_any_of_its_names() {
    alike(&[
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT DEFAULT 'k', b UNIQUE)",
        "INSERT INTO t (rowid, b) VALUES (5, 'r') RETURNING rowid, oid, _rowid_, id",
        "INSERT INTO t (oid, b) VALUES (NULL, 's'), ('7', 't') RETURNING id",
        "INSERT INTO t (rowid, id, b) VALUES (8, 9, 'u')",
        "UPDATE t SET _rowid_ = 50 WHERE oid = 5 RETURNING rowid, id",
        "SELECT rowid, * FROM t ORDER BY rowid",
    ]);
}

#[test]
fn rows_are_looked_up_by_subqueries_as_in_one_file() {
    alike(&[
        "CREATE TABLE o (id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE, n)",
        "CREATE TABLE l (id INTEGER PRIMARY KEY, o INT, k TEXT, n NUMERIC)",
        "INSERT INTO o VALUES (1, 'a', 1), (2, 'B', '2'), (3, 'c', 2.0), (4, NULL, NULL), (5, 'A', 7)",
        "INSERT INTO l VALUES (1, 1, 'A', 1), (2, 1, 'b', 2), (3, 2, 'a', '2'), (4, NULL, NULL, 3), (5, 5, 'c', 'x')",
        "SELECT id FROM o WHERE EXISTS (SELECT 1 FROM l WHERE l.o = o.id AND l.n > 1) ORDER BY id",
        "SELECT id FROM o WHERE NOT EXISTS (SELECT 1 FROM l WHERE l.k = o.k) ORDER BY id",
        "SELECT id FROM o WHERE NOT EXISTS (SELECT 1 FROM l WHERE o.k = l.k) ORDER BY id",
        "SELECT id, (SELECT count(*) FROM l WHERE l.n = o.n) FROM o ORDER BY id",
        "SELECT id, (SELECT group_concat(l.id) FROM l WHERE o.n = l.n) FROM o ORDER BY id",
        "SELECT x.id, (SELECT max(y.id) FROM o y WHERE y.k = x.k AND y.id <> x.id) FROM o x ORDER BY 1",
        "SELECT id FROM o WHERE n IN (SELECT l.n FROM l WHERE l.o = o.id) ORDER BY id",
        "SELECT x.id FROM l x WHERE EXISTS (SELECT 1 FROM l y WHERE y.o = x.o AND y.id <> x.id) AND NOT EXISTS (SELECT 1 FROM l z WHERE z.o = x.o AND z.n > x.n) ORDER BY 1",
        "SELECT count(*) FROM o WHERE (SELECT sum(n) FROM l WHERE l.o = o.id AND l.k IN (SELECT k FROM o p WHERE p.id = l.o)) > 0",
    ]);
}

#[test]
fn small_tables_are_joined_by_whatever_they_are_compared_with() {
    alike(&[
        "CREATE TABLE big (id INTEGER PRIMARY KEY, i INT, t TEXT, r REAL, n)",
        "CREATE TABLE small (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, v)",
        "INSERT INTO small VALUES (1, 'one', 1), (2, 'Two', '2'), (3, 'TWO', 3.0), (9, NULL, NULL)",
        "INSERT INTO big SELECT value, value % 4, CASE value % 5 WHEN 0 THEN ' 2 ' WHEN 1 THEN '3.0' WHEN 2 THEN 'x' WHEN 3 THEN NULL ELSE '9' END, value / 2.0, CASE value % 3 WHEN 0 THEN '1' WHEN 1 THEN 2.0 ELSE x'33' END FROM generate_series(1, 40)",
        "SELECT name, count(*), sum(big.id) FROM big JOIN small ON small.id = big.i GROUP BY name ORDER BY name",
        "SELECT name, count(*), sum(big.id) FROM big JOIN small ON small.id = big.t GROUP BY name ORDER BY name",
        "SELECT name, count(*), sum(big.id) FROM big JOIN small ON big.r = small.id GROUP BY name ORDER BY name",
        "SELECT small.id, count(*), sum(big.id) FROM big, small WHERE big.n = small.id GROUP BY 1 ORDER BY 1",
        "SELECT v, count(*), min(name) FROM big LEFT JOIN small ON small.id = big.i AND small.name <> 'one' GROUP BY v ORDER BY v",
        "SELECT count(*), max(name) FROM big JOIN small ON small.id = big.i WHERE name = 'two'",
        "SELECT count(*) FROM big JOIN small ON small.id = big.i WHERE date('2024-01-31', '+1 month') > '2024-03-01' AND v = '3'",
    ]);
}

#[test]
fn keys_with_collations_of_their_own_and_computed_columns_place_rows() {
    alike(&[
        "CREATE TABLE u (a TEXT COLLATE NOCASE, b INT, c, PRIMARY KEY (a COLLATE BINARY, b)) WITHOUT ROWID",
        "INSERT INTO u VALUES ('x', 1, 1), ('X', 1, 2), ('x', 2, 3)",
        "INSERT INTO u VALUES ('y', 1, 1), ('X', 1, 2)",
        "INSERT OR REPLACE INTO u VALUES ('X', 1, 'new'), ('XX', 1, 0) RETURNING *",
        "INSERT INTO u VALUES ('x', 1, 7) ON CONFLICT (a, b) DO UPDATE SET c = excluded.c RETURNING *",
        "INSERT OR IGNORE INTO u VALUES ('x', 1, 8), ('xX', 9, 8)",
        "UPDATE u SET b = b + 1 WHERE a = 'X'",
        "UPDATE u SET a = upper(a)",
        "SELECT a, count(*), max(c) FROM u GROUP BY a",
        "SELECT * FROM u ORDER BY a COLLATE BINARY, b",
        "SELECT c FROM u WHERE a = 'x' AND b = 2 ORDER BY 1",
        "DELETE FROM u WHERE a = 'XX' RETURNING *",
        "SELECT * FROM u",
        "CREATE TABLE g (id INTEGER PRIMARY KEY, n INT, a AS (n % 3) STORED, b AS (n || 'x'))",
        "INSERT INTO g (n) VALUES (1), (2), (3), (4)",
        "UPDATE g SET n = n + 1 WHERE a = 1 RETURNING id, a",
        "SELECT a, count(*) FROM g GROUP BY a ORDER BY a",
        "SELECT * FROM g WHERE a = 0",
        "DELETE FROM g WHERE a = 2",
        "SELECT * FROM g",
    ]);
}

#[test]
fn groups_of_moments_are_those_of_one_file() {
    alike(&[
        "CREATE TABLE e (id INTEGER PRIMARY KEY, at TEXT, n NUMERIC, jd REAL)",
        "INSERT INTO e SELECT value, datetime('2024-01-01', (value * 31) || ' hours'), value * 0.1, 2460310.5 + value FROM generate_series(1, 60)",
        "INSERT INTO e VALUES (100, NULL, 1, NULL), (101, 'garbage', 2, -5), (102, 86400, 3, 0)",
        "SELECT strftime('%Y-%m', at) AS month, count(*), sum(n), min(id) FROM e GROUP BY month ORDER BY month",
        "SELECT date(at) d, sum(n) FROM e GROUP BY date(at) HAVING count(*) > 1 ORDER BY d",
        "SELECT strftime('%w', at, '+1 day') w, count(*) FROM e WHERE date(at) >= date('2024-01-10') GROUP BY w ORDER BY 2 DESC, 1",
        "SELECT DISTINCT strftime('%Y', at) FROM e ORDER BY 1",
        "SELECT id, datetime(at, '-1 month') FROM e ORDER BY datetime(at) DESC, id LIMIT 5",
        "SELECT count(*), max(julianday(at)), min(unixepoch(at)), sum(julianday(jd) IS NOT NULL) FROM e",
        "SELECT unixepoch(at) / 86400 / 30 AS bucket, avg(n) FROM e GROUP BY bucket ORDER BY bucket",
        "SELECT strftime('%H', at) h, group_concat(id) FROM (SELECT * FROM e ORDER BY id) GROUP BY h ORDER BY h LIMIT 3",
        "SELECT count(*) FROM e WHERE strftime('%m', at) = '02'",
        "SELECT strftime(at, '2024-01-01'), count(*) FROM e GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 2",
        "SELECT datetime(at, 'localtime') IS NULL, count(*) FROM e GROUP BY 1 ORDER BY 1",
        "INSERT INTO e VALUES (200, 'now', 5, NULL), (201, 'NOW', 6, NULL)",
        "SELECT strftime('%Y-%m', at) = strftime('%Y-%m', 'now') AS present, count(*) FROM e GROUP BY present ORDER BY present",
        "SELECT count(*) FROM e WHERE date(at) = date('now')",
    ]);
}
