//! Errors as every interface tells them: a stable code, a text for people, and what became of the write.

use serde::{Deserialize, Serialize};

/// What became of a write whose answer is an error. Never wrong: when in doubt it is `Unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was changed, and nothing of this request will be changed later.
    #[default]
    NotApplied,
    /// The write was applied although the answer is an error.
    Applied,
    /// A part was applied; [`Error::applied`] lists it.
    Partial,
    /// It may have been applied, or may yet be.
    Unknown,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $retryable:literal;)*) => {
        /// A stable word for a kind of error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of their HTTP status.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// The word, as it stands in an answer's `code`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status,)* }
            }

            /// Whether the same request may succeed when it is sent again unchanged.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(ErrorCode::$variant => $retryable,)* }
            }
        }
    };
}

error_codes! {
    /// The request is malformed: JSON, a field's type, a missing field.
    BadRequest = "bad_request", 400, false;
    /// A database, collection or node name that is not allowed.
    BadName = "bad_name", 400, false;
    /// SQLite refused the statement; the message is SQLite's.
    SqlError = "sql_error", 400, false;
    /// JSON nested deeper than [`crate::limits::JSON_DEPTH_MAX`].
    JsonTooDeep = "json_too_deep", 400, false;
    /// A JSON object names a key twice.
    DuplicateKey = "duplicate_key", 400, false;
    /// No valid credentials.
    Unauthenticated = "unauthenticated", 401, false;
    /// SQL that a client may not run (ATTACH, PRAGMA writes, internal tables, …).
    SqlForbidden = "sql_forbidden", 403, false;
    /// The credentials do not allow it.
    Forbidden = "forbidden", 403, false;
    /// No such database.
    DatabaseNotFound = "database_not_found", 404, false;
    /// No such table (outside SQL text).
    TableNotFound = "table_not_found", 404, false;
    /// No such collection.
    CollectionNotFound = "collection_not_found", 404, false;
    /// No document has that id.
    DocumentNotFound = "document_not_found", 404, false;
    /// No such node.
    NodeNotFound = "node_not_found", 404, false;
    /// No such partition.
    PartitionNotFound = "partition_not_found", 404, false;
    /// No such route, operation, task or index.
    NotFound = "not_found", 404, false;
    /// The route exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, false;
    /// The statement's own deadline has passed.
    StatementTimeout = "statement_timeout", 408, false;
    /// A UNIQUE or PRIMARY KEY constraint failed.
    UniqueViolation = "unique_violation", 409, false;
    /// A NOT NULL constraint failed.
    NotNullViolation = "not_null_violation", 409, false;
    /// A CHECK constraint failed, or a STRICT column refused a value.
    CheckViolation = "check_violation", 409, false;
    /// A FOREIGN KEY constraint failed.
    ForeignKeyViolation = "foreign_key_violation", 409, false;
    /// The database exists already.
    DatabaseExists = "database_exists", 409, false;
    /// A living node has that id already.
    NodeExists = "node_exists", 409, false;
    /// The node still holds what a partition needs for its quorum.
    NodeInUse = "node_in_use", 409, false;
    /// A conflicting write came first.
    SerializationFailure = "serialization_failure", 409, true;
    /// The transaction is no longer there.
    TransactionGone = "transaction_gone", 410, false;
    /// The idempotency key is older than those of its session that are remembered.
    IdempotencyKeyGone = "idempotency_key_gone", 410, false;
    /// `If-Match` or `If-None-Match` did not hold.
    PreconditionFailed = "precondition_failed", 412, false;
    /// The request body is larger than the route takes.
    BodyTooLarge = "body_too_large", 413, false;
    /// A single value or row is larger than allowed.
    ValueTooBig = "value_too_big", 413, false;
    /// The answer would be larger than one answer may be.
    ResultTooBig = "result_too_big", 413, false;
    /// The body is not `application/json`.
    UnsupportedMediaType = "unsupported_media_type", 415, false;
    /// The `Host` header names a host that this server is not.
    UnknownHost = "unknown_host", 421, false;
    /// Understood, and not offered (yet).
    NotSupported = "not_supported", 422, false;
    /// The idempotency key was used with another request.
    IdempotencyMismatch = "idempotency_mismatch", 422, false;
    /// A node being registered does not answer at its address.
    NodeUnreachable = "node_unreachable", 422, false;
    /// Too many requests.
    RateLimited = "rate_limited", 429, true;
    /// A bug in the server; details are in its log.
    Internal = "internal", 500, false;
    /// A storage node's disk is full but for a reserve, which is not used for clients' writes.
    DiskFull = "disk_full", 507, false;
    /// Too few replicas of a partition, or coordinators, answer.
    NoQuorum = "no_quorum", 503, true;
    /// No storage node is there to take data.
    NoStorageNodes = "no_storage_nodes", 503, true;
    /// The leader changed while the request was under way.
    LeadershipLost = "leadership_lost", 503, true;
    /// The server is starting or stopping.
    Unavailable = "unavailable", 503, true;
    /// The cluster did not answer in time.
    Timeout = "timeout", 504, true;
    /// Between nodes only: the replica asked does not lead; [`Error::leader`] may say who does.
    NotLeader = "not_leader", 503, true;
    /// Between nodes only: the request was planned on an old partition map.
    StalePartitionMap = "stale_partition_map", 503, true;
    /// Between nodes only: the request was planned on another schema version.
    StaleSchema = "stale_schema", 503, true;
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as it travels between nodes and to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable word.
    pub code: ErrorCode,
    /// A sentence for people. For an SQL error it is SQLite's own text.
    pub message: String,
    /// What the reader can do about it.
    pub hint: Option<String>,
    /// What became of the write.
    pub outcome: Outcome,
    /// Index of the statement in its batch.
    pub statement: Option<u32>,
    /// SQLite's extended result code.
    pub sqlite_code: Option<i32>,
    /// The partition at fault, as shown in `GET /partitions`.
    pub partition: Option<String>,
    /// With [`Outcome::Partial`]: what was applied.
    pub applied: Vec<String>,
    /// With [`ErrorCode::NotLeader`]: the replica that is believed to lead.
    pub leader: Option<crate::ReplicaId>,
    /// With [`ErrorCode::StaleSchema`] and [`ErrorCode::StalePartitionMap`]: the version to wait for.
    pub version: Option<u64>,
    /// The statement has said that its whole transaction is rolled back with it (`OR ROLLBACK`, `RAISE(ROLLBACK)`). Messages
    /// between processes say so in words of their own.
    #[serde(skip)]
    pub ends_transaction: bool,
}

/// The result of an operation whose error goes to the client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind, nothing applied.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            hint: None,
            outcome: Outcome::NotApplied,
            statement: None,
            sqlite_code: None,
            partition: None,
            applied: Vec::new(),
            leader: None,
            version: None,
            ends_transaction: false,
        }
    }

    /// `bad_request`.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::BadRequest, message)
    }

    /// `not_supported`, with what to do instead.
    #[must_use]
    pub fn not_supported(message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::new(ErrorCode::NotSupported, message).with_hint(hint)
    }

    /// `not_supported`: a text is to be stored that is not UTF-8, and would become another one on the way.
    #[must_use]
    pub fn malformed_text() -> Error {
        Error::not_supported("a text is stored that is not UTF-8", "store bytes as a BLOB")
    }

    /// `internal`: a broken expectation that does not endanger data.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(ErrorCode::Internal, message)
    }

    /// Adds what the reader can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Says what became of the write.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Error {
        self.outcome = outcome;
        self
    }

    /// Names the statement of the batch.
    #[must_use]
    pub fn at_statement(mut self, index: usize) -> Error {
        self.statement = u32::try_from(index).ok();
        self
    }
}
