//! Plain SQLite as an engine.

use sqlite::single_file::{SingleFile, VisitOrder};

use crate::answer::{Answer, Answered, Engine};
use crate::batch;
use crate::compare::{Order, difference};

/// Instructions of SQLite's virtual machine that an impatient reference gives a statement: some seconds.
const INSTRUCTIONS: u64 = 200_000_000;

/// The code of the answer to a statement that was given up.
const GAVE_UP: &str = "statement_timeout";

/// Whether an impatient reference has given a statement up.
pub(crate) fn gave_up(answered: &Answered) -> bool {
    answered.as_ref().is_err_and(|refusal| refusal.code == GAVE_UP)
}

/// One SQLite file in memory.
pub struct Reference {
    file: SingleFile,
}

impl Reference {
    /// An empty one.
    ///
    /// # Panics
    /// If SQLite does not work.
    #[must_use]
    pub fn new() -> Reference {
        Reference { file: SingleFile::new().expect("SQLite works") }
    }

    /// An empty one that gives up a statement which takes too long, with [`GAVE_UP`]: joins of joins may take hours,
    /// and a recursion that was made shorter may have lost its end.
    ///
    /// # Panics
    /// If SQLite does not work.
    #[must_use]
    pub fn impatient() -> Reference {
        Reference { file: SingleFile::with_instructions(INSTRUCTIONS).expect("SQLite works") }
    }

    /// Whether it answers a query otherwise once rows are visited in another order, as far as the query does not say
    /// in which.
    pub fn depends_on_visits(&mut self, sql: &str, expected: &Answered, order: Order) -> bool {
        VisitOrder::OTHERS.into_iter().any(|visits| {
            let answered = self.visiting(visits, sql);
            !gave_up(&answered) && difference(expected, &answered, order).is_some()
        })
    }

    /// Runs a statement that visits rows in an order.
    ///
    /// # Panics
    /// If SQLite does not work.
    pub fn visiting(&mut self, order: VisitOrder, sql: &str) -> Answered {
        let visit = |file: &SingleFile, order| file.visit(order).expect("SQLite has this setting");
        visit(&self.file, order);
        let answered = self.run(sql);
        visit(&self.file, VisitOrder::Usual);
        answered
    }
}

impl Default for Reference {
    fn default() -> Self {
        Reference::new()
    }
}

impl Engine for Reference {
    fn run(&mut self, sql: &str) -> Answered {
        if let Some(statements) = batch::statements(sql) {
            return batch::answered(self.file.execute_all(&statements));
        }
        Answer::of(self.file.execute(sql)?)
    }

    fn plan(&mut self, sql: &str) -> Vec<String> {
        let explained = self.run(&format!("EXPLAIN QUERY PLAN {sql}"));
        explained
            .map_or_else(|_| Vec::new(), |answer| answer.rows.iter().map(|row| format!("{row:?}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_depends_on_visits_is_told_from_one_that_does_not() {
        let mut reference = Reference::impatient();
        for sql in [
            "CREATE TABLE t (a, b)",
            "CREATE INDEX i ON t (b, a)",
            "INSERT INTO t VALUES (2, 3), (3, 4), (1, 3.0)",
        ] {
            reference.run(sql).unwrap();
        }
        let mut depends = |sql: &str, order| {
            let expected = reference.run(sql);
            reference.depends_on_visits(sql, &expected, order)
        };
        // Which of 3 and 3.0 stands for both.
        assert!(depends("SELECT CAST(b AS TEXT) FROM (SELECT DISTINCT b FROM t)", Order::Any));
        assert!(depends("SELECT a FROM t", Order::Kept));
        assert!(!depends("SELECT a FROM t", Order::Any));
        assert!(!depends("SELECT a FROM t ORDER BY a", Order::Kept));
    }

    #[test]
    fn a_statement_that_does_not_end_is_given_up() {
        let mut reference = Reference::impatient();
        let endless = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c";
        assert!(gave_up(&reference.run(endless)));
        assert!(!gave_up(&reference.run("SELECT 1")) && !gave_up(&reference.run("SELECT a")));
    }
}
