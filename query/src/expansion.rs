//! How large a text becomes when SQLite puts the bodies of views and of WITH in the place of their names.
//!
//! Thirty views, each a join of the one before with itself, are a few lines and a billion tables. SQLite
//! compiles until a table is named 65,535 times, which takes most of a second and cannot be interrupted. So the
//! size is estimated from the words of the texts before SQLite sees them, and errs upwards.

use std::collections::HashMap;

use common::schema::{ObjectKind, Schema};
use common::{Error, ErrorCode, Result};

/// How many tables and views a statement may come to; SQLite takes about 10 µs for each.
const SIZE_MAX: u32 = 2_500;

/// What each name stands for, by name in lower case: a table for one, a view for all that its body names.
#[derive(Debug)]
pub(crate) struct Sizes(HashMap<String, u32>);

impl Sizes {
    /// The sizes of the objects of a schema.
    pub(crate) fn of(schema: &Schema) -> Sizes {
        let named = |kind: ObjectKind| schema.objects.iter().filter(move |object| object.kind == kind);
        let tables = named(ObjectKind::Table).map(|table| (table.name.to_ascii_lowercase(), 1));
        let mut sizes = Sizes(tables.collect());
        // A view may name one that was made after it, so each round may let others grow. A size that still
        // grows after as many rounds as there are views would be a circle, which SQLite refuses itself.
        for _ in named(ObjectKind::View) {
            let mut grown = false;
            for view in named(ObjectKind::View) {
                let name = view.name.to_ascii_lowercase();
                // Its text begins with its own name.
                let before = sizes.0.remove(&name);
                let size = sizes.size_of(&view.sql).saturating_add(1);
                sizes.0.insert(name, size);
                grown |= before != Some(size);
            }
            if !grown {
                break;
            }
        }
        sizes
    }

    /// Refuses a text that becomes too large.
    pub(crate) fn check(&self, sql: &str) -> Result<()> {
        if self.size_of(sql) <= SIZE_MAX {
            return Ok(());
        }
        let message = format!("the statement names more than {SIZE_MAX} tables once its views are expanded");
        Err(Error::new(ErrorCode::SqlError, message)
            .with_hint("nest views less deep, or write a step's rows into a table"))
    }

    fn size_of(&self, sql: &str) -> u32 {
        let tokens = tokens(sql);
        // Names that WITH gives; one that hides another stands for the larger of the two.
        let mut given: HashMap<&str, u32> = HashMap::new();
        // Bodies of WITH that are open: the name, the parentheses around, what the text had come to.
        let mut bodies: Vec<(&str, usize, u32)> = Vec::new();
        let (mut total, mut open, mut position) = (0_u32, 0_usize, 0);
        while let Some(token) = tokens.get(position) {
            position += 1;
            match token {
                Token::Open => open += 1,
                Token::Close => {
                    open = open.saturating_sub(1);
                    if let Some((name, _, before)) = bodies.pop_if(|(_, around, _)| *around == open) {
                        let size = given.entry(name).or_default();
                        *size = (*size).max(total.saturating_add(1));
                        total = before;
                    }
                }
                Token::Name(name) => {
                    if let Some(length) = begins_body(&tokens[position..]) {
                        bodies.push((name, open, total));
                        (total, open) = (0, open + 1);
                        position += length;
                    } else if tokens.get(position) != Some(&Token::Dot) {
                        let known = self.0.get(name.as_str()).copied().unwrap_or_default();
                        total = total
                            .saturating_add(given.get(name.as_str()).copied().unwrap_or_default().max(known));
                    }
                }
                Token::Dot | Token::Other => {}
            }
        }
        total
    }
}

/// Whether what follows a name makes it one of WITH: `[(columns)] AS [[NOT] MATERIALIZED] (SELECT`. Answers the
/// tokens up to the body.
fn begins_body(rest: &[Token]) -> Option<usize> {
    let mut at = 0;
    if rest.first() == Some(&Token::Open) {
        at = rest.iter().position(|token| *token == Token::Close)? + 1;
    }
    let word = |at: usize, words: &[&str]| matches!(rest.get(at), Some(Token::Name(name)) if words.contains(&name.as_str()));
    if !word(at, &["as"]) {
        return None;
    }
    at += 1;
    while word(at, &["not", "materialized"]) {
        at += 1;
    }
    let selects = rest.get(at) == Some(&Token::Open) && word(at + 1, &["select", "values", "with"]);
    selects.then_some(at + 1)
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word or anything quoted, in lower case.
    Name(String),
    Open,
    Close,
    Dot,
    Other,
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' | '`' | '[' => {
                let last = if first == '[' { ']' } else { first };
                let end = rest[1..].find(last).map_or(rest.len(), |at| at + 1);
                found.push(Token::Name(rest[1..end].to_ascii_lowercase()));
                (end + 1).min(rest.len())
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |at| at + 4),
            _ if first.is_alphanumeric() || first == '_' => {
                let is_end =
                    |character: char| !(character.is_alphanumeric() || matches!(character, '_' | '$'));
                let end = rest.find(is_end).unwrap_or(rest.len());
                found.push(Token::Name(rest[..end].to_ascii_lowercase()));
                end
            }
            _ => {
                match first {
                    '(' => found.push(Token::Open),
                    ')' => found.push(Token::Close),
                    '.' => found.push(Token::Dot),
                    _ if first.is_whitespace() => {}
                    _ => found.push(Token::Other),
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use common::schema::SchemaObject;

    use super::*;

    fn schema(objects: &[(ObjectKind, &str, String)]) -> Schema {
        let object = |(kind, name, sql): &(ObjectKind, &str, String)| SchemaObject {
            kind: *kind,
            name: (*name).into(),
            table: (*name).into(),
            sql: sql.clone(),
        };
        Schema { objects: objects.iter().map(object).collect(), ..Schema::default() }
    }

    #[test]
    fn views_count_with_all_that_they_name() {
        let view = |name, body: &str| (ObjectKind::View, name, format!("CREATE VIEW \"{name}\" AS {body}"));
        let sizes = Sizes::of(&schema(&[
            (ObjectKind::Table, "t", "CREATE TABLE t (a)".into()),
            view("later", "SELECT t.a FROM [early] JOIN 'early'"),
            view("early", "SELECT a FROM t -- t t t"),
        ]));
        let before = sizes.size_of("SELECT 1");
        assert_eq!(before, 0);
        assert_eq!(sizes.size_of("SELECT * FROM early"), 2);
        assert_eq!(sizes.size_of("SELECT * FROM LATER"), 5);
        assert_eq!(sizes.size_of("SELECT t.a FROM t, main.t"), 2);
    }

    #[test]
    fn names_of_with_count_with_their_bodies() {
        let sizes = Sizes::of(&schema(&[(ObjectKind::Table, "t", "CREATE TABLE t (a)".into())]));
        assert_eq!(sizes.size_of("WITH x(a) AS (SELECT a FROM t, (SELECT 1)) SELECT * FROM x, x"), 4);
        assert_eq!(sizes.size_of("SELECT CAST(t AS TEXT)"), 1);
        let mut bomb = "WITH c0 AS (SELECT a FROM t)".to_owned();
        for level in 1..40 {
            let before = level - 1;
            bomb.push_str(&format!(
                ", c{level} AS NOT MATERIALIZED (SELECT * FROM c{before} x, c{before} y)"
            ));
        }
        assert_eq!(sizes.check(&format!("{bomb} SELECT * FROM c39")).unwrap_err().code, ErrorCode::SqlError);
        assert!(sizes.check(&format!("{bomb} SELECT * FROM c5")).is_ok());
    }
}
