//! Rows of a small table that a coordinator sends along with a text, so that a partition can join its own rows
//! with them: a table-valued function of one parameter, which holds the packed rows.
//!
//! SQLite compares a column by its declared type, and one declaration must do for all tables. So each value is
//! there once for each type, under names that [`column()`] tells. Rows that begin with different integers are found by
//! these through a hash table, in a fraction of the time that an index which SQLite makes of them takes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;

use common::row::{RowBlock, ValueRef, read_value};
use common::value::{Affinity, exact_integer};
use rusqlite::ffi;
use rusqlite::types::ValueRef as SqliteRef;
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
};

use crate::binding::Bound;
use crate::error;
use crate::packed;

/// Name of the function.
pub const SHIPPED_ROWS: &str = "_shipped_rows";

/// Most values of a row.
pub const VALUES_MAX: usize = 32;

/// How many rows SQLite's planner is to expect: few, beside those that they are joined with.
const ROWS_EXPECTED: i64 = 1_000;

/// The letters of types, with the words that SQLite knows them by.
const TYPES: [(Affinity, char, &str); 5] = [
    (Affinity::Integer, 'i', "INTEGER"),
    (Affinity::Text, 't', "TEXT"),
    (Affinity::Numeric, 'n', "NUMERIC"),
    (Affinity::Real, 'r', "REAL"),
    (Affinity::Blob, 'b', "BLOB"),
];

/// The column that holds the value at a place of the rows, as one of a type.
#[must_use]
pub fn column(place: usize, affinity: Affinity) -> String {
    let letter = TYPES.iter().find(|(known, ..)| *known == affinity).map_or('b', |(_, letter, _)| *letter);
    format!("{letter}{place}")
}

/// Makes the function known.
pub(crate) fn load_module(connection: &rusqlite::Connection) -> error::Result<()> {
    const MODULE: Module<'_, ShippedTable> = Module::eponymous_only_module();
    Ok(connection.create_module(SHIPPED_ROWS, &MODULE, None::<()>)?)
}

fn declaration() -> String {
    let columns = (0..VALUES_MAX)
        .flat_map(|place| TYPES.iter().map(move |(_, letter, word)| format!("{letter}{place} {word}, ")));
    format!("CREATE TABLE x({}packed HIDDEN)", columns.collect::<String>())
}

/// The number of the column that takes the parameter.
const PACKED: c_int = (VALUES_MAX * TYPES.len()) as c_int;

/// The number of the column that has the first value as an integer.
const KEY: c_int = 0;

/// How rows are looked for.
const ALL: c_int = 0;
/// By the value of [`KEY`].
const BY_KEY: c_int = 1;

/// Where rows are, by the integers that they begin with.
type Keys = HashMap<i64, Place, foldhash::fast::RandomState>;

/// Where a row is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its number, from 0.
    number: u32,
    /// Where it begins.
    start: usize,
}

#[repr(C)]
struct ShippedTable {
    /// SQLite's own part, which must come first.
    base: ffi::sqlite3_vtab,
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab`, as the trait demands.
unsafe impl<'vtab> VTab<'vtab> for ShippedTable {
    type Aux = ();
    type Cursor = ShippedCursor<'vtab>;

    fn connect(
        db: &mut VTabConnection,
        _aux: Option<&()>,
        _module: &[u8],
        _database: &[u8],
        _table: &[u8],
        _arguments: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, ShippedTable)> {
        db.config(VTabConfig::Innocuous)?;
        let table = ShippedTable { base: ffi::sqlite3_vtab::default() };
        Ok((Cow::Owned(CString::new(declaration())?), table))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let (mut packed, mut key) = (None, None);
        for (index, constraint) in info.constraints().enumerate() {
            if constraint.operator() != IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ {
                continue;
            }
            match (constraint.column(), constraint.is_usable()) {
                (PACKED, false) => return Ok(false),
                (PACKED, true) => packed = Some(index),
                (KEY, true) => key = Some(index),
                _ => {}
            }
        }
        let Some(packed) = packed else { return Err(module_error("rows must be given")) };
        let mut usage = info.constraint_usage(packed);
        usage.set_argv_index(1);
        usage.set_omit(true);
        let rows_expected = match key {
            Some(key) => {
                // SQLite compares again, as it compares values of two types.
                info.constraint_usage(key).set_argv_index(2);
                1
            }
            None => ROWS_EXPECTED,
        };
        info.set_idx_num(if key.is_some() { BY_KEY } else { ALL });
        info.set_estimated_rows(rows_expected);
        // A count of rows is far below what a float holds exactly.
        #[allow(clippy::cast_precision_loss)]
        info.set_estimated_cost(rows_expected as f64);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<ShippedCursor<'vtab>> {
        Ok(ShippedCursor {
            base: ffi::sqlite3_vtab_cursor::default(),
            given: (0, 0),
            rows: RowBlock::default(),
            keys: OnceCell::new(),
            position: 0,
            left: 0,
            ended: false,
            starts: Vec::new(),
            number: 0,
            lifetime: PhantomData,
        })
    }
}

#[repr(C)]
struct ShippedCursor<'vtab> {
    /// SQLite's own part, which must come first.
    base: ffi::sqlite3_vtab_cursor,
    /// Address and length of the parameter that the rows were in: it stays where it is while a statement runs.
    given: (usize, usize),
    rows: RowBlock,
    /// Made when a row is looked for by its key; `None` within if rows do not begin with different integers.
    keys: OnceCell<Option<Keys>>,
    /// Where the next row begins.
    position: usize,
    /// Rows that are still to come.
    left: u32,
    ended: bool,
    /// Where each value of the row at hand begins.
    starts: Vec<usize>,
    /// The number of the row at hand, from 1.
    number: u32,
    lifetime: PhantomData<&'vtab ShippedTable>,
}

impl ShippedCursor<'_> {
    /// Takes the rows out of the parameter, unless they are here already.
    fn take(&mut self, parameter: ValueRef<'_>) -> rusqlite::Result<()> {
        let bytes = match parameter {
            ValueRef::Blob(bytes) => bytes,
            // Without rows a plan can still be asked for.
            ValueRef::Null => &[],
            _ => return Err(module_error("the rows are no value of bytes")),
        };
        let given = (bytes.as_ptr().addr(), bytes.len());
        if given == self.given {
            return Ok(());
        }
        let rows = if bytes.is_empty() { Some(RowBlock::default()) } else { packed::unpack(bytes) };
        self.rows = rows.ok_or_else(|| module_error("the rows are cut short"))?;
        (self.given, self.keys) = (given, OnceCell::new());
        Ok(())
    }

    /// Where the row with a key is; `Err` if that must be looked for in all rows.
    fn find(&self, key: ValueRef<'_>) -> Result<Option<Place>, ()> {
        let key = match key {
            ValueRef::Integer(key) => Some(key),
            ValueRef::Real(key) => exact_integer(key),
            ValueRef::Null | ValueRef::Blob(_) => None,
            ValueRef::Text(_) | ValueRef::RawText(_) => return Err(()),
        };
        let keys = self.keys.get_or_init(|| keys(&self.rows)).as_ref().ok_or(())?;
        Ok(key.and_then(|key| keys.get(&key).copied()))
    }

    fn step(&mut self) -> rusqlite::Result<()> {
        let Some(left) = self.left.checked_sub(1) else {
            self.ended = true;
            return Ok(());
        };
        (self.left, self.number) = (left, self.number + 1);
        self.starts.clear();
        let data = &self.rows.data;
        let mut rest = data.get(self.position..).unwrap_or_default();
        for _ in 0..self.rows.columns {
            self.starts.push(data.len() - rest.len());
            read_value(&mut rest).map_err(|error| module_error(&error.to_string()))?;
        }
        self.position = data.len() - rest.len();
        Ok(())
    }
}

/// The places of rows that begin with different integers.
fn keys(rows: &RowBlock) -> Option<Keys> {
    let mut keys = Keys::with_capacity_and_hasher(rows.rows as usize, foldhash::fast::RandomState::default());
    let mut rest = rows.data.as_ref();
    for number in 0..rows.rows {
        let start = rows.data.len() - rest.len();
        for column in 0..rows.columns {
            let value = read_value(&mut rest).ok()?;
            let is_new = match (column, value) {
                (0, ValueRef::Integer(key)) => keys.insert(key, Place { number, start }).is_none(),
                (0, _) => false,
                _ => true,
            };
            if !is_new {
                return None;
            }
        }
    }
    Some(keys)
}

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab_cursor`, as the trait demands.
unsafe impl VTabCursor for ShippedCursor<'_> {
    fn filter(&mut self, plan: c_int, _: Option<&str>, arguments: &Filters<'_>) -> rusqlite::Result<()> {
        let mut arguments = arguments.iter().map(value_ref);
        let parameter = arguments.next().ok_or_else(|| module_error("rows must be given"))?;
        self.take(parameter)?;
        let key = arguments.next().filter(|_| plan == BY_KEY);
        let place = key.map_or(Err(()), |key| self.find(key));
        (self.number, self.position, self.left) = match place {
            Ok(Some(place)) => (place.number, place.start, 1),
            Ok(None) => (0, 0, 0),
            Err(()) => (0, 0, self.rows.rows),
        };
        self.ended = false;
        self.step()
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.step()
    }

    fn eof(&self) -> bool {
        self.ended
    }

    fn column(&self, context: &mut Context, column: c_int) -> rusqlite::Result<()> {
        let place = usize::try_from(column).unwrap_or(usize::MAX) / TYPES.len();
        let value = match self.starts.get(place) {
            Some(&start) => {
                read_value(&mut &self.rows.data[start..]).map_err(|error| module_error(&error.to_string()))?
            }
            None => ValueRef::Null,
        };
        context.set_result(Bound(value))
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(i64::from(self.number))
    }
}

/// A value as SQLite hands it over. Text is not looked at.
fn value_ref(value: SqliteRef<'_>) -> ValueRef<'_> {
    match value {
        SqliteRef::Null => ValueRef::Null,
        SqliteRef::Integer(number) => ValueRef::Integer(number),
        SqliteRef::Real(number) => ValueRef::Real(number),
        SqliteRef::Text(bytes) => ValueRef::RawText(bytes),
        SqliteRef::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

fn module_error(message: &str) -> rusqlite::Error {
    rusqlite::Error::ModuleError(message.to_owned())
}

#[cfg(test)]
mod tests {
    use common::Value;
    use rusqlite::Connection;

    use super::*;

    fn rows(sql: &str, shipped: &[Vec<Value>]) -> Vec<Vec<Value>> {
        let connection = Connection::open_in_memory().unwrap();
        load_module(&connection).unwrap();
        let width = shipped.first().map_or(0, Vec::len);
        let packed = packed::pack(&RowBlock::from_values(width, shipped));
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([packed], |row| crate::binding::values_of(row, 0..columns)).unwrap();
        rows.map(|row| row.unwrap()).collect()
    }

    #[test]
    fn rows_come_out_as_they_were_packed() {
        let shipped = vec![
            vec![Value::Integer(1), Value::Text("a".into()), Value::Null],
            vec![Value::Integer(2), Value::Real(1.0), Value::Blob(vec![0, 1])],
        ];
        assert_eq!(rows("SELECT i0, b1, r2 FROM _shipped_rows(?1)", &shipped), shipped);
        assert!(rows("SELECT i0 FROM _shipped_rows(?1)", &[]).is_empty());
    }

    #[test]
    fn each_value_compares_as_its_column_says() {
        let shipped = [vec![Value::Text("10".into())]];
        let compared = "SELECT t0 = 10, b0 = 10, n0 = 10, i0 = 10 FROM _shipped_rows(?1)";
        assert_eq!(rows(compared, &shipped), [[1, 0, 1, 1].map(Value::Integer)]);
    }

    #[test]
    fn rows_are_found_by_their_first_value_as_sqlite_compares_it() {
        let shipped: Vec<Vec<Value>> =
            (1..=9).map(|row| vec![Value::Integer(row), Value::Text(format!("v{row}"))]).collect();
        let sql = |right: &str| {
            format!(
                "WITH s AS NOT MATERIALIZED (SELECT i0 AS id, t1 AS v FROM _shipped_rows(?1)),
                 k(x, y, z) AS (VALUES (3, '3', 7), (4.0, '4.0', 7), (4.5, ' 5 ', 1), (NULL, 'x', 2), (x'36', x'36', 7), (12, '7e0', 3))
                 SELECT s.id, s.v FROM k JOIN s ON {right} = s.id ORDER BY 1"
            )
        };
        let found = |right: &str, shipped: &[Vec<Value>]| -> Vec<Value> {
            rows(&sql(right), shipped).into_iter().map(|row| row[0].clone()).collect()
        };
        let ids = |ids: &[i64]| ids.iter().copied().map(Value::Integer).collect::<Vec<_>>();
        assert_eq!(found("k.x", &shipped), ids(&[3, 4]));
        assert_eq!(found("k.y", &shipped), ids(&[3, 4, 5, 7]));
        assert_eq!(found("CAST(k.y AS INT)", &shipped), ids(&[3, 4, 5, 6, 7]));
        assert_eq!(found("k.z", &shipped), ids(&[1, 2, 3, 7, 7, 7]));
        // Equal keys, and such as are no integers, are looked for in all rows.
        let doubled = [shipped.clone(), shipped].concat();
        assert_eq!(found("k.x", &doubled), ids(&[3, 3, 4, 4]));
        let texts: Vec<Vec<Value>> =
            ["3", "x"].map(|text| vec![Value::Text(text.into()), Value::Null]).to_vec();
        assert_eq!(found("k.x", &texts), [Value::Text("3".into())]);
    }

    #[test]
    fn rows_are_looked_up_without_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        load_module(&connection).unwrap();
        connection.execute_batch("CREATE TABLE o (id INTEGER PRIMARY KEY, c INT)").unwrap();
        let sql =
            "EXPLAIN QUERY PLAN WITH s AS NOT MATERIALIZED (SELECT i0 AS id, t1 AS v FROM _shipped_rows(?1))
             SELECT v, count(*) FROM o JOIN s ON o.c = s.id GROUP BY v";
        let mut statement = connection.prepare(sql).unwrap();
        let plan = statement.query_map([None::<Vec<u8>>], |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<String> = plan.map(Result::unwrap).collect();
        assert!(plan.iter().any(|line| line.contains("_shipped_rows VIRTUAL TABLE INDEX 1")), "{plan:?}");
    }

    #[test]
    fn rows_are_joined_by_an_index_that_sqlite_makes() {
        let shipped: Vec<Vec<Value>> = (0..2_000).map(|row| vec![Value::Integer(row)]).collect();
        let sql = "WITH s AS MATERIALIZED (SELECT i0 AS id FROM _shipped_rows(?1)),
             n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5000)
             SELECT count(*) FROM n JOIN s ON n.x = s.id";
        assert_eq!(rows(sql, &shipped), [[Value::Integer(1_999)]]);
    }
}
