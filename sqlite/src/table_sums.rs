//! How many rows each table has, and a digest of them, kept up to date with every change.
//!
//! A table's digest is the sum of its rows' hashes, so it does not depend on their order, and a change takes away
//! what the row was and adds what it is. Replicas that applied the same log have the same sums; a file whose rows
//! do not add up to the sums that were stored with them is damaged.

use std::collections::BTreeMap;

use common::Value;
use common::entry::{Change, Effect};
use common::names::is_internal_table;
use common::row::{ValueRef, write_value};
use rusqlite::Connection;
use rusqlite::types::ValueRef as SqliteRef;
use xxhash_rust::xxh3::xxh3_128;

use crate::connection::{first_word, ours};
use crate::error::{Failure, Result};
use crate::layout::{Layout, Layouts, SEQUENCES};
use crate::system;
use crate::touched_keys::{KeyWatch, rowid_of};

/// A digest of rows or of a schema that does not depend on the order in which they were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub u128);

impl Digest {
    /// With one more row.
    pub fn add(&mut self, row: u128) {
        self.0 = self.0.wrapping_add(row);
    }

    /// With one row less.
    pub fn remove(&mut self, row: u128) {
        self.0 = self.0.wrapping_sub(row);
    }
}

/// The rows of one table, or how they changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSum {
    /// How many there are, or how many more.
    pub rows: i64,
    /// The sum of their hashes.
    pub digest: Digest,
}

/// The sums of all tables that are replicated, or how they changed. A table that is not named has no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSums {
    tables: BTreeMap<String, TableSum>,
}

impl TableSums {
    /// With the changes of some tables.
    pub fn add(&mut self, changes: &TableSums) {
        for (table, change) in &changes.tables {
            let sum = match self.tables.get_mut(table) {
                Some(sum) => sum,
                None => self.tables.entry(table.clone()).or_default(),
            };
            sum.rows += change.rows;
            sum.digest.add(change.digest.0);
        }
    }

    /// The sum of a table.
    #[must_use]
    pub fn get(&self, table: &str) -> TableSum {
        self.tables.get(table).copied().unwrap_or_default()
    }

    /// The tables that are named.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Rows of the client's tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.client_rows().map(|(_, rows)| rows).sum()
    }

    /// Rows of each of the client's tables.
    pub fn client_rows(&self) -> impl Iterator<Item = (&str, u64)> {
        let client = self.tables.iter().filter(|(table, _)| !is_internal_table(table));
        client.map(|(table, sum)| (table.as_str(), u64::try_from(sum.rows).unwrap_or(0)))
    }
}

impl FromIterator<(String, TableSum)> for TableSums {
    fn from_iter<I: IntoIterator<Item = (String, TableSum)>>(tables: I) -> TableSums {
        TableSums { tables: tables.into_iter().collect() }
    }
}

/// Hashes rows, in a buffer that is used again.
#[derive(Debug, Default)]
pub(crate) struct RowHasher {
    bytes: Vec<u8>,
}

impl RowHasher {
    /// The hash of a row: its rowid where no column shows it, then its stored columns. NULLs at the end do not
    /// count, so that a column without a default can be added to any number of rows. A real that is whole counts as
    /// an integer, because SQLite stores it as one in some columns.
    pub(crate) fn row<'v>(
        &mut self,
        hidden_key: Option<ValueRef<'v>>,
        columns: impl Iterator<Item = ValueRef<'v>>,
    ) -> u128 {
        self.bytes.clear();
        let mut end = 0;
        for value in hidden_key.into_iter().chain(columns) {
            write_value(&mut self.bytes, normal(value));
            if !matches!(value, ValueRef::Null) {
                end = self.bytes.len();
            }
        }
        xxh3_128(&self.bytes[..end])
    }

    /// The same of values.
    pub(crate) fn values(&mut self, layout: &Layout, key: &[Value], row: &[Value]) -> u128 {
        let hidden = if layout.hides_key() { key.first().map(ValueRef::from) } else { None };
        self.row(hidden, row.iter().map(ValueRef::from))
    }
}

fn normal(value: ValueRef<'_>) -> ValueRef<'_> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::float_cmp)]
    match value {
        ValueRef::Real(real) if (real as i64) as f64 == real => ValueRef::Integer(real as i64),
        other => other,
    }
}

/// Adds up how effects change the tables, which they name by number.
#[derive(Debug, Default)]
pub(crate) struct ChangeSums {
    hasher: RowHasher,
    tables: Vec<TableSum>,
}

impl ChangeSums {
    /// Counts a change. `old` is the hash of the row that it removes or replaces.
    pub(crate) fn count(&mut self, layout: &Layout, effect: &Effect, old: u128) {
        // AUTOINCREMENT's counters change without notice.
        if layout.name == SEQUENCES {
            return;
        }
        let table = usize::from(effect.table);
        if table >= self.tables.len() {
            self.tables.resize(table + 1, TableSum::default());
        }
        let sum = &mut self.tables[table];
        match &effect.change {
            Change::Insert { key, row } => {
                sum.rows += 1;
                sum.digest.add(self.hasher.values(layout, key, row));
            }
            Change::Update { key, row, .. } => {
                sum.digest.remove(old);
                sum.digest.add(self.hasher.values(layout, key, row));
            }
            Change::Delete { .. } => {
                sum.rows -= 1;
                sum.digest.remove(old);
            }
            Change::Schema(_) => {}
        }
    }

    /// The hash of the row that a change is about to remove or replace, as the file has it, which is told to `watch`; 0
    /// for an insert.
    pub(crate) fn old(
        &mut self,
        raw: &Connection,
        layout: &Layout,
        change: &Change,
        watch: &mut KeyWatch,
    ) -> Result<u128> {
        let (Change::Update { old_key: key, .. } | Change::Delete { key, .. }) = change else { return Ok(0) };
        if layout.name == SEQUENCES {
            return Ok(0);
        }
        let mut statement = raw.prepare_cached(&layout.select)?;
        crate::binding::bind_values(&mut statement, 1, key)?;
        let mut rows = statement.raw_query();
        // That there is none is noticed when the change lands.
        let Some(row) = rows.next()? else { return Ok(0) };
        let columns: Vec<ValueRef<'_>> = (0..layout.stored.len())
            .map(|index| row.get_ref(index).map(as_bytes))
            .collect::<rusqlite::Result<_>>()?;
        watch.touch(layout, rowid_of(key), |at| columns[at]);
        let hidden = if layout.hides_key() { key.first().map(ValueRef::from) } else { None };
        Ok(self.hasher.row(hidden, columns.into_iter()))
    }

    /// The sums of the tables, given the names that the effects refer to.
    pub(crate) fn of(self, tables: &[String]) -> TableSums {
        tables.iter().cloned().zip(self.tables).filter(|(_, sum)| *sum != TableSum::default()).collect()
    }
}

/// A table's sum by reading every row. `go_on` is told the bytes of each row; `None` if it said no.
pub(crate) fn scan(
    raw: &Connection,
    layout: &Layout,
    mut go_on: impl FnMut(usize) -> bool,
) -> Result<Option<TableSum>> {
    let mut hasher = RowHasher::default();
    let mut sum = TableSum::default();
    if layout.name == SEQUENCES {
        return Ok(Some(sum));
    }
    let mut statement = raw.prepare(&layout.scan)?;
    let keys = layout.key_width();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let column = |index| as_bytes(row.get_ref(index).expect("the scan has a column for each"));
        let hidden = layout.hides_key().then(|| column(0));
        sum.rows += 1;
        sum.digest.add(hasher.row(hidden, (keys..keys + layout.stored.len()).map(column)));
        if !go_on(hasher.bytes.len()) {
            return Ok(None);
        }
    }
    Ok(Some(sum))
}

/// The sums of all tables, by reading every row.
pub(crate) fn scan_all(raw: &Connection) -> Result<TableSums> {
    let mut sums = TableSums::default();
    for layout in &Layouts::read(raw)?.tables {
        let sum = scan(raw, layout, |_| true)?.unwrap_or_default();
        sums.tables.insert(layout.name.clone(), sum);
    }
    Ok(sums)
}

/// One digest of everything that is replicated: rows, by their sums, schema, counters and prepared transactions.
pub(crate) fn digest(raw: &Connection, sums: &TableSums) -> Result<Digest> {
    let mut digest = Digest::default();
    for (table, sum) in sums.tables.iter().filter(|(_, sum)| **sum != TableSum::default()) {
        let mut bytes = table.as_bytes().to_vec();
        bytes.extend_from_slice(&sum.rows.to_le_bytes());
        bytes.extend_from_slice(&sum.digest.0.to_le_bytes());
        digest.add(xxh3_128(&bytes));
    }
    let mut add = |sql: &str, is_replicated: fn(&str) -> bool| -> Result<()> {
        let mut hasher = RowHasher::default();
        let mut statement = raw.prepare_cached(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let columns = (0..width).map(|index| row.get_ref(index)).collect::<rusqlite::Result<Vec<_>>>()?;
            if columns[0].as_str().is_ok_and(is_replicated) {
                digest.add(hasher.row(None, columns.into_iter().map(as_bytes)));
            }
        }
        Ok(())
    };
    add(ours!("SELECT tbl_name, type, name, coalesce(sql, '') FROM sqlite_schema"), |table| {
        !system::is_local_table(table)
    })?;
    add(ours!("SELECT 'prepared', id, prepared FROM _prepared"), |_| true)?;
    add(ours!("SELECT 'piece', id, sequence, piece FROM _prepared_pieces"), |_| true)?;
    if has_sequences(raw)? {
        add(ours!("SELECT 'sequence', rowid, name, seq FROM sqlite_sequence"), |_| true)?;
    }
    Ok(digest)
}

fn has_sequences(raw: &Connection) -> Result<bool> {
    let sql = ours!("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence')");
    Ok(raw.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// The page at which each table begins.
type Roots = BTreeMap<String, i64>;

/// The tables before a change of the schema, followed statement by statement, so that afterwards only those are
/// read whose rows it touched.
pub(crate) struct Before {
    /// The tables of before that are still there, by their present names: where they begin, and what they were called.
    followed: BTreeMap<String, (i64, String)>,
    /// Rows that statements have changed on the connection.
    changes: u64,
    /// Whether the statements changed rows themselves, beside the schema.
    rows_changed: bool,
}

impl Before {
    pub(crate) fn note(raw: &Connection) -> Result<Before> {
        let followed = roots(raw)?.into_iter().map(|(name, root)| (name.clone(), (root, name))).collect();
        Ok(Before { followed, changes: raw.total_changes(), rows_changed: false })
    }

    /// To be called after each statement. One that drops something from a table may be followed by one that adds
    /// what looks the same, without the values; a table that is dropped and made anew may begin at the same page. SQLite
    /// counts the rows that statements change, and not what it does itself to carry out a change of the schema.
    pub(crate) fn follow(&mut self, raw: &Connection, sql: &str) -> Result<()> {
        let may_drop_column =
            first_word(sql).eq_ignore_ascii_case("ALTER") && sql.to_ascii_uppercase().contains("DROP");
        self.rows_changed |= may_drop_column || raw.total_changes() != self.changes;
        let names: BTreeMap<i64, String> = roots(raw)?.into_iter().map(|(name, root)| (root, name)).collect();
        let followed = std::mem::take(&mut self.followed);
        let still_there = followed.into_values().filter_map(|(root, name)| {
            let now = names.get(&root)?.clone();
            Some((now, (root, name)))
        });
        self.followed = still_there.collect();
        Ok(())
    }

    /// The sums after the change, given those before it and the layouts of both.
    pub(crate) fn sums_after(
        &self,
        raw: &Connection,
        sums: &TableSums,
        (old, new): (&Layouts, &Layouts),
    ) -> Result<TableSums> {
        let mut after = TableSums::default();
        for layout in &new.tables {
            let kept = self.same_rows(layout, old).map(|name| sums.get(name));
            let sum = match kept {
                Some(sum) => sum,
                None => scan(raw, layout, |_| true)?.unwrap_or_default(),
            };
            after.tables.insert(layout.name.clone(), sum);
        }
        Ok(after)
    }

    /// The earlier name of the table, if it has the same rows with the same hashes as then.
    fn same_rows(&self, layout: &Layout, old: &Layouts) -> Option<&str> {
        let (_, name) = self.followed.get(&layout.name)?;
        let before = old.get(name)?;
        let same = !self.rows_changed
            && before.key == layout.key
            && layout.columns.starts_with(&before.columns)
            && layout.columns[before.columns.len()..].iter().all(|column| column.default_is_null);
        same.then_some(name.as_str())
    }
}

fn roots(raw: &Connection) -> Result<Roots> {
    let sql = ours!("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table' AND rootpage > 0");
    let mut statement = raw.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Text that is not UTF-8 counts as its bytes.
fn as_bytes(value: SqliteRef<'_>) -> ValueRef<'_> {
    match value {
        SqliteRef::Null => ValueRef::Null,
        SqliteRef::Integer(number) => ValueRef::Integer(number),
        SqliteRef::Real(number) => ValueRef::Real(number),
        SqliteRef::Text(bytes) => std::str::from_utf8(bytes).map_or(ValueRef::Blob(bytes), ValueRef::Text),
        SqliteRef::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

/// Fails if a stored digest is not one.
pub(crate) fn digest_from(bytes: &[u8]) -> Result<Digest> {
    let bytes = bytes.try_into().map_err(|_| Failure::diverged("a table's stored digest is damaged"))?;
    Ok(Digest(u128::from_le_bytes(bytes)))
}
