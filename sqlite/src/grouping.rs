//! Groups rows by hashing. SQLite sorts all rows to find groups that no index keeps together; most partitions
//! have few groups of many rows, and there a table of the groups in memory takes a fraction of the time.
//!
//! An aggregate function takes the terms of GROUP BY and the arguments of the aggregates, and answers all groups
//! as one value, see [`crate::packed`]. What it does with its arguments its first one says, a letter or two for each column of a
//! group; see [`Column`]. Where it cannot tell what SQLite would answer, or there are too many groups, it
//! fails, and the statement has to be asked in SQLite's own words.

use std::cmp::Ordering;
use std::collections::HashMap;

use common::Value;
use common::hash::Collation;
use common::row::{RowBlockBuilder, ValueRef};
use common::value::exact_integer;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value as SqliteValue, ValueRef as SqliteRef};

use crate::error::Result;
use crate::packed;
use crate::partial_sum::Part;

/// Name of the function.
pub const GROUPS: &str = "_groups";

/// What its errors begin with.
pub const REFUSED: &str = "rows are not grouped by hashing";

/// Most bytes that the groups of one statement may take: SQLite bounds values at 16 MiB.
const BYTES_MAX: usize = 8 << 20;

/// What a group takes beside its values, in bytes.
const GROUP_BYTES: usize = 96;

/// What a column of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// NULL, in place of a row where none is to stand for the group. It takes no argument.
    Nothing,
    /// An integer, the least of the group. The values of terms and other expressions are those of its row.
    Row,
    /// A term of GROUP BY, compared under a collation.
    Term(Collation),
    /// An expression.
    Value,
    /// How many rows there are. It takes no argument.
    Rows,
    /// How many values are not NULL.
    Count,
    /// A part of a sum, see [`crate::partial_sum`].
    Sum,
    /// The least value under a collation.
    Min(Collation),
    /// The greatest value under a collation.
    Max(Collation),
}

const COLLATIONS: [(char, Collation); 3] =
    [('b', Collation::Binary), ('n', Collation::NoCase), ('r', Collation::RTrim)];

impl Column {
    /// Columns as the function's first argument says them.
    #[must_use]
    pub fn spell(columns: &[Column]) -> String {
        let mut text = String::new();
        for column in columns {
            let (letter, compared) = match column {
                Column::Nothing => ('-', None),
                Column::Row => ('i', None),
                Column::Term(collation) => ('t', Some(collation)),
                Column::Value => ('v', None),
                Column::Rows => ('n', None),
                Column::Count => ('c', None),
                Column::Sum => ('s', None),
                Column::Min(collation) => ('l', Some(collation)),
                Column::Max(collation) => ('g', Some(collation)),
            };
            text.push(letter);
            let known = |collation: &Collation| COLLATIONS.iter().find(|(_, known)| known == collation);
            text.extend(compared.and_then(known).map(|(letter, _)| *letter));
        }
        text
    }

    fn parse(text: &str) -> Option<Vec<Column>> {
        let mut letters = text.chars();
        let mut columns = Vec::new();
        while let Some(letter) = letters.next() {
            let mut collation = || {
                let letter = letters.next()?;
                COLLATIONS.iter().find(|(known, _)| *known == letter).map(|(_, collation)| *collation)
            };
            columns.push(match letter {
                '-' => Column::Nothing,
                'i' => Column::Row,
                't' => Column::Term(collation()?),
                'v' => Column::Value,
                'n' => Column::Rows,
                'c' => Column::Count,
                's' => Column::Sum,
                'l' => Column::Min(collation()?),
                'g' => Column::Max(collation()?),
                _ => return None,
            });
        }
        Some(columns)
    }

    fn takes_argument(self) -> bool {
        !matches!(self, Column::Nothing | Column::Rows)
    }

    /// What it is before the first row.
    fn empty(self) -> State {
        match self {
            Column::Row | Column::Rows | Column::Count => State::Integer(0),
            Column::Sum => State::Sum(Part::default()),
            Column::Nothing | Column::Term(_) | Column::Value | Column::Min(_) | Column::Max(_) => {
                State::Value(Value::Null)
            }
        }
    }
}

/// A column of a group while rows arrive.
#[derive(Debug)]
enum State {
    Integer(i64),
    Value(Value),
    Sum(Part),
}

/// The groups of one statement.
#[derive(Debug)]
struct Groups {
    columns: Vec<Column>,
    /// The number of the group with these terms, as [`push_term`] writes them.
    numbers: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    /// The columns of all groups, one group after another.
    states: Vec<State>,
    bytes: usize,
    key: Vec<u8>,
}

impl Groups {
    fn new(columns: Vec<Column>) -> Groups {
        Groups { columns, numbers: HashMap::default(), states: Vec::new(), bytes: 0, key: Vec::new() }
    }

    /// Adds a row; `argument` gives the values that the columns take, in order.
    fn add<'r>(
        &mut self,
        argument: &dyn Fn(usize) -> SqliteRef<'r>,
    ) -> std::result::Result<(), &'static str> {
        self.key.clear();
        let arguments = self.columns.iter().filter(|column| column.takes_argument()).enumerate();
        for (index, column) in arguments {
            if let Column::Term(collation) = column {
                push_term(&mut self.key, value_ref(argument(index))?, *collation)?;
            }
        }
        let width = self.columns.len();
        let (number, is_new) = match self.numbers.get(self.key.as_slice()) {
            Some(number) => (*number, false),
            None => {
                let number = self.numbers.len();
                self.numbers.insert(self.key.as_slice().into(), number);
                self.states.extend(self.columns.iter().map(|column| column.empty()));
                self.bytes += 2 * self.key.len() + GROUP_BYTES + width * size_of::<State>();
                (number, true)
            }
        };
        let states = &mut self.states[number * width..][..width];
        let (mut stands_for_group, mut next) = (is_new, 0);
        for (column, state) in self.columns.iter().zip(states) {
            let value = match column.takes_argument() {
                true => {
                    next += 1;
                    value_ref(argument(next - 1))?
                }
                false => ValueRef::Null,
            };
            match (column, state) {
                (Column::Row, State::Integer(least)) => {
                    let ValueRef::Integer(row) = value else { return Err("a row has no number") };
                    stands_for_group = is_new || row < *least;
                    if stands_for_group {
                        *least = row;
                    }
                }
                (Column::Nothing, State::Value(_)) => {}
                (Column::Rows, State::Integer(count)) => *count += 1,
                (Column::Count, State::Integer(count)) => *count += i64::from(value != ValueRef::Null),
                (Column::Sum, State::Sum(part)) => match value {
                    ValueRef::Null => {}
                    ValueRef::Integer(value) => part.add_integer(value),
                    ValueRef::Real(value) => part.add_real(value),
                    ValueRef::Text(_) | ValueRef::RawText(_) | ValueRef::Blob(_) => {
                        return Err("a sum is of texts");
                    }
                },
                (Column::Term(_) | Column::Value, State::Value(kept)) => {
                    if stands_for_group {
                        replace(kept, value, &mut self.bytes);
                    }
                }
                (Column::Min(collation), State::Value(kept)) => {
                    keep(kept, value, *collation, Ordering::Less, &mut self.bytes);
                }
                (Column::Max(collation), State::Value(kept)) => {
                    keep(kept, value, *collation, Ordering::Greater, &mut self.bytes);
                }
                _ => return Err("a column is of another kind"),
            }
        }
        if self.bytes > BYTES_MAX { Err("there are too many groups") } else { Ok(()) }
    }

    /// The groups as packed rows: in the order of [`Column::Row`], or
    /// as they were met.
    fn finish(self) -> Vec<u8> {
        let width = self.columns.len();
        let mut groups: Vec<&[State]> = self.states.chunks_exact(width.max(1)).collect();
        if self.columns.first() == Some(&Column::Row) {
            groups.sort_by_key(|states| match states.first() {
                Some(State::Integer(row)) => *row,
                _ => 0,
            });
        }
        let mut rows = RowBlockBuilder::new(width);
        for states in groups {
            let parts: Vec<Option<_>> = states
                .iter()
                .map(|state| match state {
                    State::Sum(part) => part.encoded(),
                    State::Integer(_) | State::Value(_) => None,
                })
                .collect();
            rows.push(states.iter().zip(&parts).map(|(state, part)| match (state, part) {
                (State::Integer(number), _) => ValueRef::Integer(*number),
                (State::Value(value), _) => ValueRef::from(value),
                (State::Sum(_), Some(part)) => ValueRef::Blob(part),
                (State::Sum(_), None) => ValueRef::Null,
            }));
        }
        packed::pack(&rows.finish())
    }
}

fn value_ref(value: SqliteRef<'_>) -> std::result::Result<ValueRef<'_>, &'static str> {
    Ok(match value {
        SqliteRef::Null => ValueRef::Null,
        SqliteRef::Integer(number) => ValueRef::Integer(number),
        SqliteRef::Real(number) => ValueRef::Real(number),
        SqliteRef::Text(bytes) => {
            ValueRef::Text(std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?)
        }
        SqliteRef::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

fn replace(kept: &mut Value, value: ValueRef<'_>, bytes: &mut usize) {
    *bytes = (*bytes + length(value)).saturating_sub(length(ValueRef::from(&*kept)));
    *kept = value.to_value();
}

fn length(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(text) => text.len(),
        ValueRef::RawText(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
    }
}

/// Keeps the value if it lies on that side of the one kept. NULL counts for nothing.
fn keep(kept: &mut Value, value: ValueRef<'_>, collation: Collation, side: Ordering, bytes: &mut usize) {
    let wins = |kept: &Value| kept.is_null() || value.compare(ValueRef::from(kept), collation) == side;
    if value != ValueRef::Null && wins(kept) {
        replace(kept, value, bytes);
    }
}

/// Appends a term so that equal values have equal bytes and others have not.
fn push_term(
    key: &mut Vec<u8>,
    value: ValueRef<'_>,
    collation: Collation,
) -> std::result::Result<(), &'static str> {
    let mut push = |class: u8, bytes: &[u8]| {
        key.push(class);
        key.extend_from_slice(&bytes.len().to_le_bytes());
        key.extend_from_slice(bytes);
    };
    match value {
        ValueRef::Null => push(0, &[]),
        ValueRef::Integer(number) => push(1, &number.to_le_bytes()),
        ValueRef::Real(number) => match exact_integer(number) {
            Some(number) => push(1, &number.to_le_bytes()),
            None => push(2, &number.to_le_bytes()),
        },
        ValueRef::Text(text) => match collation {
            Collation::Binary => push(3, text.as_bytes()),
            Collation::RTrim => push(3, text.trim_end_matches(' ').as_bytes()),
            // Behind a NUL the collation looks at the length alone.
            Collation::NoCase if text.contains('\0') => return Err("a text holds a NUL"),
            Collation::NoCase => push(3, text.to_ascii_lowercase().as_bytes()),
        },
        ValueRef::RawText(_) => return Err("a text is not UTF-8"),
        ValueRef::Blob(bytes) => push(4, bytes),
    }
    Ok(())
}

/// The function, as SQLite calls it.
struct Function;

fn refused(why: &str) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(format!("{REFUSED}: {why}").into())
}

impl Aggregate<Option<Groups>, ToSqlOutput<'static>> for Function {
    fn init(&self, _context: &mut Context<'_>) -> rusqlite::Result<Option<Groups>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, groups: &mut Option<Groups>) -> rusqlite::Result<()> {
        let groups = match groups {
            Some(groups) => groups,
            None => {
                let spelled: String = context.get(0)?;
                let columns =
                    Column::parse(&spelled).ok_or_else(|| refused("its columns are not understood"))?;
                let arguments = columns.iter().filter(|column| column.takes_argument()).count();
                if arguments + 1 != context.len() {
                    return Err(refused("its arguments are not as many as it says"));
                }
                groups.insert(Groups::new(columns))
            }
        };
        groups.add(&|index| context.get_raw(index + 1)).map_err(refused)
    }

    fn finalize(
        &self,
        _context: &mut Context<'_>,
        groups: Option<Option<Groups>>,
    ) -> rusqlite::Result<ToSqlOutput<'static>> {
        Ok(ToSqlOutput::Owned(match groups.flatten() {
            Some(groups) => SqliteValue::Blob(groups.finish()),
            None => SqliteValue::Null,
        }))
    }
}

/// Makes the function known.
pub(crate) fn load(connection: &rusqlite::Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    Ok(connection.create_aggregate_function(GROUPS, -1, flags, Function)?)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn database(values: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        load(&connection).unwrap();
        connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)").unwrap();
        connection.execute_batch(&format!("INSERT INTO t (a, b) VALUES {values}")).unwrap();
        connection
    }

    fn rows(connection: &Connection, columns: &[Column], arguments: &str) -> Vec<Vec<Value>> {
        let sql = format!("SELECT {GROUPS}('{}', {arguments}) FROM t", Column::spell(columns));
        let packed: Option<Vec<u8>> = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        packed.map_or_else(Vec::new, |packed| packed::unpack(&packed).unwrap().to_values().unwrap())
    }

    #[test]
    fn columns_are_spelled_and_read() {
        let columns = [
            Column::Nothing,
            Column::Row,
            Column::Term(Collation::NoCase),
            Column::Value,
            Column::Rows,
            Column::Count,
            Column::Sum,
            Column::Min(Collation::Binary),
            Column::Max(Collation::RTrim),
        ];
        assert_eq!(Column::parse(&Column::spell(&columns)).unwrap(), columns);
        assert_eq!(Column::parse("tx"), None);
    }

    #[test]
    fn groups_are_those_that_sqlite_finds() {
        let connection = database(
            "(1, 5), (1.0, 7), ('1', 1), ('a', 2), ('A', NULL), (x'61', 3), (NULL, 4), (NULL, 6), (0.5, 1),
             (9007199254740993, 1), (9007199254740992.0, 1), ('', 0), (0, 0), (-0.0, 9)",
        );
        let columns = [
            Column::Row,
            Column::Term(Collation::Binary),
            Column::Rows,
            Column::Count,
            Column::Min(Collation::Binary),
            Column::Max(Collation::Binary),
        ];
        let mut expected = Vec::new();
        connection
            .prepare("SELECT min(id), a, count(*), count(b), min(b), max(b) FROM t GROUP BY a ORDER BY 1")
            .unwrap()
            .query_map([], |row| crate::binding::values_of(row, 0..6))
            .unwrap()
            .for_each(|row| expected.push(row.unwrap()));
        // SQLite leaves open which of several equal terms it shows; here it is the first row's.
        let found = rows(&connection, &columns, "id, a, b, b, b");
        let untyped = |rows: &[Vec<Value>]| -> Vec<String> {
            rows.iter().map(|row| format!("{:?} {:?}", row[0], &row[2..])).collect()
        };
        assert_eq!(untyped(&found), untyped(&expected));
        assert_eq!(found[0][1], Value::Integer(1));
    }

    #[test]
    fn letter_case_and_spaces_count_as_the_collation_says() {
        let connection = database("('a', 1), ('A', 1), ('a ', 1), ('b', 1)");
        let count = |collation| rows(&connection, &[Column::Term(collation), Column::Rows], "a").len();
        assert_eq!(count(Collation::Binary), 4);
        assert_eq!(count(Collation::NoCase), 3);
        assert_eq!(count(Collation::RTrim), 3);
    }

    #[test]
    fn values_are_those_of_the_least_row() {
        let connection = database("('x', 1), ('y', 1), ('z', 2)");
        let columns = [Column::Row, Column::Term(Collation::Binary), Column::Value];
        let found = rows(&connection, &columns, "10 - id, b, a");
        assert_eq!(found[0][2], Value::from("z"));
        assert_eq!(found[1][2], Value::from("y"));
    }

    #[test]
    fn what_is_not_told_alike_is_refused() {
        let refused = |values: &str, columns: &[Column]| {
            let connection = database(values);
            let sql = format!("SELECT {GROUPS}('{}', a) FROM t", Column::spell(columns));
            let answer = connection.query_row(&sql, [], |row| row.get::<_, Vec<u8>>(0));
            answer.unwrap_err().to_string()
        };
        assert!(refused("('1', 1)", &[Column::Sum]).contains(REFUSED));
        assert!(refused("('a' || char(0), 1)", &[Column::Term(Collation::NoCase)]).contains(REFUSED));
        assert!(refused("(CAST(x'ff' AS TEXT), 1)", &[Column::Value]).contains(REFUSED));
        assert!(refused("(1, 1)", &[Column::Value, Column::Value]).contains(REFUSED));
    }

    #[test]
    fn too_many_groups_are_refused_and_no_rows_are_no_groups() {
        let connection = database("(1, 1)");
        connection.execute_batch("DELETE FROM t").unwrap();
        assert!(rows(&connection, &[Column::Term(Collation::Binary)], "a").is_empty());
        rusqlite::vtab::series::load_module(&connection).unwrap();
        let sql = format!("SELECT {GROUPS}('tb', value) FROM generate_series(1, 1000000)");
        let answer = connection.query_row(&sql, [], |row| row.get::<_, Vec<u8>>(0));
        assert!(answer.unwrap_err().to_string().contains("too many groups"));
    }
}
