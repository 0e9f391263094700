//! Requests that change the schema and rows, all or nothing: dumps, migrations, `CREATE TABLE … AS SELECT`, a table
//! that goes while others refer to it.
//!
//! The request is read once ([`script`]): which schema each statement finds, and which tables of before it touches.
//! These are brought as a whole into a database that has all of the client's objects ([`trial`]), and the client's own
//! texts run there, DDL included. What they change between two changes of the schema is placed as the schema says that
//! is in force then ([`work`]), and becomes row images between steps of DDL, in one write on all partitions.

mod script;
mod trial;
mod versions;
mod work;

use std::sync::Arc;

use common::catalog::Database;
use common::protocol::{Statement, StatementResult};
use common::schema::Schema;
use common::{Error, ErrorCode, Outcome, Result};
use sqlite::{Refused, ScriptTrial, TrialStep};

use self::script::Script;
use self::work::Work;
use super::computed::of_transaction;
use super::proven::Proofs;
use super::{ATTEMPTS_MAX, Limits, batch};
use crate::Planner;
use crate::access::PartitionAccess;
use crate::schema::SchemaChange;

/// Runs the statements as one change; also answers what later ones are planned on, if the schema is another one then.
pub(super) async fn run(
    planner: &Planner,
    access: &impl PartitionAccess,
    statements: &[Statement],
    limits: Limits,
) -> Result<(Vec<StatementResult>, Option<Planner>)> {
    let script = Script::read(planner, statements, limits);
    if !script.changes_schema() && script.failed.is_none() {
        return Ok((rows_alone(planner, access, (&script, statements), limits).await?, None));
    }
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (tried, proofs) = trial::attempt(planner, access, &script, limits).await?;
        let (results, tried) = judged(access, &script, tried)?;
        match carry_out(planner, access, &script, (tried, proofs), limits).await {
            Ok(newer) => return Ok((results, newer)),
            Err(error) if is_in_the_way(&error) && attempt < ATTEMPTS_MAX => access.back_off(attempt).await,
            Err(error) => return Err(error),
        }
    }
}

/// Runs statements of which those that might have changed the schema have nothing to do (`IF NOT EXISTS`): the others are a
/// request like any, whose rowids are those that no other request is given.
async fn rows_alone(
    planner: &Planner,
    access: &impl PartitionAccess,
    (script, statements): (&Script<'_>, &[Statement]),
    limits: Limits,
) -> Result<Vec<StatementResult>> {
    let mut results = vec![StatementResult::default(); statements.len()];
    let is_of_rows = |place: &usize| !matches!(script.steps[*place], TrialStep::Definition { .. });
    let places: Vec<usize> = (0..statements.len()).filter(is_of_rows).collect();
    if places.is_empty() {
        return Ok(results);
    }
    let others: Vec<Statement> = places.iter().map(|&place| statements[place].clone()).collect();
    let answers = Box::pin(batch::run(planner, access, &others, limits)).await.map_err(|mut error| {
        let place = error.statement.and_then(|index| places.get(index as usize));
        error.statement = place.and_then(|&place| u32::try_from(place).ok());
        error
    })?;
    for (place, answer) in places.into_iter().zip(answers) {
        results[place] = answer;
    }
    Ok(results)
}

/// Whether another request has changed what this one was computed from.
fn is_in_the_way(error: &Error) -> bool {
    error.code == ErrorCode::SerializationFailure && error.outcome == Outcome::NotApplied
}

/// The answers, or the error of the first statement that one file would refuse.
fn judged(
    access: &impl PartitionAccess,
    script: &Script<'_>,
    mut tried: ScriptTrial,
) -> Result<(Vec<StatementResult>, ScriptTrial)> {
    let outcome = std::mem::replace(&mut tried.outcome, Ok(Vec::new()));
    match (outcome, &script.failed) {
        // What is only checked when all have run is not reached.
        (Ok(_), Some(failed)) => Err(failed.clone()),
        (Err(_), Some(failed)) if tried.refused == Refused::AtCommit => Err(failed.clone()),
        (Err(failure), _) => Err(of_transaction(access, failure.into(), tried.refused)),
        (Ok(results), None) => Ok((results, tried)),
    }
}

/// Sends what the statements come to; answers the planner of the schema of afterwards.
async fn carry_out(
    planner: &Planner,
    access: &impl PartitionAccess,
    script: &Script<'_>,
    (tried, proofs): (ScriptTrial, Proofs),
    limits: Limits,
) -> Result<Option<Planner>> {
    let counters = tried.counters.clone();
    let mut work = Work::new(planner.database(), proofs);
    work.add_all(access, script, tried).await?;
    let schema = script.schema_after(&counters);
    let newer = Database { schema: schema.clone(), ..planner.database().as_ref().clone() };
    let newer = Planner::new(Arc::new(newer), planner.rules())?;
    let (items, owners) = work.into_items();
    let changed = access.change_schema_and_rows(published(schema), items, limits.max_rows).await;
    changed.map_err(|error| owners.told(error))?;
    Ok(Some(newer))
}

/// The change as it is published; what it means for each partition is in the work.
fn published(schema: Schema) -> SchemaChange {
    SchemaChange { schema, statements: Vec::new(), group_statements: Vec::new() }
}
