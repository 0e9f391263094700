//! One random schema with statements over it, on a database and on one file side by side.

use sqlite::single_file::VisitOrder;

use crate::answer::{Answered, Engine};
use crate::batch;
use crate::compare::{self, Difference, Order, difference};
use crate::generator::{Features, Generator, Statement};
use crate::minimise::minimise;
use crate::reference::{Reference, gave_up};
use crate::refused;

/// Makes an empty database, divided by a column if one is named.
pub type Maker<'a> = &'a mut dyn FnMut(Option<&str>) -> Box<dyn Engine>;

/// What a trial does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// From which everything follows.
    pub seed: u64,
    /// Statements after the schema's.
    pub statements: usize,
    /// What the schema may hold.
    pub features: Features,
}

/// What trials found.
#[derive(Debug, Default)]
pub struct Report {
    /// Statements that ran.
    pub statements: usize,
    /// Statements that were refused as documented, with the beginnings of the texts.
    pub refused: std::collections::BTreeMap<String, usize>,
    /// Statements whose answer SQLite itself does not promise: it changes with the order in which rows are
    /// visited.
    pub unpromised: usize,
    /// Statements that took one file too long to be compared.
    pub given_up: usize,
    /// What differs, each as a script that shows it.
    pub failures: Vec<Failure>,
    /// Differences of a kind of which enough scripts are shown.
    pub more_of_a_kind: usize,
}

/// Scripts that are shown of one kind of difference.
const SHOWN_OF_A_KIND: usize = 2;

/// A difference.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of the trial.
    pub seed: u64,
    /// What differs.
    pub difference: Difference,
    /// The statements, as few as could be, of which the last one differs.
    pub script: Vec<String>,
    /// How the last one is run.
    pub plan: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "# seed {}: {}", self.seed, self.difference.kind)?;
        for sql in &self.script {
            writeln!(f, "statement ok\n{sql}\n")?;
        }
        writeln!(f, "{}", self.difference.text)?;
        self.plan.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What came of one statement.
#[derive(Debug)]
enum Verdict {
    Same,
    Refused(String),
    Unpromised,
    /// Statements before it have made what one file holds by chance.
    LeftToChance,
    GivenUp,
    Differs(Difference),
}

/// A database and the reference, with equal contents.
struct Pair {
    database: Box<dyn Engine>,
    reference: Reference,
    /// The statements that made the reference what it is.
    history: Vec<String>,
    /// Statements that show the whole state.
    views_of_state: Vec<String>,
}

/// Runs a trial and adds to the report what it finds.
pub fn run(plan: Plan, make: Maker<'_>, report: &mut Report) {
    let mut generator = Generator::new(plan.seed, plan.features);
    let schema = generator.schema().clone();
    let key = schema.partition_key.clone();
    let state: Vec<String> = schema
        .tables
        .iter()
        .map(|table| {
            let rowid = if table.has_rowid { "rowid, " } else { "" };
            format!("SELECT {rowid}* FROM {} ORDER BY {}", table.name, table.order)
        })
        .chain(
            schema
                .ddl
                .iter()
                .any(|sql| sql.starts_with("CREATE TABLE log"))
                .then(|| "SELECT * FROM log".to_owned()),
        )
        .chain(
            // The counters' table goes with the last table that is counted.
            (!plan.features.definitions && schema.ddl.iter().any(|sql| sql.contains("AUTOINCREMENT")))
                .then(|| "SELECT name, seq FROM sqlite_sequence WHERE seq > 0 ORDER BY name".to_owned()),
        )
        .collect();
    let mut pair = Pair::new(make(key.as_deref()), state.clone());
    let ddl = schema.ddl.into_iter().map(|sql| Statement { sql, order: Order::Any, is_change: true });
    let mut ddl = ddl.collect::<Vec<_>>().into_iter();
    for step in 0.. {
        let (statement, checks_state) = match ddl.next() {
            Some(statement) => (statement, false),
            None if step >= plan.statements => return,
            // Tables fill first.
            None => (generator.statement(if step < 40 { 85 } else { 35 }), step % 4 == 0),
        };
        report.statements += 1;
        match pair.step(&statement, checks_state) {
            Verdict::Same => {}
            Verdict::Refused(text) => *report.refused.entry(text).or_default() += 1,
            Verdict::Unpromised if !statement.is_change => report.unpromised += 1,
            Verdict::Unpromised | Verdict::LeftToChance => {
                report.unpromised += 1;
                return;
            }
            Verdict::GivenUp => {
                report.given_up += 1;
                if statement.is_change {
                    return;
                }
            }
            Verdict::Differs(difference) => {
                let is_change = statement.is_change;
                let shown = report.failures.iter().filter(|shown| shown.difference.kind == difference.kind);
                if shown.count() >= SHOWN_OF_A_KIND {
                    report.more_of_a_kind += 1;
                } else {
                    let mut script = pair.history.clone();
                    script.extend((!is_change).then(|| statement.sql.clone()));
                    let probe = Probe { last: statement, state: state.clone(), key: key.clone() };
                    report.failures.push(probe.reduce(plan.seed, script, difference, make));
                }
                if is_change {
                    return;
                }
            }
        }
    }
}

impl Pair {
    fn new(database: Box<dyn Engine>, views_of_state: Vec<String>) -> Pair {
        Pair { database, reference: Reference::impatient(), history: Vec::new(), views_of_state }
    }

    fn step(&mut self, statement: &Statement, checks_state: bool) -> Verdict {
        let sql = &statement.sql;
        let found = self.database.run(sql);
        if let Err(refusal) = &found
            && refused::is_documented(refusal)
        {
            return Verdict::Refused(refusal.message.clone());
        }
        let expected = self.reference.run(sql);
        if gave_up(&expected) {
            return Verdict::GivenUp;
        }
        if statement.is_change {
            self.history.push(sql.clone());
        }
        let mut verdict = match difference(&expected, &found, statement.order) {
            None => Verdict::Same,
            Some(_) if fails_at_a_value(&expected) || fails_at_a_value(&found) => Verdict::Unpromised,
            // Rows whose rowid cannot be chosen are refused; whether for that or for another fault, is not promised.
            Some(_) if found.is_err() && has_no_rowid_left(&expected) => Verdict::Unpromised,
            Some(_) if stand_for_each_other(statement, &expected, &found) => Verdict::Unpromised,
            Some(_) if self.is_unpromised(statement, &expected) => Verdict::Unpromised,
            Some(_) if !statement.is_change && self.is_left_to_chance() => Verdict::LeftToChance,
            Some(difference) => Verdict::Differs(difference),
        };
        if statement.is_change
            && (checks_state || expected.is_err())
            && !matches!(verdict, Verdict::Differs(_))
            && let Some(difference) = self.difference_of_state()
        {
            let unpromised = self.is_unpromised(statement, &expected);
            verdict = if unpromised { Verdict::Unpromised } else { Verdict::Differs(difference) };
        }
        verdict
    }

    fn difference_of_state(&mut self) -> Option<Difference> {
        self.views_of_state.clone().iter().find_map(|sql| {
            let (expected, found) = (self.reference.run(sql), self.database.run(sql));
            let Difference { kind, text } = difference(&expected, &found, Order::Kept)?;
            Some(Difference::new(format!("state: {kind}"), format!("{sql}\n{text}")))
        })
    }

    /// Whether one file answers differently, or is left differently, when rows are visited in another order.
    fn is_unpromised(&mut self, statement: &Statement, expected: &Answered) -> bool {
        if !statement.is_change {
            return self.reference.depends_on_visits(&statement.sql, expected, statement.order);
        }
        VisitOrder::OTHERS.into_iter().any(|visits| self.changes_otherwise(statement, expected, visits))
    }

    /// Whether one file holds something else each time that it is made: after the greatest rowid SQLite draws others by
    /// chance, where a database over partitions may refuse the row, or draw others.
    fn is_left_to_chance(&mut self) -> bool {
        let mut again = Reference::impatient();
        for sql in &self.history {
            let _ = again.run(sql);
        }
        self.holds_other_than(&mut again)
    }

    /// Whether the reference holds something else than another one.
    fn holds_other_than(&mut self, other: &mut Reference) -> bool {
        self.views_of_state
            .iter()
            .any(|sql| difference(&self.reference.run(sql), &other.run(sql), Order::Kept).is_some())
    }

    /// Whether a change, which was the last one, answers or leaves something else when rows are visited so.
    fn changes_otherwise(&mut self, statement: &Statement, expected: &Answered, visits: VisitOrder) -> bool {
        let mut other = Reference::impatient();
        for sql in &self.history[..self.history.len() - 1] {
            // What was refused then is refused now.
            let _ = other.run(sql);
        }
        let answered = other.visiting(visits, &statement.sql);
        if gave_up(&answered) {
            return false;
        }
        difference(expected, &answered, Order::Any).is_some() || self.holds_other_than(&mut other)
    }
}

/// Whether a value could not be computed: whether it is computed at all depends on the order of the joins.
fn fails_at_a_value(answered: &Answered) -> bool {
    let messages = ["integer overflow", "malformed JSON", "bad JSON path"];
    answered.as_ref().is_err_and(|refusal| messages.iter().any(|text| refusal.message.starts_with(text)))
}

/// Whether the greatest rowid is taken already.
fn has_no_rowid_left(answered: &Answered) -> bool {
    answered.as_ref().is_err_and(|refusal| refusal.message.starts_with(refused::ROWIDS_EXHAUSTED))
}

/// Whether the answers differ in nothing but values that are equal under some collation, where SQLite does not
/// promise which of them represents a group, or comes first.
fn stand_for_each_other(statement: &Statement, expected: &Answered, found: &Answered) -> bool {
    let words = ["GROUP BY", "DISTINCT", "UNION", "EXCEPT", "INTERSECT", "ORDER BY", "min(", "max("];
    let (Ok(expected), Ok(found)) = (expected, found) else { return false };
    // Rows that are sorted by such a value come in another order.
    let is_order = difference(&Ok(expected.clone()), &Ok(found.clone()), Order::Any).is_none();
    let order = if is_order { statement.order } else { Order::Any };
    words.iter().any(|word| statement.sql.contains(word))
        && compare::equal_when_folded(expected, found, order)
}

/// What a smaller script must still show.
struct Probe {
    /// The statement that differed; its text may become shorter.
    last: Statement,
    state: Vec<String>,
    key: Option<String>,
}

impl Probe {
    fn reduce(&self, seed: u64, script: Vec<String>, difference: Difference, make: Maker<'_>) -> Failure {
        // Making it small may take longer than the run is given.
        println!("{}, of seed {seed}: {}\n{}", difference.kind, self.last.sql, difference.text);
        let kind = difference.kind.clone();
        let accepts = self.reference_accepts(&script);
        let mut found = (difference, Vec::new());
        let script = minimise(script, &mut |script| {
            let now = self.reference_accepts(script);
            if !self.keeps_order(script) || now.is_none() || now != accepts {
                return false;
            }
            let Some((difference, plan)) = self.differs(script, make) else { return false };
            let same = difference.kind == kind;
            if same {
                found = (difference, plan);
            }
            same
        });
        Failure { seed, difference: found.0, script, plan: found.1 }
    }

    /// An order that was compared must still be there, and a request must still be one.
    fn keeps_order(&self, script: &[String]) -> bool {
        let Some(last) = script.last() else { return false };
        if batch::statements(&self.last.sql).is_some() {
            // An error of one alone is told otherwise: there is no later end.
            return batch::statements(last).is_some_and(|statements| {
                statements.len() > 1 && statements.iter().all(|sql| !sql.trim().is_empty())
            });
        }
        self.last.order == Order::Any
            || self.last.sql.rsplit_once("ORDER BY").is_some_and(|(_, tail)| last.ends_with(tail))
    }

    /// Whether the last statement is accepted; `None` if one does not end: a recursion may have lost its end.
    fn reference_accepts(&self, script: &[String]) -> Option<bool> {
        let mut reference = Reference::impatient();
        let mut accepts = None;
        for sql in script {
            let answered = reference.run(sql);
            if gave_up(&answered) {
                return None;
            }
            accepts = Some(answered.is_ok());
        }
        accepts
    }

    fn differs(&self, script: &[String], make: Maker<'_>) -> Option<(Difference, Vec<String>)> {
        let (last, before) = script.split_last()?;
        let mut pair = Pair::new(make(self.key.as_deref()), self.state.clone());
        for sql in before {
            let statement = Statement { sql: sql.clone(), order: Order::Any, is_change: true };
            // What comes later would be a consequence.
            if matches!(pair.step(&statement, false), Verdict::Differs(_)) {
                return None;
            }
        }
        let plan = pair.database.plan(last);
        let statement = Statement { sql: last.clone(), ..self.last.clone() };
        match pair.step(&statement, true) {
            Verdict::Differs(difference) => Some((difference, plan)),
            _ => None,
        }
    }
}
