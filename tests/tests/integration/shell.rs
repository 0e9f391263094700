//! The SQL shell on a terminal, as a person uses it.

use std::fs::File;

use tests::process_cluster::{ServerProcess, command, run, run_with_input};
use tests::terminal::Terminal;

#[test]
fn a_person_works_in_the_shell() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--port", "0", "--ephemeral", "--nodes", "1"];
    let server = ServerProcess::start(home.path(), "dev", &flags, &home.path().join("dev.log"));
    run(home.path(), &["create-database", "--coordinator", server.url(), "--name", "shop"]).succeeded();
    let open = || {
        let mut shell = command(home.path());
        shell.args(["sql", "--coordinator", server.url(), "--db-name", "shop"]);
        Terminal::start(shell)
    };

    let mut shell = open();
    shell.expect(".help for help");
    shell.expect("shop> ");
    shell.enter("CREATE TABLE customers (id INTEGER PRIMARY KEY,");
    shell.expect("...> ");
    shell.enter("full_name TEXT);");
    shell.expect("0 rows affected.");
    shell.expect("shop> ");
    shell.enter("INSERT INTO customers (full_name) VALUES ('Ann; not the end'), (NULL);");
    shell.expect("2 rows affected.");

    // Completion: a keyword, a table that was made a moment ago, a column.
    shell.expect("shop> ");
    shell.type_text("SEL\t");
    shell.expect("SELECT");
    shell.type_text(" full_\t");
    shell.expect("full_name");
    shell.type_text(" FROM cus\t");
    shell.expect("customers");
    shell.enter(" ORDER BY id;");
    shell.expect("| full_name");
    shell.expect("| Ann; not the end |");
    shell.expect("| NULL");

    shell.expect("shop> ");
    shell.enter(".mode json");
    shell.expect("shop> ");
    shell.enter("SELECT count(*) AS n FROM customers;");
    shell.expect("[{\"n\":2}]");
    shell.expect("shop> ");
    shell.enter(".tables");
    shell.expect("customers");
    shell.expect("shop> ");
    shell.enter(".schema customers");
    shell.expect("CREATE TABLE customers");
    shell.expect("shop> ");
    shell.enter(".timer on");
    shell.expect("shop> ");
    shell.enter("SELECT 1 AS one;");
    shell.expect("Time: ");

    // A transaction is a matter of its own until it ends.
    for (statement, answer) in [
        ("COMMIT;", "no transaction is open"),
        ("BEGIN;", ""),
        ("CREATE TABLE no (id);", "cannot change the schema"),
        ("INSERT INTO customers (full_name) VALUES ('Kept');", "{\"affected_rows\":1}"),
        ("SAVEPOINT here;", ""),
        ("DELETE FROM customers;", "{\"affected_rows\":3}"),
        ("SELECT 'a' || count(*) AS rows_now FROM customers;", "a0"),
        ("ROLLBACK TO here;", ""),
        ("SELECT 'b' || count(*) AS rows_now FROM customers;", "b3"),
        (".use shop", "a transaction is open"),
        ("COMMIT;", ""),
        ("BEGIN;", ""),
        ("DELETE FROM customers;", "{\"affected_rows\":3}"),
        ("ROLLBACK;", ""),
        ("SELECT 'c' || count(*) AS rows_now FROM customers;", "c3"),
    ] {
        shell.expect("shop> ");
        shell.enter(statement);
        shell.expect(answer);
    }

    // A mistake is told and the shell goes on; Ctrl-C drops what is being typed.
    shell.expect("shop> ");
    shell.enter("SELECT * FROM nowhere;");
    shell.expect("no such table: nowhere");
    shell.expect("shop> ");
    shell.enter("SELECT (");
    shell.expect("...> ");
    shell.type_text("\u{3}");
    shell.expect("shop> ");
    shell.enter(".quit");
    assert_eq!(shell.wait(), Some(0));

    // What was typed is remembered: arrow up twice is the last statement before .quit and the mistake.
    let mut shell = open();
    shell.expect("shop> ");
    shell.type_text("\u{1b}[A");
    shell.expect(".quit");
    shell.type_text("\u{1b}[A");
    shell.expect("nowhere");
    shell.type_text("\u{3}");
    shell.expect("shop> ");
    shell.type_text("\u{4}");
    assert_eq!(shell.wait(), Some(0));
}

/// As `sqlite3 music.db .dump` writes it.
const DUMP: &str = "PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE artists (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);
INSERT INTO artists VALUES(1,'AC/DC');
INSERT INTO artists VALUES(2,'a; b
c');
CREATE TABLE albums (id INTEGER PRIMARY KEY, artist INT REFERENCES artists (id), title TEXT);
INSERT INTO albums VALUES(1,1,'Back in Black');
INSERT INTO albums VALUES(2,2,'Y');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('artists',2);
CREATE INDEX albums_of ON albums (artist);
CREATE TRIGGER short AFTER INSERT ON albums BEGIN UPDATE albums SET title = 'none' WHERE id = NEW.id AND title = ''; END;
COMMIT;
";

#[test]
fn a_dump_is_loaded_as_a_whole_or_not_at_all() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let flags = ["--port", "0", "--ephemeral", "--nodes", "3"];
    let server = ServerProcess::start(home.path(), "dev", &flags, &home.path().join("dev.log"));
    let arguments = ["--coordinator", server.url(), "--name", "music", "--partitions", "4"];
    run(home.path(), &[&["create-database"], &arguments[..]].concat()).succeeded();
    let ask = |sql: &str| {
        let arguments = ["sql", "--coordinator", server.url(), "--db-name", "music", "--output", "csv", sql];
        run(home.path(), &arguments).succeeded()
    };
    let load = |script: &str| {
        let path = home.path().join("dump.sql");
        std::fs::write(&path, script).expect("the folder can be written");
        let input = File::open(path).expect("the file is there");
        let arguments = ["sql", "--coordinator", server.url(), "--db-name", "music"];
        run_with_input(home.path(), &arguments, input.into())
    };
    // The last album has an artist that there is not.
    let many: String = (10..3_000).map(|id| format!("INSERT INTO albums VALUES({id},1,'many');\n")).collect();
    let whole =
        DUMP.replace("DELETE FROM sqlite_sequence;\n", &format!("{many}DELETE FROM sqlite_sequence;\n"));
    let broken = whole.replace("VALUES(2,2,'Y')", "VALUES(2,3,'Y')");
    let refused = load(&broken);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    // Foreign keys wait for the end, and hold there.
    let end = broken.lines().count();
    let expected = format!("line {end}: FOREIGN KEY constraint failed");
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
    let enforced = load(&broken.replace("=OFF", "=ON"));
    assert!(enforced.stderr.contains("line 9: FOREIGN KEY constraint failed"), "{}", enforced.stderr);
    assert!(ask("SELECT count(*) FROM sqlite_schema").ends_with("\n0\n"), "nothing is left");
    let loaded = load(&whole);
    assert!(loaded.stderr.starts_with("note: foreign keys are always enforced"), "{}", loaded.stderr);
    loaded.succeeded();
    let joined = ask("SELECT name, title FROM artists JOIN albums ON artist = artists.id ORDER BY 2 DESC");
    assert!(joined.contains("AC/DC,Back in Black"), "{joined}");
    assert!(ask("SELECT count(*) FROM albums").ends_with("\n2992\n"));
    ask("INSERT INTO albums VALUES (3, 1, '')");
    assert!(ask("SELECT title FROM albums WHERE id = 3").ends_with("\nnone\n"));
    // What stands between its lines is done in its place.
    let elsewhere = load("BEGIN;\nINSERT INTO albums VALUES (4, 2, 'Z');\n.use other\nCOMMIT;\n");
    assert!(elsewhere.stderr.contains("line 3: a transaction is open"), "{}", elsewhere.stderr);
    assert!(ask("SELECT count(*) FROM albums").ends_with("\n2993\n"));
    // Tables in the order of their names, children before their parents, and statistics.
    load(
        "PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE a_songs (id INTEGER PRIMARY KEY, album INT REFERENCES z_albums (id), title TEXT);
INSERT INTO a_songs VALUES(1,7,'first');
CREATE TABLE z_albums (id INTEGER PRIMARY KEY);
INSERT INTO z_albums VALUES(7);
ANALYZE sqlite_schema;
INSERT INTO sqlite_stat1 VALUES('a_songs',NULL,'1');
COMMIT;
BEGIN;
INSERT INTO a_songs VALUES(2,8,'second');
INSERT INTO albums VALUES(4000,9,'later');
INSERT INTO z_albums VALUES(8);
INSERT INTO artists VALUES(9,'late');
COMMIT;
",
    )
    .succeeded();
    assert!(ask("SELECT count(*) FROM a_songs JOIN z_albums ON album = z_albums.id").ends_with("\n2\n"));
    assert!(
        ask("SELECT name FROM albums JOIN artists ON artist = artists.id WHERE albums.id = 4000")
            .ends_with("\nlate\n")
    );
}
