//! Fills a merging database with what partitions answer. A table that the statement scans once comes as a
//! stream, in the order of its keys and in bounded memory; every other is loaded before the statement runs,
//! within the workspace's limits.

use std::sync::Arc;

use common::protocol::Statement;
use common::row::RowBlock;
use common::{Error, Result, Value};
use futures_util::future::{self, Either};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlite::schema::IndexTerm;
use sqlite::{Gathered, MergeDatabase, RowSource, Workspace};

use super::ordered::merge_ordered;
use super::rejoin::Joint;
use super::waiting::{Waiting, time_is_up};
use crate::access::{PartitionAccess, RowBlocks};
use crate::table::Table;

/// Partitions that are read at a time to load tables. What each has on its way is held in memory.
const FRAGMENTS_AT_ONCE: usize = 32;

/// Blocks that are loaded in one go, if they are here.
const BLOCKS_AT_ONCE: usize = 16;

/// A statement over more tables than this has all of them loaded: to ask SQLite which it scans once would
/// take long.
const STREAMED_TABLES_MAX: usize = 16;

/// How relations are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be read: without constraints, only the columns that are needed.
    Read,
    /// As `Read`, for an answer that cannot be begun again: a table stays a stream only where SQLite's plan
    /// leaves no doubt that it is scanned once.
    ReadSurely,
    /// As `Read`, and none as a stream.
    ReadLoaded,
}

/// A table of the merging database, and what gives its rows.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) table: Arc<Table>,
    /// Positions of the columns that the fragments answer, after the rowid if the table has one.
    pub(crate) columns: Vec<usize>,
    /// What each partition is asked; each answers its rows in the order of their keys.
    pub(crate) fragments: Vec<(usize, Statement)>,
    /// Whether each answers all rows as one value, see [`sqlite::grouping`].
    pub(crate) packed: bool,
    /// What is put together of several column groups, bucket by bucket, in place of fragments.
    pub(crate) joints: Vec<Joint>,
    /// How many rows are expected.
    pub(crate) rows_expected: Option<u64>,
    /// Columns by which its rows are looked up again and again.
    pub(crate) lookups: Vec<IndexTerm>,
    /// Its rows, if they are here already.
    pub(crate) fetched: Option<Vec<RowBlock>>,
    /// What refuses rows that cannot be worked on.
    pub(crate) refuses: Option<fn(&RowBlock) -> Result<()>>,
}

impl Relation {
    fn gathered(&self) -> Gathered<'_> {
        Gathered {
            table: self.table.definition(),
            rowid: self.table.rowid_name.is_some(),
            columns: &self.columns,
        }
    }

    fn admit(&self, block: RowBlock) -> Result<RowBlock> {
        self.refuses.map_or(Ok(()), |refuses| refuses(&block))?;
        Ok(block)
    }

    /// The rows that a partition answers.
    async fn open(
        &self,
        access: &impl PartitionAccess,
        partition: usize,
        statement: &Statement,
    ) -> Result<RowBlocks> {
        let blocks = access.stream(partition, statement.clone()).await?.blocks;
        if !self.packed {
            return Ok(blocks);
        }
        Ok(blocks.map(|block| unpacked(&block?)).try_filter(|block| future::ready(block.rows > 0)).boxed())
    }

    /// Whether its rows can be put into one order as they arrive.
    fn can_stream(&self) -> bool {
        let in_order = self.table.rowid_name.is_some() || self.fragments.len() <= 1;
        // Parts of rows that do not fit are read again, while the request lasts.
        in_order && self.joints.is_empty() && self.fetched.is_none()
    }
}

/// What a statement runs over.
#[derive(Clone, Debug)]
pub(crate) struct Relations {
    pub(crate) tables: Vec<Relation>,
    /// Definitions of views.
    pub(crate) views: Vec<String>,
    /// The client's text.
    pub(crate) text: String,
    pub(crate) purpose: Purpose,
}

impl Relations {
    /// Whether it may matter that an INTEGER PRIMARY KEY has no collation: a compound compares by the one of its first
    /// branch whose column has any. A stream's columns all have one.
    fn compounds_differ_in_collations(&self) -> bool {
        let names = |words: &[&str]| {
            std::iter::once(&self.text).chain(&self.views).any(|text| {
                let text = text.to_ascii_uppercase();
                words.iter().any(|word| text.contains(word))
            })
        };
        let mut columns = self.tables.iter().flat_map(|relation| &relation.table.columns);
        names(&["UNION", "INTERSECT", "EXCEPT"])
            && (names(&["COLLATE"]) || columns.any(|column| !column.collation.eq_ignore_ascii_case("BINARY")))
    }
}

/// A merging database, ready to run the statement, and the one who waits for it.
pub(super) struct Filled {
    pub(super) merge: MergeDatabase,
    pub(super) waiting: Waiting,
}

/// Makes a merging database, loads what must be loaded and opens what is streamed.
pub(super) async fn fill(access: &impl PartitionAccess, relations: Relations) -> Result<Filled> {
    let mut waiting = Waiting::new(access.workspace(), access.deadline());
    match filled(access, relations, &mut waiting).await {
        Ok(merge) => Ok(Filled { merge, waiting }),
        Err(error) => {
            waiting.answered();
            Err(error)
        }
    }
}

async fn filled(
    access: &impl PartitionAccess,
    relations: Relations,
    waiting: &mut Waiting,
) -> Result<MergeDatabase> {
    let (workspace, may_wait) = (access.workspace(), access.may_wait());
    let relations = Arc::new(relations);
    let prepared = Arc::clone(&relations);
    let (merge, streamed) = access.compute(move || prepare(&prepared, &workspace, may_wait)).await?;
    let loaded = std::pin::pin!(load(access, merge, &relations, &streamed));
    let late = std::pin::pin!(access.deadline_passed());
    let mut merge = match future::select(loaded, late).await {
        Either::Left((merge, _)) => merge?,
        Either::Right(_) => return Err(time_is_up()),
    };
    for &index in &streamed {
        let relation = &relations.tables[index];
        let source = open_stream(access, relation, waiting).await?;
        merge.feed(&relation.table.name, source)?;
    }
    Ok(merge)
}

/// The empty relations, and which of them are streams, for which the statement has to wait while it runs.
fn prepare(
    relations: &Relations,
    workspace: &Workspace,
    may_wait: bool,
) -> Result<(MergeDatabase, Vec<usize>)> {
    let mut merge = MergeDatabase::new(workspace)?;
    let names_indexes = relations.text.to_ascii_uppercase().contains("INDEXED");
    let may_stream = may_wait
        && relations.purpose != Purpose::ReadLoaded
        && !names_indexes
        && relations.tables.len() <= STREAMED_TABLES_MAX;
    let seeks_collations = may_stream && relations.compounds_differ_in_collations();
    let mut streamed = Vec::new();
    for (index, relation) in relations.tables.iter().enumerate() {
        let needs_its_key = seeks_collations && relation.table.rowid_alias.is_some();
        if may_stream && relation.can_stream() && !needs_its_key {
            merge.create_stream(&relation.gathered(), relation.rows_expected)?;
            streamed.push(index);
        } else {
            create(&mut merge, relation, names_indexes)?;
        }
    }
    for relation in &relations.tables {
        for block in relation.fetched.iter().flatten() {
            merge.load(&relation.gathered(), block)?;
        }
    }
    // What is scanned once depends on them.
    index_lookups(&mut merge, relations, &streamed)?;
    for view in &relations.views {
        merge.create(view)?;
    }
    loop {
        expect_rows(&mut merge, relations, &streamed)?;
        if streamed.is_empty() {
            break;
        }
        let once = merge.scanned_once(&relations.text, relations.purpose == Purpose::ReadSurely)?;
        let (keep, settle): (Vec<usize>, Vec<usize>) =
            streamed.into_iter().partition(|&index| once.contains(&relations.tables[index].table.name));
        streamed = keep;
        if settle.is_empty() {
            break;
        }
        for &index in &settle {
            merge.settle(&relations.tables[index].gathered())?;
        }
        index_lookups(&mut merge, relations, &streamed)?;
    }
    // An index is made in less time when the rows are there.
    for relation in &relations.tables {
        if relation.fetched.is_none() {
            merge.drop_lookups(relation.table.definition(), &relation.lookups)?;
        }
    }
    Ok((merge, streamed))
}

/// Makes the indexes by which rows are looked up, of relations that are no streams.
fn index_lookups(merge: &mut MergeDatabase, relations: &Relations, streamed: &[usize]) -> Result<()> {
    let loaded = relations.tables.iter().enumerate().filter(|(index, _)| !streamed.contains(index));
    for (_, relation) in loaded {
        merge.create_lookups(relation.table.definition(), &relation.lookups)?;
    }
    Ok(())
}

/// Lets SQLite know how large the relations will be that are loaded; the order of a join depends on it.
fn expect_rows(merge: &mut MergeDatabase, relations: &Relations, streamed: &[usize]) -> Result<()> {
    let loaded = relations.tables.iter().enumerate().filter(|(index, _)| !streamed.contains(index));
    let expected: Vec<(&str, u64)> = loaded
        .filter_map(|(_, relation)| Some((relation.table.name.as_str(), relation.rows_expected?)))
        .collect();
    if relations.tables.len() < 2 || expected.is_empty() {
        return Ok(());
    }
    Ok(merge.expect_rows(expected)?)
}

fn create(merge: &mut MergeDatabase, relation: &Relation, names_indexes: bool) -> Result<()> {
    let table = &relation.table;
    merge.create_relation(&relation.gathered())?;
    for index in table.indexes.iter().filter(|index| names_indexes && index.sql.is_some()) {
        merge.create_index(table.definition(), index)?;
    }
    Ok(())
}

/// Loads every table that is not streamed. Fragments are opened as there is room for them and their blocks
/// taken as they come, so none waits for another.
async fn load(
    access: &impl PartitionAccess,
    mut merge: MergeDatabase,
    relations: &Arc<Relations>,
    streamed: &[usize],
) -> Result<MergeDatabase> {
    let mut fragments = Vec::new();
    for (index, relation) in relations.tables.iter().enumerate() {
        if !streamed.contains(&index) {
            fragments.extend(relation.fragments.iter().map(|(partition, statement)| {
                let opened = relation.open(access, *partition, statement);
                let blocks = async move { Ok::<_, Error>(opened.await?.map_ok(move |block| (index, block))) };
                stream::once(blocks).try_flatten().boxed()
            }));
            fragments.extend(relation.joints.iter().map(|joint| {
                let blocks = async move {
                    Ok::<_, Error>(joint.open(access).await?.map_ok(move |block| (index, block)))
                };
                stream::once(blocks).try_flatten().boxed()
            }));
        }
    }
    if fragments.is_empty() {
        return Ok(merge);
    }
    let mut arriving =
        stream::iter(fragments).flatten_unordered(FRAGMENTS_AT_ONCE).ready_chunks(BLOCKS_AT_ONCE);
    while let Some(blocks) = arriving.next().await {
        let blocks: Vec<(usize, RowBlock)> = blocks.into_iter().collect::<Result<_>>()?;
        let relations = Arc::clone(relations);
        merge = access
            .compute(move || {
                for (index, block) in blocks {
                    let relation = &relations.tables[index];
                    merge.load(&relation.gathered(), &relation.admit(block)?)?;
                }
                Ok::<_, Error>(merge)
            })
            .await?;
    }
    if !relations.tables.iter().any(|relation| !relation.lookups.is_empty()) {
        return Ok(merge);
    }
    let (relations, streamed) = (Arc::clone(relations), streamed.to_vec());
    access
        .compute(move || {
            index_lookups(&mut merge, &relations, &streamed)?;
            Ok(merge)
        })
        .await
}

/// The rows of a table as the merging database asks for them, on a thread that may block.
async fn open_stream(
    access: &impl PartitionAccess,
    relation: &Relation,
    waiting: &mut Waiting,
) -> Result<RowSource> {
    let watch = waiting.watch();
    let opened =
        relation.fragments.iter().map(|(partition, statement)| relation.open(access, *partition, statement));
    let streams = future::try_join_all(opened).await?;
    let (mut blocks, handle) = stream::abortable(merge_ordered(streams, 1, 0));
    waiting.also_ends(handle);
    let relation = relation.clone();
    Ok(Box::new(move || match watch.wait_for(blocks.next())? {
        Some(block) => relation.admit(block?).map(Some),
        None if blocks.is_aborted() => Err(Error::internal("nobody waits for the answer any more")),
        None => Ok(None),
    }))
}

/// The rows that a partition sent as one value; none if it has none.
fn unpacked(block: &RowBlock) -> Result<RowBlock> {
    let rows = block.to_values().map_err(|error| Error::internal(error.to_string()))?;
    match rows.as_slice() {
        [row] => match row.as_slice() {
            [Value::Null] => Ok(RowBlock::default()),
            [Value::Blob(packed)] => {
                sqlite::packed::unpack(packed).ok_or_else(|| Error::internal("groups are cut short"))
            }
            _ => Err(Error::internal("groups are no value of bytes")),
        },
        _ => Err(Error::internal("groups are not one value")),
    }
}
