//! Rows as they come: newline-delimited JSON, in bounded memory.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use common::Outcome;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::error::{Error, ErrorBody, Result, local};
use crate::rows::{Columns, Row};
use crate::sql::SqlAnswer;
use crate::value::Cell;

/// Longest line that is accepted: a row with the largest values, and room for its escapes.
const LINE_MAX: usize = 128 << 20;

/// A stream of rows; made by [`Sql::stream`](crate::Sql::stream). It ends after the last row, or with an
/// error: a stream that ended without one is complete.
pub struct RowStream {
    columns: Arc<Columns>,
    ready: VecDeque<Row>,
    lines: Option<Lines>,
}

struct Lines {
    body: BoxStream<'static, Result<Bytes>>,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    searched: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Row {
        row: Vec<Cell>,
    },
    Columns {
        columns: Vec<String>,
        #[serde(default)]
        types: Vec<String>,
    },
    Error {
        error: Json,
        #[serde(flatten)]
        rest: serde_json::Map<String, Json>,
    },
    End {
        #[serde(rename = "end")]
        _end: Json,
    },
}

impl RowStream {
    /// Reads up to the columns. A server that does not stream answers all rows at once, which serves too.
    pub(crate) async fn read(response: reqwest::Response) -> Result<RowStream> {
        let kind = response.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/json") {
            return RowStream::of_whole_answer(&response.bytes().await.map_err(broken)?);
        }
        let body = response.bytes_stream().map_err(broken).boxed();
        let mut lines = Lines { body, buffer: BytesMut::new(), searched: 0 };
        match std::future::poll_fn(|context| lines.poll_line(context)).await? {
            Line::Columns { columns, types } => {
                let columns = Arc::new(Columns { names: columns, types });
                Ok(RowStream { columns, ready: VecDeque::new(), lines: Some(lines) })
            }
            Line::Error { error, rest } => Err(refusal(error, rest)),
            Line::Row { .. } | Line::End { .. } => Err(malformed("its first line does not name the columns")),
        }
    }

    fn of_whole_answer(body: &[u8]) -> Result<RowStream> {
        let answer: SqlAnswer =
            serde_json::from_slice(body).map_err(|error| malformed(&error.to_string()))?;
        let result = answer.results.into_iter().next().ok_or_else(|| malformed("it holds no result"))?;
        let rows = result.into_executed(Some(200), Outcome::NotApplied)?.rows;
        if rows.truncated {
            return Err(malformed("the server does not stream, and its answer is cut short"));
        }
        Ok(RowStream { columns: rows.columns, ready: rows.rows.into(), lines: None })
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns.names
    }
}

impl Stream for RowStream {
    type Item = Result<Row>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(row) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(row)));
        }
        let Some(lines) = &mut self.lines else { return Poll::Ready(None) };
        let item = match std::task::ready!(lines.poll_line(context)) {
            Ok(Line::Row { row }) => {
                let values = row.into_iter().map(|cell| cell.0).collect();
                return Poll::Ready(Some(Ok(Row { columns: self.columns.clone(), values })));
            }
            Ok(Line::End { .. }) => None,
            Ok(Line::Error { error, rest }) => Some(Err(refusal(error, rest))),
            Ok(Line::Columns { .. }) => Some(Err(malformed("it names the columns twice"))),
            Err(error) => Some(Err(error)),
        };
        // Whatever it was, it was the last.
        self.lines = None;
        Poll::Ready(item)
    }
}

impl Lines {
    fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Result<Line>> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                let parsed = serde_json::from_slice(line).map_err(|error| malformed(&error.to_string()));
                return Poll::Ready(parsed);
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_MAX {
                return Poll::Ready(Err(malformed("a line is too long")));
            }
            match std::task::ready!(self.body.poll_next_unpin(context)) {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    let text = "the stream of rows ended before its last line";
                    return Poll::Ready(Err(Error::new(local::CONNECTION_LOST, text).retryable()));
                }
            }
        }
    }
}

/// The server's error: its fields beside `error`, or in an object under it.
fn refusal(error: Json, rest: serde_json::Map<String, Json>) -> Error {
    let body = match error {
        Json::Object(fields) => fields,
        text => {
            let mut fields = rest;
            fields.insert("error".to_owned(), text);
            fields
        }
    };
    match serde_json::from_value::<ErrorBody>(Json::Object(body)) {
        Ok(error) => error.into_error(None, Outcome::NotApplied),
        Err(error) => malformed(&error.to_string()),
    }
}

fn malformed(why: &str) -> Error {
    Error::new(local::INVALID_ANSWER, format!("the stream of rows cannot be understood: {why}"))
}

fn broken(error: reqwest::Error) -> Error {
    Error::new(local::CONNECTION_LOST, format!("the connection broke: {error}")).retryable()
}
