//! Runs a script on a database and on one file side by side.

use rand::rngs::SmallRng;
use rand::seq::index::sample;
use sqlite::single_file::VisitOrder;

use crate::answer::{Answered, Engine};
use crate::compare::{Difference, Order, difference};
use crate::reference::Reference;
use crate::refused;
use crate::script::{Record, parse};

/// Statements without rows that are sent together, most of which insert one row each.
const TOGETHER: usize = 50;

/// How much of a script runs.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Queries that run, picked by chance, if that is more than `percent`.
    pub queries: usize,
    /// Of a hundred queries, how many run at least.
    pub percent: usize,
    /// Statements after which the script ends.
    pub statements: usize,
}

/// What one script found.
#[derive(Debug, Default)]
pub struct Report {
    /// Queries that ran.
    pub queries: usize,
    /// Other statements that ran.
    pub statements: usize,
    /// Statements that were refused as documented.
    pub refused: Vec<String>,
    /// Queries whose answer SQLite itself does not promise: it changes with the order in which rows are visited.
    pub unpromised: usize,
    /// What differs.
    pub differences: Vec<String>,
    /// Answers that are not those which the script has written down.
    pub unmet: Vec<String>,
}

/// Runs a script, or a sample of it.
pub fn run(
    name: &str,
    script: &str,
    database: &mut dyn Engine,
    chosen: Option<(Sample, &mut SmallRng)>,
) -> Report {
    let records = match chosen {
        None => parse(script),
        Some((size, random)) => sampled(parse(script), size, random),
    };
    let mut run = Run { name, database, reference: Reference::new(), report: Report::default() };
    let mut waiting = Vec::new();
    for record in &records {
        match record {
            Record::Statement { sql } => {
                waiting.push(sql.clone());
                if waiting.len() == TOGETHER {
                    run.statements(&std::mem::take(&mut waiting));
                }
            }
            Record::Query { .. } => {
                run.statements(&std::mem::take(&mut waiting));
                run.query(record);
            }
        }
    }
    run.statements(&waiting);
    run.report
}

/// As many queries as wanted, among the statements that come before.
fn sampled(mut records: Vec<Record>, size: Sample, random: &mut SmallRng) -> Vec<Record> {
    let is_query = |record: &Record| matches!(record, Record::Query { .. });
    let mut statements = 0;
    let end = records.iter().position(|record| {
        statements += usize::from(!is_query(record));
        statements > size.statements
    });
    records.truncate(end.unwrap_or(records.len()));
    let queries = records.iter().filter(|record| is_query(record)).count();
    let wanted = size.queries.max((queries * size.percent).div_ceil(100)).min(queries);
    let kept = sample(random, queries, wanted).into_iter().collect::<std::collections::HashSet<_>>();
    let mut query = 0;
    records.retain(|record| {
        query += usize::from(is_query(record));
        !is_query(record) || kept.contains(&(query - 1))
    });
    records
}

struct Run<'a> {
    name: &'a str,
    database: &'a mut dyn Engine,
    reference: Reference,
    report: Report,
}

impl Run<'_> {
    fn statements(&mut self, statements: &[String]) {
        self.report.statements += statements.len();
        for (sql, found) in statements.iter().zip(self.database.run_all(statements)) {
            if self.is_refused(sql, &found) {
                continue;
            }
            let expected = self.reference.run(sql);
            // What counts as changed by DDL, SQLite does not say; and gaps between rowids show in queries.
            let found = difference(&expected, &found, Order::Any).filter(|difference| {
                difference.kind != "affected rows, last rowid" || {
                    let affected =
                        |answered: &Answered| answered.as_ref().map(|answer| answer.affected_rows).ok();
                    !sql.trim_start().to_ascii_uppercase().starts_with("CREATE")
                        && affected(&expected) != affected(&found)
                }
            });
            self.note(sql, found);
        }
    }

    fn query(&mut self, record: &Record) {
        self.report.queries += 1;
        let sql = record.sql();
        let found = self.database.run(sql);
        if self.is_refused(sql, &found) {
            return;
        }
        let expected = self.reference.run(sql);
        match difference(&expected, &found, record.order()) {
            Some(_) if self.is_unpromised(record, &expected) => self.report.unpromised += 1,
            found => self.note(sql, found),
        }
        // Where a statement was refused, neither database has the rows that the script expects.
        let checks = self.report.refused.is_empty();
        let unmet = expected.ok().filter(|_| checks).and_then(|answer| record.unmet(&answer.rows));
        self.report.unmet.extend(unmet.map(|unmet| format!("{}: {sql}\n  {unmet}", self.name)));
    }

    fn is_refused(&mut self, sql: &str, found: &Answered) -> bool {
        let refused = found.as_ref().is_err_and(refused::is_documented);
        if refused {
            self.report.refused.push(sql.to_owned());
        }
        refused
    }

    fn is_unpromised(&mut self, record: &Record, expected: &Answered) -> bool {
        let backwards = self.reference.visiting(VisitOrder::Backwards, record.sql());
        difference(expected, &backwards, record.order()).is_some()
    }

    fn note(&mut self, sql: &str, difference: Option<Difference>) {
        let Some(Difference { kind, text }) = difference else { return };
        let plan = self.database.plan(sql).join("\n");
        self.report.differences.push(format!("{}: {kind}\n{sql}\n{text}\n{plan}", self.name));
    }
}

impl Report {
    /// Adds what another script found.
    pub fn add(&mut self, other: Report) {
        self.queries += other.queries;
        self.statements += other.statements;
        self.refused.extend(other.refused);
        self.unpromised += other.unpromised;
        self.differences.extend(other.differences);
        self.unmet.extend(other.unmet);
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} statements ({} refused), {} queries ({} unpromised), {} differences",
            self.statements,
            self.refused.len(),
            self.queries,
            self.unpromised,
            self.differences.len()
        )
    }
}
