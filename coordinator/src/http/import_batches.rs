//! Reads rows and documents out of CSV and NDJSON, in batches. Runs on a thread of its own, because reading
//! text is work.

use std::io::{self, BufRead, BufReader, Read};

use bytes::{Buf as _, Bytes};
use common::idempotency::request_digest;
use common::json::from_json;
use common::{Error, Result, Value, strict_json};
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use super::csv_records::{Cell, CsvError, CsvReader};

/// Rows of a batch.
const ROWS_MAX: usize = 5_000;
/// Bytes of text of a batch, roughly.
const BYTES_MAX: u64 = 1 << 20;
/// Longest line of NDJSON: a document, written with escapes.
const LINE_MAX: u64 = 64 << 20;

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values under a line of names.
    Csv,
    /// An object on each line.
    NdJson,
}

/// What the text is.
#[derive(Clone, Debug)]
pub struct Source {
    /// How it is written.
    pub format: Format,
    /// The CSV text that means NULL; without one an unquoted empty cell does.
    pub null: Option<String>,
    /// Whether documents are wanted instead of rows.
    pub into_collection: bool,
}

/// Rows that are written together.
#[derive(Debug)]
pub struct Batch {
    /// Line of the first one.
    pub first_line: u64,
    /// Line of the last one.
    pub last_line: u64,
    /// The rows.
    pub content: Content,
}

impl Batch {
    /// A digest of what the batch holds and of where it goes.
    #[must_use]
    pub fn digest(&self, target: &str) -> u128 {
        let content = match &self.content {
            Content::Rows { columns, rows } => common::protocol::encode(&(columns, rows)).to_vec(),
            Content::Documents(documents) => Json::from(documents.clone()).to_string().into_bytes(),
        };
        request_digest([target.as_bytes(), &content])
    }
}

/// What a batch holds.
#[derive(Debug)]
pub enum Content {
    /// Rows of these columns.
    Rows {
        /// Their columns.
        columns: Vec<String>,
        /// Their values in the order of the columns.
        rows: Vec<Vec<Value>>,
    },
    /// Documents.
    Documents(Vec<Json>),
}

/// A line that cannot be read.
#[derive(Debug)]
pub struct BadInput {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub error: Error,
}

impl BadInput {
    fn new(line: u64, error: Error) -> BadInput {
        BadInput { line, error: Error { message: format!("line {line}: {}", error.message), ..error } }
    }
}

/// Reads until the end, the first bad line, or until nobody takes the batches.
pub fn read_batches(
    pieces: mpsc::Receiver<Result<Bytes>>,
    source: &Source,
    batches: &mpsc::Sender<Result<Batch, BadInput>>,
) {
    let input = BufReader::with_capacity(64 << 10, Pieces { pieces, current: Bytes::new() });
    let mut writer = Writer { batches, batch: None, bytes: 0 };
    let read = match source.format {
        Format::Csv => read_csv(input, source, &mut writer),
        Format::NdJson => read_ndjson(input, source, &mut writer),
    };
    match read {
        Ok(()) => writer.flush(),
        Err(Stop::Bad(bad)) => {
            // What came before the bad line is imported.
            writer.flush();
            let _ = batches.blocking_send(Err(bad));
        }
        Err(Stop::Unwanted) => {}
    }
}

/// Why reading ended early.
enum Stop {
    Bad(BadInput),
    /// The import has failed elsewhere.
    Unwanted,
}

impl From<BadInput> for Stop {
    fn from(bad: BadInput) -> Self {
        Stop::Bad(bad)
    }
}

/// The body as a thread reads it.
struct Pieces {
    pieces: mpsc::Receiver<Result<Bytes>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece.map_err(io::Error::other)?,
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// The error behind a failed read.
fn source_error(error: io::Error) -> Error {
    let text = error.to_string();
    error.downcast::<Error>().unwrap_or_else(|_| Error::bad_request(text))
}

/// Collects rows and hands out batches.
struct Writer<'a> {
    batches: &'a mpsc::Sender<Result<Batch, BadInput>>,
    batch: Option<Batch>,
    bytes: u64,
}

impl Writer<'_> {
    fn row(&mut self, line: u64, bytes: u64, columns: &[String], row: Vec<Value>) -> Result<(), Stop> {
        let fits = matches!(&self.batch, Some(Batch { content: Content::Rows { columns: same, .. }, .. }) if same == columns);
        if !fits {
            self.send()?;
            let content = Content::Rows { columns: columns.to_vec(), rows: Vec::new() };
            self.batch = Some(Batch { first_line: line, last_line: line, content });
        }
        if let Some(Batch { content: Content::Rows { rows, .. }, .. }) = &mut self.batch {
            rows.push(row);
        }
        self.added(line, bytes)
    }

    fn document(&mut self, line: u64, bytes: u64, document: Json) -> Result<(), Stop> {
        let empty = || Batch { first_line: line, last_line: line, content: Content::Documents(Vec::new()) };
        if let Content::Documents(documents) = &mut self.batch.get_or_insert_with(empty).content {
            documents.push(document);
        }
        self.added(line, bytes)
    }

    fn added(&mut self, line: u64, bytes: u64) -> Result<(), Stop> {
        self.bytes += bytes;
        let count = self.batch.as_mut().map_or(0, |batch| {
            batch.last_line = line;
            match &batch.content {
                Content::Rows { rows, .. } => rows.len(),
                Content::Documents(documents) => documents.len(),
            }
        });
        if count >= ROWS_MAX || self.bytes >= BYTES_MAX { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Stop> {
        self.bytes = 0;
        match self.batch.take() {
            None => Ok(()),
            Some(batch) => self.batches.blocking_send(Ok(batch)).map_err(|_| Stop::Unwanted),
        }
    }

    /// Hands out what is left, if anybody still wants it.
    fn flush(&mut self) {
        let _ = self.send();
    }
}

fn read_csv(input: impl BufRead, source: &Source, writer: &mut Writer<'_>) -> Result<(), Stop> {
    let mut reader = CsvReader::new(input);
    let Some(names) = next_record(&mut reader)? else { return Ok(()) };
    let names: Vec<String> = names.into_iter().map(|cell| cell.text).collect();
    if let Some(double) = (1..names.len()).find(|&index| names[..index].contains(&names[index])) {
        let error = Error::bad_request(format!("the column '{}' occurs twice", names[double]));
        return Err(BadInput::new(reader.record_line(), error).into());
    }
    while let Some(record) = next_record(&mut reader)? {
        let line = reader.record_line();
        if record.len() != names.len() {
            let message = format!("{} cells under {} names", record.len(), names.len());
            return Err(BadInput::new(line, Error::bad_request(message)).into());
        }
        let bytes = record.iter().map(|cell| cell.text.len() as u64 + 1).sum();
        if source.into_collection {
            let fields = names.iter().cloned().zip(record.into_iter().map(|cell| as_json(cell, source)));
            writer.document(line, bytes, Json::Object(fields.collect()))?;
        } else {
            let row = record.into_iter().map(|cell| as_value(cell, source)).collect();
            writer.row(line, bytes, &names, row)?;
        }
    }
    Ok(())
}

fn next_record<R: BufRead>(reader: &mut CsvReader<R>) -> Result<Option<Vec<Cell>>, BadInput> {
    reader.next_record().map_err(|error| {
        let error = match error {
            CsvError::Io(error) => source_error(error),
            CsvError::Malformed(reason) => Error::bad_request(reason),
        };
        BadInput::new(reader.record_line(), error)
    })
}

fn is_null(cell: &Cell, source: &Source) -> bool {
    !cell.quoted && cell.text == source.null.as_deref().unwrap_or_default()
}

/// The value of a cell that export writes in JSON's form because CSV has none for it: bytes, and numbers that
/// are not finite.
fn exported_value(text: &str) -> Option<Value> {
    if !text.starts_with("{\"$blob\":\"") && !text.starts_with("{\"$real\":\"") {
        return None;
    }
    from_json(&serde_json::from_str(text).ok()?).ok()
}

/// A cell for a column: text, which the column's affinity turns into what it prefers.
fn as_value(cell: Cell, source: &Source) -> Value {
    if is_null(&cell, source) {
        return Value::Null;
    }
    exported_value(&cell.text).unwrap_or(Value::Text(cell.text))
}

/// A cell for a document, which has no columns: an unquoted number is a number.
fn as_json(cell: Cell, source: &Source) -> Json {
    if is_null(&cell, source) {
        return Json::Null;
    }
    match serde_json::from_str::<serde_json::Number>(&cell.text) {
        Ok(number) if !cell.quoted && !number.is_u64() | number.is_i64() => Json::Number(number),
        _ => Json::String(cell.text),
    }
}

fn read_ndjson(mut input: impl BufRead, source: &Source, writer: &mut Writer<'_>) -> Result<(), Stop> {
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = (&mut input).take(LINE_MAX).read_until(b'\n', &mut text);
        match read {
            Ok(0) => break,
            Ok(length) if length as u64 == LINE_MAX => {
                return Err(BadInput::new(line, Error::bad_request("the line is too long")).into());
            }
            Ok(_) => {}
            Err(error) => return Err(BadInput::new(line, source_error(error)).into()),
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let object = read_object(&text).map_err(|error| BadInput::new(line, error))?;
        if source.into_collection {
            writer.document(line, text.len() as u64, Json::Object(object))?;
        } else {
            let (columns, row) = split_object(&object).map_err(|error| BadInput::new(line, error))?;
            writer.row(line, text.len() as u64, &columns, row)?;
        }
    }
    Ok(())
}

fn read_object(text: &[u8]) -> Result<Map<String, Json>> {
    match strict_json::parse_body(text)? {
        Json::Object(object) => Ok(object),
        _ => Err(Error::bad_request("each line must be a JSON object")),
    }
}

fn split_object(object: &Map<String, Json>) -> Result<(Vec<String>, Vec<Value>)> {
    let row = object.iter().map(|(name, value)| {
        from_json(value).map_err(|error| Error { message: format!("'{name}': {}", error.message), ..error })
    });
    Ok((object.keys().cloned().collect(), row.collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, source: &Source) -> (Vec<Batch>, Option<BadInput>) {
        let (piece, pieces) = mpsc::channel(text.len() + 1);
        // A byte at a time: a piece may end anywhere.
        for byte in text.bytes() {
            piece.try_send(Ok(Bytes::copy_from_slice(&[byte]))).unwrap();
        }
        drop(piece);
        let (batch, mut batches) = mpsc::channel(100);
        read_batches(pieces, source, &batch);
        drop(batch);
        let mut found = Vec::new();
        while let Ok(next) = batches.try_recv() {
            match next {
                Ok(batch) => found.push(batch),
                Err(bad) => return (found, Some(bad)),
            }
        }
        (found, None)
    }

    fn csv(null: Option<&str>) -> Source {
        Source { format: Format::Csv, null: null.map(str::to_owned), into_collection: false }
    }

    fn rows(batch: &Batch) -> &[Vec<Value>] {
        match &batch.content {
            Content::Rows { rows, .. } => rows,
            Content::Documents(_) => panic!("documents"),
        }
    }

    #[test]
    fn csv_cells_are_text_or_null() {
        let (batches, bad) = read("a,b\n1,\n\"\",x\n", &csv(None));
        assert!(bad.is_none());
        assert_eq!(rows(&batches[0]), [vec!["1".into(), Value::Null], vec!["".into(), "x".into()]]);
        let (batches, _) = read("a,b\nNA,\n\"NA\",x\n", &csv(Some("NA")));
        assert_eq!(rows(&batches[0]), [vec![Value::Null, "".into()], vec!["NA".into(), "x".into()]]);
    }

    #[test]
    fn bytes_and_infinities_come_back_as_export_wrote_them() {
        let text = "a\n\"{\"\"$blob\"\":\"\"AAE=\"\"}\"\n\"{\"\"$real\"\":\"\"-Infinity\"\"}\"\n\"{\"\"$blob\"\":5}\"\n";
        let (batches, bad) = read(text, &csv(None));
        assert!(bad.is_none());
        let wanted = [Value::Blob(vec![0, 1]), Value::Real(f64::NEG_INFINITY), "{\"$blob\":5}".into()];
        assert_eq!(rows(&batches[0]), wanted.map(|value| vec![value]));
    }

    #[test]
    fn a_bad_line_is_named_and_what_came_before_is_kept() {
        let (batches, bad) = read("a,b\n1,2\n3\n4,5\n", &csv(None));
        assert_eq!(rows(&batches[0]).len(), 1);
        let bad = bad.unwrap();
        assert_eq!(bad.line, 3);
        assert!(bad.error.message.starts_with("line 3: "), "{}", bad.error);
        let source = Source { format: Format::NdJson, null: None, into_collection: false };
        let (batches, bad) = read("{\"a\":1}\n\n{\"a\":[1]}\n", &source);
        assert_eq!((rows(&batches[0]).len(), bad.unwrap().line), (1, 3));
    }

    #[test]
    fn lines_of_other_columns_make_another_batch() {
        let source = Source { format: Format::NdJson, null: None, into_collection: false };
        let (batches, bad) = read("{\"a\":1}\n{\"a\":2}\n{\"b\":true}", &source);
        assert!(bad.is_none());
        assert_eq!(batches.len(), 2);
        assert_eq!((batches[0].first_line, batches[0].last_line), (1, 2));
        assert_eq!(rows(&batches[1]), [vec![Value::Integer(1)]]);
    }

    #[test]
    fn cells_of_documents_are_numbers_where_they_look_like_it() {
        let source = Source { into_collection: true, ..csv(None) };
        let (batches, _) = read("a,b,c,d,e\n1,2.5,x,,\"7\"\n", &source);
        let Content::Documents(documents) = &batches[0].content else { panic!("rows") };
        assert_eq!(documents[0], serde_json::json!({"a": 1, "b": 2.5, "c": "x", "d": null, "e": "7"}));
    }

    #[test]
    fn batches_have_a_greatest_size() {
        let text = format!("a\n{}", "1\n".repeat(ROWS_MAX * 2 + 1));
        let (batches, _) = read(&text, &csv(None));
        assert_eq!(
            batches.iter().map(|batch| rows(batch).len()).collect::<Vec<_>>(),
            [ROWS_MAX, ROWS_MAX, 1]
        );
        assert_eq!(batches[1].first_line, ROWS_MAX as u64 + 2);
    }
}
