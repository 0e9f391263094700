//! What of a filter partitions can decide, as SQL over a document's row.
//!
//! A verdict is an expression of three values: true and false are the filter's, NULL leaves it to whoever has
//! read the document. A leaf is NULL where an array is met, on the way or at the end, or a value that SQL
//! would compare by other rules. AND, OR and NOT of SQL are those of three-valued logic, so that a verdict of
//! such parts is right wherever it is not NULL.
//!
//! Names of fields stand in the text, as literals, because an index is only used for its own expression; values
//! are parameters.

use common::Value;
use serde_json::Value as Json;

use super::path::{FieldPath, index_of};
use super::{Filter, Side, Test};
use crate::documents::attributes::Attributes;
use crate::documents::value::number::Numeric;
use crate::documents::value::{DATE, DECIMAL, OBJECT_ID, Typed};

/// Most values of a list that are sent along.
const VALUES_MAX: usize = 2_000;
/// Longest verdict that is sent along, in bytes.
const LENGTH_MAX: usize = 100_000;

/// A text with its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sql {
    pub(crate) text: String,
    pub(crate) params: Vec<Value>,
}

impl Sql {
    fn plain(text: impl Into<String>) -> Sql {
        Sql { text: text.into(), params: Vec::new() }
    }
}

/// What partitions know of a filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Always,
    Never,
    Unknown,
    /// An expression of three values; the flag says that it is never NULL.
    Expression(Sql, bool),
}

impl Verdict {
    /// The verdict of a filter.
    pub(crate) fn of(filter: &Filter, attributes: &Attributes) -> Verdict {
        match verdict(filter, attributes) {
            Verdict::Expression(sql, _) if sql.text.len() > LENGTH_MAX => Verdict::Unknown,
            verdict => verdict,
        }
    }

    fn certain(text: impl Into<String>, params: Vec<Value>) -> Verdict {
        Verdict::Expression(Sql { text: text.into(), params }, true)
    }

    fn not(self) -> Verdict {
        match self {
            Verdict::Always => Verdict::Never,
            Verdict::Never => Verdict::Always,
            Verdict::Unknown => Verdict::Unknown,
            Verdict::Expression(sql, complete) => {
                Verdict::Expression(Sql { text: format!("NOT ({})", sql.text), params: sql.params }, complete)
            }
        }
    }
}

fn verdict(filter: &Filter, attributes: &Attributes) -> Verdict {
    let verdicts =
        |parts: &[Filter]| -> Vec<Verdict> { parts.iter().map(|part| verdict(part, attributes)).collect() };
    match filter {
        Filter::All(parts) => joined(verdicts(parts), " AND ", &Verdict::Never, &Verdict::Always),
        Filter::Any(parts) => joined(verdicts(parts), " OR ", &Verdict::Always, &Verdict::Never),
        Filter::Not(part) => verdict(part, attributes).not(),
        Filter::Field(path, test) => of_field(path, test, attributes),
        Filter::Expression(_) => Verdict::Unknown,
    }
}

/// Several verdicts: one that is `absorbing` decides, those that are `neutral` do not count.
fn joined(parts: Vec<Verdict>, between: &str, absorbing: &Verdict, neutral: &Verdict) -> Verdict {
    let (mut texts, mut params, mut complete) = (Vec::new(), Vec::new(), true);
    for found in parts {
        if found == *absorbing {
            return found;
        }
        match found {
            Verdict::Expression(sql, is_complete) => {
                texts.push(format!("({})", sql.text));
                params.extend(sql.params);
                complete &= is_complete;
            }
            Verdict::Unknown => {
                texts.push("NULL".to_owned());
                complete = false;
            }
            _ => {}
        }
    }
    if texts.is_empty() {
        return neutral.clone();
    }
    if texts.iter().all(|text| text == "NULL") {
        return Verdict::Unknown;
    }
    Verdict::Expression(Sql { text: texts.join(between), params }, complete)
}

fn of_field(path: &FieldPath, test: &Test, attributes: &Attributes) -> Verdict {
    if path.names[0] == "_id" {
        return if path.names.len() == 1 { of_id(test) } else { Verdict::Unknown };
    }
    let Some(path) = Path::of(path, attributes) else { return Verdict::Unknown };
    let inner = match test {
        Test::Among(values) => among(&path, values),
        Test::Compare(side, operand) => compare(&path, *side, operand),
        Test::Exists => Some((Sql::plain(format!("{} IS NOT NULL", path.kind())), true)),
        Test::Size(size) => i64::try_from(*size).ok().map(|size| {
            let text = format!(
                "CASE WHEN {} IS 'array' THEN json_array_length({}, {}) = ? ELSE 0 END",
                path.kind(),
                path.column,
                path.literal
            );
            (Sql { text, params: vec![size.into()] }, true)
        }),
        Test::Type(_) => None,
        Test::Fits(_) => Some((only_of(&path, "'text', 'array'"), false)),
        Test::Modulo(..) => Some((only_of(&path, "'integer', 'real', 'array'"), false)),
        Test::Element(_) | Test::ElementObject(_) => Some((only_of(&path, "'array'"), false)),
        Test::Not(_) => None,
    };
    match inner {
        None => Verdict::Unknown,
        Some((sql, complete)) => path.unless_arrays_lead(sql, complete),
    }
}

/// False for values of other kinds, else left open.
fn only_of(path: &Path, kinds: &str) -> Sql {
    Sql::plain(format!("CASE WHEN {} IN ({kinds}) THEN NULL ELSE 0 END", path.kind()))
}

/// A path as SQLite's JSON functions know it.
pub(crate) struct Path {
    /// The column that holds it, quoted.
    column: String,
    /// The path as a literal.
    literal: String,
    /// The paths of the values on the way to it, as literals.
    leading: Vec<String>,
}

impl Path {
    /// `None` for a path that these functions have no way to say, or would understand in another way.
    pub(crate) fn of(path: &FieldPath, attributes: &Attributes) -> Option<Path> {
        const METADATA: [&str; 4] = ["_id", "_version", "_created_at", "_updated_at"];
        let is_sayable = |name: &String| {
            index_of(name).is_none()
                && !name.bytes().all(|byte| byte.is_ascii_digit())
                && !name.chars().any(|character| character.is_control() || matches!(character, '"' | '\\'))
        };
        if METADATA.contains(&path.names[0].as_str()) || !path.names.iter().all(is_sayable) {
            return None;
        }
        let mut text = "$".to_owned();
        let mut literals = Vec::with_capacity(path.names.len());
        for name in &path.names {
            text.push_str(&format!(".\"{name}\""));
            literals.push(format!("'{}'", text.replace('\'', "''")));
        }
        let literal = literals.pop()?;
        Some(Path { column: attributes.column_of(&path.names[0]), literal, leading: literals })
    }

    /// The type of what lies there; NULL if nothing does.
    pub(crate) fn kind(&self) -> String {
        format!("json_type({}, {})", self.column, self.literal)
    }

    /// The value: numbers and texts as such, true and false as 1 and 0, objects and arrays as JSON text.
    pub(crate) fn value(&self) -> String {
        format!("{} ->> {}", self.column, self.literal)
    }

    /// The value as the text of JSON; NULL if there is none.
    pub(crate) fn json(&self) -> String {
        format!("{} -> {}", self.column, self.literal)
    }

    /// Whether an array lies on the way; `None` if nothing does.
    pub(crate) fn leads_through_array(&self) -> Option<String> {
        let is_array = |literal: &String| format!("json_type({}, {literal}) IS 'array'", self.column);
        let kinds: Vec<String> = self.leading.iter().map(is_array).collect();
        (!kinds.is_empty()).then(|| kinds.join(" OR "))
    }

    fn unless_arrays_lead(&self, sql: Sql, complete: bool) -> Verdict {
        match self.leads_through_array() {
            None => Verdict::Expression(sql, complete),
            Some(arrays) => {
                let text = format!("CASE WHEN {arrays} THEN NULL ELSE {} END", sql.text);
                Verdict::Expression(Sql { text, params: sql.params }, false)
            }
        }
    }

    /// What an index is over: the value, and a text that begins with `[` wherever there is an array.
    pub(crate) fn index_key(&self) -> String {
        match self.leads_through_array() {
            None => self.value(),
            Some(arrays) => format!("CASE WHEN {arrays} THEN '[' ELSE {} END", self.value()),
        }
    }

    /// Whether there is an array or an object, other than a date.
    pub(crate) fn is_no_plain_value(&self) -> String {
        let (kind, tagged) = (self.kind(), self.is_tagged(DATE));
        format!("({kind} IS 'array' OR ({kind} IS 'object' AND NOT {tagged}))")
    }

    /// Whether there is a decimal number.
    pub(crate) fn is_decimal(&self) -> String {
        format!("({} IS 'object' AND {})", self.kind(), self.is_tagged(DECIMAL))
    }

    /// Whether an object begins with a tag.
    fn is_tagged(&self, tag: &str) -> String {
        let value = self.value();
        format!("({value} >= '{{\"{tag}\":' AND {value} < '{{\"{tag}\";')")
    }

    /// 1 where the order of documents by this path is not that of [`Path::sort_terms`].
    pub(crate) fn has_no_plain_order(&self) -> String {
        let own = self.is_no_plain_value();
        match self.leads_through_array() {
            None => own,
            Some(arrays) => format!("{arrays} OR {own}"),
        }
    }

    /// The terms by which documents with plain values are put in order: type and value.
    pub(crate) fn sort_terms(&self) -> [String; 2] {
        let rank = format!(
            "CASE {} WHEN 'integer' THEN 2 WHEN 'real' THEN 2 WHEN 'text' THEN 3 WHEN 'true' THEN 8 \
             WHEN 'false' THEN 8 WHEN 'object' THEN 9 ELSE 1 END",
            self.kind()
        );
        [rank, self.value()]
    }
}

/// Values by the way in which SQL compares them.
#[derive(Default)]
struct Sorted {
    numbers: Vec<Value>,
    texts: Vec<Value>,
    /// Kinds as `json_type` names them.
    kinds: Vec<&'static str>,
    has_objects: bool,
}

impl Sorted {
    fn of(values: &[Json]) -> Option<Sorted> {
        let mut sorted = Sorted::default();
        for value in values {
            match Typed::of(value) {
                Typed::Null => sorted.kinds.push("null"),
                Typed::Bool(flag) => sorted.kinds.push(if flag { "true" } else { "false" }),
                Typed::Number(number) => {
                    // A number equals decimals too, which are objects.
                    sorted.has_objects = true;
                    sorted.numbers.push(number_value(&number)?);
                }
                Typed::Text(text) => sorted.texts.push(text.into()),
                Typed::Array(_) => {}
                _ => sorted.has_objects = true,
            }
        }
        Some(sorted)
    }
}

fn number_value(number: &Numeric) -> Option<Value> {
    match number {
        Numeric::Integer(number) => Some((*number).into()),
        // A decimal is compared where it is understood.
        Numeric::Decimal(_) => None,
        Numeric::Real(number) => Some(Value::Real(*number)),
    }
}

fn among(path: &Path, values: &[Json]) -> Option<(Sql, bool)> {
    if values.len() > VALUES_MAX {
        return None;
    }
    let sorted = Sorted::of(values)?;
    let (kind, value) = (path.kind(), path.value());
    let mut params = Vec::new();
    let mut text = format!("CASE WHEN {kind} IS 'array' THEN NULL");
    if sorted.has_objects {
        text.push_str(&format!(" WHEN {kind} IS 'object' THEN NULL"));
    }
    if !sorted.numbers.is_empty() {
        text.push_str(&format!(
            " WHEN {kind} IN ('integer', 'real') THEN {value} IN ({})",
            marks(&sorted.numbers)
        ));
        params.extend(padded(sorted.numbers));
    }
    if !sorted.texts.is_empty() {
        text.push_str(&format!(" WHEN {kind} IS 'text' THEN {value} IN ({})", marks(&sorted.texts)));
        params.extend(padded(sorted.texts));
    }
    if sorted.kinds.is_empty() {
        text.push_str(" ELSE 0 END");
    } else {
        let kinds: Vec<String> = sorted.kinds.iter().map(|kind| format!("'{kind}'")).collect();
        text.push_str(&format!(" ELSE coalesce({kind}, 'null') IN ({}) END", kinds.join(", ")));
    }
    Some((Sql { text, params }, false))
}

/// Lists of about the same length have the same text, so that its plan is known.
fn padded(mut values: Vec<Value>) -> Vec<Value> {
    let length = values.len().next_power_of_two();
    if let Some(last) = values.last().cloned() {
        values.resize(length, last);
    }
    values
}

fn marks(values: &[Value]) -> String {
    vec!["?"; values.len().next_power_of_two()].join(", ")
}

fn compare(path: &Path, side: Side, operand: &Json) -> Option<(Sql, bool)> {
    let (kind, value, sign) = (path.kind(), path.value(), sign(side));
    let (kinds, operand) = match Typed::of(operand) {
        Typed::Null if side.allows_equal() => return among(path, &[Json::Null]),
        Typed::Null => return Some((Sql::plain("0"), true)),
        Typed::Number(number) => ("'integer', 'real'", number_value(&number)?),
        Typed::Text(text) => ("'text'", text.into()),
        Typed::Date(_) => return Some(compare_tagged(path, sign, DATE, operand)),
        Typed::ObjectId(_) => return Some(compare_tagged(path, sign, OBJECT_ID, operand)),
        Typed::Object(_) | Typed::Binary(..) => return Some((only_of(path, "'object', 'array'"), false)),
        Typed::Array(_) => return Some((only_of(path, "'array'"), false)),
        Typed::Bool(_) => return Some((only_of(path, "'true', 'false', 'array'"), false)),
    };
    let objects = if kinds == "'text'" { "" } else { ", 'object'" };
    let text = format!(
        "CASE WHEN {kind} IN ({kinds}) THEN {value} {sign} ? WHEN {kind} IN ('array'{objects}) THEN NULL ELSE 0 END"
    );
    Some((Sql { text, params: vec![operand] }, false))
}

/// Dates and ids are of one length, so that their texts are in the order of their values.
fn compare_tagged(path: &Path, sign: &str, tag: &str, operand: &Json) -> (Sql, bool) {
    let (kind, value) = (path.kind(), path.value());
    let text = format!(
        "CASE WHEN {kind} IS 'object' THEN {value} {sign} ? AND {value} >= '{{\"{tag}\":' AND {value} < '{{\"{tag}\";' \
         WHEN {kind} IS 'array' THEN NULL ELSE 0 END"
    );
    (Sql { text, params: vec![operand.to_string().into()] }, false)
}

const fn sign(side: Side) -> &'static str {
    match side {
        Side::Less => "<",
        Side::LessOrEqual => "<=",
        Side::Greater => ">",
        Side::GreaterOrEqual => ">=",
    }
}

/// Ids are integers and texts, which SQL compares as documents do.
fn of_id(test: &Test) -> Verdict {
    match test {
        Test::Among(values) if values.len() <= VALUES_MAX => {
            let ids: Vec<Value> = values.iter().filter_map(id_value).collect();
            match ids.as_slice() {
                [] => Verdict::Never,
                [id] => Verdict::certain("\"_id\" = ?", vec![id.clone()]),
                _ => Verdict::certain(format!("\"_id\" IN ({})", marks(&ids)), padded(ids)),
            }
        }
        Test::Compare(side, operand) => {
            let (class, value) = match Typed::of(operand) {
                Typed::Text(text) => ("text", Value::from(text)),
                Typed::Number(number) => match number_value(&number) {
                    Some(value) => ("integer", value),
                    None => return Verdict::Unknown,
                },
                _ => return Verdict::Never,
            };
            let text = format!("typeof(\"_id\") = '{class}' AND \"_id\" {} ?", sign(*side));
            Verdict::certain(text, vec![value])
        }
        Test::Exists => Verdict::Always,
        _ => Verdict::Unknown,
    }
}

/// The id that a value equals, if there is one.
fn id_value(value: &Json) -> Option<Value> {
    match Typed::of(value) {
        Typed::Text(text) => Some(text.into()),
        Typed::Number(number) => number.whole().map(Value::Integer),
        _ => None,
    }
}

/// Conditions that every matching document passes, each over what an index is over: `has_index` tells for an
/// index key whether there is one.
pub(crate) fn by_index(
    filter: &Filter,
    attributes: &Attributes,
    has_index: &dyn Fn(&str) -> bool,
) -> Vec<Sql> {
    match filter {
        Filter::All(parts) => parts.iter().flat_map(|part| by_index(part, attributes, has_index)).collect(),
        Filter::Field(path, test) => {
            let Some(path) = Path::of(path, attributes) else { return Vec::new() };
            let key = path.index_key();
            if has_index(&key) { narrowed(&key, test).into_iter().collect() } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// What an index finds for a test, arrays always among it. Each alternative is a search of its own.
fn narrowed(key: &str, test: &Test) -> Option<Sql> {
    let mut found = Alternatives { key, texts: Vec::new(), params: Vec::new() };
    found.between("[", "\\");
    match test {
        Test::Among(values) if values.len() <= VALUES_MAX => {
            let sorted = Sorted::of(values)?;
            let exact: Vec<Value> = sorted.numbers.iter().chain(&sorted.texts).cloned().collect();
            if !exact.is_empty() {
                found.texts.push(format!("{key} IN ({})", marks(&exact)));
                found.params.extend(padded(exact));
            }
            if sorted.kinds.contains(&"null") {
                found.texts.push(format!("{key} IS NULL"));
            }
            if sorted.kinds.iter().any(|kind| *kind != "null") {
                found.texts.push(format!("{key} IN (0, 1)"));
            }
            if sorted.has_objects {
                found.between("{", "|");
            }
        }
        Test::Compare(side, operand) => match Typed::of(operand) {
            Typed::Number(number) => {
                let value = number_value(&number)?;
                match side {
                    Side::Less | Side::LessOrEqual => found.texts.push(format!("{key} {} ?", sign(*side))),
                    _ => found.texts.push(format!("({key} {} ? AND {key} < '')", sign(*side))),
                }
                found.params.push(value);
                found.between("{", "|");
            }
            Typed::Text(text) => {
                match side {
                    Side::Less | Side::LessOrEqual => {
                        found.texts.push(format!("({key} >= '' AND {key} {} ?)", sign(*side)))
                    }
                    _ => found.texts.push(format!("{key} {} ?", sign(*side))),
                }
                found.params.push(text.into());
            }
            Typed::Date(_) => {
                let text = operand.to_string();
                match side {
                    Side::Less | Side::LessOrEqual => {
                        found.texts.push(format!("({key} >= '{{\"{DATE}\":' AND {key} {} ?)", sign(*side)));
                    }
                    _ => found.texts.push(format!("({key} {} ? AND {key} < '{{\"{DATE}\";')", sign(*side))),
                }
                found.params.push(text.into());
            }
            _ => return None,
        },
        Test::Fits(pattern) if !pattern.prefix().is_empty() => {
            let after = following(pattern.prefix())?;
            found.texts.push(format!("({key} >= ? AND {key} < ?)"));
            found.params.extend([pattern.prefix().into(), after.into()]);
        }
        Test::Size(_) | Test::Element(_) | Test::ElementObject(_) => {}
        _ => return None,
    }
    Some(Sql { text: found.texts.join(" OR "), params: found.params })
}

struct Alternatives<'a> {
    key: &'a str,
    texts: Vec<String>,
    params: Vec<Value>,
}

impl Alternatives<'_> {
    /// Texts from one to before another.
    fn between(&mut self, from: &str, before: &str) {
        let key = self.key;
        self.texts.push(format!("({key} >= '{from}' AND {key} < '{before}')"));
    }
}

/// The first text after all that begin with a prefix.
fn following(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back()?;
    let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32)?;
    Some(format!("{}{next}", &prefix[..prefix.len() - last.len_utf8()]))
}
