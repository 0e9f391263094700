//! Whether two answers are the same.

use common::Value;

use crate::answer::{Answer, Answered};

/// Whether the order of rows is part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The statement says how rows are ordered.
    Kept,
    /// Any order is as good.
    Any,
}

/// In what two answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A short word for the kind, equal for differences that have likely the same cause.
    pub kind: String,
    /// Both answers, for people.
    pub text: String,
}

impl Difference {
    /// A difference of a kind.
    pub fn new(kind: impl Into<String>, text: impl Into<String>) -> Difference {
        Difference { kind: kind.into(), text: text.into() }
    }
}

/// Compares typed values, names, declared types, counts, and errors with code and text.
#[must_use]
pub fn difference(expected: &Answered, found: &Answered, order: Order) -> Option<Difference> {
    match (expected, found) {
        (Ok(expected), Ok(found)) => difference_of_answers(expected, found, order),
        (Err(expected), Err(found)) if expected == found => None,
        (Err(expected), Err(found)) => {
            let kind = if expected.message == found.message { "error code" } else { "error text" };
            Some(Difference::new(kind, format!("found:    {found:?}\nexpected: {expected:?}")))
        }
        (Ok(expected), Err(found)) => {
            let kind = format!("refused: {} {}", found.code, words_of(&found.message));
            Some(Difference::new(kind, format!("found:    {found:?}\nexpected: {expected:?}")))
        }
        (Err(expected), Ok(found)) => {
            let kind = format!("accepted: {} {}", expected.code, words_of(&expected.message));
            Some(Difference::new(kind, format!("found:    {found:?}\nexpected: {expected:?}")))
        }
    }
}

/// The words of a message that do not name an object.
fn words_of(message: &str) -> String {
    message.split(':').next().unwrap_or_default().split_whitespace().take(4).collect::<Vec<_>>().join(" ")
}

fn difference_of_answers(expected: &Answer, found: &Answer, order: Order) -> Option<Difference> {
    let of = |kind: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        Some(Difference::new(kind, format!("found:    {found:?}\nexpected: {expected:?}")))
    };
    if expected.columns != found.columns {
        return of("column names", &found.columns, &expected.columns);
    }
    if expected.types != found.types {
        return of("column types", &found.types, &expected.types);
    }
    if exact(&expected.rows, order) != exact(&found.rows, order) {
        let same_set = exact(&expected.rows, Order::Any) == exact(&found.rows, Order::Any);
        return of(if same_set { "order of rows" } else { "rows" }, &found.rows, &expected.rows);
    }
    let counts = |answer: &Answer| (answer.affected_rows, answer.last_insert_rowid);
    if counts(expected) != counts(found) {
        return of("affected rows, last rowid", &counts(found), &counts(expected));
    }
    None
}

/// Whether two answers have equal rows once values that are equal under some collation are not told apart.
#[must_use]
pub fn equal_when_folded(expected: &Answer, found: &Answer, order: Order) -> bool {
    let folded = |answer: &Answer| {
        let row = |row: &Vec<Value>| row.iter().map(folded).collect::<Vec<_>>().join(", ");
        let mut rows: Vec<String> = answer.rows.iter().map(row).collect();
        if order == Order::Any {
            rows.sort_unstable();
        }
        rows
    };
    expected.columns == found.columns && folded(expected) == folded(found)
}

/// One text for all values that are equal under some collation.
fn folded(value: &Value) -> String {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "2^63 - 1 and 2^63 are not told apart")]
        Value::Integer(integer) => format!("{:e}", *integer as f64),
        // Zero has one text, whatever its sign.
        Value::Real(real) => format!("{:e}", real + 0.0),
        Value::Text(text) => format!("'{}'", text.trim_end_matches(' ').to_ascii_lowercase()),
        other => format!("{other:?}"),
    }
}

/// Rows as texts that tell values of different types apart.
fn exact(rows: &[Vec<Value>], order: Order) -> Vec<String> {
    let mut texts: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    if order == Order::Any {
        texts.sort_unstable();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[Value]) -> Answered {
        let rows = values.iter().map(|value| vec![value.clone()]).collect();
        Ok(Answer { columns: vec!["a".into()], types: vec![String::new()], rows, ..Answer::default() })
    }

    #[test]
    fn types_of_values_and_promised_order_count() {
        let (one, real) = (Value::Integer(1), Value::Real(1.0));
        let answer = rows(&[one.clone(), Value::Null]);
        assert_eq!(difference(&answer, &answer, Order::Kept), None);
        assert_eq!(difference(&answer, &rows(&[Value::Null, one.clone()]), Order::Any), None);
        let kind = |found: &Answered| difference(&answer, found, Order::Kept).unwrap().kind;
        assert_eq!(kind(&rows(&[Value::Null, one])), "order of rows");
        assert_eq!(kind(&rows(&[real, Value::Null])), "rows");
    }
}
