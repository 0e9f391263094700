//! How the rows of each table are stored: which columns, under which key, and the statements that land a
//! row image.

use std::collections::HashMap;

use common::names::quote_identifier;
use rusqlite::Connection;

use crate::connection::ours;
use crate::error::{Failure, Result};
use crate::system;

/// The table in which SQLite keeps AUTOINCREMENT's counters.
pub(crate) const SEQUENCES: &str = "sqlite_sequence";

/// What names a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The rowid; `alias` is the stored column that shows it (INTEGER PRIMARY KEY).
    Rowid { alias: Option<usize> },
    /// Stored columns of a WITHOUT ROWID table.
    Columns(Vec<usize>),
}

/// One table.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) name: String,
    /// Index in the table of each stored column, in table order; generated columns are left out.
    pub(crate) stored: Vec<i32>,
    pub(crate) key: Key,
    /// The stored columns.
    pub(crate) columns: Vec<StoredColumn>,
    /// Parameters: the rowid first where no column shows it, then the stored columns.
    pub(crate) insert: String,
    /// Changes a row and leaves its key. Parameters: the stored columns, then the old key.
    pub(crate) update: String,
    /// Changes a row and its key. As `update`, then the new rowid where no column shows it.
    pub(crate) rekey: String,
    /// Parameters: the key.
    pub(crate) delete: String,
    /// The stored columns of one row. Parameters: the key.
    pub(crate) select: String,
    /// The key, then the stored columns of every row.
    pub(crate) scan: String,
}

/// All tables of a database but its replica's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layouts {
    pub(crate) tables: Vec<Layout>,
    by_name: HashMap<String, usize>,
    /// Whether a table may have AUTOINCREMENT.
    pub(crate) has_sequences: bool,
    /// Whether a table has a FOREIGN KEY.
    pub(crate) has_foreign_keys: bool,
    /// Whether any table has a trigger.
    pub(crate) has_triggers: bool,
    /// SQLite's own version of the schema, by which a change is noticed.
    pub(crate) schema_cookie: i64,
}

/// A column as far as it says whether rows are still the same after a change of the schema.
#[derive(Clone, Debug)]
pub(crate) struct StoredColumn {
    pub(crate) name: String,
    /// Whether a row from before the column was added has NULL there.
    pub(crate) default_is_null: bool,
}

impl PartialEq for StoredColumn {
    fn eq(&self, other: &StoredColumn) -> bool {
        self.name == other.name
    }
}

struct Column {
    name: String,
    position: i32,
    key_position: i64,
    /// By which the key of a table WITHOUT ROWID compares it.
    key_collation: Option<String>,
    default_is_null: bool,
}

impl Layouts {
    /// Reads the tables' layouts.
    pub(crate) fn read(raw: &Connection) -> Result<Layouts> {
        let mut layouts = Layouts { schema_cookie: schema_cookie(raw)?, ..Layouts::default() };
        let mut columns: Vec<(String, bool, bool, Column)> = Vec::new();
        let mut statement = raw.prepare_cached(ours!(
            "SELECT l.name, l.wr, EXISTS (SELECT 1 FROM pragma_index_list(l.name) WHERE origin = 'pk'), ",
            "x.name, x.cid, x.pk, x.dflt_value IS NULL, CASE WHEN l.wr AND x.pk > 0 THEN (SELECT k.coll ",
            "FROM pragma_index_list(l.name) AS i, pragma_index_xinfo(i.name) AS k ",
            "WHERE i.origin = 'pk' AND k.key AND k.cid = x.cid) END ",
            "FROM pragma_table_list AS l, pragma_table_xinfo(l.name) AS x ",
            "WHERE l.schema = 'main' AND l.type = 'table' AND x.hidden = 0 ORDER BY l.name, x.cid"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let column = Column {
                name: row.get(3)?,
                position: row.get(4)?,
                key_position: row.get(5)?,
                default_is_null: row.get(6)?,
                key_collation: row.get(7)?,
            };
            columns.push((row.get(0)?, row.get(1)?, row.get(2)?, column));
        }
        for table in columns.chunk_by(|a, b| a.0 == b.0) {
            let (name, without_rowid, key_has_index, _) = &table[0];
            if name == SEQUENCES {
                layouts.has_sequences = true;
            }
            let ours = system::is_local_table(name) || (name.starts_with("sqlite_") && name != SEQUENCES);
            if !ours {
                let columns: Vec<&Column> = table.iter().map(|(_, _, _, column)| column).collect();
                layouts.add(layout(name, *without_rowid, *key_has_index, &columns)?);
            }
        }
        layouts.has_foreign_keys = raw
            .prepare_cached(ours!(
                "SELECT EXISTS (SELECT 1 FROM pragma_table_list AS l, pragma_foreign_key_list(l.name) ",
                "WHERE l.schema = 'main')"
            ))?
            .query_row([], |row| row.get(0))?;
        layouts.has_triggers = raw
            .prepare_cached(ours!("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger')"))?
            .query_row([], |row| row.get(0))?;
        Ok(layouts)
    }

    /// Fails if rows of a table could not be named by row images.
    pub(crate) fn check(raw: &Connection, table: &str) -> Result<()> {
        let sql = ours!(
            "SELECT l.wr OR ((SELECT count(*) FROM pragma_table_xinfo(l.name) WHERE pk > 0) = 1 ",
            "AND NOT EXISTS (SELECT 1 FROM pragma_index_list(l.name) WHERE origin = 'pk')) ",
            "OR (SELECT count(*) FROM pragma_table_xinfo(l.name) ",
            "WHERE lower(name) IN ('rowid', '_rowid_', 'oid')) < 3 ",
            "FROM pragma_table_list(?) AS l"
        );
        let named: bool = raw.prepare_cached(sql)?.query_row([table], |row| row.get(0))?;
        if named { Ok(()) } else { Err(rowid_unnamed(table)) }
    }

    fn add(&mut self, layout: Layout) {
        self.by_name.insert(layout.name.clone(), self.tables.len());
        self.tables.push(layout);
    }

    /// The table of exactly that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Layout> {
        self.position(name).map(|index| &self.tables[index])
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

/// SQLite's own version of the schema.
pub(crate) fn schema_cookie(raw: &Connection) -> Result<i64> {
    Ok(raw.prepare_cached(ours!("PRAGMA schema_version"))?.query_row([], |row| row.get(0))?)
}

fn layout(name: &str, without_rowid: bool, key_has_index: bool, columns: &[&Column]) -> Result<Layout> {
    let key_columns: Vec<usize> = {
        let mut found: Vec<(i64, usize)> = (0..columns.len())
            .map(|index| (columns[index].key_position, index))
            .filter(|(position, _)| *position > 0)
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, index)| index).collect()
    };
    let key = if without_rowid {
        Key::Columns(key_columns)
    } else {
        // A declared key without an index of its own is the rowid under another name.
        Key::Rowid { alias: if key_has_index { None } else { key_columns.first().copied() } }
    };
    let rowid = match &key {
        Key::Rowid { alias: None } => rowid_name(name, columns)?,
        Key::Rowid { alias: Some(index) } => quote_identifier(&columns[*index].name),
        Key::Columns(_) => String::new(),
    };
    let texts = Texts {
        table: quote_identifier(name),
        columns: columns.iter().map(|column| quote_identifier(&column.name)).collect(),
        key_collations: columns.iter().map(|column| column.key_collation.as_deref()).collect(),
        key: &key,
        rowid,
    };
    let replace = if name == SEQUENCES { "OR REPLACE " } else { "" };
    Ok(Layout {
        name: name.to_owned(),
        stored: columns.iter().map(|column| column.position).collect(),
        columns: columns
            .iter()
            .map(|column| StoredColumn { name: column.name.clone(), default_is_null: column.default_is_null })
            .collect(),
        insert: texts.insert(replace),
        update: texts.update(false),
        rekey: texts.update(true),
        delete: format!("{}DELETE FROM {} WHERE {}", ours!(""), texts.table, texts.key_is(1)),
        select: format!(
            "{}SELECT {} FROM {} WHERE {}",
            ours!(""),
            texts.columns.join(","),
            texts.table,
            texts.key_is(1)
        ),
        scan: texts.scan(),
        key,
    })
}

/// A name of the rowid that no column has taken.
fn rowid_name(table: &str, columns: &[&Column]) -> Result<String> {
    ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|name| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)))
        .map(str::to_owned)
        .ok_or_else(|| rowid_unnamed(table))
}

fn rowid_unnamed(table: &str) -> Failure {
    Failure::refused(common::Error::not_supported(
        format!("the columns of {table} take all names of the rowid"),
        "name a column otherwise than rowid, _rowid_ or oid",
    ))
}

struct Texts<'a> {
    table: String,
    columns: Vec<String>,
    key_collations: Vec<Option<&'a str>>,
    key: &'a Key,
    rowid: String,
}

impl Texts<'_> {
    fn insert(&self, or: &str) -> String {
        let mut names = self.columns.clone();
        if *self.key == (Key::Rowid { alias: None }) {
            names.insert(0, self.rowid.clone());
        }
        let marks = vec!["?"; names.len()].join(",");
        format!("{}INSERT {or}INTO {}({}) VALUES ({marks})", ours!(""), self.table, names.join(","))
    }

    fn update(&self, with_key: bool) -> String {
        let of_key = |index: usize| match self.key {
            Key::Rowid { alias } => *alias == Some(index),
            Key::Columns(columns) => columns.contains(&index),
        };
        let mut sets: Vec<String> = (0..self.columns.len())
            .filter(|index| with_key || !of_key(*index))
            .map(|index| format!("{}=?{}", self.columns[index], index + 1))
            .collect();
        if with_key && *self.key == (Key::Rowid { alias: None }) {
            sets.push(format!("{}=?{}", self.rowid, self.columns.len() + 2));
        }
        if sets.is_empty() {
            // Nothing but the key: an update that leaves it changes nothing, and must still find the row.
            return self.update(true);
        }
        let found = self.key_is(self.columns.len() + 1);
        format!("{}UPDATE {} SET {} WHERE {found}", ours!(""), self.table, sets.join(","))
    }

    /// The condition that finds a row by its key, whose parameters begin at `first`.
    fn key_is(&self, first: usize) -> String {
        match self.key {
            Key::Rowid { .. } => format!("{}=?{first}", self.rowid),
            Key::Columns(columns) => columns
                .iter()
                .enumerate()
                .map(|(offset, index)| {
                    // The key may compare otherwise than its columns: what they take for equal may be several rows.
                    let collation = self.key_collations[*index].unwrap_or("BINARY");
                    let (column, collation) = (&self.columns[*index], quote_identifier(collation));
                    format!("{column} COLLATE {collation}=?{}", first + offset)
                })
                .collect::<Vec<_>>()
                .join(" AND "),
        }
    }

    fn scan(&self) -> String {
        let key = match self.key {
            Key::Rowid { .. } => self.rowid.clone(),
            Key::Columns(columns) => {
                columns.iter().map(|index| self.columns[*index].clone()).collect::<Vec<_>>().join(",")
            }
        };
        format!("{}SELECT {key},{} FROM {}", ours!(""), self.columns.join(","), self.table)
    }
}

impl Layout {
    /// Whether a row is named by a rowid that no column shows.
    pub(crate) fn hides_key(&self) -> bool {
        self.key == Key::Rowid { alias: None }
    }

    /// How many values a key has.
    pub(crate) fn key_width(&self) -> usize {
        match &self.key {
            Key::Rowid { .. } => 1,
            Key::Columns(columns) => columns.len(),
        }
    }
}
