//! Successful answers. Rows go from their binary form into JSON text directly, with no tree in between.

use axum::body::Body;
use axum::response::Response;
use common::json::{write_string, write_value};
use common::limits::RESULT_MAX;
use common::protocol::StatementResult;
use common::row::{MalformedRow, RowBlock, ValueRef, read_value};
use common::{Error, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value as Json;

use super::failure::write_error_fields;
use crate::gateway::{Bookmark, CacheUse};

/// What a client has seen with this answer.
pub const X_BOOKMARK: HeaderName = HeaderName::from_static("x-bookmark");
/// Whether an answer came from the cache.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// How rows look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum RowShape {
    /// Arrays in the order of the columns.
    #[default]
    Arrays,
    /// Objects by the columns' names.
    Objects,
}

/// An answer out of JSON text.
pub fn json_text(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer out of a JSON object; `success` is added.
pub fn success(mut fields: Json) -> Response {
    if let Json::Object(map) = &mut fields {
        map.insert("success".to_owned(), Json::Bool(true));
    }
    json_text(fields.to_string().into_bytes())
}

/// As [`success`], with a bookmark.
pub fn success_seen(mut fields: Json, bookmark: &Bookmark) -> Response {
    let bookmark = bookmark.text();
    if let Json::Object(map) = &mut fields {
        map.insert("bookmark".to_owned(), Json::String(bookmark.clone()));
    }
    with_bookmark(success(fields), &bookmark)
}

/// As [`success_seen`], of one field whose value is JSON text already.
pub fn success_with_text(field: &str, value: &str, bookmark: &Bookmark) -> Response {
    let bookmark = bookmark.text();
    let body = format!("{{\"{field}\":{value},\"bookmark\":\"{bookmark}\",\"success\":true}}");
    with_bookmark(json_text(body.into_bytes()), &bookmark)
}

/// Adds the header of a bookmark, given as text.
pub fn with_bookmark(mut response: Response, bookmark: &str) -> Response {
    let text = HeaderValue::try_from(bookmark).expect("a bookmark is letters, digits and points");
    response.headers_mut().insert(X_BOOKMARK, text);
    response
}

/// Says of a read what the cache had to do with it.
pub fn with_cache_use(mut response: Response, cache: CacheUse) -> Response {
    response.headers_mut().insert(X_CACHE, HeaderValue::from_static(cache.as_str()));
    response
}

/// Writes the results of SQL statements: `"results":[…]`. Rows beyond [`RESULT_MAX`] are left out, which the
/// result says.
pub fn write_results(out: &mut Vec<u8>, results: &[Result<StatementResult>], shape: RowShape) -> Result<()> {
    out.extend_from_slice(b"\"results\":[");
    for (index, result) in results.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match result {
            Ok(result) => write_result(out, result, shape)?,
            Err(error) => {
                out.push(b'{');
                write_error_fields(out, error);
                out.push(b'}');
            }
        }
    }
    out.push(b']');
    Ok(())
}

fn write_result(out: &mut Vec<u8>, result: &StatementResult, shape: RowShape) -> Result<()> {
    if result.is_read {
        out.push(b'{');
        write_columns(out, &result.columns, &result.types);
        let cut = write_rows(out, result, shape)?;
        write_truncated(out, cut || result.truncated);
    } else {
        out.extend_from_slice(b"{\"affected_rows\":");
        write_value(out, ValueRef::Integer(i64::try_from(result.affected_rows).unwrap_or(i64::MAX)));
        if let Some(rowid) = result.last_insert_rowid {
            out.extend_from_slice(b",\"last_insert_rowid\":");
            write_value(out, ValueRef::Integer(rowid));
        }
        // RETURNING.
        if !result.columns.is_empty() {
            out.push(b',');
            write_columns(out, &result.columns, &result.types);
            let cut = write_rows(out, result, shape)?;
            write_truncated(out, cut || result.truncated);
        }
    }
    out.push(b'}');
    Ok(())
}

fn write_truncated(out: &mut Vec<u8>, truncated: bool) {
    out.extend_from_slice(if truncated { b",\"truncated\":true" } else { b",\"truncated\":false" });
}

/// Writes `"columns":[…],"types":[…]`.
pub fn write_columns(out: &mut Vec<u8>, columns: &[String], types: &[String]) {
    out.extend_from_slice(b"\"columns\":");
    write_strings(out, columns);
    out.extend_from_slice(b",\"types\":");
    write_strings(out, types);
}

fn write_strings(out: &mut Vec<u8>, texts: &[String]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

/// Writes `,"rows":[…]`; says whether rows were left out for their size.
fn write_rows(out: &mut Vec<u8>, result: &StatementResult, shape: RowShape) -> Result<bool> {
    out.extend_from_slice(b",\"rows\":[");
    let writer = RowWriter::new(&result.columns, shape);
    let block = &result.rows;
    let mut input = &block.data[..];
    let mut cut = false;
    for index in 0..block.rows {
        let before = out.len();
        if index > 0 {
            out.push(b',');
        }
        writer.write(out, block, &mut input)?;
        if out.len() > RESULT_MAX {
            out.truncate(before);
            cut = true;
            break;
        }
    }
    out.push(b']');
    Ok(cut)
}

/// Writes rows of the same columns.
pub struct RowWriter {
    /// Columns' names with quotes and colon, for objects.
    keys: Option<Vec<Vec<u8>>>,
}

impl RowWriter {
    /// A writer for rows of these columns. In an object, a name that occurs again gets a number, as SQLite
    /// itself numbers them in subqueries (`id`, `id:1`): a JSON object names each key once.
    #[must_use]
    pub fn new(columns: &[String], shape: RowShape) -> RowWriter {
        let keys = (shape == RowShape::Objects).then(|| {
            let mut used = std::collections::BTreeSet::new();
            columns
                .iter()
                .map(|column| {
                    let mut name = column.clone();
                    let mut number = 0;
                    while !used.insert(name.clone()) {
                        number += 1;
                        name = format!("{column}:{number}");
                    }
                    let mut key = Vec::with_capacity(name.len() + 3);
                    write_string(&mut key, &name);
                    key.push(b':');
                    key
                })
                .collect()
        });
        RowWriter { keys }
    }

    /// Takes the next row of a block off `input` and writes it.
    pub fn write(&self, out: &mut Vec<u8>, block: &RowBlock, input: &mut &[u8]) -> Result<()> {
        out.push(if self.keys.is_some() { b'{' } else { b'[' });
        for column in 0..block.columns as usize {
            if column > 0 {
                out.push(b',');
            }
            if let Some(key) = self.keys.as_ref().and_then(|keys| keys.get(column)) {
                out.extend_from_slice(key);
            }
            write_value(out, read_value(input).map_err(malformed)?);
        }
        out.push(if self.keys.is_some() { b'}' } else { b']' });
        Ok(())
    }
}

/// The error for rows that a node sent in a form that is none.
pub fn malformed(_: MalformedRow) -> Error {
    Error::internal("a storage node sent malformed rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Value;

    fn read(columns: &[&str], rows: &[Vec<Value>]) -> StatementResult {
        StatementResult {
            is_read: true,
            columns: columns.iter().map(ToString::to_string).collect(),
            types: columns.iter().map(|_| String::from("INTEGER")).collect(),
            rows: RowBlock::from_values(columns.len(), rows),
            ..StatementResult::default()
        }
    }

    fn text(results: &[Result<StatementResult>], shape: RowShape) -> String {
        let mut out = Vec::new();
        write_results(&mut out, results, shape).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_read_shows_columns_types_rows_and_whether_some_are_missing() {
        let result = read(&["id", "name"], &[vec![1.into(), "a".into()]]);
        assert_eq!(
            text(&[Ok(result)], RowShape::Arrays),
            r#""results":[{"columns":["id","name"],"types":["INTEGER","INTEGER"],"rows":[[1,"a"]],"truncated":false}]"#
        );
    }

    #[test]
    fn a_write_shows_what_it_did_and_a_failed_statement_its_error() {
        let insert =
            StatementResult { affected_rows: 1, last_insert_rowid: Some(7), ..StatementResult::default() };
        let failed = Err(Error::bad_request("no"));
        let written = text(&[Ok(insert), failed], RowShape::Arrays);
        assert!(
            written.starts_with(
                r#""results":[{"affected_rows":1,"last_insert_rowid":7},{"error":"no","code":"bad_request""#
            ),
            "{written}"
        );
    }

    #[test]
    fn objects_name_each_key_once() {
        let result = read(&["id", "id", "id:1"], &[vec![1.into(), 2.into(), 3.into()]]);
        let written = text(&[Ok(result)], RowShape::Objects);
        assert!(written.contains(r#"[{"id":1,"id:1":2,"id:1:1":3}]"#), "{written}");
    }

    #[test]
    fn an_answer_is_cut_at_its_greatest_size() {
        let rows = vec![vec![Value::Text("x".repeat(1 << 20))]; 9];
        let written = text(&[Ok(read(&["a"], &rows)), Ok(read(&["b"], &rows))], RowShape::Arrays);
        assert!(written.len() < RESULT_MAX + 1_000);
        let json: Json = serde_json::from_str(&format!("{{{written}}}")).unwrap();
        assert_eq!(json["results"][0]["rows"].as_array().unwrap().len(), 7);
        assert_eq!(json["results"][0]["truncated"], true);
        assert_eq!(json["results"][1]["truncated"], true);
    }
}
