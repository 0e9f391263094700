//! Generated columns of split tables that no partition has, because what they are computed from lies in several column
//! groups: SQLite computes them here, over rows that have been put together.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::names::quote_identifier;
use common::protocol::{Params, Statement};
use common::row::RowBlock;
use common::{Error, Result};
use sqlite::{Gathered, MergeDatabase};

use super::gather::budget;
use super::waiting::Waiting;
use crate::access::PartitionAccess;
use crate::plan::Source;
use crate::schema::typed_column;
use crate::table::Table;

/// How the columns of a source are made of those that were read.
#[derive(Clone, Debug)]
pub(super) struct Computing {
    table: Arc<Table>,
    /// Positions of the columns that were read.
    read: Arc<[usize]>,
    /// Makes a relation of them in which SQLite computes the others.
    ddl: String,
    /// Reads the source's columns from it.
    query: String,
}

impl Computing {
    /// `None` if all that the source wants was read as it is.
    pub(super) fn of(source: &Source, read: &[usize]) -> Option<Computing> {
        if source.columns == read {
            return None;
        }
        let table = &source.table;
        let stored = read.iter().map(|&column| typed_column(&table.columns[column]));
        let is_computable = |reads: &BTreeSet<usize>| reads.iter().all(|at| read.contains(at));
        let computed = table.generated.iter().filter(|generated| is_computable(&generated.reads));
        let computed = computed.map(|generated| {
            format!("{} {}", typed_column(&table.columns[generated.column]), generated.computed_clause())
        });
        let name = quote_identifier(&table.name);
        // Their constraints hold for each row, but rows may be of different moments.
        let ddl = format!(
            "CREATE TABLE {name} ({}){}",
            stored.chain(computed).collect::<Vec<String>>().join(", "),
            if table.strict { " STRICT" } else { "" }
        );
        let wanted = source.columns.iter().map(|&column| quote_identifier(&table.columns[column].name));
        let wanted = table.rowid_name.map(str::to_owned).into_iter().chain(wanted);
        // A table without indexes is read in the order in which its rows came.
        let query = format!("SELECT {} FROM {name}", wanted.collect::<Vec<String>>().join(", "));
        Some(Computing { table: Arc::clone(table), read: read.into(), ddl, query })
    }

    /// Rows of the source made of rows that were read.
    pub(super) async fn run(&self, access: &impl PartitionAccess, rows: RowBlock) -> Result<RowBlock> {
        let workspace = access.workspace();
        let waiting = Waiting::new(workspace.clone(), access.deadline());
        let watch = waiting.watch();
        let Computing { table, read, ddl, query } = self.clone();
        let answer = access
            .compute(move || {
                let mut database = MergeDatabase::new(&workspace)?;
                database.create(&ddl)?;
                let rowid = table.rowid_name.is_some();
                database.load(&Gathered { table: table.definition(), rowid, columns: &read }, &rows)?;
                let statement = Statement { sql: query, params: Params::None };
                Ok::<_, Error>(database.query(&statement, &budget(u32::MAX, &|| watch.is_over()))?)
            })
            .await;
        waiting.answered();
        Ok(answer?.rows)
    }
}
