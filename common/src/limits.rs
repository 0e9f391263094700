//! Limits that hold everywhere. Sizes in bytes unless a name says otherwise.

/// Largest request body of ordinary routes.
pub const BODY_MAX: usize = 8 << 20;
/// Largest request body of document routes.
pub const DOCUMENT_BODY_MAX: usize = 32 << 20;
/// Largest single document.
pub const DOCUMENT_MAX: usize = 16 << 20;
/// Largest JSON answer that is not streamed.
pub const RESULT_MAX: usize = 8 << 20;
/// Deepest nesting of JSON, the outermost value being level 1.
pub const JSON_DEPTH_MAX: usize = 100;
/// Rows of an answer when the request does not say.
pub const ROWS_DEFAULT: u32 = 10_000;
/// Most rows of an answer that is not streamed.
pub const ROWS_MAX: u32 = 1_000_000;
/// A statement's deadline when the request does not say, in milliseconds.
pub const STATEMENT_TIMEOUT_MS: u64 = 10_000;
/// Longest deadline a request may ask for, in milliseconds.
pub const STATEMENT_TIMEOUT_MS_MAX: u64 = 600_000;
/// Longest SQL text.
pub const SQL_MAX: usize = 1_000_000;
/// Stack of a thread that runs SQL. SQLite descends once for each `%` of a pattern and each level of a query.
pub const SQL_STACK: usize = 16 << 20;
/// Most statements in one request.
pub const STATEMENTS_MAX: usize = 10_000;
/// Largest piece of a log entry: more effects than this travel in several entries (rule 3).
pub const ENTRY_CHUNK_MAX: usize = 1 << 20;
/// Largest set of effects of one request.
pub const EFFECTS_MAX: usize = 1 << 30;
/// Horizontal buckets of a database.
pub const PARTITIONS_MAX: u32 = 256;
/// Buckets when the request does not say.
pub const PARTITIONS_DEFAULT: u32 = 4;
/// Replicas of each partition when the request does not say.
pub const REPLICATION_FACTOR_DEFAULT: u32 = 3;
/// Most replicas of a partition.
pub const REPLICATION_FACTOR_MAX: u32 = 7;
/// Largest frame of a node-to-node connection.
pub const FRAME_MAX: usize = 16 << 20;
/// Rows are sent between nodes in blocks of about this size.
pub const ROW_BLOCK: usize = 64 << 10;
