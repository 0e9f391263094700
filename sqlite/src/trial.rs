//! The database in which a coordinator computes writes that no partition can decide alone: the tables as the
//! client declared them, with triggers, foreign keys and unique indexes, over those of their rows that matter.
//!
//! Statements are tried and undone. What they changed says which rows matter that are not here yet (the
//! children of a row that goes, say); they are added, and the statements tried again.

mod script;

use std::collections::HashMap;
use std::sync::Arc;

use common::entry::Effects;
use common::names::quote_identifier;
use common::protocol::StatementResult;
use common::row::RowBlock;
use common::value::Affinity;
use common::{Error, ErrorCode, Value};
use rusqlite::config::DbConfig;
use rusqlite::{OptionalExtension as _, params_from_iter};

use crate::attempted_rows::{copied, copying};
use crate::authorizer::Role;
use crate::binding::{Bound, values_of};
use crate::budget::Budget;
use crate::capture::Capture;
use crate::change_counts::DoneBefore;
use crate::connection::{Connection, ours};
use crate::error::{Failure, Result};
use crate::executor::check_deferred_violations;
use crate::layout::Layouts;
use crate::merge::{Gathered, relation_ddl};
use crate::recipe;
use crate::schema::{Column, Table};
use crate::spill::SpillVfs;
use crate::workspace::{Share, Workspace};

pub use script::{ScriptTrial, Segment, TrialStep};

/// An integer that no row has.
const UNUSED_INTEGER: i64 = i64::MIN + 1_000_003;

/// When a missing parent row is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignKeys {
    /// Never, and they do not act either.
    Ignored,
    /// Never: it may only not be here yet.
    Unchecked,
    /// As declared: at the end of the statement or of all statements.
    Checked,
}

/// What statements that were refused say of the transaction that they may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It goes on without the one that was refused.
    Alone,
    /// It is rolled back.
    WithAll,
    /// A deferred foreign key is violated, which would be refused when it commits.
    AtCommit,
}

/// What became of statements that were tried.
#[derive(Debug)]
pub struct Trial {
    /// Their answers, or the error of one of them, with its number.
    pub outcome: Result<Vec<StatementResult>>,
    /// What an error says of a transaction.
    pub refused: Refused,
    /// The rows that they changed, old rows included; after an error those that they had changed before it.
    pub effects: Effects,
    /// AUTOINCREMENT's counters then, by table.
    pub counters: HashMap<String, i64>,
}

/// A temporary database in which writes are tried.
pub struct TrialDatabase {
    capture: Capture,
    connection: Connection,
    share: Arc<Share>,
    /// After the connection, whose files it opens.
    _vfs: SpillVfs,
    /// Rows that stand in for those with the greatest rowids, by table.
    stand_ins: HashMap<String, i64>,
    /// Whether tables were made since the layouts were read.
    is_changed: bool,
    /// What was done before the statements that are tried.
    before: DoneBefore,
}

impl TrialDatabase {
    /// An empty one within a workspace's limits.
    pub fn new(workspace: &Workspace) -> Result<TrialDatabase> {
        TrialDatabase::within(workspace.share())
    }

    /// An empty one that is to be kept after its use: small, and of no weight while it rests.
    pub fn to_be_kept(workspace: &Workspace) -> Result<TrialDatabase> {
        TrialDatabase::within(workspace.least_share())
    }

    fn within(share: Arc<Share>) -> Result<TrialDatabase> {
        let vfs = SpillVfs::new(Arc::clone(&share));
        let connection = recipe::temporary(Role::Trial, vfs.name(), share.memory)?;
        let capture = Capture::install(connection.raw(), true);
        let (stand_ins, before) = (HashMap::new(), DoneBefore::default());
        let database =
            TrialDatabase { capture, connection, share, _vfs: vfs, stand_ins, is_changed: true, before };
        database.enforce(false)?;
        Ok(database)
    }

    /// Says what `changes()` and its like tell of statements before those that are tried.
    pub fn continue_from(&mut self, before: DoneBefore) {
        self.before = before;
    }

    /// Puts it to rest until [`TrialDatabase::wake`]; `false` if it holds too much to be kept.
    #[must_use]
    pub fn rest(&self) -> bool {
        self.share.rest();
        self.share.is_small() && self.connection.raw().is_autocommit()
    }

    /// To be called before a database that rested is used.
    pub fn wake(&self) {
        self.share.wake();
    }

    /// Runs checked DDL. To be called before rows are added.
    pub fn create(&mut self, sql: &str) -> Result<()> {
        self.is_changed = true;
        Ok(self.connection.raw().execute_batch(sql)?)
    }

    /// Makes a table that is only read: without constraints, as its other columns are not there.
    pub fn create_relation(&mut self, gathered: &Gathered<'_>) -> Result<()> {
        self.is_changed = true;
        Ok(self.connection.raw().execute_batch(&relation_ddl(gathered))?)
    }

    /// Adds rows, all stored columns of them. Those that are here already are left out.
    pub fn add(&mut self, gathered: &Gathered<'_>, rows: &RowBlock) -> Result<()> {
        let names = names_of(gathered);
        if rows.columns as usize != names.len() {
            return Err(Error::internal("gathered rows have another number of columns than announced").into());
        }
        let added = self.unobserved(|raw| {
            let mut statement = raw.prepare_cached(&insertion(&gathered.table.name, &names))?;
            rows.for_each(|row| {
                for (index, value) in row.iter().enumerate() {
                    statement.raw_bind_parameter(index + 1, Bound(*value))?;
                }
                statement.raw_execute()?;
                Ok(())
            })
        });
        added.map_err(|failure| self.share.explain(failure, &format!("the rows of {}", gathered.table.name)))
    }

    /// For each query, what it answers of each row alone: the values of the only row of its answer, if it has one. All
    /// stored columns of a row are there. No rows of the table may be here before, and none are afterwards.
    pub fn query_each(
        &mut self,
        gathered: &Gathered<'_>,
        rows: &[Vec<Value>],
        queries: &[&str],
    ) -> Result<Vec<Vec<Option<Vec<Value>>>>> {
        let table = quote_identifier(&gathered.table.name);
        let (insert, clear) = (insertion(&gathered.table.name, &names_of(gathered)), ours!("DELETE FROM "));
        self.unobserved(|raw| {
            let mut answers = vec![Vec::with_capacity(rows.len()); queries.len()];
            for row in rows {
                raw.prepare_cached(&insert)?
                    .execute(params_from_iter(row.iter().map(|value| Bound(value.into()))))?;
                for (query, answers) in queries.iter().zip(&mut answers) {
                    let mut statement = raw.prepare_cached(query)?;
                    let columns = statement.column_count();
                    answers.push(statement.query_row([], |row| values_of(row, 0..columns)).optional()?);
                }
                raw.prepare_cached(&format!("{clear}{table}"))?.execute([])?;
            }
            Ok(answers)
        })
    }

    /// Makes the next rowid that SQLite generates for a table `next`, although the rows with the greatest
    /// rowids are not here; `false` if that is not possible. Where AUTOINCREMENT does not keep count, a row
    /// of no meaning stands in for them, see [`TrialDatabase::stand_in`].
    pub fn begin_rowids(&mut self, table: &Table, next: i64) -> Result<bool> {
        self.end_rowids(table)?;
        if table.autoincrement {
            self.set_counter(&table.name, next.saturating_sub(1))?;
            return Ok(true);
        }
        let rowid = table.rowid_name.unwrap_or("rowid");
        let Some(last) = next.checked_sub(1) else { return Ok(true) };
        // A table without rows begins at 1 by itself; after rows that are all negative the next rowid is, too.
        if last == 0 && self.is_empty(table)? {
            return Ok(true);
        }
        let (names, values) = stand_in(table);
        let names: Vec<String> = std::iter::once(rowid.to_owned()).chain(names).collect();
        let stands_in = self.unobserved(|raw| {
            let mut statement = raw.prepare_cached(&insertion(&table.name, &names))?;
            statement.raw_bind_parameter(1, last)?;
            for (index, value) in values.iter().enumerate() {
                statement.raw_bind_parameter(index + 2, Bound(value.into()))?;
            }
            Ok(statement.raw_execute()? == 1)
        })?;
        if stands_in {
            self.stand_ins.insert(table.name.clone(), last);
            return Ok(true);
        }
        // The row itself may be here.
        let sql =
            format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {rowid} = ?)", quote_identifier(&table.name));
        Ok(self.connection.raw().query_row(&sql, [last], |row| row.get(0))?)
    }

    fn is_empty(&self, table: &Table) -> Result<bool> {
        let sql = format!("SELECT NOT EXISTS (SELECT 1 FROM {})", quote_identifier(&table.name));
        Ok(self.connection.raw().query_row(&sql, [], |row| row.get(0))?)
    }

    /// The rowid of the row that stands in for others. A statement that meets it needs the whole table.
    #[must_use]
    pub fn stand_in(&self, table: &str) -> Option<i64> {
        self.stand_ins.get(table).copied()
    }

    /// Takes the row that stands in for others away.
    pub fn end_rowids(&mut self, table: &Table) -> Result<()> {
        let Some(last) = self.stand_ins.remove(&table.name) else { return Ok(()) };
        let rowid = table.rowid_name.unwrap_or("rowid");
        let sql = format!("DELETE FROM {} WHERE {rowid} = ?", quote_identifier(&table.name));
        self.unobserved(|raw| Ok(raw.execute(&sql, [last])?)).map(|_| ())
    }

    /// Says what AUTOINCREMENT has counted for a table so far; as long as that is nothing SQLite keeps no count.
    pub fn set_counter(&mut self, table: &str, last: i64) -> Result<()> {
        self.unobserved(|raw| {
            if last == 0 {
                raw.prepare_cached(ours!("DELETE FROM sqlite_sequence WHERE name = ?"))?.execute([table])?;
                return Ok(());
            }
            // A count that is there keeps its place among the others.
            let counted = raw
                .prepare_cached(ours!("UPDATE sqlite_sequence SET seq = ? WHERE name = ?"))?
                .execute((last, table))?;
            if counted == 0 {
                raw.prepare_cached(ours!("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"))?
                    .execute((table, last))?;
            }
            Ok(())
        })
    }

    /// Runs steps in order as one transaction, and undoes it. None of them changes the schema.
    pub fn attempt(
        &mut self,
        steps: &[TrialStep],
        foreign_keys: ForeignKeys,
        budget: &Budget<'_>,
    ) -> Result<Trial> {
        self.undone(foreign_keys, |database| database.run(steps, foreign_keys, budget, &mut Vec::new()))
    }

    /// The rows that the steps try to store in some tables, up to the one that is refused and with it, as rows
    /// that are inserted. A rowid that SQLite would choose is -1.
    pub fn attempted_rows(
        &mut self,
        steps: &[TrialStep],
        tables: &[Table],
        budget: &Budget<'_>,
    ) -> Result<Effects> {
        let layouts = self.layouts()?;
        let trial = self.undone(ForeignKeys::Unchecked, |database| {
            for (number, table) in tables.iter().enumerate() {
                let layout =
                    layouts.get(&table.name).ok_or_else(|| Error::internal("a table is not tried"))?;
                for sql in copying(number, table, layout) {
                    database.connection.raw().execute_batch(&sql)?;
                }
            }
            database.capture.set_layouts(Arc::new(Layouts::read(database.connection.raw())?));
            database.run(steps, ForeignKeys::Unchecked, budget, &mut Vec::new())
        });
        self.capture.set_layouts(Arc::clone(&layouts));
        copied(&trial?.effects, tables, &layouts)
    }

    /// The tables' layouts of now.
    fn layouts(&mut self) -> Result<Arc<Layouts>> {
        if std::mem::take(&mut self.is_changed) {
            self.capture.set_layouts(Arc::new(Layouts::read(self.connection.raw())?));
        }
        Ok(Arc::clone(self.capture.layouts()))
    }

    /// Does work as one transaction, and undoes it.
    fn undone(
        &mut self,
        foreign_keys: ForeignKeys,
        work: impl FnOnce(&mut TrialDatabase) -> Result<Vec<StatementResult>>,
    ) -> Result<Trial> {
        self.layouts()?;
        // Counters that were set before are no changes of what is tried.
        self.capture.take();
        // What was loaded is no statement of the client's.
        self.connection.forget_statements_before()?;
        self.connection.counts().continue_from(self.connection.raw(), self.before);
        self.enforce(foreign_keys != ForeignKeys::Ignored)?;
        self.connection.run(ours!("BEGIN"))?;
        if foreign_keys == ForeignKeys::Unchecked {
            self.connection.run(ours!("PRAGMA defer_foreign_keys=ON"))?;
        }
        let mut outcome = work(self);
        // An interrupt ends it as well; it is no word of the statement's.
        let is_told = |failure: &Failure| failure.code() != Some(ErrorCode::StatementTimeout);
        let mut refused = match &outcome {
            Err(failure) if is_told(failure) && self.connection.raw().is_autocommit() => Refused::WithAll,
            _ => Refused::Alone,
        };
        if foreign_keys == ForeignKeys::Checked
            && outcome.is_ok()
            && let Err(violated) = check_deferred_violations(self.connection.raw())
        {
            (outcome, refused) = (Err(violated), Refused::AtCommit);
        }
        let effects = self.capture.take();
        let mut counters = HashMap::new();
        if !self.connection.raw().is_autocommit() {
            if self.capture.layouts().has_sequences {
                counters = self.counters()?;
            }
            self.connection.run(ours!("ROLLBACK"))?;
        }
        self.capture.take();
        self.enforce(false)?;
        Ok(Trial { outcome, refused, effects, counters })
    }

    fn counters(&self) -> Result<HashMap<String, i64>> {
        let sql = ours!("SELECT name, seq FROM sqlite_sequence WHERE typeof(seq) = 'integer'");
        let mut statement = self.connection.raw().prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Foreign keys and triggers act only on what the client's statements do.
    fn enforce(&self, enforced: bool) -> Result<()> {
        let raw = self.connection.raw();
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, enforced)?;
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, enforced)?;
        Ok(())
    }

    /// Changes rows without anybody noticing. They were checked where they are stored, so CHECK is not
    /// repeated.
    fn unobserved<T>(&mut self, work: impl FnOnce(&rusqlite::Connection) -> Result<T>) -> Result<T> {
        self.connection.run(ours!("PRAGMA ignore_check_constraints=ON"))?;
        self.capture.pause(true);
        self.connection.run(ours!("BEGIN"))?;
        let done = work(self.connection.raw());
        self.connection.run(ours!("COMMIT"))?;
        self.capture.pause(false);
        self.connection.run(ours!("PRAGMA ignore_check_constraints=OFF"))?;
        done
    }
}

/// What the values of gathered rows are of, in order.
fn names_of(gathered: &Gathered<'_>) -> Vec<String> {
    let rowid = gathered.rowid.then(|| gathered.table.rowid_name.unwrap_or("rowid").to_owned());
    let column = |index: &usize| quote_identifier(&gathered.table.columns[*index].name);
    rowid.into_iter().chain(gathered.columns.iter().map(column)).collect()
}

fn insertion(table: &str, names: &[String]) -> String {
    let marks = vec!["?"; names.len()].join(",");
    let head = ours!("INSERT OR IGNORE INTO ");
    format!("{head}{}({}) VALUES ({marks})", quote_identifier(table), names.join(","))
}

/// Columns and values of a row that violates nothing and equals no other: NULL wherever that is allowed, else
/// values that nobody uses.
fn stand_in(table: &Table) -> (Vec<String>, Vec<Value>) {
    let stored =
        |position: &usize| !table.columns[*position].is_generated() && table.rowid_alias != Some(*position);
    let unused = |column: &Column| match column.affinity {
        _ if !column.not_null => Value::Null,
        Affinity::Text => Value::Text("\u{10fffd}\u{10fffd}".to_owned()),
        Affinity::Blob if !table.strict || column.declared_type.eq_ignore_ascii_case("BLOB") => {
            // A document's column has indexes over JSON functions, which take this for a text (JSONB: a text of 8 bytes).
            Value::Blob([b"\x87", "\u{10fffd}\u{10fffd}".as_bytes()].concat())
        }
        Affinity::Real => Value::Real(f64::MIN),
        Affinity::Integer | Affinity::Numeric | Affinity::Blob => Value::Integer(UNUSED_INTEGER),
    };
    (0..table.columns.len())
        .filter(stored)
        .map(|position| &table.columns[position])
        .map(|column| (quote_identifier(&column.name), unused(column)))
        .unzip()
}
