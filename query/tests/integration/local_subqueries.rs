//! Subqueries whose rows lie where the row around them lies are answered by the partitions, as on one file.

use crate::support::Cluster;
use crate::support::compare::same;
use crate::support::random::{Random, compare, seeds};
use crate::support::shop::{insert, shop};
use common::Value;
use common::protocol::Params;
use query::{Rule, Rules};

/// Seeds that run always.
const SEEDS: u64 = 4;

/// The shop, with indexes for orders and notes but not for marks.
async fn indexed_shop(buckets: u32) -> Cluster {
    let cluster = shop(buckets).await;
    cluster.ok("CREATE INDEX orders_customer ON orders (customer)").await;
    cluster.ok("CREATE INDEX orders_any ON orders (any)").await;
    cluster.ok("CREATE INDEX notes_customer ON notes (customer)").await;
    cluster
}

struct Generator {
    random: Random,
}

impl Generator {
    /// What is around, with the column that tells where its rows lie.
    fn around(&mut self) -> (&'static str, &'static str) {
        let choices = [
            ("customers c", "c.id"),
            ("customers c", "c.rowid"),
            ("orders c", "c.customer"),
            ("marks c", "customer"),
            ("notes c", "c.id"),
            ("notes c", "c.customer"),
            ("orders c JOIN customers d ON d.id = c.customer", "c.customer"),
            ("orders c JOIN customers d ON d.id = c.customer", "d.id"),
            ("orders c LEFT JOIN customers d ON d.id = c.customer AND d.level > 1", "d.id"),
            ("marks c LEFT JOIN levels l ON l.id = c.n", "c.customer"),
            ("notes c JOIN customers d ON d.id = c.customer", "c.id"),
        ];
        choices[usize::try_from(self.random.number(11)).unwrap()]
    }

    fn inner(&mut self, key: &str) -> String {
        let n = self.random.number(9);
        match self.random.number(9) {
            0 => format!("FROM orders o WHERE o.customer = {key}"),
            1 => format!("FROM orders o WHERE o.customer = {key} AND o.n > {n}"),
            2 => format!("FROM orders o WHERE {key} = o.customer AND o.n <> c.rowid % 9"),
            3 => format!("FROM marks o WHERE o.customer = {key}"),
            4 => format!("FROM marks o WHERE o.customer = {key} AND (o.n > 1 OR o.n IS NULL)"),
            5 => format!(
                "FROM orders o JOIN customers x ON x.id = o.customer WHERE o.customer = {key} AND x.level = 2"
            ),
            6 => format!("FROM orders o LEFT JOIN levels x ON x.id = o.n WHERE o.customer = {key}"),
            7 => format!(
                "FROM orders o WHERE o.customer = {key} AND NOT EXISTS (SELECT 1 FROM orders p WHERE p.customer = {} AND p.n > o.n)",
                self.random.pick(&["o.customer", key])
            ),
            _ => format!("FROM notes o WHERE o.customer = {key}"),
        }
    }

    /// Small letters do not say that the statement orders its rows.
    fn condition(&mut self, key: &str) -> String {
        let inner = self.inner(key);
        let not = self.random.pick(&["", "NOT "]);
        match self.random.number(9) {
            0 | 1 => format!("{not}EXISTS (SELECT * {inner})"),
            2 => format!("{not}EXISTS (SELECT o.n {inner} order by o.n LIMIT 1)"),
            3 => format!("c.rowid % 7 {not}IN (SELECT o.n {inner})"),
            4 => format!(
                "{key} {not}IN (SELECT o.customer FROM orders o WHERE o.n > {})",
                self.random.number(9)
            ),
            5 => format!("({key} IN (SELECT customer FROM marks)) IS NOT 1"),
            6 => format!("{key} {not}IN (SELECT id FROM customers WHERE level < 3)"),
            _ => format!(
                "{} {} {}",
                self.value(key),
                self.random.pick(&["=", "<", ">=", "IS NOT"]),
                self.random.number(9)
            ),
        }
    }

    fn value(&mut self, key: &str) -> String {
        let inner = self.inner(key);
        match self.random.number(7) {
            0 => format!("(SELECT count(*) {inner})"),
            1 => format!("(SELECT max(o.n) {inner})"),
            2 => format!("(SELECT sum(o.amount) FROM orders o WHERE o.customer = {key})"),
            3 => format!("(SELECT min(o.any) || avg(o.n) FROM orders o WHERE o.customer = {key})"),
            4 => format!("(SELECT name FROM customers WHERE id = {key})"),
            5 => format!("(SELECT o.any FROM orders o WHERE o.customer = {key} order by o.n DESC LIMIT 1)"),
            _ => format!("(SELECT o.n {inner} order by o.n, o.customer LIMIT 1)"),
        }
    }

    fn select(&mut self) -> String {
        let (from, key) = self.around();
        let mut filter = self.condition(key);
        if self.random.number(3) == 0 {
            let operator = self.random.pick(&["AND", "OR"]);
            filter = format!("{filter} {operator} {}", self.condition(key));
        }
        let value = self.value(key);
        match self.random.number(7) {
            0 => format!("SELECT c.* FROM {from} WHERE {filter}"),
            1 => format!("SELECT {key} AS k, {value} AS v FROM {from} WHERE {filter}"),
            2 => format!("SELECT count(*), sum({value}), count(DISTINCT {key}) FROM {from} WHERE {filter}"),
            3 => format!("SELECT {key}, count(*), {value} FROM {from} GROUP BY {key}"),
            4 => format!("SELECT {key}, count(*) FROM {from} GROUP BY {key} HAVING {filter} ORDER BY 1"),
            5 => format!("SELECT DISTINCT {value} AS v FROM {from} WHERE {filter} ORDER BY v"),
            _ => format!("SELECT c.rowid, {value} FROM {from} WHERE {filter} ORDER BY 2, 1 LIMIT 5"),
        }
    }
}

/// Whether partitions evaluate the statement's subqueries.
fn is_local(cluster: &Cluster, sql: &str) -> bool {
    cluster.plan(sql).iter().any(|line| line.contains("FRAGMENT") && line.contains("_around"))
}

#[tokio::test]
async fn local_subqueries_answer_as_one_file() {
    let seeds = seeds(SEEDS);
    let (mut differences, mut pushed) = (Vec::new(), 0);
    for seed in 0..seeds {
        let (single, partitioned) = (indexed_shop(1).await, indexed_shop(3).await);
        let mut generator = Generator { random: Random::new(seed) };
        for _ in 0..90 {
            let sql = insert(&mut generator.random);
            same(&sql, &single.sql(&sql).await, &partitioned.sql(&sql).await).unwrap();
        }
        let statement = || {
            let sql = generator.select();
            pushed += u32::from(is_local(&partitioned, &sql));
            sql
        };
        differences.extend(compare(seed, 150, (&single, &partitioned), statement).await.0);
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n\n"));
    assert!(u64::from(pushed) > seeds * 50, "only {pushed} statements ran on the partitions");
}

#[tokio::test]
async fn only_subqueries_whose_rows_lie_together_run_on_the_partitions() {
    let mut cluster = indexed_shop(4).await;
    let rules = Rules::default().without(Rule::Subqueries).without(Rule::Composition);
    cluster.set_rules(rules);
    for sql in [
        "SELECT id FROM customers c WHERE EXISTS (SELECT * FROM orders WHERE customer = c.id)",
        "SELECT id FROM customers WHERE NOT EXISTS (SELECT 1 FROM marks WHERE customer = id AND n > 2)",
        "SELECT count(*) FROM customers WHERE id IN (SELECT customer FROM marks)",
        "SELECT id FROM customers WHERE level IN (SELECT n FROM orders WHERE customer = id)",
        "SELECT (SELECT name FROM customers WHERE id = o.customer) FROM orders o",
        "SELECT n, (SELECT title FROM levels WHERE id = o.n) FROM orders o",
        "SELECT customer, (SELECT max(n) FROM orders p WHERE p.customer = o.customer) FROM orders o GROUP BY 1",
        "SELECT name FROM customers c JOIN orders o ON o.customer = c.id
         WHERE EXISTS (SELECT 1 FROM orders p WHERE p.customer = c.id AND p.n > o.n)",
    ] {
        assert!(is_local(&cluster, sql), "{sql}\n{:#?}", cluster.plan(sql));
    }
    for sql in [
        // Other partitions have rows too.
        "SELECT id FROM customers WHERE EXISTS (SELECT * FROM notes WHERE customer = customers.id)",
        "SELECT id FROM customers WHERE EXISTS (SELECT * FROM orders WHERE n = customers.id)",
        "SELECT id FROM customers WHERE EXISTS (SELECT * FROM orders WHERE customer >= customers.id)",
        "SELECT id FROM customers WHERE EXISTS (SELECT * FROM orders WHERE customer = id OR n = 1)",
        // NULL in another partition makes the answer unknown.
        "SELECT id FROM customers WHERE id NOT IN (SELECT customer FROM orders)",
        // Each row around would look through a table.
        "SELECT (SELECT max(n) FROM marks WHERE customer = id) FROM customers",
        // The order of the rows shows.
        "SELECT (SELECT group_concat(p.n) FROM orders p JOIN levels ON p.n > levels.id WHERE p.customer = c.id) FROM customers c",
        // Groups are known when all partitions have answered.
        "SELECT level, (SELECT max(n) FROM orders WHERE customer = id) FROM customers GROUP BY level",
    ] {
        assert!(!is_local(&cluster, sql), "{sql}\n{:#?}", cluster.plan(sql));
    }
    let sql = "SELECT id FROM customers c WHERE EXISTS (SELECT * FROM orders WHERE customer = c.id)";
    cluster.set_rules(rules.without(Rule::LocalSubqueries));
    assert!(!is_local(&cluster, sql));
}

#[tokio::test]
async fn a_local_subquery_has_the_parameters_of_the_statement() {
    let cluster = indexed_shop(3).await;
    cluster.ok("INSERT INTO customers VALUES (1, 'a', 2), (2, 'B', 3), (3, 'c', 3)").await;
    cluster.ok("INSERT INTO orders VALUES (1, 5, 1, 1), (2, 6, 1, 1), (1, 7, 1, 1), (3, 8, 1, 1)").await;
    let sql = "SELECT name, (SELECT max(n) FROM orders WHERE customer = id AND n < ?2) FROM customers
         WHERE level = ?3 AND EXISTS (SELECT 1 FROM orders o WHERE o.customer = id AND o.n > ?1) ORDER BY name";
    let values = Params::Positional(vec![5.into(), 8.into(), 3.into()]);
    let answer = cluster.with(sql, values).await.unwrap();
    let expected: [[Value; 2]; 2] = [["B".into(), 6.into()], ["c".into(), Value::Null]];
    assert_eq!(answer.rows.to_values().unwrap(), expected);
}
