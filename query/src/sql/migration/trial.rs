//! The database in which a request is tried: all of the client's objects, and the rows of the tables that are looked at.

use common::{Error, Result, Value};
use futures_util::future;
use sqlite::{ScriptTrial, TrialDatabase};

use super::script::Script;
use crate::Planner;
use crate::access::PartitionAccess;
use crate::plan::Source;
use crate::sql::Limits;
use crate::sql::gather::budget;
use crate::sql::lookups::fragments_of;
use crate::sql::proven::{self, Proofs};
use crate::sql::sequences::{self, greatest_in_bucket};
use crate::sql::waiting::Waiting;
use crate::table::Table;

/// Tries the steps over the rows as they are; answers also the proofs of what was read.
pub(super) async fn attempt(
    planner: &Planner,
    access: &impl PartitionAccess,
    script: &Script<'_>,
    limits: Limits,
) -> Result<(ScriptTrial, Proofs)> {
    let (mut database, proofs) = begin(planner, access, script).await?;
    let steps = script.steps.clone();
    let waiting = Waiting::new(access.workspace(), access.deadline());
    let watch = waiting.watch();
    let tried = access
        .compute(move || {
            let interrupted = || watch.is_over();
            Ok::<_, Error>(database.attempt_script(&steps, &budget(limits.max_rows, &interrupted))?)
        })
        .await;
    waiting.answered();
    Ok((tried?, proofs))
}

async fn begin(
    planner: &Planner,
    access: &impl PartitionAccess,
    script: &Script<'_>,
) -> Result<(TrialDatabase, Proofs)> {
    let objects: Vec<String> =
        planner.database().schema.objects.iter().map(|object| object.sql.clone()).collect();
    let bounds = access.workspace();
    let database = access
        .compute(move || {
            let mut database = TrialDatabase::new(&bounds)?;
            objects.iter().try_for_each(|sql| database.create(sql))?;
            Ok::<_, Error>(database)
        })
        .await?;
    let (mut fragments, mut counted) = (Vec::new(), Vec::new());
    for name in &script.wanted {
        let table = planner.table(name).ok_or_else(|| Error::internal("a table to look at is gone"))?;
        fragments.extend(fragments_of(planner, &Source::whole(&table), &[]));
        counted.extend(Some(table).filter(|table| table.autoincrement));
    }
    let (mut database, mut proofs) = proven::load(access, database, fragments).await?;
    if script.reads_sequences {
        let (counting, read) = sequences::load(planner, access, database).await?;
        database = counting;
        proofs.extend(read);
    }
    for table in counted {
        let (greatest, proof) = greatest_rowid(planner, access, &table).await?;
        proofs.extend(proof);
        database.set_counter(&table.name, greatest)?;
    }
    Ok((database, proofs))
}

/// The greatest rowid that a table has had.
async fn greatest_rowid(
    planner: &Planner,
    access: &impl PartitionAccess,
    table: &Table,
) -> Result<(i64, Proofs)> {
    let reads = (0..planner.buckets()).map(|bucket| proven::read(access, bucket, greatest_in_bucket(table)));
    let (mut greatest, mut proofs) = (0, Vec::new());
    for (rows, proof) in future::try_join_all(reads).await? {
        proofs.extend(proof);
        if let Some([Value::Integer(rowid)]) = rows.first().map(Vec::as_slice) {
            greatest = greatest.max(*rowid);
        }
    }
    Ok((greatest, proofs))
}
