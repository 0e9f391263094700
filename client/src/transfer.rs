//! Import and export of whole tables and collections.

use bytes::Bytes;
use futures_util::{Stream, TryStream, TryStreamExt as _};
use http::Method;
use serde::Deserialize;

use crate::database::Database;
use crate::error::{Error, Result, local};
use crate::http::Request;

/// Where rows or documents go to, or come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A table.
    Table(String),
    /// A collection.
    Collection(String),
}

impl Target {
    /// A table.
    #[must_use]
    pub fn table(name: impl Into<String>) -> Target {
        Target::Table(name.into())
    }

    /// A collection.
    #[must_use]
    pub fn collection(name: impl Into<String>) -> Target {
        Target::Collection(name.into())
    }

    fn add_to(&self, request: Request) -> Request {
        match self {
            Target::Table(name) => request.query("table", name),
            Target::Collection(name) => request.query("collection", name),
        }
    }
}

/// How rows or documents are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values (RFC 4180) with a line of column names.
    Csv,
    /// One JSON object a line.
    NdJson,
}

impl Format {
    /// Its name in the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::NdJson => "ndjson",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv",
            Format::NdJson => "application/x-ndjson",
        }
    }
}

impl Database {
    /// Streams rows or documents in and answers their number. `null` is the text that stands for NULL;
    /// without it an empty cell of CSV without quotes does.
    ///
    /// Batches are atomic, the whole is not: an error names the line at fault, and with
    /// [`Outcome::Partial`](crate::Outcome::Partial) the batches before it were applied. It is not repeated.
    pub async fn import<S>(&self, target: &Target, format: Format, null: Option<&str>, body: S) -> Result<u64>
    where
        S: TryStream + Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        Bytes: From<S::Ok>,
    {
        #[derive(Deserialize)]
        struct Answer {
            rows: u64,
        }
        let request = Request::new(Method::POST, self.path("/import"));
        let mut request = target.add_to(request).query("format", format.as_str());
        if let Some(null) = null {
            request = request.query("null", null);
        }
        let request = request.header(http::header::CONTENT_TYPE, format.content_type())?;
        let answer: Answer = self.transport().upload(&request, reqwest::Body::wrap_stream(body)).await?;
        Ok(answer.rows)
    }

    /// Streams rows or documents out, one consistent snapshot of them, as pieces of text that are not cut at
    /// lines. A stream that ends without an error is complete.
    pub async fn export(
        &self,
        target: &Target,
        format: Format,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let request = target.add_to(Request::get(self.path("/export"))).query("format", format.as_str());
        let response = self.transport().open(&request).await?;
        Ok(response
            .bytes_stream()
            .map_err(|error| Error::new(local::CONNECTION_LOST, error.to_string()).retryable()))
    }
}
