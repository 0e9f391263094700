//! Rows as a stream: NDJSON and CSV, any number of them in bounded memory.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use common::row::{RowBlock, ValueRef, read_value};
use common::{Error, Result};
use futures_util::stream::{self, StreamExt as _};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use query::access::RowStream;
use query::sql::SqlRequest;

use super::answer::{RowShape, RowWriter, malformed, with_bookmark, with_cache_use, write_columns};
use super::app::App;
use super::document_csv::Members;
use super::failure::{Answer, write_error_fields};
use super::request::Form;
use crate::gateway::{CacheUse, RequestOptions};

/// Streams the answer of one reading statement.
pub async fn sql(
    app: &App,
    database: &str,
    request: SqlRequest,
    options: &RequestOptions,
    form: Form,
) -> Answer {
    let Ok([statement]) = <[_; 1]>::try_from(request.statements) else {
        return Err(Error::bad_request("only a single statement can be streamed").into());
    };
    let options = RequestOptions { streams: true, ..options.clone() };
    let run = app.gateway.run(database, &options, |session| {
        let statement = statement.clone();
        async move {
            session.prepare(std::slice::from_ref(&statement)).await;
            let rows = query::sql::stream(&session.planner, &session.access, statement).await?;
            Ok((rows, session))
        }
    });
    let ((rows, session), bookmark) = run.await?;
    let encoder = match form {
        Form::Csv => Encoder::csv(&rows),
        _ => Encoder::ndjson(&rows, NdJson::Rows),
    };
    // A stream of any length is not kept.
    Ok(with_cache_use(with_bookmark(respond(rows, encoder, session), &bookmark.text()), CacheUse::Bypass))
}

/// The response that carries a stream. `keep` lives as long as the stream does.
pub fn respond(rows: RowStream, encoder: Encoder, keep: impl Send + 'static) -> Response {
    let content_type = encoder.content_type();
    let mut response = Response::new(Body::from_stream(pieces(rows, encoder, keep)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The text of a stream, one piece for each block of rows.
fn pieces(
    rows: RowStream,
    encoder: Encoder,
    keep: impl Send + 'static,
) -> impl futures_util::Stream<Item = Result<Bytes, Error>> + Send {
    let first = encoder.head(&rows);
    let state = Some((rows.blocks, encoder, 0u64, keep));
    let rest = stream::unfold(state, |state| async move {
        let (mut blocks, encoder, mut count, keep) = state?;
        let (piece, goes_on) = match blocks.next().await {
            Some(Ok(block)) => {
                count += u64::from(block.rows);
                (encoder.block(&block), true)
            }
            Some(Err(error)) => (encoder.broken(&error), false),
            None => (Ok(encoder.tail(count)), false),
        };
        let goes_on = goes_on && piece.is_ok();
        Some((piece.map(Bytes::from), goes_on.then_some((blocks, encoder, count, keep))))
    });
    stream::once(async move { Ok(Bytes::from(first)) })
        .chain(rest)
        .filter(|piece| std::future::ready(piece.as_ref().map_or(true, |bytes| !bytes.is_empty())))
}

/// How lines of JSON look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdJson {
    /// `{"columns":…}`, `{"row":[…]}`…, `{"end":…}`: a broken stream can be told from a complete one.
    Rows,
    /// An object for each row and nothing else, as import reads it.
    Objects,
    /// The documents of a collection, whose rows are `_id` and the text of the rest.
    Documents,
}

/// Turns blocks of rows into text.
pub enum Encoder {
    /// Lines of JSON.
    NdJson(NdJson, RowWriter),
    /// Comma-separated values with a line of names.
    Csv,
    /// The same of documents: `_id` and the members that some of them have.
    DocumentsCsv(Members),
}

impl Encoder {
    /// Lines of JSON.
    #[must_use]
    pub fn ndjson(rows: &RowStream, style: NdJson) -> Encoder {
        let shape = if style == NdJson::Objects { RowShape::Objects } else { RowShape::Arrays };
        Encoder::NdJson(style, RowWriter::new(&rows.header.columns, shape))
    }

    /// Comma-separated values.
    #[must_use]
    pub fn csv(_rows: &RowStream) -> Encoder {
        Encoder::Csv
    }

    const fn content_type(&self) -> &'static str {
        match self {
            Encoder::NdJson(..) => "application/x-ndjson",
            Encoder::Csv | Encoder::DocumentsCsv(_) => "text/csv; charset=utf-8; header=present",
        }
    }

    fn head(&self, rows: &RowStream) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Encoder::NdJson(NdJson::Rows, _) => {
                out.push(b'{');
                write_columns(&mut out, &rows.header.columns, &rows.header.types);
                out.extend_from_slice(b"}\n");
            }
            Encoder::NdJson(NdJson::Objects | NdJson::Documents, _) => {}
            Encoder::Csv => {
                write_csv_line(&mut out, rows.header.columns.iter().map(|name| ValueRef::Text(name)))
            }
            Encoder::DocumentsCsv(members) => members.write_head(&mut out),
        }
        out
    }

    fn block(&self, block: &RowBlock) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(block.data.len() * 2);
        let mut input = &block.data[..];
        for _ in 0..block.rows {
            match self {
                Encoder::NdJson(NdJson::Documents, _) => write_document(&mut out, &mut input)?,
                Encoder::DocumentsCsv(members) => members.write_row(&mut out, &mut input)?,
                Encoder::NdJson(style, writer) => {
                    if *style == NdJson::Rows {
                        out.extend_from_slice(b"{\"row\":");
                    }
                    writer.write(&mut out, block, &mut input)?;
                    out.extend_from_slice(if *style == NdJson::Rows { b"}\n" } else { b"\n" });
                }
                Encoder::Csv => {
                    let row: Vec<ValueRef<'_>> = (0..block.columns)
                        .map(|_| read_value(&mut input))
                        .collect::<Result<_, _>>()
                        .map_err(malformed)?;
                    write_csv_line(&mut out, row.into_iter());
                }
            }
        }
        Ok(out)
    }

    fn tail(&self, rows: u64) -> Vec<u8> {
        match self {
            Encoder::NdJson(NdJson::Rows, _) => format!("{{\"end\":{{\"rows\":{rows}}}}}\n").into_bytes(),
            _ => Vec::new(),
        }
    }

    /// How a stream that cannot go on ends. A form without a place for an error is cut off, which HTTP shows
    /// as a broken transfer.
    fn broken(&self, error: &Error) -> Result<Vec<u8>> {
        tracing::debug!(%error, "a stream of rows broke off");
        match self {
            Encoder::NdJson(NdJson::Rows, _) => {
                let mut out = b"{".to_vec();
                write_error_fields(&mut out, error);
                out.extend_from_slice(b"}\n");
                Ok(out)
            }
            _ => Err(error.clone()),
        }
    }
}

/// The next row of documents: `_id`, and the text of the rest.
pub(super) fn read_document<'a>(input: &mut &'a [u8]) -> Result<(ValueRef<'a>, &'a str)> {
    let id = read_value(input).map_err(malformed)?;
    match read_value(input).map_err(malformed)? {
        ValueRef::Text(text) => Ok((id, text)),
        _ => Err(Error::internal("a document is stored that is no text")),
    }
}

/// A line with a document: `_id` goes before the members that its text has.
fn write_document(out: &mut Vec<u8>, input: &mut &[u8]) -> Result<()> {
    let (id, text) = read_document(input)?;
    let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let members = members.ok_or_else(|| Error::internal("a document is stored that is no object"))?;
    out.extend_from_slice(b"{\"_id\":");
    common::json::write_value(out, id);
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members.as_bytes());
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// A line of CSV. NULL is an empty cell, an empty text a quoted one; bytes look as they do in JSON.
pub(super) fn write_csv_line<'a>(out: &mut Vec<u8>, row: impl Iterator<Item = ValueRef<'a>>) {
    for (index, value) in row.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match value {
            ValueRef::Null => {}
            ValueRef::Text(text) => write_csv_text(out, text.as_bytes()),
            ValueRef::RawText(bytes) => write_csv_text(out, String::from_utf8_lossy(bytes).as_bytes()),
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                let mut json = Vec::new();
                common::json::write_value(&mut json, value);
                write_csv_text(out, &json);
            }
        }
    }
    out.push(b'\n');
}

fn write_csv_text(out: &mut Vec<u8>, text: &[u8]) {
    let plain = !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if plain {
        out.extend_from_slice(text);
    } else {
        write_quoted(out, text);
    }
}

/// A cell in quotes, which import takes for a text whatever it looks like.
pub(super) fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Value;
    use common::protocol::RowsHeader;

    fn rows(blocks: Vec<Result<RowBlock>>) -> RowStream {
        let header = RowsHeader {
            columns: vec!["id".into(), "name".into()],
            types: vec!["INTEGER".into(), "TEXT".into()],
            index: 1,
        };
        RowStream { header, blocks: stream::iter(blocks).boxed() }
    }

    fn block(rows: &[(i64, Value)]) -> Result<RowBlock> {
        let rows: Vec<_> = rows.iter().map(|(id, name)| vec![Value::Integer(*id), name.clone()]).collect();
        Ok(RowBlock::from_values(2, &rows))
    }

    async fn text(rows: RowStream, encoder: Encoder) -> Result<String, String> {
        let response = respond(rows, encoder, ());
        let body =
            axum::body::to_bytes(response.into_body(), 1 << 20).await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn documents_are_exported_as_import_reads_them() {
        let stored = rows(vec![block(&[(1, "{\"a\":{}}".into()), (2, "{}".into())])]);
        let encoder = Encoder::ndjson(&stored, NdJson::Documents);
        assert_eq!(text(stored, encoder).await.unwrap(), "{\"_id\":1,\"a\":{}}\n{\"_id\":2}\n");
        let damaged = rows(vec![block(&[(1, "[]".into())])]);
        let encoder = Encoder::ndjson(&damaged, NdJson::Documents);
        assert!(text(damaged, encoder).await.is_err());
    }

    #[tokio::test]
    async fn lines_of_json_end_with_a_count_or_an_error() {
        let whole = rows(vec![block(&[(1, "a".into())]), block(&[(2, Value::Null)])]);
        let encoder = Encoder::ndjson(&whole, NdJson::Rows);
        assert_eq!(
            text(whole, encoder).await.unwrap(),
            "{\"columns\":[\"id\",\"name\"],\"types\":[\"INTEGER\",\"TEXT\"]}\n{\"row\":[1,\"a\"]}\n{\"row\":[2,null]}\n{\"end\":{\"rows\":2}}\n"
        );
        let broken = rows(vec![block(&[(1, "a".into())]), Err(Error::bad_request("lost"))]);
        let encoder = Encoder::ndjson(&broken, NdJson::Rows);
        let text = text(broken, encoder).await.unwrap();
        assert!(text.ends_with("}\n") && text.contains("{\"error\":\"lost\""), "{text}");
        assert!(!text.contains("end"));
    }

    #[tokio::test]
    async fn csv_tells_null_from_an_empty_text() {
        let all = rows(vec![block(&[(1, Value::Null), (2, "".into()), (3, "a,\"b\"\n".into())])]);
        let encoder = Encoder::csv(&all);
        assert_eq!(text(all, encoder).await.unwrap(), "id,name\n1,\n2,\"\"\n3,\"a,\"\"b\"\"\n\"\n");
    }

    #[tokio::test]
    async fn a_form_without_errors_is_cut_off() {
        let broken = rows(vec![block(&[(1, "a".into())]), Err(Error::bad_request("lost"))]);
        assert!(text(broken, Encoder::Csv).await.is_err());
    }
}
