//! Files that go to the server and come from it, in bounded memory: what `import`, `export` and the shell
//! share.

use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use futures_util::{Stream, StreamExt as _, stream};
use indicatif::ProgressBar;
use polylite_client::{Database, Target};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::arguments::TargetArguments;
use crate::failure::Failure;
use crate::progress;

/// Forms of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values, the first line naming the columns.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

impl Format {
    /// The form that a file's name tells, if it does.
    pub fn of_name(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            _ => None,
        }
    }
}

impl From<Format> for polylite_client::Format {
    fn from(format: Format) -> polylite_client::Format {
        match format {
            Format::Csv => polylite_client::Format::Csv,
            Format::Ndjson => polylite_client::Format::NdJson,
        }
    }
}

/// The table or collection that the flags name; one of them is required.
pub fn target_of(arguments: &TargetArguments) -> Target {
    match (&arguments.table, &arguments.collection) {
        (None, Some(collection)) => Target::collection(collection),
        (table, _) => Target::table(table.as_deref().unwrap_or_default()),
    }
}

/// Sends everything that `source` holds and gives the number of rows stored. `size` is the number of bytes,
/// where known.
pub async fn import(
    database: &Database,
    target: &Target,
    format: Format,
    null: Option<&str>,
    source: impl AsyncRead + Send + Unpin + 'static,
    size: Option<u64>,
) -> Result<u64, Failure> {
    let bar = progress::bytes(size);
    let rows = database.import(target, format.into(), null, blocks(source, bar.clone())).await;
    bar.finish_and_clear();
    Ok(rows?)
}

/// Writes a table or a collection to `sink` and gives the number of bytes.
pub async fn export(
    database: &Database,
    target: &Target,
    format: Format,
    sink: &mut (impl AsyncWrite + Unpin),
) -> Result<u64, Failure> {
    let mut body = std::pin::pin!(database.export(target, format.into()).await?);
    let bar = progress::bytes(None);
    let mut written = 0;
    while let Some(block) = body.next().await {
        let block = block?;
        sink.write_all(&block).await?;
        written += block.len() as u64;
        bar.set_position(written);
    }
    sink.flush().await?;
    bar.finish_and_clear();
    Ok(written)
}

/// Bytes read at once.
const BLOCK: usize = 256 << 10;

/// A reader as a stream of blocks that moves a progress bar.
fn blocks(
    source: impl AsyncRead + Send + Unpin + 'static,
    bar: ProgressBar,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((source, bar), |(mut source, bar)| async move {
        let mut block = Vec::with_capacity(BLOCK);
        let read = (&mut source).take(BLOCK as u64).read_to_end(&mut block).await?;
        bar.inc(read as u64);
        Ok((read > 0).then(|| (Bytes::from(block), (source, bar))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_tells_its_form() {
        assert_eq!(Format::of_name(Path::new("a/b.CSV")), Some(Format::Csv));
        assert_eq!(Format::of_name(Path::new("b.jsonl")), Some(Format::Ndjson));
        assert_eq!(Format::of_name(Path::new("b.json")), None);
        assert_eq!(Format::of_name(Path::new("-")), None);
    }

    #[tokio::test]
    async fn a_reader_is_sent_whole() {
        let data = vec![7_u8; BLOCK + 1];
        let stream = blocks(std::io::Cursor::new(data), ProgressBar::hidden());
        let lengths: Vec<usize> = stream.map(|block| block.unwrap().len()).collect().await;
        assert_eq!(lengths, [BLOCK, 1]);
    }
}
