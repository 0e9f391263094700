//! A database's schema as plain values, for planners. SQLite itself is asked, so what is read here is what
//! SQLite understood.

use common::hash::Collation;
use common::value::Affinity;
use rusqlite::Connection;

use crate::connection::ours;
use crate::error::Result;

/// The client's tables and views.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatabaseSchema {
    /// In order of creation.
    pub tables: Vec<Table>,
    /// In order of creation.
    pub views: Vec<View>,
    /// In order of creation.
    pub triggers: Vec<Trigger>,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name as written.
    pub name: String,
    /// Its CREATE TABLE statement.
    pub sql: String,
    /// All columns in order, generated ones too.
    pub columns: Vec<Column>,
    /// The column that is the rowid (INTEGER PRIMARY KEY).
    pub rowid_alias: Option<usize>,
    /// A name by which the rowid can be read: `rowid`, `_rowid_` or `oid`, whichever no column has taken.
    /// `None` for WITHOUT ROWID, and if all are taken.
    pub rowid_name: Option<&'static str>,
    /// Columns of the primary key, in the key's order.
    pub primary_key: Vec<usize>,
    /// Declared WITHOUT ROWID.
    pub without_rowid: bool,
    /// Declared STRICT.
    pub strict: bool,
    /// Its rowids come from a counter.
    pub autoincrement: bool,
    /// Its indexes, those of constraints too, but not the rowid's.
    pub indexes: Vec<Index>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name as written.
    pub name: String,
    /// Its type as written; empty without one.
    pub declared_type: String,
    /// What the type prefers.
    pub affinity: Affinity,
    /// Name of its collation, as SQLite knows it.
    pub collation: String,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// SQL text of its default.
    pub default: Option<String>,
    /// How its value comes to be.
    pub generated: Generated,
}

impl Column {
    /// Whether its value is computed and not written.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        self.generated != Generated::No
    }
}

/// How a column's value comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// It is written.
    No,
    /// Computed when read.
    Virtual,
    /// Computed when written.
    Stored,
}

/// What made an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOrigin {
    /// CREATE INDEX.
    Statement,
    /// A UNIQUE constraint.
    Unique,
    /// The PRIMARY KEY.
    PrimaryKey,
}

/// An index.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// Its name; SQLite names those of constraints `sqlite_autoindex_…`.
    pub name: String,
    /// Whether values are refused twice.
    pub unique: bool,
    /// What made it.
    pub origin: IndexOrigin,
    /// Whether a WHERE leaves rows out.
    pub partial: bool,
    /// Its key.
    pub terms: Vec<IndexTerm>,
    /// Its CREATE INDEX statement.
    pub sql: Option<String>,
}

/// A term of an index's key.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexTerm {
    /// The column, or `None` for an expression or the rowid.
    pub column: Option<usize>,
    /// Name of its collation.
    pub collation: String,
    /// Whether it falls.
    pub descending: bool,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The referring columns.
    pub columns: Vec<usize>,
    /// The table referred to, as written.
    pub parent: String,
    /// Its columns, as written; empty: its primary key.
    pub parent_columns: Vec<String>,
    /// Action when the parent's key changes, as SQLite words it.
    pub on_update: String,
    /// Action when the parent goes.
    pub on_delete: String,
}

/// A view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name as written.
    pub name: String,
    /// Its CREATE VIEW statement.
    pub sql: String,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Its name as written.
    pub name: String,
    /// The table or view that it belongs to.
    pub table: String,
    /// Its CREATE TRIGGER statement.
    pub sql: String,
}

impl Column {
    /// The collation, if it is one of SQLite's own three.
    #[must_use]
    pub fn known_collation(&self) -> Option<Collation> {
        Collation::parse(&self.collation)
    }
}

impl Table {
    /// A relation of values whose rows have rowids: each column with its name, declared type and collation.
    #[must_use]
    pub fn plain(name: &str, columns: impl IntoIterator<Item = (String, &'static str, Collation)>) -> Table {
        let column = |(name, declared_type, collation): (String, &str, Collation)| Column {
            name,
            declared_type: declared_type.to_owned(),
            affinity: Affinity::of_declared_type(declared_type),
            collation: collation.name().to_owned(),
            not_null: false,
            default: None,
            generated: Generated::No,
        };
        Table {
            name: name.to_owned(),
            sql: String::new(),
            columns: columns.into_iter().map(column).collect(),
            rowid_alias: None,
            rowid_name: Some("rowid"),
            primary_key: Vec::new(),
            without_rowid: false,
            strict: false,
            autoincrement: false,
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
        }
    }

    /// As [`Table::plain`], with the first column as the key in place of a rowid.
    #[must_use]
    pub fn keyed(name: &str, columns: impl IntoIterator<Item = (String, &'static str, Collation)>) -> Table {
        Table { rowid_name: None, primary_key: vec![0], without_rowid: true, ..Table::plain(name, columns) }
    }

    /// What keeps rows without rowids in order: the terms of the primary key.
    #[must_use]
    pub fn key_terms(&self) -> Vec<IndexTerm> {
        if let Some(key) = self.indexes.iter().find(|index| index.origin == IndexOrigin::PrimaryKey) {
            return key.terms.clone();
        }
        let term = |&position: &usize| IndexTerm {
            column: Some(position),
            collation: self.columns[position].collation.clone(),
            descending: false,
        };
        self.primary_key.iter().map(term).collect()
    }

    /// Index of a column, by its name in any letter case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether a name means the rowid.
    #[must_use]
    pub fn names_rowid(&self, name: &str) -> bool {
        !self.without_rowid
            && self.column(name).is_none_or(|index| Some(index) == self.rowid_alias)
            && (ROWID_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
                || self.column(name).is_some_and(|index| Some(index) == self.rowid_alias))
    }
}

const ROWID_NAMES: [&str; 3] = ["rowid", "_rowid_", "oid"];

impl DatabaseSchema {
    /// Reads the schema of a database; SQLite's own tables and ours are left out.
    pub(crate) fn read(raw: &Connection) -> Result<DatabaseSchema> {
        let mut schema = DatabaseSchema::default();
        let objects: Vec<(String, String, String, String)> = {
            let mut statement = raw.prepare_cached(ours!(
                "SELECT type, name, sql, tbl_name FROM sqlite_schema WHERE type IN ('table', 'view', 'trigger') ",
                "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY rowid"
            ))?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (kind, name, sql, table) in objects {
            match kind.as_str() {
                "table" => schema.tables.push(read_table(raw, name, sql)?),
                "view" => schema.views.push(View { name, sql }),
                _ => schema.triggers.push(Trigger { name, table, sql }),
            }
        }
        Ok(schema)
    }

    /// The table of that name, in any letter case.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }

    /// The view of that name, in any letter case.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|view| view.name.eq_ignore_ascii_case(name))
    }
}

fn read_table(raw: &Connection, name: String, sql: String) -> Result<Table> {
    let (without_rowid, strict): (bool, bool) = raw
        .prepare_cached(ours!("SELECT wr, strict FROM pragma_table_list(?) WHERE schema = 'main'"))?
        .query_row([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (columns, primary_key, autoincrement) = read_columns(raw, &name, strict)?;
    let indexes = read_indexes(raw, &name)?;
    let key_is_rowid = !without_rowid
        && primary_key.len() == 1
        && !indexes.iter().any(|index| index.origin == IndexOrigin::PrimaryKey);
    let free_name = ROWID_NAMES
        .into_iter()
        .find(|rowid| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(rowid)));
    Ok(Table {
        rowid_alias: if key_is_rowid { primary_key.first().copied() } else { None },
        rowid_name: if without_rowid { None } else { free_name },
        foreign_keys: read_foreign_keys(raw, &name, &columns)?,
        name,
        sql,
        columns,
        primary_key,
        without_rowid,
        strict,
        autoincrement,
        indexes,
    })
}

fn read_columns(raw: &Connection, table: &str, strict: bool) -> Result<(Vec<Column>, Vec<usize>, bool)> {
    let mut statement = raw.prepare_cached(ours!(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid"
    ))?;
    let mut rows = statement.query([table])?;
    let (mut columns, mut key, mut counted) = (Vec::new(), Vec::new(), false);
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let declared_type: String = row.get(1)?;
        let (_, collation, _, _, autoincrement) = raw.column_metadata(Some("main"), table, &name)?;
        counted |= autoincrement;
        let position: i64 = row.get(4)?;
        if position > 0 {
            key.push((position, columns.len()));
        }
        columns.push(Column {
            affinity: affinity(&declared_type, strict),
            collation: collation.map_or_else(|| "BINARY".into(), |name| name.to_string_lossy().into_owned()),
            name,
            declared_type,
            not_null: row.get(2)?,
            default: row.get(3)?,
            generated: match row.get(5)? {
                2 => Generated::Virtual,
                3 => Generated::Stored,
                _ => Generated::No,
            },
        });
    }
    key.sort_unstable();
    Ok((columns, key.into_iter().map(|(_, index)| index).collect(), counted))
}

/// ANY means "as it is" in a STRICT table, and NUMERIC elsewhere.
fn affinity(declared_type: &str, strict: bool) -> Affinity {
    if strict && declared_type.eq_ignore_ascii_case("ANY") {
        return Affinity::Blob;
    }
    Affinity::of_declared_type(declared_type)
}

fn read_indexes(raw: &Connection, table: &str) -> Result<Vec<Index>> {
    let mut statement = raw.prepare_cached(ours!(
        "SELECT l.name, l.\"unique\", l.origin, l.partial, ",
        "(SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = l.name) ",
        "FROM pragma_index_list(?) AS l ORDER BY l.seq DESC"
    ))?;
    let mut rows = statement.query([table])?;
    let mut indexes = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let origin: String = row.get(2)?;
        indexes.push(Index {
            terms: read_terms(raw, &name)?,
            name,
            unique: row.get(1)?,
            origin: match origin.as_str() {
                "pk" => IndexOrigin::PrimaryKey,
                "u" => IndexOrigin::Unique,
                _ => IndexOrigin::Statement,
            },
            partial: row.get(3)?,
            sql: row.get(4)?,
        });
    }
    Ok(indexes)
}

fn read_terms(raw: &Connection, index: &str) -> Result<Vec<IndexTerm>> {
    let sql = ours!("SELECT cid, coll, \"desc\" FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno");
    let mut statement = raw.prepare_cached(sql)?;
    let rows = statement.query_map([index], |row| {
        Ok(IndexTerm {
            column: usize::try_from(row.get::<_, i64>(0)?).ok(),
            collation: row.get::<_, Option<String>>(1)?.unwrap_or_else(|| "BINARY".into()),
            descending: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn read_foreign_keys(raw: &Connection, table: &str, columns: &[Column]) -> Result<Vec<ForeignKey>> {
    let mut statement = raw.prepare_cached(ours!(
        "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?) ",
        "ORDER BY id DESC, seq"
    ))?;
    let mut rows = statement.query([table])?;
    let mut found: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, from): (i64, String) = (row.get(0)?, row.get(2)?);
        let column = columns.iter().position(|column| column.name.eq_ignore_ascii_case(&from));
        let to: Option<String> = row.get(3)?;
        if found.last().is_none_or(|(last, _)| *last != id) {
            let key = ForeignKey {
                columns: Vec::new(),
                parent: row.get(1)?,
                parent_columns: Vec::new(),
                on_update: row.get(4)?,
                on_delete: row.get(5)?,
            };
            found.push((id, key));
        }
        if let Some((_, key)) = found.last_mut() {
            key.columns.extend(column);
            key.parent_columns.extend(to);
        }
    }
    Ok(found.into_iter().map(|(_, key)| key).collect())
}
