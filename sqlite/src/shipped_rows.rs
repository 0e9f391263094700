//! Rows of a small table that a coordinator sends along with a text, so that a partition can join its own rows
//! with them: a table-valued function of one parameter, which holds the packed rows.
//!
//! SQLite compares a column by its declared type, and one declaration must do for all tables. So each value is
//! there once for each type, under names that [`column()`] tells.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;

use common::row::{RowBlock, ValueRef, read_value};
use common::value::Affinity;
use rusqlite::ffi;
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
};

use crate::binding::Bound;
use crate::error::Result;
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
pub(crate) fn load_module(connection: &rusqlite::Connection) -> Result<()> {
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
        let mut found = None;
        for (index, constraint) in info.constraints().enumerate() {
            if constraint.column() == PACKED
                && constraint.operator() == IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ
            {
                if !constraint.is_usable() {
                    return Ok(false);
                }
                found = Some(index);
            }
        }
        let Some(index) = found else { return Err(module_error("rows must be given")) };
        let mut usage = info.constraint_usage(index);
        usage.set_argv_index(1);
        usage.set_omit(true);
        info.set_estimated_rows(ROWS_EXPECTED);
        // A count of rows is far below what a float holds exactly.
        #[allow(clippy::cast_precision_loss)]
        info.set_estimated_cost(ROWS_EXPECTED as f64);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<ShippedCursor<'vtab>> {
        Ok(ShippedCursor {
            base: ffi::sqlite3_vtab_cursor::default(),
            rows: RowBlock::default(),
            position: 0,
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
    rows: RowBlock,
    /// Where the next row begins.
    position: usize,
    /// Where each value of the row at hand begins.
    starts: Vec<usize>,
    /// The number of the row at hand, from 1.
    number: u32,
    lifetime: PhantomData<&'vtab ShippedTable>,
}

impl ShippedCursor<'_> {
    fn step(&mut self) -> rusqlite::Result<()> {
        self.number += 1;
        if self.eof() {
            return Ok(());
        }
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

// SAFETY: the struct is `repr(C)` and begins with `sqlite3_vtab_cursor`, as the trait demands.
unsafe impl VTabCursor for ShippedCursor<'_> {
    fn filter(&mut self, _: c_int, _: Option<&str>, arguments: &Filters<'_>) -> rusqlite::Result<()> {
        let bytes: Option<Vec<u8>> = arguments.get(0)?;
        // Without rows a plan can still be asked for.
        let rows = bytes.map_or_else(|| Some(RowBlock::default()), |bytes| packed::unpack(&bytes));
        self.rows = rows.ok_or_else(|| module_error("the rows are cut short"))?;
        (self.position, self.number) = (0, 0);
        self.step()
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.step()
    }

    fn eof(&self) -> bool {
        self.number > self.rows.rows
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
    fn rows_are_joined_by_an_index_that_sqlite_makes() {
        let shipped: Vec<Vec<Value>> = (0..2_000).map(|row| vec![Value::Integer(row)]).collect();
        let sql = "WITH s AS MATERIALIZED (SELECT i0 AS id FROM _shipped_rows(?1)),
             n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5000)
             SELECT count(*) FROM n JOIN s ON n.x = s.id";
        assert_eq!(rows(sql, &shipped), [[Value::Integer(1_999)]]);
    }
}
