//! Clients of the coordinators, each with one request under way.

use std::sync::Arc;
use std::time::Duration;

use common::protocol::{Statement, StatementResult};
use common::{Error, ErrorCode, Outcome, Result, Value};
use coordinator::gateway::{Gateway, RequestOptions, Session};
use query::sql::{SqlRequest, is_by_text};
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout};

use super::COORDINATORS;
use super::coordinator::{Coordinator, Coordinators};
use super::database::{COLUMNS, ROWS, statement};
use super::recorded::{ACCOUNTS, COUNTERS, Kind, LISTS, Recorded, SIDES, WIDE_ROWS};
use crate::histories::list_append::{Fate, Step, Transaction};

/// A request that takes longer has an unknown outcome.
const REQUEST_LIMIT: Duration = Duration::from_secs(6);
/// A client waits a little longer than its request.
const GRACE: Duration = Duration::from_secs(3);

/// A client.
pub(super) struct Client {
    pub(super) number: u64,
    coordinators: Coordinators,
    pub(super) recorded: Recorded,
    pub(super) random: StdRng,
    /// The next number that nobody else uses.
    next: i64,
}

/// How a request is to be served.
pub(super) fn options() -> RequestOptions {
    RequestOptions { deadline: Instant::now() + REQUEST_LIMIT, cache: false, ..RequestOptions::default() }
}

/// Does something in a database.
pub(super) async fn in_database<T, F>(
    gateway: &Gateway,
    database: &str,
    options: &RequestOptions,
    work: impl Fn(Arc<Session>) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    // In a box: what the program does for a request is a large future.
    Box::pin(gateway.run(database, options, work)).await.map(|(answer, _)| answer)
}

/// Runs statements as the route of SQL does, all or none.
pub(super) async fn run_sql(
    gateway: &Gateway,
    database: &str,
    statements: Vec<Statement>,
    options: &RequestOptions,
) -> Result<Vec<StatementResult>> {
    let request = Arc::new(SqlRequest { statements, atomic: true, max_rows: 10_000, read_only: false });
    if let Some(once) = &options.once {
        // Until the text is planned.
        once.set_by_text(true);
    }
    let work = |session: Arc<Session>| {
        let request = request.clone();
        async move {
            session.prepare(&request.statements).await;
            session.access.choose_way(is_by_text(&session.planner, &request)).await?;
            let answer = query::sql::run(&session.planner, &session.access, (*request).clone()).await?;
            answer.results.into_iter().collect::<Result<Vec<_>>>()
        }
    };
    in_database(gateway, database, options, work).await
}

/// The numbers of an answer's rows.
pub(super) fn numbers(result: &StatementResult) -> Result<Vec<Vec<i64>>> {
    let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    let number = |value: Value| match value {
        Value::Integer(number) => Ok(number),
        other => Err(Error::internal(format!("{other:?} is no number"))),
    };
    rows.into_iter().map(|row| row.into_iter().map(number).collect()).collect()
}

impl Client {
    pub(super) fn new(number: u64, coordinators: Coordinators, recorded: Recorded, random: StdRng) -> Client {
        let next = i64::try_from(number).expect("few clients") * 1_000_000;
        Client { number, coordinators, recorded, random, next }
    }

    /// Works until then.
    pub(super) async fn act(mut self, until: Instant) {
        while Instant::now() < until {
            let pause = self.random.random_range(0..20);
            sleep(Duration::from_millis(pause)).await;
            let done = match self.random.random_range(0..18) {
                0 | 1 => self.append().await,
                2 | 3 => self.transfer().await,
                4 => self.read_accounts().await,
                5 => self.audit().await,
                6 => self.withdraw().await,
                7 => self.stamp().await,
                8 | 9 => self.mark().await,
                10 => self.read_marks().await,
                11 => self.add_once().await,
                12 => self.append_to_both().await,
                13 => self.transfer_after_a_look().await,
                14 => self.withdraw_after_a_look().await,
                15 => self.replace_version().await,
                _ => self.work_on_documents().await,
            };
            let mut seen = self.recorded.seen();
            match done {
                Ok(()) => seen.report.acknowledged += 1,
                Err(error) if error.outcome == Outcome::NotApplied => seen.report.refused += 1,
                Err(_) => seen.report.unknown += 1,
            }
        }
    }

    /// A number that nobody else uses.
    pub(super) fn own_number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    pub(super) fn coordinators(&self) -> &Coordinators {
        &self.coordinators
    }

    /// Any coordinator.
    pub(super) fn coordinator(&mut self) -> Arc<Coordinator> {
        self.coordinators.at(self.random.random_range(0..COORDINATORS))
    }

    /// Runs statements through any coordinator.
    async fn sql(&mut self, database: &str, statements: Vec<Statement>) -> Result<Vec<StatementResult>> {
        let coordinator = self.coordinator();
        let options = options();
        in_time(coordinator.serve(run_sql(&coordinator.gateway, database, statements, &options))).await
    }

    pub(super) fn two_of(&mut self, count: u64) -> (i64, i64) {
        let count = i64::try_from(count).expect("few");
        let first = self.random.random_range(0..count);
        (first, (first + self.random.random_range(1..count)) % count)
    }

    pub(super) fn one_of(&mut self, count: u64) -> i64 {
        self.random.random_range(0..i64::try_from(count).expect("few"))
    }

    /// Appends to two lists, which answer what they hold then; or reads one, or two at one moment.
    async fn append(&mut self) -> Result<()> {
        let (first, second) = self.two_of(LISTS);
        let begun = self.recorded.now_us();
        if self.random.random_bool(0.4) {
            let lists = if self.random.random_bool(0.5) { vec![first] } else { vec![first, second] };
            let read = |list: &i64| statement("SELECT items FROM lists WHERE id = ?", &[*list]);
            let answers = self.sql(ROWS, lists.iter().map(read).collect()).await?;
            let steps =
                lists.iter().zip(&answers).map(|(list, answer)| Ok(Step::Read(key(*list), items(answer)?)));
            let steps = steps.collect::<Result<_>>()?;
            self.record(steps, Fate::Committed, begun);
            return Ok(());
        }
        let value = self.own_number();
        let sql = format!("UPDATE lists SET items = items || ',{value}' WHERE id = ? RETURNING items");
        let appends = vec![statement(&sql, &[first]), statement(&sql, &[second])];
        match self.sql(ROWS, appends).await {
            Ok(answers) => {
                let mut steps = Vec::new();
                for (list, answer) in [first, second].into_iter().zip(&answers) {
                    steps.push(Step::Append(key(list), key(value)));
                    steps.push(Step::Read(key(list), items(answer)?));
                }
                self.record(steps, Fate::Committed, begun);
                Ok(())
            }
            Err(error) => {
                let steps = vec![Step::Append(key(first), key(value)), Step::Append(key(second), key(value))];
                self.record(steps, fate_of(&error), begun);
                Err(error)
            }
        }
    }

    pub(super) fn record(&self, steps: Vec<Step>, fate: Fate, begun: u64) {
        let transaction = Transaction { steps, fate, time: (begun, self.recorded.now_us()) };
        self.recorded.seen().lists.push(transaction);
    }

    async fn transfer(&mut self) -> Result<()> {
        let (from, to) = self.two_of(ACCOUNTS);
        let sql = "UPDATE accounts SET balance = balance + ? WHERE id = ?";
        self.sql(ROWS, vec![statement(sql, &[-1, from]), statement(sql, &[1, to])]).await.map(drop)
    }

    async fn read_accounts(&mut self) -> Result<()> {
        let sum = self.random.random_bool(0.5);
        let sql = if sum {
            "SELECT sum(balance) FROM accounts"
        } else {
            "SELECT balance FROM accounts ORDER BY id"
        };
        let answers = self.sql(ROWS, vec![statement(sql, &[])]).await?;
        let found = numbers(&answers[0])?.concat();
        self.recorded.seen().totals.entry(Kind::Rows).or_default().push(found);
        Ok(())
    }

    /// Adds all accounts up, as a part of a write.
    async fn audit(&mut self) -> Result<()> {
        let sql = "INSERT INTO audits SELECT ?, sum(balance) FROM accounts";
        let audit = self.own_number();
        self.sql(ROWS, vec![statement(sql, &[audit])]).await.map(drop)
    }

    /// Takes from one side what both sides cover together.
    async fn withdraw(&mut self) -> Result<()> {
        let account = self.one_of(SIDES);
        let side = account + if self.random.random_bool(0.5) { 1_000 } else { 0 };
        let sql = "UPDATE sides SET balance = balance - 60 WHERE id = ? AND \
                   (SELECT sum(balance) FROM sides WHERE id IN (?, ?)) >= 60";
        self.sql(ROWS, vec![statement(sql, &[side, account, account + 1_000])]).await.map(drop)
    }

    /// Sets all columns of a row to one number, or reads them.
    async fn stamp(&mut self) -> Result<()> {
        let row = self.one_of(WIDE_ROWS);
        if self.random.random_bool(0.5) {
            let read = statement("SELECT a, b, c FROM wide WHERE id = ?", &[row]);
            let answers = self.sql(COLUMNS, vec![read]).await?;
            self.recorded.seen().wide_rows.extend(numbers(&answers[0])?);
            return Ok(());
        }
        let stamp = self.own_number();
        let write =
            statement("UPDATE wide SET a = ?, b = ?, c = ? WHERE id = ?", &[stamp, stamp, stamp, row]);
        self.sql(COLUMNS, vec![write]).await.map(drop)
    }

    /// Adds one to a counter, by a write of one partition.
    async fn mark(&mut self) -> Result<()> {
        let id = self.one_of(COUNTERS);
        let done = self.sql(ROWS, vec![statement("UPDATE marks SET n = n + 1 WHERE id = ?", &[id])]).await;
        self.count("marks", &[id], done.map(drop))
    }

    /// Notes what became of an addition.
    pub(super) fn count(&self, of: &'static str, ids: &[i64], done: Result<()>) -> Result<()> {
        let mut seen = self.recorded.seen();
        for id in ids {
            let additions = seen.additions.entry((of, *id)).or_default();
            match &done {
                Ok(()) => additions.applied += 1,
                Err(error) if error.outcome == Outcome::NotApplied => {}
                // It is there, only its answer is not.
                Err(error) if error.outcome == Outcome::Applied => additions.applied += 1,
                Err(_) => additions.unknown += 1,
            }
        }
        done
    }

    async fn read_marks(&mut self) -> Result<()> {
        let answers = self.sql(ROWS, vec![statement("SELECT n FROM marks ORDER BY id", &[])]).await?;
        let found = numbers(&answers[0])?.concat();
        self.recorded.seen().counts.entry(Kind::Rows).or_default().push(found);
        Ok(())
    }
}

/// Waits for an answer no longer than a client would.
pub(super) async fn in_time<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Err(Error::new(ErrorCode::Timeout, "nobody has answered").with_outcome(Outcome::Unknown));
    timeout(REQUEST_LIMIT + GRACE, asked).await.unwrap_or_else(late)
}

/// What an error says of a transaction. One that has committed without its answer tells nothing of what it read.
pub(super) fn fate_of(error: &Error) -> Fate {
    if error.outcome == Outcome::NotApplied { Fate::Aborted } else { Fate::Unknown }
}

pub(super) fn key(number: i64) -> u64 {
    u64::try_from(number).expect("not negative")
}

/// The values of a list as it is stored: each behind a comma.
pub(super) fn items(answer: &StatementResult) -> Result<Vec<u64>> {
    let rows = answer.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
    match rows.concat().as_slice() {
        [Value::Text(text)] => {
            Ok(text.split(',').skip(1).map(|item| item.parse().expect("a number")).collect())
        }
        other => Err(Error::internal(format!("{other:?} is no list"))),
    }
}
