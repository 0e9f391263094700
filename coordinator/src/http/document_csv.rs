//! Documents as CSV: a column for every member that some document has, in the order in which they first appear.
//!
//! CSV has no nesting and hardly any types: objects and lists are written as JSON text, and come back from an import
//! as text. NDJSON keeps everything.

use std::collections::HashMap;

use common::row::ValueRef;
use common::{Error, ErrorCode, Result};
use futures_util::StreamExt as _;
use query::access::RowStream;
use serde_json::{Map, Value as Json};

use super::row_stream::{read_document, write_csv_line, write_quoted};

/// Most columns: as many as a table may have.
const MEMBERS_MAX: usize = 2_000;
/// Most bytes of names.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// The members that documents have.
#[derive(Debug, Default)]
pub struct Members {
    names: Vec<String>,
    places: HashMap<String, usize>,
    bytes: usize,
}

impl Members {
    /// Reads exported documents through and notes their members.
    pub async fn of(mut documents: RowStream) -> Result<Members> {
        let mut members = Members::default();
        while let Some(block) = documents.blocks.next().await {
            let block = block?;
            let mut input = &block.data[..];
            for _ in 0..block.rows {
                let (_, text) = read_document(&mut input)?;
                members.note(text)?;
            }
        }
        Ok(members)
    }

    fn note(&mut self, text: &str) -> Result<()> {
        let found: Map<String, Json> = serde_json::from_str(text).map_err(no_object)?;
        for (name, _) in found {
            if self.places.contains_key(&name) {
                continue;
            }
            self.bytes += name.len();
            if self.names.len() >= MEMBERS_MAX || self.bytes > NAMES_BYTES_MAX {
                let message = format!("the documents have more than {MEMBERS_MAX} different fields");
                return Err(Error::not_supported(message, "export them with format=ndjson"));
            }
            self.places.insert(name.clone(), self.names.len());
            self.names.push(name);
        }
        Ok(())
    }

    /// Writes the line of names.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        let names = std::iter::once("_id").chain(self.names.iter().map(String::as_str));
        write_csv_line(out, names.map(ValueRef::Text));
    }

    /// Takes the next document off `input` and writes its line.
    pub fn write_row(&self, out: &mut Vec<u8>, input: &mut &[u8]) -> Result<()> {
        let (id, text) = read_document(input)?;
        let document: Map<String, Json> = serde_json::from_str(text).map_err(no_object)?;
        let mut cells: Vec<Option<&Json>> = vec![None; self.names.len()];
        for (name, value) in &document {
            // Without a column for it the line would not tell the whole document.
            let place = self.places.get(name).ok_or_else(|| changed(name))?;
            cells[*place] = Some(value);
        }
        match id {
            ValueRef::Text(text) => write_text(out, text),
            other => common::json::write_value(out, other),
        }
        for cell in cells {
            out.push(b',');
            match cell {
                None | Some(Json::Null) => {}
                Some(Json::String(text)) => write_text(out, text),
                Some(nested @ (Json::Object(_) | Json::Array(_))) => {
                    write_quoted(out, nested.to_string().as_bytes());
                }
                Some(plain @ (Json::Bool(_) | Json::Number(_))) => {
                    out.extend_from_slice(plain.to_string().as_bytes());
                }
            }
        }
        out.push(b'\n');
        Ok(())
    }
}

/// A text in quotes unless it can be taken for nothing else.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'_' | b'.'));
    let is_literal = ["true", "false", "null"].contains(&text);
    if is_word && !is_literal {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_quoted(out, text.as_bytes());
    }
}

fn no_object(_: serde_json::Error) -> Error {
    Error::internal("a document is stored that is no object")
}

fn changed(name: &str) -> Error {
    let message = format!("a document got the new field '{}' during the export", name.escape_debug());
    Error::new(ErrorCode::SerializationFailure, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::protocol::RowsHeader;
    use common::row::RowBlock;
    use futures_util::stream;

    fn block(documents: &[(&str, &str)]) -> RowBlock {
        let row = |(id, text): &(&str, &str)| {
            let id = id.parse::<i64>().map_or_else(|_| (*id).into(), common::Value::Integer);
            vec![id, (*text).into()]
        };
        RowBlock::from_values(2, &documents.iter().map(row).collect::<Vec<_>>())
    }

    async fn members(documents: &[(&str, &str)]) -> Result<Members> {
        let header = RowsHeader { columns: Vec::new(), types: Vec::new(), index: 1 };
        let blocks = stream::iter([Ok(block(documents))]).boxed();
        Members::of(RowStream { header, blocks }).await
    }

    #[tokio::test]
    async fn the_columns_are_the_members_of_all_documents() {
        let documents = [
            ("1", r#"{"name":"Ann","age":30}"#),
            ("x", r#"{"age":"30","tags":["a","b"],"gone":null}"#),
            ("3", r#"{"name":"true","on":true,"quote":"say \"hi\"","none":""}"#),
        ];
        let members = members(&documents).await.unwrap();
        let mut out = Vec::new();
        members.write_head(&mut out);
        let written = block(&documents);
        let mut input = &written.data[..];
        (0..3).for_each(|_| members.write_row(&mut out, &mut input).unwrap());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "_id,name,age,tags,gone,on,quote,none\n\
             1,Ann,30,,,,,\n\
             x,,\"30\",\"[\"\"a\"\",\"\"b\"\"]\",,,,\n\
             3,\"true\",,,,true,\"say \"\"hi\"\"\",\"\"\n"
        );
        let newer = block(&[("4", r#"{"other":1}"#)]);
        let mut input = &newer.data[..];
        assert!(members.write_row(&mut Vec::new(), &mut input).unwrap_err().message.contains("'other'"));
    }

    #[tokio::test]
    async fn there_is_a_greatest_number_of_columns() {
        let fields = |count: usize| {
            let members: Vec<String> = (0..count).map(|number| format!("\"f{number}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(members(&[("1", &fields(MEMBERS_MAX))]).await.is_ok());
        let refused = members(&[("1", &fields(MEMBERS_MAX + 1))]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NotSupported);
    }
}
