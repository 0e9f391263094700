//! The top-level fields of objects in SQLite's binary JSON (<https://sqlite.org/jsonb.html>): objects whose fields
//! lie apart are put together, and some fields taken out of one, without a look at the values.
//!
//! An object is a header and then, one after another, its names and values; a header tells the kind of what
//! follows and its length.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Value, ValueRef};

use crate::error::Result;

/// Name of the function that leaves an object only fields of some names, in their order. The object comes first, then
/// the names. What is no object in binary form, and fields whose names are written with escapes, are left as they are.
pub const FIELDS: &str = "_fields";

/// An object without fields.
pub const EMPTY: [u8; 1] = [OBJECT];

/// Kinds of elements.
const OBJECT: u8 = 12;
const PLAIN_TEXT: u8 = 7;
const RAW_TEXT: u8 = 10;

/// Greatest length that a header tells by itself.
const SHORT: usize = 11;

/// An element: its kind, where its content begins, and where it ends.
#[derive(Clone, Copy, Debug)]
struct Element {
    kind: u8,
    content: usize,
    end: usize,
}

/// The element that begins at a position; `None` if there is none.
fn element(bytes: &[u8], at: usize) -> Option<Element> {
    let header = *bytes.get(at)?;
    let (kind, size) = (header & 0x0f, usize::from(header >> 4));
    let width = match size {
        0..=SHORT => 0,
        12 => 1,
        13 => 2,
        14 => 4,
        _ => 8,
    };
    let content = at + 1 + width;
    let length = match width {
        0 => size,
        _ => bytes.get(at + 1..content)?.iter().try_fold(0_usize, |length, byte| {
            length.checked_mul(256).map(|length| length + usize::from(*byte))
        })?,
    };
    let end = content.checked_add(length).filter(|end| *end <= bytes.len())?;
    Some(Element { kind, content, end })
}

/// The fields of an object, one after another: the name, and all bytes of the field.
struct Fields<'b> {
    bytes: &'b [u8],
    at: usize,
    end: usize,
}

/// A field: its name, unless that is written with escapes, and its bytes.
struct Field<'b> {
    name: Option<&'b [u8]>,
    bytes: &'b [u8],
}

impl<'b> Fields<'b> {
    /// `None` if it is not an object.
    fn of(bytes: &'b [u8]) -> Option<Fields<'b>> {
        let object = element(bytes, 0).filter(|object| object.kind == OBJECT && object.end == bytes.len())?;
        Some(Fields { bytes, at: object.content, end: object.end })
    }

    /// The next field; `None` at the end, and where what follows is malformed.
    fn next(&mut self) -> Option<Field<'b>> {
        let name = element(self.bytes, self.at).filter(|_| self.at < self.end)?;
        let value = element(self.bytes, name.end).filter(|value| value.end <= self.end)?;
        let is_plain = matches!(name.kind, PLAIN_TEXT | RAW_TEXT);
        let field = Field {
            name: is_plain.then(|| &self.bytes[name.content..name.end]),
            bytes: &self.bytes[self.at..value.end],
        };
        self.at = value.end;
        Some(field)
    }
}

/// An object with these bytes as its fields.
fn object(fields: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(fields.len() + 9);
    match fields.len() {
        #[expect(clippy::cast_possible_truncation, reason = "the length is at most 11")]
        length @ 0..=SHORT => bytes.push((length as u8) << 4 | OBJECT),
        length => match u32::try_from(length) {
            Ok(length) if length <= 0xff => bytes.extend([12 << 4 | OBJECT, length.to_be_bytes()[3]]),
            Ok(length) if length <= 0xffff => {
                bytes.push(13 << 4 | OBJECT);
                bytes.extend(&length.to_be_bytes()[2..]);
            }
            Ok(length) => {
                bytes.push(14 << 4 | OBJECT);
                bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(15 << 4 | OBJECT);
                bytes.extend((length as u64).to_be_bytes());
            }
        },
    }
    bytes.extend_from_slice(fields);
    bytes
}

/// One object of the fields of several: `order` tells for each field whose next one it is. `None` if the fields are
/// not as many as it tells, or one of the shares is no object.
#[must_use]
pub fn joined(order: &[u8], shares: &[&[u8]]) -> Option<Vec<u8>> {
    let mut fields = shares.iter().map(|share| Fields::of(share)).collect::<Option<Vec<Fields<'_>>>>()?;
    let mut all = Vec::with_capacity(shares.iter().map(|share| share.len()).sum());
    for share in order {
        all.extend_from_slice(fields.get_mut(usize::from(*share))?.next()?.bytes);
    }
    let is_at_end = |fields: &Fields<'_>| fields.at == fields.end;
    fields.iter().all(is_at_end).then(|| object(&all))
}

/// The object with the fields that have one of some names, in their order.
fn with_names(bytes: &[u8], names: &[&[u8]]) -> Option<Vec<u8>> {
    let mut fields = Fields::of(bytes)?;
    let mut kept = Vec::new();
    while let Some(field) = fields.next() {
        if field.name.is_none_or(|name| names.contains(&name)) {
            kept.extend_from_slice(field.bytes);
        }
    }
    (fields.at == fields.end).then(|| object(&kept))
}

/// Makes the function [`FIELDS`] known.
pub(crate) fn load(connection: &rusqlite::Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    Ok(connection.create_scalar_function(FIELDS, -1, flags, |context| {
        let values: Vec<ValueRef<'_>> = (0..context.len()).map(|index| context.get_raw(index)).collect();
        let Some((ValueRef::Blob(bytes), names)) = values.split_first() else {
            let other = values.first().map(|first| Value::try_from(*first)).transpose();
            return other.map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)));
        };
        let names: Vec<&[u8]> = names.iter().filter_map(|name| name.as_bytes().ok()).collect();
        Ok(Some(with_names(bytes, &names).unwrap_or_else(|| bytes.to_vec()).into()))
    })?)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        load(&connection).unwrap();
        connection
    }

    fn binary(connection: &Connection, text: &str) -> Vec<u8> {
        connection.query_row("SELECT jsonb(?)", [text], |row| row.get(0)).unwrap()
    }

    fn text(connection: &Connection, bytes: &[u8]) -> String {
        connection.query_row("SELECT json(?)", [bytes], |row| row.get(0)).unwrap()
    }

    #[test]
    fn fields_that_lie_apart_come_back_in_their_order() {
        let connection = connection();
        for length in [0, 1, 11, 12, 255, 256, 65_535, 65_536, 70_000] {
            let long = "x".repeat(length);
            let whole = format!("{{\"a\":1,\"b\":{{\"c\":[null,\"{long}\"]}},\"\\n\":2.5,\"d\":\"{long}\"}}");
            let shares = [
                binary(&connection, &format!("{{\"b\":{{\"c\":[null,\"{long}\"]}},\"\\n\":2.5}}")),
                binary(&connection, "{\"a\":1}"),
                binary(&connection, &format!("{{\"d\":\"{long}\"}}")),
            ];
            let shares: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
            let put_together = joined(&[1, 0, 0, 2], &shares).unwrap();
            assert_eq!(text(&connection, &put_together), whole);
            assert_eq!(put_together, binary(&connection, &whole));
        }
        let share: &[u8] = &binary(&connection, "{\"a\":1}");
        assert_eq!(joined(&[], &[&EMPTY, &EMPTY]).unwrap(), EMPTY);
        for (order, shares) in
            [(&[0, 0][..], &[share][..]), (&[], &[share]), (&[1], &[share]), (&[0], &[&share[..3]])]
        {
            assert_eq!(joined(order, shares), None, "{order:?}");
        }
    }

    #[test]
    fn some_fields_are_taken_out() {
        let connection = connection();
        let taken = |document: &str, names: &str| -> String {
            let sql = format!("SELECT json(_fields(jsonb(?){names}))");
            connection.query_row(&sql, [document], |row| row.get(0)).unwrap()
        };
        let document = "{\"a\":{\"b\":1},\"b\":[1,2],\"é\":null,\"c\":\"x\"}";
        assert_eq!(taken(document, ", 'c', 'a', 'gone'"), "{\"a\":{\"b\":1},\"c\":\"x\"}");
        assert_eq!(taken(document, ", 'é'"), "{\"é\":null}");
        assert_eq!(taken(document, ""), "{}");
        assert_eq!(taken("[1]", ", 'a'"), "[1]");
        assert_eq!(taken("{\"\\t\":1,\"b\":2}", ", 'a'"), "{\"\\t\":1}", "a name with escapes is kept");
        for other in ["5", "NULL", "x'ff'", "'{\"a\":1}'"] {
            let sql = format!("SELECT _fields({other}, 'b') IS {other}");
            assert!(connection.query_row(&sql, [], |row| row.get::<_, bool>(0)).unwrap(), "{other}");
        }
    }
}
