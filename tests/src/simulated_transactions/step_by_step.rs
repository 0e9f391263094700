//! Transactions over several requests of a client.

use std::sync::Arc;
use std::time::Duration;

use common::protocol::Statement;
use common::{Error, ErrorCode, Outcome, Result};
use coordinator::gateway::{RequestOptions, Session, TransactionOptions};
use query::documents::{self, Precondition};
use query::sql::{SqlRequest, run};
use rand::Rng as _;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::clients::{Client, fate_of, in_database, in_time, items, key, numbers, options};
use super::coordinator::Coordinator;
use super::database::{ROWS, statement};
use super::recorded::{ACCOUNTS, Kind, LISTS, SIDES, VERSIONED};
use crate::histories::list_append::{Fate, Step};
use crate::histories::lost_update::Update;

/// How long a commit is asked for whose fate is not known.
const FATE_MAX: Duration = Duration::from_secs(20);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// An open transaction.
pub(super) struct Open {
    coordinator: Arc<Coordinator>,
    id: String,
}

impl Open {
    fn options(&self) -> RequestOptions {
        RequestOptions { transaction: Some(self.id.clone()), ..options() }
    }

    /// Does something within it.
    pub(super) async fn run<T, F>(&self, work: impl Fn(Arc<Session>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let options = self.options();
        in_time(self.coordinator.serve(in_database(&self.coordinator.gateway, ROWS, &options, work))).await
    }

    async fn sql(&self, statement: Statement) -> Result<common::protocol::StatementResult> {
        let statements = vec![statement];
        let request = SqlRequest { statements, atomic: true, max_rows: 10_000, read_only: false };
        let mut results = self
            .run(|session| {
                let request = request.clone();
                async move { run(&session.planner, &session.access, request).await }
            })
            .await?
            .results;
        results.remove(0)
    }

    /// The only number of the only row.
    async fn number(&self, statement: Statement) -> Result<i64> {
        Ok(numbers(&self.sql(statement).await?)?[0][0])
    }
}

impl Client {
    /// Begins one, which may lock what it touches.
    pub(super) async fn begin(&mut self) -> Result<Open> {
        let (coordinator, options) = (self.coordinator(), options());
        let transaction = TransactionOptions {
            read_only: false,
            pessimistic: self.random.random_bool(0.4),
            idle: Duration::from_secs(10),
            longest: Duration::from_secs(60),
        };
        let begun = coordinator.gateway.begin_transaction(ROWS, transaction, &options);
        let id = in_time(coordinator.serve(begun)).await?.id;
        Ok(Open { coordinator, id })
    }

    /// Commits. What is said then counts, so it is asked for while nobody knows, of any coordinator that runs.
    pub(super) async fn commit(&mut self, open: &Open) -> Result<()> {
        let deadline = Instant::now() + FATE_MAX;
        let mut coordinator = open.coordinator.clone();
        loop {
            let (id, options) = (open.id.clone(), options());
            let commit = coordinator.gateway.commit_transaction(&id, ROWS, &options);
            match in_time(coordinator.serve(commit)).await {
                Ok(_) => return Ok(()),
                Err(error) if error.outcome == Outcome::Applied => return Ok(()),
                Err(error) if error.outcome == Outcome::Unknown && Instant::now() < deadline => {
                    self.recorded.seen().report.asked_again += 1;
                    sleep(PAUSE).await;
                    coordinator = self.coordinator();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends to one list, then to another.
    pub(super) async fn append_to_both(&mut self) -> Result<()> {
        let (first, second) = self.two_of(LISTS);
        let (begun, value) = (self.recorded.now_us(), self.own_number());
        let open = self.begin().await?;
        let (mut steps, mut appended) = (Vec::new(), Vec::new());
        let sql = format!("UPDATE lists SET items = items || ',{value}' WHERE id = ?");
        for list in [first, second] {
            if self.random.random_bool(0.5) {
                let read = statement("SELECT items FROM lists WHERE id = ?", &[list]);
                steps.push(Step::Read(key(list), items(&open.sql(read).await?)?));
            }
            open.sql(statement(&sql, &[list])).await?;
            steps.push(Step::Append(key(list), key(value)));
            appended.push(Step::Append(key(list), key(value)));
        }
        let committed = self.commit(&open).await;
        match &committed {
            Ok(()) => self.record(steps, Fate::Committed, begun),
            Err(error) => self.record(appended, fate_of(error), begun),
        }
        committed
    }

    /// Moves what is there, if it is there.
    pub(super) async fn transfer_after_a_look(&mut self) -> Result<()> {
        let (from, to) = self.two_of(ACCOUNTS);
        let open = self.begin().await?;
        let balance = open.number(statement("SELECT balance FROM accounts WHERE id = ?", &[from])).await?;
        let set = "UPDATE accounts SET balance = ? WHERE id = ?";
        open.sql(statement(set, &[balance - 3, from])).await?;
        open.sql(statement("UPDATE accounts SET balance = balance + 3 WHERE id = ?", &[to])).await?;
        self.commit(&open).await
    }

    /// Takes from one side what both sides cover together.
    pub(super) async fn withdraw_after_a_look(&mut self) -> Result<()> {
        let account = self.one_of(SIDES);
        let side = account + if self.random.random_bool(0.5) { 1_000 } else { 0 };
        let open = self.begin().await?;
        let both = "SELECT sum(balance) FROM sides WHERE id IN (?, ?)";
        if open.number(statement(both, &[account, account + 1_000])).await? >= 60 {
            let take = "UPDATE sides SET balance = balance - 60 WHERE id = ?";
            open.sql(statement(take, &[side])).await?;
        }
        self.commit(&open).await
    }

    /// Replaces a version that was read by one that nobody else writes, in a row or in a document.
    pub(super) async fn replace_version(&mut self) -> Result<()> {
        let (id, version) = (self.one_of(VERSIONED), self.own_number());
        let kind = if self.random.random_bool(0.5) { Kind::Rows } else { Kind::Documents };
        let open = self.begin().await?;
        let read = match kind {
            Kind::Rows => {
                let read = open.number(statement("SELECT version FROM versions WHERE id = ?", &[id])).await?;
                open.sql(statement("UPDATE versions SET version = ? WHERE id = ?", &[version, id])).await?;
                read
            }
            Kind::Documents => self.replace_document(&open, id, version).await?,
        };
        self.commit(&open).await?;
        let update = Update { key: key(id), read: key(read), wrote: key(version) };
        self.recorded.seen().updates.entry(kind).or_default().push(update);
        Ok(())
    }

    /// Answers the version that was there.
    async fn replace_document(&mut self, open: &Open, id: i64, version: i64) -> Result<i64> {
        let (name, moment) = (id.to_string(), self.coordinators().moment());
        let found = open
            .run(|session| {
                let name = name.clone();
                async move { documents::get(&session.planner, &session.access, "versioned", &name).await }
            })
            .await?;
        let found: Json = serde_json::from_str(&found.text).expect("documents are JSON");
        open.run(|session| {
            let (name, patch) = (name.clone(), json!({ "version": version }));
            async move {
                let (planner, access) = (&session.planner, &session.access);
                documents::patch(planner, access, "versioned", &name, patch, Precondition::None, moment).await
            }
        })
        .await?;
        found["version"].as_i64().ok_or_else(|| Error::new(ErrorCode::Internal, "a version is a number"))
    }
}
