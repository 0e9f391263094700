//! Requests that change the schema and rows, all of it or nothing: one transaction over all partitions, for which an
//! operation of the catalog keeps other changes of the schema away.
//!
//! The operation is entered before anything is prepared, and names the transaction, so that whoever leads the catalog can
//! tell what became of it: see [`crate::operations`]. The new schema is published once the transaction has committed;
//! requests that were planned on the one before are refused by the partitions and wait until then. An attempt that comes to
//! nothing ends its operation, and the next one has an operation and a transaction of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::catalog::{Catalog, Operation, OperationState, SchemaTransaction};
use common::idempotency::KeyedRequest;
use common::protocol::{StatementResult, WorkItem};
use common::{Error, ErrorCode, Outcome, PartitionId, Result};
use query::schema::SchemaChange;
use tokio::time::Instant;

use super::Gateway;
use super::access::RequestAccess;
use super::joint::{Entered, HeldBack, KEPT_MAX, Order, Told};
use super::partition_call::millis;
use super::transaction::new_id;
use crate::catalog::{Answer, Command, is_open};

/// A coordinator that has not ended its transaction so long after its time was up is gone.
const GONE_AFTER: Duration = Duration::from_secs(5);
/// How long the catalog is asked to take note of the end.
const END_TIME_MIN: Duration = Duration::from_secs(2);
/// Attempts that come to nothing because others keep a partition or a leader is lost.
const ATTEMPTS_MAX: usize = 3;

/// What is to be done to a database.
struct Request {
    change: SchemaChange,
    work: Vec<(usize, Vec<WorkItem>)>,
    max_rows: u32,
    /// Its idempotency key, with the key's home: the commit waits for the answer then.
    key: Option<(usize, KeyedRequest)>,
}

impl RequestAccess {
    /// Changes the schema and rows of every partition, all of it or nothing.
    pub(super) async fn change_all(
        &self,
        change: SchemaChange,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        if self.is_within_transaction() {
            return Err(Error::not_supported(
                "a transaction cannot change the schema",
                "change it with a request of its own",
            ));
        }
        let key = match self.once() {
            Some(once) => Some(self.begin_prepared(once).await?),
            None => None,
        };
        let partitions = self.check_is_complete(&work)?;
        let request = Request { change, work, max_rows, key };
        let (mut order, mut attempts) = (Order::AtOnce, 1);
        let done = loop {
            let done = self.attempt_change(&request, &partitions, order).await;
            match &done {
                Err(error) if attempts < ATTEMPTS_MAX && self.may_attempt_again(error, order) => {
                    (order, attempts) = (Order::InLine, attempts + 1);
                }
                _ => break done,
            }
        };
        let written = request.work.iter().map(|(index, _)| *index).collect();
        self.contention.lock().note(written, done.as_ref().err());
        done
    }

    /// The partitions, if each has a step of the change: the version must be the same everywhere.
    fn check_is_complete(&self, work: &[(usize, Vec<WorkItem>)]) -> Result<BTreeSet<PartitionId>> {
        let database = self.database();
        let with_step =
            work.iter().filter(|(_, items)| items.iter().any(|item| matches!(item, WorkItem::Schema(_))));
        let indexes: BTreeSet<usize> = with_step.map(|(index, _)| *index).collect();
        if work.len() != indexes.len() || !indexes.into_iter().eq(0..database.partition_count()) {
            return Err(Error::internal("a change of the schema leaves partitions out"));
        }
        Ok(database.partitions().map(|(_, _, id)| id).collect())
    }

    /// Whether it failed for what is over in a moment. Who waits in line is not refused for being in the way of others.
    fn may_attempt_again(&self, error: &Error, order: Order) -> bool {
        let is_kept = error.code == ErrorCode::SerializationFailure && error.statement.is_none();
        let lost_leader =
            matches!(error.code, ErrorCode::LeadershipLost | ErrorCode::NoQuorum | ErrorCode::Unavailable);
        error.outcome == Outcome::NotApplied
            && (lost_leader || (is_kept && order == Order::AtOnce))
            && Instant::now() + END_TIME_MIN < self.deadline
    }

    async fn attempt_change(
        &self,
        request: &Request,
        partitions: &BTreeSet<PartitionId>,
        order: Order,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let now = Instant::now();
        let deadline = match partitions.len() {
            // Nobody is kept waiting for others.
            0 | 1 => self.deadline,
            _ => self.deadline.min(now + KEPT_MAX),
        };
        let decider = partitions.last().copied().ok_or_else(|| Error::internal("no partitions"))?;
        let surroundings = &self.gateway.shared.surroundings;
        let name = self.contention.lock().name();
        let unique = name.unwrap_or_else(|| surroundings.drawn_name());
        let transaction = SchemaTransaction {
            id: new_id(unique, deadline, surroundings.now()),
            decider,
            patience_ms: millis(deadline.saturating_duration_since(now) + GONE_AFTER),
        };
        let operation = self.enter(request.change.clone(), transaction).await?;
        let entered = Entered { id: transaction.id, order, deadline };
        let (key, work) = (request.key.clone(), request.work.clone());
        let end_by = self.deadline.max(Instant::now() + END_TIME_MIN);
        let failed = match self.write_entered(name, entered, key, work, request.max_rows).await {
            Ok(Told::Written(written)) => {
                let published = self.gateway.publish(&operation, end_by).await;
                self.note_written();
                self.follow_schema();
                return published.map(|()| written.results);
            }
            Ok(Told::Prepared(prepared)) => {
                self.hold_change(prepared.held, operation);
                return Ok(prepared.written.results);
            }
            Ok(Told::Known(kept)) => {
                let known = self.known_before(kept).await;
                // Whatever is known was applied by another attempt.
                self.gateway.fail_change(&operation, &known, end_by).await;
                return Err(known);
            }
            Ok(Told::Nothing(_)) => Error::internal("a change of the schema was taken for nothing"),
            Err(error) => error,
        };
        let ended = self.gateway.ended_otherwise(&operation, failed, end_by).await;
        self.follow_schema();
        Err(ended)
    }

    /// Enters the operation. While its transaction has not begun nothing is applied, whatever becomes of the operation.
    async fn enter(&self, change: SchemaChange, transaction: SchemaTransaction) -> Result<String> {
        let command = Command::ChangeSchema {
            database: self.database().name.clone(),
            expected_version: change.schema.version.saturating_sub(1),
            schema: change.schema,
            statements: change.statements,
            group_statements: change.group_statements,
            undo: Vec::new(),
            transaction: Some(transaction),
        };
        let proposed = self.gateway.shared.surroundings.propose(command);
        match tokio::time::timeout_at(self.deadline, proposed).await {
            Ok(Ok(Answer::Operation(operation))) => Ok(operation),
            Ok(Ok(_)) => Err(Error::internal("an operation was answered with something else")),
            Ok(Err(error)) => Err(error.with_outcome(Outcome::NotApplied)),
            Err(_) => Err(Error::new(
                ErrorCode::NoQuorum,
                "the coordinators did not take note of the request in time",
            )),
        }
    }
}

impl Gateway {
    /// Commits a change that is prepared, together with its answer. Says no if nothing of it stays.
    pub(super) async fn commit_change(
        &self,
        held: HeldBack,
        operation: &str,
        answer: Bytes,
        deadline: Instant,
    ) -> Result<bool> {
        match held.commit(answer).await {
            Ok(true) => self.publish(operation, deadline).await.map(|()| true),
            Ok(false) => {
                let conflict = Error::new(ErrorCode::SerializationFailure, "another request came first");
                self.fail_change(operation, &conflict, deadline).await;
                Ok(false)
            }
            Err(error) => Err(self.ended_otherwise(operation, error, deadline).await),
        }
    }

    /// The transaction has committed. Requests may be planned on the new schema once this coordinator knows it.
    async fn publish(&self, operation: &str, deadline: Instant) -> Result<()> {
        let finish = Command::FinishOperation { operation: operation.to_owned() };
        // Should the catalog not answer, whoever leads it publishes the schema.
        let _ = tokio::time::timeout_at(deadline, self.shared.surroundings.propose(finish)).await;
        if self.end_of(operation, deadline).await.is_some() {
            return Ok(());
        }
        let text = "the schema and rows are changed, and the new schema is not published yet";
        Err(Error::new(ErrorCode::Timeout, text).with_outcome(Outcome::Applied))
    }

    /// The transaction has not been answered as it should: what became of it, as truly as can be told.
    async fn ended_otherwise(&self, operation: &str, error: Error, deadline: Instant) -> Error {
        match error.outcome {
            Outcome::NotApplied => {
                self.fail_change(operation, &error, deadline).await;
                error
            }
            Outcome::Applied => {
                let _ = self.publish(operation, deadline).await;
                error
            }
            Outcome::Partial | Outcome::Unknown => {
                match self.end_of(operation, deadline).await.map(|operation| operation.state) {
                    Some(OperationState::Completed) => error.with_outcome(Outcome::Applied),
                    Some(_) => error.with_outcome(Outcome::NotApplied),
                    None => error.with_outcome(Outcome::Unknown),
                }
            }
        }
    }

    /// Nothing of the transaction is applied.
    async fn fail_change(&self, operation: &str, error: &Error, deadline: Instant) {
        let fail = Command::FailOperation { operation: operation.to_owned(), error: error.clone() };
        // If the catalog does not answer, whoever leads it finds the same.
        let _ = tokio::time::timeout_at(deadline, self.shared.surroundings.propose(fail)).await;
    }

    /// The operation, once it has ended as far as this coordinator knows.
    async fn end_of(&self, operation: &str, deadline: Instant) -> Option<Operation> {
        let surroundings = &self.shared.surroundings;
        let mut changed = surroundings.changed();
        let ended = |catalog: Arc<Catalog>| {
            catalog.operations.get(operation).filter(|operation| !is_open(operation)).cloned()
        };
        loop {
            changed.mark_unchanged();
            if let Some(ended) = ended(surroundings.view()) {
                return Some(ended);
            }
            tokio::time::timeout_at(deadline, changed.changed()).await.ok()?.ok()?;
        }
    }
}
