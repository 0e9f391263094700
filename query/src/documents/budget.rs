//! How much memory a request's documents may take.

use common::{Error, ErrorCode, Result};
use serde_json::Value as Json;

use super::value::{Fields, size, size_of_fields};

/// Most memory of documents that a request holds at a time, in bytes as [`size`] counts them.
const HELD_MAX: usize = 256 << 20;

/// Memory that is held.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    held: usize,
}

impl Budget {
    /// Holds a value too.
    pub(crate) fn hold(&mut self, value: &Json) -> Result<()> {
        self.hold_bytes(size(value))
    }

    /// Holds a document too.
    pub(crate) fn hold_fields(&mut self, fields: &Fields) -> Result<()> {
        self.hold_bytes(size_of_fields(fields))
    }

    /// Holds so many bytes more.
    pub(crate) fn hold_bytes(&mut self, bytes: usize) -> Result<()> {
        self.held += bytes;
        if self.held <= HELD_MAX {
            return Ok(());
        }
        Err(Error::new(ErrorCode::ResultTooBig, "the documents take more memory than one request may have").with_hint(
            "narrow the filter, sort less with a limit, or take the documents as a stream (Accept: application/x-ndjson)",
        ))
    }

    /// Lets go of a value.
    pub(crate) fn release(&mut self, value: &Json) {
        self.release_bytes(size(value));
    }

    /// Lets go of so many bytes.
    pub(crate) fn release_bytes(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }
}
