//! Values as text.

use std::borrow::Cow;
use std::fmt::Write as _;

use common::Value;
use serde_json::{Map, Value as Json};

/// A value in words; NULL as given. A BLOB is SQLite's literal, a REAL keeps its point.
pub fn of_value<'a>(value: &'a Value, null: &'a str) -> Cow<'a, str> {
    match value {
        Value::Null => Cow::Borrowed(null),
        Value::Integer(number) => Cow::Owned(number.to_string()),
        Value::Real(number) if number.is_finite() => Cow::Owned(common::json::to_json(value).to_string()),
        Value::Real(number) => Cow::Borrowed(if *number > 0.0 { "Inf" } else { "-Inf" }),
        Value::Text(text) => Cow::Borrowed(text),
        Value::Blob(bytes) => {
            let mut literal = String::with_capacity(3 + 2 * bytes.len());
            literal.push_str("x'");
            for byte in bytes {
                // Writing into a string cannot fail.
                let _ = write!(literal, "{byte:02x}");
            }
            literal.push('\'');
            Cow::Owned(literal)
        }
    }
}

/// A text fit for a terminal: what would move the cursor, colour the screen or turn the direction of
/// writing is shown by its code.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| {
        character.is_control() && character != '\n'
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\t' => shown.push_str("    "),
            '\r' => shown.push_str("\\r"),
            _ if is_harmful(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// The same JSON with sorted keys.
pub fn sorted(json: &Json) -> Json {
    match json {
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        Json::Object(object) => {
            let mut entries: Vec<(&String, &Json)> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Json::Object(
                entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<_, _>>(),
            )
        }
        other => other.clone(),
    }
}
