//! Runs a client's SQL. The life of one statement:
//!
//! 1. [`Planner::plan`] checks it on the shadow schema and plans it, or finds the plan of an equal text;
//! 2. the parameters choose the buckets;
//! 3. a read goes to its bucket, or [`gather`] brings the rows together and the client's text runs there;
//! 4. a write becomes [`Pending`](write::Pending) work per bucket: in place ([`mod@write`]), inserted rows
//!    ([`insert`]) or rows computed here ([`computed`]); the work of a batch is put together ([`batch`]) and
//!    sent at once.

mod batch;
mod brief;
mod by_text;
mod collections;
mod computed;
mod computed_columns;
pub(crate) mod cursor;
mod define;
mod entries;
mod explain;
mod gather;
mod group_images;
mod images;
mod index_build;
mod insert;
mod lookups;
mod measured;
mod migration;
pub(crate) mod ordered;
mod partial;
mod proven;
mod pushed;
mod read_first;
mod rejoin;
mod relations;
mod restamp;
mod sequences;
mod ship;
mod verify;
mod waiting;
mod whole_rows;
mod write;

use std::sync::Arc;

use common::protocol::{RowsHeader, Statement, StatementResult};
use common::{Error, ErrorCode, Result, Value};
use sqlite::TrialStep;

use self::computed::Part;
use crate::Planner;
use crate::access::{PartitionAccess, RowStream};
use crate::deferral::Deferral;
use crate::plan::{Action, Footprint, Planned, Read};

pub use by_text::is_by_text;
pub use explain::explain;
pub(crate) use gather::{blocks_of, evaluate};
pub(crate) use insert::{PARAMETERS_MAX, ROWS_PER_STATEMENT, Rows, insert_rows};
pub use measured::Measured;
pub use sequences::greatest_rowid;
pub(crate) use write::send;

/// Attempts at work that other requests' changes got in the way of.
pub(crate) const ATTEMPTS_MAX: usize = 8;

/// Statements of one request.
#[derive(Clone, Debug)]
pub struct SqlRequest {
    /// In order.
    pub statements: Vec<Statement>,
    /// All or none; else each by itself.
    pub atomic: bool,
    /// Most rows answered per statement.
    pub max_rows: u32,
    /// Refuse whatever would change something.
    pub read_only: bool,
}

/// What they answered.
#[derive(Clone, Debug, Default)]
pub struct SqlAnswer {
    /// One result per statement. Only a request that is not atomic holds errors here.
    pub results: Vec<Result<StatementResult>>,
}

/// Runs the statements. An atomic request answers an error as a whole; it names the statement.
pub async fn run(planner: &Planner, access: &impl PartitionAccess, request: SqlRequest) -> Result<SqlAnswer> {
    run_for(planner, access, request, Writer::Client).await
}

/// The same for documents' own routes.
pub(crate) async fn run_for_documents(
    planner: &Planner,
    access: &impl PartitionAccess,
    request: SqlRequest,
) -> Result<SqlAnswer> {
    run_for(planner, access, request, Writer::Documents).await
}

async fn run_for(
    planner: &Planner,
    access: &impl PartitionAccess,
    request: SqlRequest,
    writer: Writer,
) -> Result<SqlAnswer> {
    let limits = Limits { max_rows: request.max_rows, read_only: request.read_only, writer };
    if request.atomic && request.statements.len() > 1 {
        let results = batch::run(planner, access, &request.statements, limits).await?;
        access.note_done(&results);
        return Ok(SqlAnswer { results: results.into_iter().map(Ok).collect() });
    }
    let mut session = Session::new(planner);
    let mut results = Vec::with_capacity(request.statements.len());
    for (index, statement) in request.statements.iter().enumerate() {
        match session.run(access, statement, limits).await {
            Err(error) if request.atomic => return Err(error.at_statement(index)),
            Err(error) => results.push(Err(error.at_statement(index))),
            Ok(result) => {
                access.note_done(std::slice::from_ref(&result));
                results.push(Ok(result));
            }
        }
    }
    Ok(SqlAnswer { results })
}

/// Runs one reading statement whose answer may have any number of rows.
pub async fn stream(
    planner: &Planner,
    access: &impl PartitionAccess,
    statement: Statement,
) -> Result<RowStream> {
    let planned = planner.plan(&statement.sql)?;
    if !planned.is_read {
        return Err(only_reads());
    }
    let values = planned.values(&statement.params)?;
    match &planned.action {
        Action::OneBucket => access.stream(0, statement).await,
        Action::Read(read) => match read.single(planner.database(), &values) {
            Some(bucket) => access.stream(bucket, statement).await,
            None => {
                if let Some(rows) = brief::stream(planner, access, &planned, read, &values).await? {
                    return Ok(rows);
                }
                at_one_moment(planner, access, read, &values).await?;
                if let Some(rows) = pushed::stream(planner, access, &planned, read, &values).await? {
                    return Ok(rows);
                }
                let mut rows = gather::stream(planner, access, read, &values, statement).await?;
                (rows.header.columns, rows.header.types) = planned.names();
                Ok(rows)
            }
        },
        _ => {
            let limits = Limits { max_rows: u32::MAX, read_only: true, writer: Writer::Client };
            let result = read(planner, access, &planned, &values, &statement, limits).await?;
            let header = RowsHeader { columns: result.columns, types: result.types, index: 0 };
            Ok(RowStream { header, blocks: blocks_of(vec![result.rows]) })
        }
    }
}

/// What a request allows its statements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_rows: u32,
    pub(crate) read_only: bool,
    pub(crate) writer: Writer,
}

/// Whose statements they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A client's, who does not know how documents are kept.
    Client,
    /// Those that the routes of documents are made of.
    Documents,
}

/// Statements that follow each other: one that changes the schema changes what the next is planned on.
struct Session<'a> {
    planner: &'a Planner,
    newer: Option<Planner>,
}

impl<'a> Session<'a> {
    fn new(planner: &'a Planner) -> Session<'a> {
        Session { planner, newer: None }
    }

    fn planner(&self) -> &Planner {
        self.newer.as_ref().unwrap_or(self.planner)
    }

    async fn run(
        &mut self,
        access: &impl PartitionAccess,
        statement: &Statement,
        limits: Limits,
    ) -> Result<StatementResult> {
        let planned = self.planner().plan(&statement.sql)?;
        if limits.read_only && !planned.is_read {
            return Err(only_reads());
        }
        if planned.asks_of_statements_before && access.done_before().is_some() {
            let mut results =
                batch::run(self.planner(), access, std::slice::from_ref(statement), limits).await?;
            return results.pop().ok_or_else(|| Error::internal("a statement was not answered"));
        }
        let values = planned.values(&statement.params)?;
        if planned.is_read {
            return read_checked(self.planner(), access, &planned, &values, statement, limits).await;
        }
        if matches!(planned.action, Action::Definition) {
            let statements = std::slice::from_ref(statement);
            let (mut results, newer) = define::run(self.planner(), access, statements, limits).await?;
            if let Some(newer) = newer {
                self.newer = Some(newer);
            }
            return Ok(results.pop().unwrap_or_default());
        }
        collections::check_write(self.planner(), &planned, limits.writer)?;
        write_one(self.planner(), access, &planned, &values, statement, limits).await
    }
}

/// Runs one statement by itself; there is no batch in which an error could tell its place.
pub(crate) async fn run_one(
    planner: &Planner,
    access: &impl PartitionAccess,
    statement: &Statement,
    max_rows: u32,
) -> Result<StatementResult> {
    let limits = Limits { max_rows, read_only: false, writer: Writer::Documents };
    let result = Session::new(planner).run(access, statement, limits).await;
    result.map_err(|error| Error { statement: None, ..error })
}

/// Runs a statement that only reads, twice if answers are to be checked.
async fn read_checked(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<StatementResult> {
    match planner.reference() {
        Some(reference) if planned.is_deterministic && matches!(planned.action, Action::Read(_)) => {
            verify::read_both(planner, reference, access, planned, values, statement, limits).await
        }
        _ => read(planner, access, planned, values, statement, limits).await,
    }
}

/// Runs a statement that only reads.
async fn read(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<StatementResult> {
    let result = match &planned.action {
        Action::DeferForeignKeys(deferral) => deferred_alone(access, *deferral)?,
        Action::Compute(footprint) if planned.is_read => {
            read_with_schema(planner, access, footprint, values, statement, limits).await?
        }
        Action::Evaluate => evaluate(access, statement.clone(), limits.max_rows).await?,
        Action::Schema => planner.shadow().query(statement, limits.max_rows)?,
        Action::Sequences => sequences::answer(planner, access, statement, limits.max_rows).await?,
        Action::Explain(other) => define::explain(planner, other, values),
        Action::OneBucket => access.read(0, statement.clone(), limits.max_rows).await?,
        Action::Read(read) => match read.single(planner.database(), values) {
            Some(bucket) => access.read(bucket, statement.clone(), limits.max_rows).await?,
            None => {
                let brief = brief::run(planner, access, planned, read, values, limits.max_rows).await?;
                let answer = match brief {
                    Some(answer) => answer,
                    None => read_many(planner, access, planned, read, values, statement, limits).await?,
                };
                let (columns, types) = planned.names();
                StatementResult { columns, types, ..answer }
            }
        },
        Action::Change(_) | Action::Compute(_) | Action::Insert(_) | Action::Definition => {
            return Err(Error::internal("a write was planned as a read"));
        }
    };
    Ok(StatementResult { is_read: true, ..result })
}

/// Runs a statement that reads the schema together with rows.
async fn read_with_schema(
    planner: &Planner,
    access: &impl PartitionAccess,
    footprint: &Footprint,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<StatementResult> {
    let partitions: Vec<usize> = footprint.partitions(planner.database(), values).into_iter().collect();
    if partitions.len() > 1 || footprint.reads_at_once() > 1 {
        access.read_at_one_moment(partitions, footprint.reads_at_once()).await?;
    }
    let step = TrialStep::Statement(statement.clone());
    let part = Part { step, footprint: footprint.clone(), values: values.to_vec() };
    let (mut results, _) = computed::prepare(planner, access, vec![part], limits).await?;
    Ok(results.pop().unwrap_or_default())
}

/// Says whether foreign keys wait, in a request that has no other statements.
fn deferred_alone(access: &impl PartitionAccess, deferral: Deferral) -> Result<StatementResult> {
    if deferral == Deferral::Set(true) && access.commits_later() {
        return Err(Error::not_supported(
            "foreign keys are deferred to the end of a request, not to that of a transaction of several",
            "send PRAGMA defer_foreign_keys with one request together with the statements that need it",
        ));
    }
    Ok(deferral.answer(false))
}

/// Runs a statement that reads rows of several partitions.
async fn read_many(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Planned,
    read: &Read,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<StatementResult> {
    at_one_moment(planner, access, read, values).await?;
    match pushed::run(planner, access, planned, read, values, limits.max_rows).await? {
        Some(answer) => Ok(answer),
        None => gather::run(planner, access, read, values, statement.clone(), limits.max_rows).await,
    }
}

/// Has the rows of all partitions be those of one moment.
async fn at_one_moment(
    planner: &Planner,
    access: &impl PartitionAccess,
    read: &Read,
    values: &[Value],
) -> Result<()> {
    let (partitions, reads) = (read.partitions(planner.database(), values), read.reads_at_once());
    if partitions.len() < 2 && reads < 2 {
        return Ok(());
    }
    access.read_at_one_moment(partitions, reads).await
}

/// Runs a statement that changes rows, again if other requests get in the way.
async fn write_one(
    planner: &Planner,
    access: &impl PartitionAccess,
    planned: &Arc<Planned>,
    values: &[Value],
    statement: &Statement,
    limits: Limits,
) -> Result<StatementResult> {
    let (mut attempt, mut exactly) = (0, false);
    let is_insert = matches!(planned.action, Action::Insert(_));
    loop {
        attempt += 1;
        let prepared = if exactly {
            write::prepare_exactly(planner, access, planned, values, statement, limits).await
        } else {
            write::prepare(planner, access, planned, values, statement, limits).await
        };
        let pending = match prepared {
            // What is computed names what one file names.
            Err(error) if !exactly && write::is_of_rows_made(&error) && is_insert => {
                exactly = true;
                continue;
            }
            prepared => prepared?,
        };
        match send(planner, access, vec![pending], limits.max_rows).await {
            Ok(mut results) => return Ok(results.remove(0)),
            Err(refusal) if refusal.may_pass(attempt) => {
                refusal.clear_the_way(planner, access).await?;
                access.back_off(attempt).await;
            }
            Err(refusal) if refusal.names_one_of_several && !exactly && planned.footprint().is_some() => {
                exactly = true;
            }
            Err(refusal) => return Err(refusal.error),
        }
    }
}

fn only_reads() -> Error {
    Error::new(ErrorCode::SqlForbidden, "this request only reads")
        .with_hint("send writes with POST, and without asking for a stream in the header Accept")
}
