//! Joins whose rows lie together run on the partitions, and answer as on one file.

use crate::support::Cluster;
use crate::support::compare::same;
use crate::support::random::{Random, compare, seeds};
use crate::support::shop::{insert, shop};
use common::Value;
use common::protocol::Params;
use query::{Rule, Rules};

/// Seeds that run always.
const SEEDS: u64 = 4;

struct Generator {
    random: Random,
}

impl Generator {
    fn from(&mut self) -> &'static str {
        self.random.pick(&[
            "orders o JOIN customers c ON o.customer = c.id",
            "customers c JOIN orders o ON c.id = o.customer AND o.n > 2",
            "orders o LEFT JOIN customers c ON o.customer = c.id",
            "orders o LEFT JOIN customers c ON c.id = o.customer AND c.name > 'a'",
            "orders o, customers c",
            "customers c LEFT JOIN orders o ON o.customer = c.id",
            "orders o JOIN customers c ON o.customer = c.id LEFT JOIN levels l ON l.id = c.level",
            "orders o JOIN customers c ON o.customer = c.id JOIN levels l ON l.id = c.level",
            "levels l JOIN customers c ON l.id = c.level JOIN orders o ON o.customer = c.rowid",
            "levels l LEFT JOIN customers c ON l.id = c.level JOIN orders o ON o.customer = c.id",
            "orders o JOIN customers c ON o.n = c.id",
            "notes o JOIN customers c ON o.customer = c.id",
            "notes o JOIN customers c ON o.id = c.id",
        ])
    }

    fn condition(&mut self) -> String {
        match self.random.number(7) {
            0 => format!("o.n > {}", self.random.number(9)),
            1 => format!(
                "c.name {} '{}'",
                self.random.pick(&["=", "<", "IS NOT"]),
                self.random.pick(&["a", "b", "c"])
            ),
            2 => format!("o.customer IN ({}, {}, 3, 11)", self.random.number(25), self.random.number(25)),
            3 => format!("(c.level = 2 OR o.n < {})", self.random.number(9)),
            4 => "c.id IS NULL".to_owned(),
            5 => format!("o.customer = {}", self.random.pick(&["3", "11", "'11'", "7"])),
            _ => "1".to_owned(),
        }
    }

    fn select(&mut self) -> String {
        let from = self.from();
        let mut filter = format!("{} AND {}", self.condition(), self.condition());
        if from == "orders o, customers c" {
            filter = format!("o.customer = c.id AND {filter}");
        }
        let group = self.random.pick(&["c.name", "c.id", "o.customer", "o.n, c.name", "c.level", "o.n % 3"]);
        let aggregate = self.random.pick(&[
            "count(*)",
            "count(c.name), sum(o.n)",
            "min(o.n), max(o.n), avg(o.n)",
            "total(o.n)",
            "count(DISTINCT o.n)",
            "sum(o.n) FILTER (WHERE c.level = 2)",
        ]);
        match self.random.number(6) {
            0 => format!("SELECT * FROM {from} WHERE {filter}"),
            1 => format!("SELECT o.n, c.name AS nick, o.rowid + c.id FROM {from} WHERE {filter}"),
            2 => format!("SELECT {aggregate} FROM {from} WHERE {filter}"),
            3 => format!("SELECT {group}, {aggregate} FROM {from} WHERE {filter} GROUP BY {group}"),
            4 => format!(
                "SELECT {group}, {aggregate} FROM {from} WHERE {filter} GROUP BY {group} HAVING count(*) > 1 ORDER BY {group} LIMIT {}",
                self.random.number(5)
            ),
            _ => format!(
                "SELECT c.name AS who, {aggregate} FROM {from} WHERE {filter} GROUP BY who ORDER BY who DESC"
            ),
        }
    }
}

#[tokio::test]
async fn local_joins_answer_as_one_file() {
    let seeds = seeds(SEEDS);
    let (mut differences, mut pushed) = (Vec::new(), 0);
    for seed in 0..seeds {
        let (single, partitioned) = (shop(1).await, shop(3).await);
        let mut generator = Generator { random: Random::new(seed) };
        for _ in 0..70 {
            let sql = insert(&mut generator.random);
            same(&sql, &single.sql(&sql).await, &partitioned.sql(&sql).await).unwrap();
        }
        let statement = || {
            let sql = generator.select();
            pushed += u32::from(partitioned.plan(&sql).iter().any(|line| line.contains("(SELECT")));
            sql
        };
        differences.extend(compare(seed, 120, (&single, &partitioned), statement).await.0);
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n\n"));
    assert!(u64::from(pushed) > seeds * 30, "only {pushed} joins ran on the partitions");
}

#[tokio::test]
async fn only_joins_whose_rows_lie_together_run_on_the_partitions() {
    let mut cluster = shop(4).await;
    cluster.set_rules(Rules::default().without(Rule::Broadcast));
    let is_local = |cluster: &Cluster, from: &str| {
        cluster.plan(&format!("SELECT count(*) FROM {from}")).iter().any(|line| line.contains("(SELECT"))
    };
    for from in [
        "orders o JOIN customers c ON c.id = o.customer",
        "orders o LEFT JOIN customers c ON c.id = o.customer",
        "orders o, customers c WHERE o.customer = c.id",
        "notes n JOIN customers c ON n.id = c.id",
        "notes n JOIN levels l ON l.id = n.n",
        "orders o JOIN customers c ON c.id = o.customer JOIN levels l ON l.id = c.level",
    ] {
        assert!(is_local(&cluster, from), "{from}");
    }
    for from in [
        "notes n JOIN customers c ON c.id = n.customer",
        "orders o JOIN customers c ON c.id = o.n",
        "orders o RIGHT JOIN customers c ON c.id = o.customer",
        "customers c LEFT JOIN orders o ON c.id = o.customer",
        "levels l LEFT JOIN notes n ON l.id = n.id",
        "notes n JOIN levels l ON l.title = n.n",
        "orders a JOIN orders b ON a.customer = b.customer",
    ] {
        assert!(!is_local(&cluster, from), "{from}");
    }
    let from = "orders o JOIN customers c ON c.id = o.customer";
    cluster.set_rules(Rules::default().without(Rule::CoLocatedJoins));
    assert!(!is_local(&cluster, from));
}

#[tokio::test]
async fn a_small_table_is_sent_to_the_partitions_of_the_others() {
    let mut cluster = shop(4).await;
    for row in 0..40 {
        cluster.ok(&format!("INSERT INTO notes (customer, n) VALUES ({}, {row})", row % 7)).await;
        cluster.ok(&format!("INSERT OR IGNORE INTO customers VALUES ({row}, 'c{}', 2)", row % 5)).await;
    }
    let sends = |cluster: &Cluster, sql: &str| cluster.plan(sql).iter().any(|line| line.contains("SEND"));
    let grouped =
        "SELECT c.name, count(*), sum(o.n) FROM notes o JOIN customers c ON c.id = o.customer AND o.n < 30
         GROUP BY c.name ORDER BY c.name";
    assert!(sends(&cluster, grouped), "{:#?}", cluster.plan(grouped));
    *cluster.rows_streamed.lock().unwrap() = 0;
    cluster.set_rules(Rules::default());
    assert_eq!(cluster.rows(grouped).await.len(), 5);
    // The customers, and an answer of each partition.
    assert_eq!(*cluster.rows_streamed.lock().unwrap(), 40 + 4);
    for (sql, sent) in [
        ("SELECT count(*) FROM notes o LEFT JOIN customers c ON c.id = o.customer AND c.level = 2", true),
        ("SELECT o.n, c.name FROM orders o JOIN customers c ON c.id = o.n", true),
        // The other way keys are sent, and few rows come back.
        ("SELECT o.n, c.name FROM orders o JOIN customers c ON c.id = o.n WHERE c.name = 'c1'", false),
        // A row of the leading table may have several others.
        ("SELECT count(*) FROM customers c LEFT JOIN orders o ON c.id = o.customer", false),
        ("SELECT count(*) FROM orders a JOIN orders b ON a.customer = b.n", false),
    ] {
        assert_eq!(sends(&cluster, sql), sent, "{sql}");
    }
    cluster.set_rules(Rules::default().without(Rule::Broadcast));
    assert!(!sends(&cluster, grouped));
}

#[tokio::test]
async fn a_sent_table_has_the_parameters_of_its_conditions() {
    let cluster = shop(3).await;
    cluster.ok("INSERT INTO customers VALUES (1, 'a', 2), (2, 'B', 3)").await;
    cluster.ok("INSERT INTO notes (customer, n) VALUES (1, 5), (2, 6), (1, 7), (3, 8)").await;
    let sql = "SELECT c.name, count(*) FROM notes o JOIN customers c ON c.id = o.customer AND o.n > ?2
         WHERE c.level < ?1 GROUP BY c.name ORDER BY 1 LIMIT ?3";
    let answer = cluster.with(sql, Params::Positional(vec![9.into(), 5.into(), 10.into()])).await.unwrap();
    let expected: [[Value; 2]; 2] = [["B".into(), 1.into()], ["a".into(), 1.into()]];
    assert_eq!(answer.rows.to_values().unwrap(), expected);
}
