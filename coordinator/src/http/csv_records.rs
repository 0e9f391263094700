//! CSV as RFC 4180 describes it, read record by record. Unlike common readers it tells a quoted cell from an
//! unquoted one, since an empty cell means NULL only without quotes.

use std::io::{self, BufRead};

/// Longest record; a quote that is never closed must not swallow the file.
const RECORD_MAX: usize = 16 << 20;

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its text, quotes taken off.
    pub text: String,
    /// Whether it was quoted.
    pub quoted: bool,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The source failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not CSV.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Reads records from text.
pub struct CsvReader<R> {
    input: R,
    line: u64,
    /// Number of the line that the last record began at.
    record_line: u64,
    raw: Vec<u8>,
}

impl<R: BufRead> CsvReader<R> {
    /// A reader at the start of a text.
    pub fn new(input: R) -> CsvReader<R> {
        CsvReader { input, line: 0, record_line: 0, raw: Vec::new() }
    }

    /// The line that the last record began at, from 1.
    pub fn record_line(&self) -> u64 {
        self.record_line
    }

    /// The next record, `None` at the end. Empty lines are skipped.
    pub fn next_record(&mut self) -> Result<Option<Vec<Cell>>, CsvError> {
        loop {
            self.raw.clear();
            self.record_line = self.line + 1;
            if !self.read_line()? {
                return Ok(None);
            }
            if self.record_line == 1 && self.raw.starts_with(b"\xef\xbb\xbf") {
                self.raw.drain(..3);
            }
            if line_end(&self.raw) == 0 {
                continue;
            }
            // An odd number of quotes: the record goes on behind the line break in its cell.
            while self.raw.iter().filter(|&&byte| byte == b'"').count() % 2 == 1 {
                if !self.read_line()? {
                    return Err(CsvError::Malformed("a quoted cell is not closed"));
                }
            }
            return split(&self.raw[..line_end(&self.raw)]).map(Some);
        }
    }

    /// Appends a line to the record; says whether there was one.
    fn read_line(&mut self) -> Result<bool, CsvError> {
        let read = self.input.read_until(b'\n', &mut self.raw)?;
        if self.raw.len() > RECORD_MAX {
            return Err(CsvError::Malformed("a record is longer than 16 MiB"));
        }
        self.line += 1;
        Ok(read > 0)
    }
}

/// Length of a line without its line break.
fn line_end(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

fn split(mut record: &[u8]) -> Result<Vec<Cell>, CsvError> {
    let mut cells = Vec::new();
    loop {
        let (cell, rest) = match record.strip_prefix(b"\"") {
            Some(inside) => quoted_cell(inside)?,
            None => {
                let length = record.iter().position(|&byte| byte == b',').unwrap_or(record.len());
                (Cell { text: utf8(record[..length].to_vec())?, quoted: false }, &record[length..])
            }
        };
        cells.push(cell);
        match rest {
            [] => return Ok(cells),
            [b',', rest @ ..] => record = rest,
            _ => return Err(CsvError::Malformed("text follows a quoted cell")),
        }
    }
}

/// A cell whose opening quote has been taken, and what follows its closing quote.
fn quoted_cell(mut inside: &[u8]) -> Result<(Cell, &[u8]), CsvError> {
    let mut text = Vec::new();
    loop {
        let Some(quote) = inside.iter().position(|&byte| byte == b'"') else {
            return Err(CsvError::Malformed("a quoted cell is not closed"));
        };
        text.extend_from_slice(&inside[..quote]);
        inside = &inside[quote + 1..];
        match inside {
            [b'"', rest @ ..] => {
                text.push(b'"');
                inside = rest;
            }
            rest => return Ok((Cell { text: utf8(text)?, quoted: true }, rest)),
        }
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, CsvError> {
    String::from_utf8(bytes).map_err(|_| CsvError::Malformed("the text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record: its line, and of each cell the text and whether it was quoted.
    type Record = (u64, Vec<(String, bool)>);

    fn records(text: &str) -> Result<Vec<Record>, CsvError> {
        let mut reader = CsvReader::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(record) = reader.next_record()? {
            let cells = record.into_iter().map(|cell| (cell.text, cell.quoted)).collect();
            found.push((reader.record_line(), cells));
        }
        Ok(found)
    }

    fn plain(text: &str) -> (String, bool) {
        (text.to_owned(), false)
    }

    fn quoted(text: &str) -> (String, bool) {
        (text.to_owned(), true)
    }

    #[test]
    fn cells_lines_and_quotes() {
        assert_eq!(
            records("\u{feff}a,b\r\n1,\n\n\"x\"\"y\",\"two\nlines\"\n\"\",z").unwrap(),
            [
                (1, vec![plain("a"), plain("b")]),
                (2, vec![plain("1"), plain("")]),
                (4, vec![quoted("x\"y"), quoted("two\nlines")]),
                (6, vec![quoted(""), plain("z")]),
            ]
        );
    }

    #[test]
    fn broken_quotes_are_errors() {
        assert!(records("a\n\"never closed\n").is_err());
        assert!(records("\"a\"b,c\n").is_err());
        assert!(records("a,\"b").is_err());
    }
}
