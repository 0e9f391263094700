//! The commands against a cluster of processes.

use tests::binary::workspace;
use tests::process_cluster::ProcessCluster;

fn demo(file: &str) -> String {
    workspace().join("demo").join(file).to_str().expect("UTF-8").to_owned()
}

#[test]
fn databases_are_made_shown_and_dropped() {
    let cluster = ProcessCluster::start(1, 3);
    assert_eq!(cluster.run(&["list-databases"]).succeeded(), "No databases found.\n");
    let schema = demo("schema.json");
    let flags = ["create-database", "--name", "shop", "--schema-file", &schema, "--partition-key", "id"];
    assert_eq!(cluster.run(&flags).succeeded(), "Database 'shop' created successfully.\n");
    assert_eq!(cluster.run(&["list-databases"]).succeeded(), "Available databases:\n  - shop (SQL)\n");

    let again = cluster.run(&flags);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.starts_with("Error creating database: "), "{}", again.stderr);

    let shown = cluster.run(&["describe-database", "--name", "shop", "--output", "csv"]).succeeded();
    assert!(shown.contains("users,username,TEXT,no,no,,yes\n"), "{shown}");
    let partitions = cluster.run(&["partitions", "--db-name", "shop", "--output", "csv"]).succeeded();
    assert_eq!(partitions.lines().count(), 5, "{partitions}");

    assert_eq!(cluster.run(&["drop-database", "--name", "shop"]).code, Some(2), "nobody is there to ask");
    cluster.run(&["drop-database", "--name", "shop", "--yes"]).succeeded();
    assert_eq!(cluster.run(&["list-databases"]).succeeded(), "No databases found.\n");
    assert_eq!(cluster.run(&["describe-database", "--name", "shop"]).code, Some(1));
}

#[test]
fn query_files_answer_as_of_old() {
    let cluster = ProcessCluster::start(1, 1);
    let schema = demo("schema.json");
    cluster.run(&["create-database", "--name", "demo_db", "--schema-file", &schema]).succeeded();
    let query = |name: &str| {
        let file = demo(&format!("queries/{name}.json"));
        cluster.run(&["query", "--db-name", "demo_db", "--operation", "sql", "--query-file", &file])
    };
    for name in ["insert_ann", "insert_bob", "insert_laptop", "insert_mouse", "insert_desk"] {
        assert!(query(name).succeeded().ends_with("Affected rows: 1\n"), "{name}");
    }
    let twice = query("insert_ann");
    assert_eq!(twice.code, Some(1));
    assert!(twice.stderr.starts_with("Query error: UNIQUE constraint failed: users.id"), "{}", twice.stderr);
    let expected = "Query results:\n\
        {\n  \"age\": 30,\n  \"id\": 1,\n  \"username\": \"ann\"\n}\n\
        {\n  \"age\": 25,\n  \"id\": 2,\n  \"username\": \"bob\"\n}\n\
        Affected rows: 0\n";
    assert_eq!(query("all_users").succeeded(), expected);
    let ordered = query("all_orders").succeeded();
    let position = |word: &str| ordered.find(word).expect(word);
    assert!(position("laptop") < position("desk") && position("desk") < position("mouse"), "order_by holds");
}

#[test]
fn scripts_stop_at_the_first_failure_and_tell_its_line() {
    let cluster = ProcessCluster::start(1, 1);
    cluster.run(&["create-database", "--name", "a"]).succeeded();
    let script = cluster.folder().join("script.sql");
    std::fs::write(&script, "CREATE TABLE t (id INTEGER PRIMARY KEY);\n-- twice\nINSERT INTO t VALUES (1);\n.mode csv\nSELECT * FROM t;\nINSERT INTO t\nVALUES (1);\nINSERT INTO t VALUES (2);\n").expect("written");
    let output = cluster.run(&["sql", "--db-name", "a", "--file", script.to_str().expect("UTF-8")]);
    assert_eq!(output.code, Some(1));
    assert_eq!(output.stdout, "0 rows affected.\n1 row affected.\nid\n1\n");
    assert!(output.stderr.starts_with("line 6: UNIQUE constraint failed: t.id"), "{}", output.stderr);
    assert_eq!(cluster.sql("a", "SELECT count(*) AS n FROM t"), "[{\"n\":1}]");
}

#[test]
fn what_is_imported_comes_out_again() {
    let cluster = ProcessCluster::start(1, 3);
    cluster.run(&["create-database", "--name", "flights"]).succeeded();
    for (table, rows) in [("airlines", 16), ("airports", 1458), ("planes", 3322)] {
        let file = demo(&format!("data/{table}.csv"));
        let flags = ["import", "--db-name", "flights", "--table", table, "--create", "--null", "NA", &file];
        let told = cluster.run(&flags).succeeded();
        assert!(told.starts_with(&format!("{rows} rows imported")), "{told}");
    }
    let counted = cluster
        .sql("flights", "SELECT count(*) AS n, count(speed) AS s, typeof(max(seats)) AS t FROM planes");
    assert_eq!(counted, "[{\"n\":3322,\"s\":23,\"t\":\"integer\"}]");

    let exported = cluster.run(&["export", "--db-name", "flights", "--table", "airlines"]).succeeded();
    let original = std::fs::read_to_string(demo("data/airlines.csv")).expect("the demo's data");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&exported), sorted(&original));

    let file = cluster.folder().join("out.ndjson");
    let flags =
        ["export", "--db-name", "flights", "--table", "planes", "--to", file.to_str().expect("UTF-8")];
    cluster.run(&flags).succeeded();
    assert_eq!(std::fs::read_to_string(&file).expect("the export").lines().count(), 3322);
}

#[test]
fn a_bad_line_is_told_and_the_rows_before_it_are_counted() {
    let cluster = ProcessCluster::start(1, 1);
    cluster.run(&["create-database", "--name", "a"]).succeeded();
    cluster
        .run(&["sql", "--db-name", "a", "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL)"])
        .succeeded();
    let file = cluster.folder().join("bad.csv");
    std::fs::write(&file, "id,v\n1,a\n2,b\n3,c,too many\n").expect("written");
    let output = cluster.run(&["import", "--db-name", "a", "--table", "t", file.to_str().expect("UTF-8")]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("line 4"), "{}", output.stderr);
}

#[test]
fn documents_are_found_and_changed_from_the_command_line() {
    let cluster = ProcessCluster::start(1, 1);
    cluster.run(&["create-database", "--name", "notes", "--type", "nosql"]).succeeded();
    let docs = |arguments: &[&str]| {
        cluster.run(&[&["docs", "--db-name", "notes", "--collection", "people"], arguments].concat())
    };
    let people = r#"[{"_id": 1, "name": "Ann", "age": 35}, {"_id": 2, "name": "Bob", "tags": ["x", "y"]}]"#;
    assert_eq!(docs(&["insert", people]).succeeded(), "{\"ids\":[1,2]}\n");
    let projection = r#"{"name": 1}"#;
    let found = docs(&["find", "'x' in tags", "--projection", projection]).succeeded();
    assert_eq!(found, "{\"_id\":2,\"name\":\"Bob\"}\n");
    let changed =
        docs(&["update", r#"{"_id": 1}"#, r#"{"$inc": {"age": 1}, "$push": {"tags": "z"}}"#]).succeeded();
    assert_eq!(changed, "{\"matched\":1,\"modified\":1}\n");
    let pipeline =
        r#"[{"$unwind": "$tags"}, {"$group": {"_id": null, "n": {"$sum": 1}, "age": {"$max": "$age"}}}]"#;
    assert_eq!(docs(&["aggregate", pipeline]).succeeded(), "{\"_id\":null,\"n\":3,\"age\":36}\n");
    let wrong = docs(&["find", r#"{"age": {"$near": 1}}"#]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("/filter/age/$near"), "{}", wrong.stderr);
    assert_eq!(docs(&["delete", "age > 30", "--one"]).succeeded(), "{\"deleted\":1}\n");
    assert_eq!(docs(&["count"]).succeeded(), "{\"count\":1}\n");
    let flags_last =
        cluster.run(&["docs", "count", "name == 'Bob'", "--db-name", "notes", "--collection", "people"]);
    assert_eq!(flags_last.succeeded(), "{\"count\":1}\n");

    let script = ".use notes\n.collection people\nfind {\"_id\": 2}\ncount name == 'Bob'\n.sql\nSELECT count(*) AS n FROM people;\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("script.txt");
    std::fs::write(&file, script).expect("a writable folder");
    let file = file.to_str().expect("UTF-8");
    let shown = cluster.run(&["sql", "--output", "csv", "--db-name", "notes", "--file", file]).succeeded();
    assert!(shown.contains("2,Bob,"), "{shown}");
    assert!(shown.contains("{\"count\":1}\nn\n1\n"), "{shown}");
}
