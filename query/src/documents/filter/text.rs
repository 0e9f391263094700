//! Filters as text: `role == "Dev" and age > 30`, `"age" in d and d["age"] == 35`,
//! `lambda d: d.get("role") == "Dev"`. The text is read, never run.
//!
//! ```text
//! filter   = [ "lambda" name ":" ] or
//! or       = and { "or" and }            and = not { "and" not }
//! not      = "not" not | "(" or ")" | test
//! test     = operand [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in" | "is" [ "not" ] ) operand ]
//! operand  = literal | list | field      list = "[" [ literal { "," literal } ] "]"
//! field    = name { "." name | "[" string "]" | "[" integer "]" | ".get(" string ")" }
//! ```

use common::{Error, Result};
use serde_json::Value as Json;

use super::path::FieldPath;
use super::{Filter, Side, Test};
use crate::documents::place::Place;
use crate::documents::value::number;

/// Longest text in bytes.
const LENGTH_MAX: usize = 10_000;
/// Deepest nesting of brackets and `not`.
const DEPTH_MAX: usize = 50;

/// Reads a filter.
pub(crate) fn parse(text: &str, place: &Place<'_>) -> Result<Filter> {
    if text.len() > LENGTH_MAX {
        return Err(place.wrong(format!("the filter is longer than {LENGTH_MAX} bytes")));
    }
    let wrong = |(message, position): Wrong| -> Error {
        place
            .wrong(format!("{message} at position {position}"))
            .with_hint("for example: role == \"Dev\" and age > 30")
    };
    let tokens = tokens(text).map_err(wrong)?;
    let mut parser = Parser { tokens, at: 0, document: None, depth: 0, end: text.chars().count() };
    let filter = parser.filter().map_err(wrong)?;
    Ok(filter)
}

/// What is wrong, and the position of the character, from 0.
type Wrong = (String, usize);

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(Json),
    Sign(&'static str),
}

const SIGNS: [&str; 17] =
    ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ".", ":", "&&", "||", "!", "-"];

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Wrong> {
    let characters: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&character) = characters.get(at) {
        let start = at;
        if character.is_whitespace() {
            at += 1;
            continue;
        }
        let token = if character == '"' || character == '\'' {
            let (text, end) = quoted(&characters, at)?;
            at = end;
            Token::Text(text)
        } else if character.is_ascii_digit() {
            let is_part = |index: usize| {
                let character = characters[index];
                character.is_ascii_alphanumeric()
                    || character == '.'
                    || (matches!(character, '+' | '-') && matches!(characters[index - 1], 'e' | 'E'))
            };
            while at < characters.len() && is_part(at) {
                at += 1;
            }
            let digits: String = characters[start..at].iter().collect();
            Token::Number(number_of(&digits).ok_or_else(|| (format!("'{digits}' is not a number"), start))?)
        } else if character.is_alphabetic() || character == '_' {
            while characters.get(at).is_some_and(|character| character.is_alphanumeric() || *character == '_')
            {
                at += 1;
            }
            Token::Name(characters[start..at].iter().collect())
        } else {
            let sign = SIGNS.iter().find(|sign| {
                sign.chars().enumerate().all(|(offset, wanted)| characters.get(at + offset) == Some(&wanted))
            });
            let sign = sign.ok_or_else(|| (format!("'{character}' is not understood"), start))?;
            at += sign.len();
            Token::Sign(sign)
        };
        tokens.push((token, start));
    }
    Ok(tokens)
}

fn number_of(digits: &str) -> Option<Json> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits.parse::<i64>().ok().map(Json::from);
    }
    digits.parse().ok().and_then(number::real)
}

/// A text in quotes and where it ends. A backslash takes the special meaning of what follows it.
fn quoted(characters: &[char], start: usize) -> Result<(String, usize), Wrong> {
    let (mut text, mut at) = (String::new(), start + 1);
    while let Some(&character) = characters.get(at) {
        at += 1;
        if character == characters[start] {
            return Ok((text, at));
        }
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match characters.get(at) {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some(other @ ('\\' | '"' | '\'')) => *other,
            _ => return Err(("this escape is not understood".to_owned(), at - 1)),
        });
        at += 1;
    }
    Err(("the text has no end".to_owned(), start))
}

/// A side of a comparison.
#[derive(Clone, Debug)]
enum Operand {
    Field(String),
    Value(Json),
    List(Vec<Json>),
    /// The document itself, as in `"age" in d`.
    Document,
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    /// The name that stands for the document.
    document: Option<String>,
    depth: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn position(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(_, position)| *position)
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Wrong> {
        Err((message.into(), self.position()))
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(known)) if *known == sign);
        self.at += usize::from(found);
        found
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(name)) if name == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Wrong> {
        if self.takes(sign) { Ok(()) } else { self.wrong(format!("'{sign}' is missing")) }
    }

    fn filter(&mut self) -> Result<Filter, Wrong> {
        if self.takes_word("lambda") {
            let Some(Token::Name(name)) = self.peek().cloned() else {
                return self.wrong("the name of the document is missing");
            };
            self.at += 1;
            self.document = Some(name);
            self.expect(":")?;
        } else {
            // `d` stands for the document where it is used as one.
            let uses = |window: &[(Token, usize)]| {
                window[0].0 == Token::Name("d".to_owned()) && window[1].0 == Token::Sign("[")
            };
            let follows_in = |window: &[(Token, usize)]| {
                window[0].0 == Token::Name("in".to_owned()) && window[1].0 == Token::Name("d".to_owned())
            };
            let is_document = self.tokens.windows(2).any(|window| uses(window) || follows_in(window));
            self.document = is_document.then(|| "d".to_owned());
        }
        let filter = self.either()?;
        if self.at < self.tokens.len() { self.wrong("this is not understood") } else { Ok(filter) }
    }

    fn either(&mut self) -> Result<Filter, Wrong> {
        let mut parts = vec![self.both()?];
        while self.takes_word("or") || self.takes("||") {
            parts.push(self.both()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
    }

    fn both(&mut self) -> Result<Filter, Wrong> {
        let mut parts = vec![self.negation()?];
        while self.takes_word("and") || self.takes("&&") {
            parts.push(self.negation()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
    }

    fn negation(&mut self) -> Result<Filter, Wrong> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong("the filter is nested too deep");
        }
        let filter = if self.takes_word("not") || self.takes("!") {
            Filter::Not(Box::new(self.negation()?))
        } else if self.takes("(") {
            let inner = self.either()?;
            self.expect(")")?;
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn test(&mut self) -> Result<Filter, Wrong> {
        let start = self.position();
        let left = self.operand()?;
        let sign = ["==", "!=", "<=", ">=", "<", ">"].into_iter().find(|sign| self.takes(sign));
        if let Some(sign) = sign {
            let right = self.operand()?;
            return comparison(left, sign, right).map_err(|message| (message.to_owned(), start));
        }
        let negated = self.takes_word("not");
        if self.takes_word("in") {
            let right = self.operand()?;
            let filter = membership(left, right).map_err(|message| (message.to_owned(), start))?;
            return Ok(if negated { Filter::Not(Box::new(filter)) } else { filter });
        }
        if negated {
            return self.wrong("'in' is missing");
        }
        if self.takes_word("is") {
            let sign = if self.takes_word("not") { "!=" } else { "==" };
            let right = self.operand()?;
            return comparison(left, sign, right).map_err(|message| (message.to_owned(), start));
        }
        match left {
            // What stands by itself is true unless it is missing, null, false, zero, or empty.
            Operand::Field(path) => {
                let empty = [Json::Null, false.into(), 0.into(), "".into()];
                Ok(Filter::Not(Box::new(field(&path, Test::Among(empty.to_vec())))))
            }
            Operand::Value(Json::Bool(true)) => Ok(Filter::All(Vec::new())),
            Operand::Value(Json::Bool(false)) => Ok(Filter::Any(Vec::new())),
            _ => Err(("a comparison is missing".to_owned(), start)),
        }
    }

    fn operand(&mut self) -> Result<Operand, Wrong> {
        let Some(token) = self.peek().cloned() else { return self.wrong("a field or a value is missing") };
        match token {
            Token::Text(_) | Token::Number(_) | Token::Sign("-") => self.literal().map(Operand::Value),
            Token::Sign("[") => self.list().map(Operand::List),
            Token::Name(name) => match literal_name(&name) {
                Some(value) => {
                    self.at += 1;
                    Ok(Operand::Value(value))
                }
                None => self.field(name),
            },
            Token::Sign(_) => self.wrong("a field or a value is missing"),
        }
    }

    fn literal(&mut self) -> Result<Json, Wrong> {
        let negative = self.takes("-");
        let token = self.peek().cloned();
        let value = match token {
            Some(Token::Number(number)) if negative => {
                let negated = match number.as_i64() {
                    Some(integer) => Some(Json::from(-integer)),
                    None => number.as_f64().and_then(|real| number::real(-real)),
                };
                negated.unwrap_or(number)
            }
            Some(Token::Number(number)) => number,
            Some(Token::Text(text)) if !negative => text.into(),
            Some(Token::Name(name)) if !negative && literal_name(&name).is_some() => {
                literal_name(&name).unwrap_or_default()
            }
            _ => return self.wrong("a value is missing"),
        };
        self.at += 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Vec<Json>, Wrong> {
        self.expect("[")?;
        let mut values = Vec::new();
        while !self.takes("]") {
            if !values.is_empty() {
                self.expect(",")?;
            }
            values.push(self.literal()?);
        }
        Ok(values)
    }

    fn field(&mut self, name: String) -> Result<Operand, Wrong> {
        let start = self.position();
        self.at += 1;
        let is_document = self.document.as_ref() == Some(&name);
        if KEYWORDS.contains(&name.as_str()) {
            return Err((format!("'{name}' cannot stand here"), start));
        }
        let mut names = if is_document { Vec::new() } else { vec![name] };
        loop {
            if self.takes("[") {
                match self.peek().cloned() {
                    Some(Token::Text(text)) => names.push(text),
                    Some(Token::Number(number)) if number.is_i64() => names.push(number.to_string()),
                    _ => return self.wrong("the name of a field or an index is missing"),
                }
                self.at += 1;
                self.expect("]")?;
            } else if self.takes(".") {
                let Some(Token::Name(next)) = self.peek().cloned() else {
                    return self.wrong("the name of a field is missing");
                };
                self.at += 1;
                if next == "get" && self.takes("(") {
                    let Some(Token::Text(text)) = self.peek().cloned() else {
                        return self.wrong("the name of a field is missing");
                    };
                    self.at += 1;
                    names.push(text);
                    // What would stand for a missing value is not needed where that is like null.
                    if self.takes(",") && !self.takes_word("None") {
                        return self.wrong("only None can stand for what is missing");
                    }
                    self.expect(")")?;
                } else if matches!(self.peek(), Some(Token::Sign("("))) {
                    return self.wrong("only get can be called");
                } else {
                    names.push(next);
                }
            } else {
                break;
            }
        }
        if names.is_empty() {
            return Ok(Operand::Document);
        }
        let path = names.join(".");
        match FieldPath::parse(&path, &Place::root("filter")) {
            Ok(_) => Ok(Operand::Field(path)),
            Err(_) => Err((format!("'{path}' is not the path of a field"), start)),
        }
    }
}

const KEYWORDS: [&str; 6] = ["and", "or", "not", "in", "is", "lambda"];

fn literal_name(name: &str) -> Option<Json> {
    match name {
        "true" | "True" => Some(true.into()),
        "false" | "False" => Some(false.into()),
        "null" | "None" => Some(Json::Null),
        _ => None,
    }
}

fn field(path: &str, test: Test) -> Filter {
    let names = path.split('.').map(str::to_owned).collect();
    Filter::Field(FieldPath { text: path.to_owned(), names }, test)
}

fn comparison(left: Operand, sign: &str, right: Operand) -> Result<Filter, &'static str> {
    let (path, value, turned) = match (left, right) {
        (Operand::Field(path), Operand::Value(value)) => (path, value, false),
        (Operand::Field(path), Operand::List(values)) => (path, Json::Array(values), false),
        (Operand::Value(value), Operand::Field(path)) => (path, value, true),
        _ => return Err("a field is compared with a value"),
    };
    let side = match (sign, turned) {
        ("==", _) => return Ok(field(&path, Test::Among(vec![value]))),
        ("!=", _) => return Ok(Filter::Not(Box::new(field(&path, Test::Among(vec![value]))))),
        ("<", false) | (">", true) => Side::Less,
        ("<=", false) | (">=", true) => Side::LessOrEqual,
        (">", false) | ("<", true) => Side::Greater,
        _ => Side::GreaterOrEqual,
    };
    Ok(field(&path, Test::Compare(side, value)))
}

/// `field in [..]`, `"name" in d`, `value in field`.
fn membership(left: Operand, right: Operand) -> Result<Filter, &'static str> {
    match (left, right) {
        (Operand::Field(path), Operand::List(values)) => Ok(field(&path, Test::Among(values))),
        (Operand::Value(Json::String(name)), Operand::Document)
            if !name.is_empty() && !name.contains('.') =>
        {
            Ok(field(&name, Test::Exists))
        }
        // An array that has the value as an element.
        (Operand::Value(value), Operand::Field(path)) => {
            Ok(field(&path, Test::Element(vec![Test::Among(vec![value])])))
        }
        _ => Err("'in' takes a field and a list, a name and the document, or a value and a field"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(text: &str, document: Json) -> bool {
        let Json::Object(document) = document else { panic!() };
        let filter = parse(text, &Place::root("filter")).unwrap_or_else(|error| panic!("{text}: {error}"));
        filter.matches(&document).unwrap()
    }

    #[test]
    fn texts_are_filters() {
        let dev = json!({"role": "Dev", "age": 35, "home": {"city": "Ulm"}, "tags": ["a", "b"], "d": 1});
        for text in [
            "role == \"Dev\" and age > 30",
            "\"age\" in d and d[\"age\"] == 35",
            "lambda d: d.get(\"role\") == \"Dev\"",
            "lambda doc: doc['home']['city'] == 'Ulm' and doc.home.city != 'Rom'",
            "not (age < 30 or role == 'Ops') and age in [1, 35, -2]",
            "'a' in tags and tags[1] == 'b'",
            "30 < age && !(role == 'x') || false",
            "home.gone is None and role is not None",
            "age not in [1.5, 2]",
            "tags and d == 1",
        ] {
            assert!(holds(text, dev.clone()), "{text}");
        }
        assert!(!holds("\"gone\" in d", dev.clone()));
        assert!(!holds("lambda d: 'role' not in d", dev));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_position() {
        for (text, position) in [
            ("", 0),
            ("age >", 5),
            ("age > 30 and", 12),
            ("age = 3", 4),
            ("age > 30 or import os", 19),
            ("d.__class__()", 11),
            ("lambda d: d.pop('x') == 1", 15),
            ("age > 'x", 6),
            ("a == 1; b == 2", 6),
            ("(a == 1", 7),
            ("1 == 2", 0),
            ("a == 99999999999999999999", 5),
        ] {
            let error = parse(text, &Place::root("filter")).unwrap_err();
            assert!(error.message.contains(&format!("at position {position} ")), "{text}: {}", error.message);
        }
        assert!(parse(&"(".repeat(200), &Place::root("filter")).is_err());
    }
}
