//! Whatever rows the leader's statements change, a replica that lands the captured images holds the same.

use crate::support::{Replica, sql};
use proptest::prelude::*;
use sqlite::{Applier, Budget, Executor, Maintenance, TableSums};

const SCHEMA: &[&str] = &[
    "CREATE TABLE a (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v)",
    "CREATE TABLE b (x, y REAL, UNIQUE (x, y))",
    "CREATE TABLE c (k TEXT COLLATE NOCASE, n NUMERIC, v, w AS (v || k) STORED, PRIMARY KEY (k, n)) WITHOUT ROWID",
    "CREATE TABLE d (id INTEGER PRIMARY KEY AUTOINCREMENT, p INTEGER REFERENCES a(id) ON DELETE CASCADE ON UPDATE SET NULL, g AS (p + 1))",
    "CREATE INDEX bi ON b(y) WHERE x IS NOT NULL",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0..6).prop_map(|n: i32| n.to_string()),
        1 => Just("NULL".to_owned()),
        2 => "[a-cA-C]{1,2}".prop_map(|text| format!("'{text}'")),
        1 => Just("2.5".to_owned()),
        1 => Just("'3'".to_owned()),
        1 => Just("x'00ff'".to_owned()),
        1 => Just("1e300".to_owned()),
    ]
}

fn change() -> impl Strategy<Value = String> {
    let or =
        prop_oneof![Just(""), Just("OR REPLACE"), Just("OR IGNORE"), Just("OR FAIL"), Just("OR ROLLBACK")];
    let insert = (or.clone(), 0..4, value(), value(), value()).prop_map(
        |(or, table, x, y, z): (&str, i32, String, String, String)| match table {
            0 => format!("INSERT {or} INTO a VALUES ({x}, {y}, {z})"),
            1 => format!("INSERT {or} INTO b VALUES ({x}, {y}), ({y}, {z})"),
            2 => format!("INSERT {or} INTO c(k, n, v) VALUES ({x}, {y}, {z})"),
            _ => format!("INSERT {or} INTO d(p) VALUES ({x}), ({y})"),
        },
    );
    let update =
        (or, 0..4, value(), value()).prop_map(|(or, table, x, y): (&str, i32, String, String)| match table {
            0 => format!("UPDATE {or} a SET id = id + 1, v = {x} WHERE id > {y}"),
            1 => format!("UPDATE {or} b SET rowid = rowid + 10, y = {x} WHERE x = {y}"),
            2 => format!("UPDATE {or} c SET k = upper(k), n = {x} WHERE n = {y}"),
            _ => format!("UPDATE {or} d SET p = {x} WHERE id < {y}"),
        });
    let upsert = (value(), value()).prop_map(|(x, y)| {
        format!(
            "INSERT INTO a(u, v) VALUES ({x}, {y}) ON CONFLICT (u) DO UPDATE SET id = id + 7, v = excluded.v"
        )
    });
    let delete = (0..4, value()).prop_map(|(table, x): (i32, String)| match table {
        0 => format!("DELETE FROM a WHERE id = {x}"),
        1 => "DELETE FROM b".to_owned(),
        2 => format!("DELETE FROM c WHERE k = {x} RETURNING *"),
        _ => format!("DELETE FROM d WHERE p IS {x}"),
    });
    prop_oneof![4 => insert, 3 => update, 1 => upsert, 2 => delete]
}

/// Batches of requests of statements.
fn batches() -> impl Strategy<Value = Vec<Vec<Vec<String>>>> {
    let request = prop::collection::vec(change(), 1..3);
    prop::collection::vec(prop::collection::vec(request, 1..6), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn replicas_agree(batches in batches()) {
        let (leader, follower) = (Replica::new(SCHEMA), Replica::new(SCHEMA));
        let mut executor = Executor::open(&leader.location).unwrap();
        let mut applier = Applier::open(&follower.location).unwrap();
        let (ours, theirs) =
            (Maintenance::open(&leader.location).unwrap(), Maintenance::open(&follower.location).unwrap());
        let (mut leaders, mut followers) = (TableSums::default(), TableSums::default());
        for batch in &batches {
            executor.begin().unwrap();
            for request in batch {
                let work: Vec<_> = request.iter().map(|text| sql(text)).collect();
                // Many requests fail on a constraint; they must leave no trace.
                let before = executor.effect_count();
                if executor.run(&work, &Budget::default()).is_err() {
                    prop_assert_eq!(executor.effect_count(), before);
                }
            }
            let (effects, changes) = executor.take_changes();
            executor.commit(|_| Ok(())).unwrap();
            leaders.add(&changes);
            applier.begin().unwrap();
            followers.add(&applier.apply(&effects).unwrap());
            applier.commit().unwrap();
            prop_assert_eq!(ours.digest().unwrap(), theirs.digest().unwrap(), "{:?}", effects);
            // What is kept up with every change is what reading everything finds.
            prop_assert_eq!(&leaders, &followers, "{:?}", effects);
            prop_assert_eq!(applier.digest(&followers).unwrap(), theirs.digest().unwrap(), "{:?}", effects);
        }
        let counted: u64 = ours.count_rows().unwrap().iter().map(|(_, rows)| rows).sum();
        prop_assert_eq!(counted, followers.rows());
        prop_assert_eq!(theirs.integrity_check().unwrap(), Vec::<String>::new());
    }
}
