//! Writes tried on rows that were gathered.

use common::ErrorCode;
use common::entry::Change;
use common::protocol::{Params, Statement};
use common::row::RowBlock;
use sqlite::schema::Table;
use sqlite::{Budget, ForeignKeys, Gathered, Shadow, TrialDatabase, TrialStep, Workspace};

const SCHEMA: [&str; 4] = [
    "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE COLLATE NOCASE, age INT, name TEXT NOT NULL
         CHECK (length(name) < 20), shout AS (upper(name)))",
    "CREATE TABLE log (what TEXT NOT NULL UNIQUE, who INT NOT NULL REFERENCES users)",
    "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, n INT)",
    "CREATE TRIGGER older AFTER UPDATE OF age ON users BEGIN
         INSERT INTO log VALUES ('age ' || new.age, new.id); END",
];

fn statement(sql: &str) -> TrialStep {
    TrialStep::Statement(Statement { sql: sql.into(), params: Params::None })
}

fn database() -> (TrialDatabase, Shadow) {
    let shadow = Shadow::new(SCHEMA).unwrap();
    let mut database = TrialDatabase::new(&Workspace::default()).unwrap();
    SCHEMA.iter().for_each(|sql| database.create(sql).unwrap());
    let users = table(&shadow, "users");
    let gathered = Gathered { table: users, rowid: true, columns: &[0, 1, 2, 3] };
    let rows = [
        vec![7.into(), 7.into(), "a@x".into(), 20.into(), "ann".into()],
        vec![9.into(), 9.into(), "b@x".into(), 30.into(), "a name too long for the check".into()],
    ];
    database.add(&gathered, &RowBlock::from_values(5, &rows)).unwrap();
    // Rows that come twice are the same rows.
    database.add(&gathered, &RowBlock::from_values(5, &rows)).unwrap();
    (database, shadow)
}

fn table<'s>(shadow: &'s Shadow, name: &str) -> &'s Table {
    shadow.schema().table(name).unwrap()
}

#[test]
fn statements_are_tried_and_undone() {
    let (mut database, _) = database();
    let update = Statement {
        sql: "UPDATE users SET age = age + ? WHERE id = 7 RETURNING age, shout".into(),
        params: Params::Positional(vec![1.into()]),
    };
    let statements = [update.into(), statement("DELETE FROM users WHERE id = 9")];
    for _ in 0..2 {
        let trial = database.attempt(&statements, ForeignKeys::Checked, &Budget::default()).unwrap();
        let results = trial.outcome.unwrap();
        assert_eq!(results[0].rows.to_values().unwrap(), [[21.into(), "ANN".into()]]);
        assert_eq!(
            (results[0].affected_rows, results[0].last_insert_rowid),
            (1, None),
            "the trigger's row does not count"
        );
        assert_eq!(trial.effects.tables, ["users", "log"]);
        assert_eq!(trial.effects.rows.len(), 3);
        let Change::Update { old_row: Some(old), row, .. } = &trial.effects.rows[0].change else {
            panic!("{:?}", trial.effects)
        };
        assert_eq!((&old[2], &row[2]), (&20.into(), &21.into()));
    }
}

#[test]
fn an_error_leaves_what_was_changed_before_it() {
    let (mut database, _) = database();
    let statements = [
        statement("UPDATE users SET age = 1 WHERE id = 9"),
        statement("INSERT INTO users (email, name) VALUES ('A@X', 'x')"),
    ];
    let trial = database.attempt(&statements, ForeignKeys::Checked, &Budget::default()).unwrap();
    let failure = trial.outcome.unwrap_err();
    assert_eq!(failure.code(), Some(ErrorCode::UniqueViolation));
    assert_eq!(trial.effects.rows.len(), 2);
}

#[test]
fn a_missing_parent_is_an_error_only_if_foreign_keys_are_checked() {
    let (mut database, _) = database();
    let child = [statement("INSERT INTO log VALUES ('x', 1000)")];
    let loosely = database.attempt(&child, ForeignKeys::Unchecked, &Budget::default()).unwrap();
    assert_eq!(loosely.effects.rows.len(), 1);
    loosely.outcome.unwrap();
    let checked = database.attempt(&child, ForeignKeys::Checked, &Budget::default()).unwrap();
    assert_eq!(checked.outcome.unwrap_err().code(), Some(ErrorCode::ForeignKeyViolation));
}

#[test]
fn rowids_begin_where_they_are_told_to() {
    let (mut database, shadow) = database();
    let statements = [
        statement("INSERT INTO log VALUES ('x', 7), ('y', 7)"),
        statement("INSERT INTO counted (n) VALUES (1)"),
    ];
    for next in [1 << 62, 41, 1] {
        for name in ["log", "counted"] {
            assert!(database.begin_rowids(table(&shadow, name), next).unwrap());
        }
        let trial = database.attempt(&statements, ForeignKeys::Checked, &Budget::default()).unwrap();
        let results = trial.outcome.unwrap();
        assert_eq!(results[0].last_insert_rowid, Some(next + 1));
        assert_eq!(results[1].last_insert_rowid, Some(next));
    }
}

fn rows(sql: &str) -> TrialStep {
    statement(sql)
}

fn definition(sql: &str, reads: &[&str]) -> TrialStep {
    let reads = reads.iter().map(|name| (*name).to_owned()).collect();
    TrialStep::Definition { sql: Some(sql.to_owned()), reads }
}

#[test]
fn a_script_tells_what_changed_under_which_schema() {
    let (mut database, _) = database();
    let script = [
        rows("SELECT changes(), last_insert_rowid()"),
        rows("UPDATE users SET age = 1 WHERE id = 7"),
        definition("ALTER TABLE users RENAME TO people", &[]),
        definition("CREATE TABLE ages AS SELECT id, age FROM people ORDER BY id DESC", &["ages"]),
        rows("SELECT changes(), last_insert_rowid()"),
        rows("DELETE FROM log"),
        definition("DROP TABLE people", &[]),
        rows("INSERT INTO counted (n) VALUES (5)"),
    ];
    for _ in 0..2 {
        let trial = database.attempt_script(&script, &Budget::default()).unwrap();
        let results = trial.outcome.unwrap();
        assert_eq!(results[0].rows.to_values().unwrap(), [[0.into(), 0.into()]]);
        // Neither ALTER TABLE nor CREATE TABLE counts rows.
        assert_eq!(results[4].rows.to_values().unwrap(), [[1.into(), 0.into()]]);
        let [renamed, made, dropped] = trial.segments.as_slice() else { panic!("{:?}", trial.segments) };
        assert_eq!(renamed.effects.tables, ["users", "log"]);
        assert!(made.effects.rows.is_empty());
        let Change::Insert { key, row } = &made.rows.rows[0].change else { panic!("{made:?}") };
        assert_eq!((key.as_slice(), row.as_slice()), (&[1.into()][..], &[9.into(), 30.into()][..]));
        assert_eq!(
            dropped.effects.tables,
            ["log", "people"],
            "the rows of a table that others refer to go first"
        );
        assert_eq!(trial.rest.tables, ["counted"]);
        assert_eq!(trial.counters["counted"], 1);
    }
    let refused = [
        definition("CREATE TABLE made (a)", &[]),
        definition("CREATE UNIQUE INDEX i ON users (length(email))", &[]),
    ];
    let trial = database.attempt_script(&refused, &Budget::default()).unwrap();
    let error = common::Error::from(trial.outcome.unwrap_err());
    assert_eq!((error.code, error.statement), (ErrorCode::UniqueViolation, Some(1)));
    let again = database.attempt_script(&refused[..1], &Budget::default()).unwrap();
    assert!(again.outcome.is_ok(), "what was tried before is undone");
}
