//! Groups that partitions make: `$group` by fields, with counts, sums, means and extremes of fields.
//!
//! As for filters ([`crate::documents::filter::pushed`]) the statement itself tells whether partitions understand the
//! documents: each group has a mark of whether one of its documents holds something that SQL would
//! group, add or compare by other rules. If there is none the groups are exact, and the sums are those of
//! the same documents in any order; else the documents are read.

use common::protocol::Statement;
use common::{Result, Value};
use serde_json::{Map, Value as Json};

use super::accumulator::Kind;
use super::group::{Group, GroupKey};
use crate::documents::budget::Budget;
use crate::documents::expression::{Expression, Variable};
use crate::documents::filter::path::FieldPath;
use crate::documents::filter::pushed::{Path, Sql};
use crate::documents::find::source::Source;
use crate::documents::stored::statement;
use crate::documents::value::order::Key;
use crate::documents::value::{Fields, number};

/// Most fields of a key, and most results of a group.
const FIELDS_MAX: usize = 32;

/// A `$group` as partitions do it.
pub(super) struct PushedGroup {
    pub(super) statement: Statement,
    key: KeyOf,
    outputs: Vec<(String, Output)>,
}

/// What a group's key is made of.
enum KeyOf {
    One(Part),
    Object(Vec<(String, Part)>),
}

/// A value of a key.
enum Part {
    Constant(Json),
    /// The column with its text as JSON, which is empty where there is none.
    Column(usize),
}

/// A result of a group.
enum Output {
    /// So much for each document.
    Count(i64),
    /// The column with the sum of the numbers.
    Sum(usize),
    /// Columns with the sum and how many numbers there are.
    Average(usize, usize),
    /// Columns with the least or greatest integer, real, text, truth value and date.
    Extreme { greatest: bool, columns: [usize; 5] },
}

/// Column of the mark of groups that are in doubt.
const DOUBT: usize = 0;
/// Column of the number of documents.
const COUNT: usize = 1;

/// The statement in the making.
struct Columns<'a> {
    source: &'a Source,
    doubts: Vec<String>,
    /// Terms of GROUP BY.
    keys: Vec<String>,
    /// What stands behind the mark.
    results: Vec<String>,
}

impl PushedGroup {
    /// `None` if partitions cannot do it.
    pub(super) fn of(source: &Source, group: &Group) -> Option<PushedGroup> {
        let GroupKey::Value(by) = &group.key else { return None };
        if group.outputs.len() > FIELDS_MAX {
            return None;
        }
        let mut columns =
            Columns { source, doubts: Vec::new(), keys: Vec::new(), results: vec!["count(*)".to_owned()] };
        let key = match by {
            Expression::Object(fields) if fields.len() <= FIELDS_MAX => {
                let part =
                    |(name, value): &(String, Expression)| Some((name.clone(), columns.part(value, "")?));
                KeyOf::Object(fields.iter().map(part).collect::<Option<_>>()?)
            }
            value => KeyOf::One(columns.part(value, "null")?),
        };
        let output = |(name, kind, value): &(String, Kind, Expression)| {
            Some((name.clone(), columns.output(*kind, value)?))
        };
        let outputs = group.outputs.iter().map(output).collect::<Option<Vec<_>>>()?;
        Some(PushedGroup { statement: columns.statement()?, key, outputs })
    }

    /// A document for each group; `None` if one is in doubt.
    pub(super) fn groups(&self, rows: Vec<Vec<Value>>) -> Result<Option<Vec<Fields>>> {
        let mut groups: Vec<(Key, Fields)> = Vec::with_capacity(rows.len());
        let mut budget = Budget::default();
        // Without documents there is no group.
        let is_group = |row: &Vec<Value>| row.get(COUNT) != Some(&Value::Integer(0));
        for row in rows.into_iter().filter(is_group) {
            let Some(made) = self.group(&row) else { return Ok(None) };
            budget.hold_fields(&made)?;
            groups.push((Key(made["_id"].clone()), made));
        }
        groups.sort_by(|(left, _), (right, _)| left.cmp(right));
        // Values that are equal may be written in different ways.
        if groups.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Ok(None);
        }
        Ok(Some(groups.into_iter().map(|(_, made)| made).collect()))
    }

    fn group(&self, row: &[Value]) -> Option<Fields> {
        let count = integer(row.get(COUNT)?).filter(|_| row[DOUBT] == Value::Integer(0))?;
        let key = match &self.key {
            KeyOf::One(part) => part.value(row)?.unwrap_or_default(),
            KeyOf::Object(parts) => {
                let mut fields = Map::new();
                for (name, part) in parts {
                    fields.extend(part.value(row)?.map(|value| (name.clone(), value)));
                }
                Json::Object(fields)
            }
        };
        let mut made = Map::with_capacity(self.outputs.len() + 1);
        made.insert("_id".to_owned(), key);
        for (name, output) in &self.outputs {
            made.insert(name.clone(), output.value(row, count)?);
        }
        Some(made)
    }
}

impl Columns<'_> {
    /// The position of a result.
    fn result(&mut self, text: String) -> usize {
        let known = self.results.iter().position(|known| *known == text);
        1 + known.unwrap_or_else(|| {
            self.results.push(text);
            self.results.len() - 1
        })
    }

    fn doubt(&mut self, text: String) {
        if !self.doubts.contains(&text) {
            self.doubts.push(text);
        }
    }

    /// The field that an expression is, if it is one that SQL can find.
    fn path(&mut self, expression: &Expression) -> Option<Path> {
        let Expression::Path(Variable::Document, names) = expression else { return None };
        if names.is_empty() {
            return None;
        }
        let path = FieldPath { text: names.join("."), names: names.clone() };
        let path = Path::of(&path, self.source.attributes())?;
        self.doubts.extend(path.leads_through_array());
        Some(path)
    }

    /// A value of the key; where there is none, its text is `nothing`.
    fn part(&mut self, expression: &Expression, nothing: &str) -> Option<Part> {
        if let Expression::Literal(value) = expression {
            return Some(Part::Constant(value.clone()));
        }
        let path = self.path(expression)?;
        let (kind, value) = (path.kind(), path.value());
        // A real may equal an integer, and a decimal, which is an object, any number.
        self.doubt(format!("({kind} IS 'real' AND {value} = CAST({value} AS INTEGER))"));
        self.doubt(path.is_no_plain_value());
        // A text for each value, which says by itself what it stands for.
        let text = format!("'' || coalesce({}, '{nothing}')", path.json());
        self.keys.push(text.clone());
        Some(Part::Column(self.result(text)))
    }

    fn output(&mut self, kind: Kind, expression: &Expression) -> Option<Output> {
        match (kind, expression) {
            (Kind::Sum, Expression::Literal(Json::Number(number))) => number.as_i64().map(Output::Count),
            (Kind::Sum | Kind::Average, expression) => {
                let path = self.path(expression)?;
                self.doubt(path.is_decimal());
                let numbers = of_kinds(&path, "'integer', 'real'");
                let sum = self.result(format!("sum({numbers})"));
                Some(match kind {
                    Kind::Sum => Output::Sum(sum),
                    _ => Output::Average(sum, self.result(format!("count({numbers})"))),
                })
            }
            (Kind::Minimum | Kind::Maximum, expression) => {
                let path = self.path(expression)?;
                self.doubt(path.is_no_plain_value());
                let function = if kind == Kind::Minimum { "min" } else { "max" };
                let of = |kinds: &str| of_kinds(&path, kinds);
                // Of such expressions equal values are the same, so that it does not matter which of them is taken.
                let values = [
                    format!("CAST({} AS INTEGER)", of("'integer'")),
                    format!("CAST({} AS REAL) + 0.0", of("'real'")),
                    format!("'' || {}", of("'text'")),
                    format!("CAST({} AS INTEGER)", of("'true', 'false'")),
                    format!("'' || {}", of("'object'")),
                ];
                let columns = values.map(|value| self.result(format!("{function}({value})")));
                Some(Output::Extreme { greatest: kind == Kind::Maximum, columns })
            }
            _ => None,
        }
    }

    fn statement(mut self) -> Option<Statement> {
        let mut params = Vec::new();
        if let Some(undecided) = self.source.undecided() {
            if undecided.text == "NULL" {
                return None;
            }
            self.doubts.push(format!("({}) IS NULL", undecided.text));
            params = undecided.params;
        }
        let mark = match self.doubts.is_empty() {
            true => "0".to_owned(),
            false => format!("count(CASE WHEN {} THEN 1 END)", self.doubts.join(" OR ")),
        };
        let Sql { text: clause, params: more } = self.source.clause();
        params.extend(more);
        let mut sql =
            format!("SELECT {mark}, {} FROM {}{clause}", self.results.join(", "), self.source.quoted());
        if !self.keys.is_empty() {
            sql.push_str(&format!(" GROUP BY {}", self.keys.join(", ")));
        }
        Some(statement(sql, params))
    }
}

/// The value if it is of some kinds.
fn of_kinds(path: &Path, kinds: &str) -> String {
    format!("CASE WHEN {} IN ({kinds}) THEN {} END", path.kind(), path.value())
}

impl Part {
    /// The value in a row, if it has one; `None` if it is not understood.
    fn value(&self, row: &[Value]) -> Option<Option<Json>> {
        match self {
            Part::Constant(value) => Some(Some(value.clone())),
            Part::Column(column) => match row.get(*column)? {
                Value::Text(text) if text.is_empty() => Some(None),
                Value::Text(text) => serde_json::from_str(text).ok().map(Some),
                _ => None,
            },
        }
    }
}

/// A value as SQL has it; `tagged` if it is the text of one that JSON has no type for.
fn json_of(tagged: bool, value: &Value) -> Option<Json> {
    match value {
        Value::Integer(integer) => Some((*integer).into()),
        Value::Real(real) => number::real(*real),
        Value::Text(text) if tagged => serde_json::from_str(text).ok(),
        Value::Text(text) => Some(Json::from(text.to_string())),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        _ => None,
    }
}

impl Output {
    /// `None` if it is not understood.
    fn value(&self, row: &[Value], documents: i64) -> Option<Json> {
        match self {
            Output::Count(each) => each.checked_mul(documents).map(Json::from),
            Output::Sum(sum) => match row.get(*sum)? {
                Value::Null => Some(0.into()),
                sum => json_of(false, sum),
            },
            Output::Average(sum, count) => {
                #[expect(clippy::cast_precision_loss, reason = "a mean is a real")]
                let sum = match row.get(*sum)? {
                    Value::Null => return Some(Json::Null),
                    Value::Integer(sum) => *sum as f64,
                    Value::Real(sum) => *sum,
                    _ => return None,
                };
                #[expect(clippy::cast_precision_loss, reason = "a mean is a real")]
                let count = integer(row.get(*count)?)? as f64;
                number::real(sum / count)
            }
            Output::Extreme { greatest, columns } => extreme(*greatest, row, *columns),
        }
    }
}

/// The extreme of values of different kinds.
fn extreme(greatest: bool, row: &[Value], columns: [usize; 5]) -> Option<Json> {
    let mut found: Vec<Key> = Vec::new();
    for (column, position) in columns.into_iter().enumerate() {
        found.extend(match (column, row.get(position)?) {
            (_, Value::Null) => None,
            (3, flag) => Some(Key(Json::Bool(*flag != Value::Integer(0)))),
            (column, value) => Some(Key(json_of(column == 4, value)?)),
        });
    }
    // Which of an integer and a real that are equal came first is not known.
    if let [first, second, ..] = found.as_slice()
        && first == second
    {
        return None;
    }
    let best = if greatest { found.into_iter().max() } else { found.into_iter().min() };
    Some(best.map(|key| key.0).unwrap_or_default())
}
