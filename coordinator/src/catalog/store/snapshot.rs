//! Snapshots of the catalog: a line that says what follows, then the state as JSON.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use consensus_runtime::{AppliedConfiguration, SnapshotDescription};
use serde::{Deserialize, Serialize};

use super::directory::write_durably;
use crate::catalog::CatalogState;
use crate::catalog::state::FormatError;

/// Version of the files' encoding.
const FORMAT: u32 = 1;
/// Bytes of a snapshot in one message between coordinators.
pub(super) const PIECE: usize = 4 << 20;

/// A snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its bytes are not those that were written.
    #[error("the catalog's snapshot is damaged: {0}")]
    Damaged(String),
    /// Written by a newer version of the program.
    #[error("the catalog's snapshot has format {0}; this version reads up to {FORMAT}")]
    Newer(u32),
    /// The state inside cannot be read.
    #[error("the catalog's snapshot cannot be read: {0}")]
    State(#[from] FormatError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The place in the log that a state stands at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Index of the last entry applied.
    pub(super) index: u64,
    /// Its term.
    pub(super) term: u64,
    /// The members as of that entry.
    pub(super) configuration: AppliedConfiguration,
}

impl Position {
    pub(super) fn description(&self) -> SnapshotDescription {
        SnapshotDescription {
            index: self.index,
            term: self.term,
            configuration: self.configuration.clone(),
            bytes: bytes::Bytes::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    #[serde(flatten)]
    position: Position,
    /// Size of the state that follows, in bytes, and its checksum.
    bytes: usize,
    checksum: u32,
}

/// A state together with its place in the log.
pub(super) struct Snapshot {
    pub(super) position: Position,
    pub(super) state: CatalogState,
}

/// The snapshot as the bytes of a file.
pub(super) fn encode(position: &Position, state: &CatalogState) -> Vec<u8> {
    let body = state.encode();
    let header = Header {
        format: FORMAT,
        position: position.clone(),
        bytes: body.len(),
        checksum: crc32fast::hash(&body),
    };
    let mut bytes = serde_json::to_vec(&header).expect("a header has an encoding");
    bytes.push(b'\n');
    bytes.extend_from_slice(&body);
    bytes
}

/// The snapshot out of a file's bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let damaged = |what: &str| SnapshotError::Damaged(what.to_owned());
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it has no header"))?;
    let header = header(&bytes[..end])?;
    let body = &bytes[end + 1..];
    if body.len() != header.bytes || crc32fast::hash(body) != header.checksum {
        return Err(damaged("its checksum does not hold"));
    }
    Ok(Snapshot { position: header.position, state: CatalogState::decode(body)? })
}

fn header(line: &[u8]) -> Result<Header, SnapshotError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |error: serde_json::Error| SnapshotError::Damaged(error.to_string());
    let Format { format } = serde_json::from_slice(line).map_err(damaged)?;
    if format > FORMAT {
        return Err(SnapshotError::Newer(format));
    }
    serde_json::from_slice(line).map_err(damaged)
}

/// Reads a snapshot file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Snapshot>, SnapshotError> {
    match std::fs::read(path) {
        Ok(bytes) => decode(&bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces a snapshot file, durably.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_durably(path, bytes)
}

/// A piece of a snapshot file on its way to another coordinator.
pub(super) struct Piece {
    /// Index of the snapshot.
    pub(super) index: u64,
    /// Size of the whole file.
    pub(super) size: u64,
    /// The piece.
    pub(super) bytes: Vec<u8>,
}

/// Reads a piece. A file that is replaced meanwhile is noticed by the receiver: its index is another.
pub(super) fn read_piece(path: &Path, offset: u64) -> Result<Piece, SnapshotError> {
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    file.read_until(b'\n', &mut line)?;
    let index = header(&line)?.position.index;
    let size = file.get_ref().metadata()?.len();
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(PIECE as u64).read_to_end(&mut bytes)?;
    Ok(Piece { index, size, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> (Position, CatalogState) {
        let mut state = CatalogState::default();
        state.catalog.cluster = "c".into();
        (Position { index: 7, term: 2, ..Position::default() }, state)
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was_written() {
        let (position, state) = snapshot();
        let read = decode(&encode(&position, &state)).unwrap();
        assert_eq!((read.position, read.state.catalog), (position, state.catalog));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (position, state) = snapshot();
        let bytes = encode(&position, &state);
        let body = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for place in body..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(matches!(decode(&damaged), Err(SnapshotError::Damaged(_))), "byte {place}");
        }
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn pieces_make_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (position, state) = snapshot();
        let bytes = encode(&position, &state);
        write(&path, &bytes).unwrap();
        let first = read_piece(&path, 0).unwrap();
        assert_eq!((first.index, first.size, &first.bytes), (7, bytes.len() as u64, &bytes));
        assert_eq!(read_piece(&path, 10).unwrap().bytes, bytes[10..]);
    }
}
