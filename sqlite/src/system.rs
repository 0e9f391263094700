//! The replica's own tables: how far it has applied the log, who it is, and which transactions over
//! several partitions are open. They change in the same SQLite transaction as the rows.

use bytes::Bytes;
use common::partition_map::BucketRange;
use common::{Error, Hlc, PartitionId, TransactionId};
use rusqlite::{Connection, OptionalExtension};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::connection::ours;
use crate::error::{Failure, Result};
use crate::keys;
use crate::table_sums::{TableSum, TableSums, digest_from};

/// Tables that a replica keeps for itself; changes of them are not effects. Other `_…` tables (global
/// indexes, idempotency keys) are replicated as the client's are.
const LOCAL_TABLES: [&str; 5] = ["_sys", "_tables", "_prepared", "_prepared_pieces", "_decisions"];

const CREATE: &str = ours!(
    "CREATE TABLE _sys (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID, STRICT;",
    "CREATE TABLE _tables (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, digest BLOB NOT NULL) ",
    "WITHOUT ROWID, STRICT;",
    "CREATE TABLE _prepared (id BLOB PRIMARY KEY, prepared BLOB NOT NULL) STRICT;",
    "CREATE TABLE _prepared_pieces (id BLOB, sequence INTEGER, piece BLOB NOT NULL, ",
    "PRIMARY KEY (id, sequence)) STRICT;",
    "CREATE TABLE _decisions (id BLOB PRIMARY KEY, decision BLOB NOT NULL) WITHOUT ROWID, STRICT;"
);

/// Whether a table belongs to the replica alone.
#[must_use]
pub fn is_local_table(name: &str) -> bool {
    LOCAL_TABLES.contains(&name)
}

/// How far the log has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index of the last entry applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Index of the last entry that changed the state: what the next effects must have been computed on.
    pub base: u64,
    /// Clock of the last entry applied.
    pub hlc: Hlc,
    /// When the last transaction committed whose rows are in the file. A transaction over several partitions
    /// commits at the same moment on all of them.
    pub committed: Hlc,
}

/// Whose data the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The database's name.
    pub database: String,
    /// The partition.
    pub partition: PartitionId,
}

/// A partition's place in the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ownership {
    /// Requests planned on an older epoch are refused.
    pub epoch: u64,
    /// What the partition owns.
    pub range: BucketRange,
}

/// Everything that the `_sys` table says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemState {
    /// How far the log has been applied.
    pub position: Position,
    /// Whose data it is.
    pub identity: Identity,
    /// The Raft configuration in force, in the consensus' own encoding; empty before the first one.
    pub configuration: Bytes,
    /// The place in the map, once assigned.
    pub ownership: Option<Ownership>,
    /// Version of the schema.
    pub schema_version: u64,
    /// Grows with each snapshot installed, so that a folder names its generation.
    pub generation: u64,
}

/// A part of a transaction that waits for its decision. What changes when it commits is kept beside it in pieces,
/// so that a large part is never in memory as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The transaction.
    pub transaction: TransactionId,
    /// Whose log holds the decision.
    pub decider: PartitionId,
    /// Everybody who takes part.
    pub participants: Vec<PartitionId>,
    /// Schema version that the effects were computed under.
    pub schema_version: u64,
    /// Log index of the prepare.
    pub index: u64,
    /// Clock of the prepare; the transaction commits later than that.
    pub hlc: Hlc,
}

/// The outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The transaction.
    pub transaction: TransactionId,
    /// Whether it committed.
    pub commit: bool,
    /// Who must confirm before it may be forgotten; empty at partitions that carried it out.
    pub participants: Vec<PartitionId>,
    /// Log index of the decision.
    pub index: u64,
    /// When it committed.
    pub at: Hlc,
}

/// Reads and changes the replica's own tables in whatever transaction the connection has open.
#[derive(Clone, Copy)]
pub struct System<'c> {
    raw: &'c Connection,
}

impl<'c> System<'c> {
    pub(crate) fn of(raw: &'c Connection) -> System<'c> {
        System { raw }
    }

    /// Whether the file has the replica's tables. A file without them holds nothing: its applied index is
    /// 0, and it is not an empty database.
    pub(crate) fn exists(raw: &Connection) -> Result<bool> {
        Ok(raw.query_row(
            ours!("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sys')"),
            [],
            |row| row.get(0),
        )?)
    }

    /// Makes the tables and writes the first state. To be called in a transaction.
    pub(crate) fn create(raw: &Connection, state: &SystemState) -> Result<()> {
        raw.execute_batch(CREATE)?;
        raw.execute_batch(keys::CREATE)?;
        let system = System { raw };
        system.set_position(state.position)?;
        system.put("identity", &state.identity)?;
        system.set_configuration(&state.configuration)?;
        if let Some(ownership) = &state.ownership {
            system.set_ownership(ownership)?;
        }
        system.set_schema_version(state.schema_version)?;
        system.set_generation(state.generation)
    }

    /// Everything.
    pub fn state(&self) -> Result<SystemState> {
        Ok(SystemState {
            position: self.position()?,
            identity: self.get("identity")?.unwrap_or_default(),
            configuration: self.get::<Bytes>("configuration")?.unwrap_or_default(),
            ownership: self.get("ownership")?,
            schema_version: self.schema_version()?,
            generation: self.get("generation")?.unwrap_or_default(),
        })
    }

    /// How far the log has been applied.
    pub fn position(&self) -> Result<Position> {
        Ok(self.get("position")?.unwrap_or_default())
    }

    /// Says how far the log has been applied.
    pub fn set_position(&self, position: Position) -> Result<()> {
        self.put("position", &position)
    }

    /// The schema's version.
    pub fn schema_version(&self) -> Result<u64> {
        Ok(self.get("schema_version")?.unwrap_or_default())
    }

    /// Says which version the schema has.
    pub fn set_schema_version(&self, version: u64) -> Result<()> {
        self.put("schema_version", &version)
    }

    /// Keeps the Raft configuration.
    pub fn set_configuration(&self, configuration: &Bytes) -> Result<()> {
        self.put("configuration", configuration)
    }

    /// Keeps the place in the map.
    pub fn set_ownership(&self, ownership: &Ownership) -> Result<()> {
        self.put("ownership", ownership)
    }

    /// Says which generation the file is.
    pub fn set_generation(&self, generation: u64) -> Result<()> {
        self.put("generation", &generation)
    }

    /// Says whose data it is: after a snapshot was taken over.
    pub fn set_identity(&self, identity: &Identity) -> Result<()> {
        self.put("identity", identity)
    }

    /// Keeps the sum of a table.
    pub fn put_table_sum(&self, table: &str, sum: TableSum) -> Result<()> {
        let mut statement = self
            .raw
            .prepare_cached(ours!("INSERT OR REPLACE INTO _tables(name, rows, digest) VALUES (?, ?, ?)"))?;
        statement.execute((table, sum.rows, sum.digest.0.to_le_bytes()))?;
        Ok(())
    }

    /// Forgets the sums of all tables: after a change of the schema others are kept.
    pub fn remove_table_sums(&self) -> Result<()> {
        self.raw.prepare_cached(ours!("DELETE FROM _tables"))?.execute([])?;
        Ok(())
    }

    /// The sums of all tables as they were kept last.
    pub fn table_sums(&self) -> Result<TableSums> {
        let mut statement = self.raw.prepare_cached(ours!("SELECT name, rows, digest FROM _tables"))?;
        let mut rows = statement.query([])?;
        let mut sums = Vec::new();
        while let Some(row) = rows.next()? {
            let digest = digest_from(&row.get::<_, Vec<u8>>(2)?)?;
            sums.push((row.get(0)?, TableSum { rows: row.get(1)?, digest }));
        }
        Ok(sums.into_iter().collect())
    }

    /// Keeps a prepared part.
    pub fn put_prepared(&self, prepared: &Prepared) -> Result<()> {
        let mut statement =
            self.raw.prepare_cached(ours!("INSERT OR REPLACE INTO _prepared(id, prepared) VALUES (?, ?)"))?;
        statement.execute((key(prepared.transaction), encode(prepared)?))?;
        Ok(())
    }

    /// The prepared part of a transaction.
    pub fn prepared(&self, transaction: TransactionId) -> Result<Option<Prepared>> {
        let mut statement = self.raw.prepare_cached(ours!("SELECT prepared FROM _prepared WHERE id = ?"))?;
        decode_row(statement.query_row([key(transaction)], |row| row.get(0)).optional()?)
    }

    /// Every prepared part, oldest log index first.
    pub fn all_prepared(&self) -> Result<Vec<Prepared>> {
        let mut all: Vec<Prepared> = self.list(ours!("SELECT prepared FROM _prepared"))?;
        all.sort_by_key(|prepared| prepared.index);
        Ok(all)
    }

    /// Keeps the next piece of what a prepared part changes; pieces are numbered from 0.
    pub fn put_prepared_piece(&self, transaction: TransactionId, sequence: u32, piece: &[u8]) -> Result<()> {
        let mut statement = self
            .raw
            .prepare_cached(ours!("INSERT INTO _prepared_pieces(id, sequence, piece) VALUES (?, ?, ?)"))?;
        statement.execute((key(transaction), sequence, piece))?;
        Ok(())
    }

    /// A piece of what a prepared part changes; `None` after the last.
    pub fn prepared_piece(&self, transaction: TransactionId, sequence: u32) -> Result<Option<Vec<u8>>> {
        let mut statement = self
            .raw
            .prepare_cached(ours!("SELECT piece FROM _prepared_pieces WHERE id = ? AND sequence = ?"))?;
        Ok(statement.query_row((key(transaction), sequence), |row| row.get(0)).optional()?)
    }

    /// Drops a prepared part and its pieces: it was decided.
    pub fn remove_prepared(&self, transaction: TransactionId) -> Result<()> {
        for sql in
            [ours!("DELETE FROM _prepared WHERE id = ?"), ours!("DELETE FROM _prepared_pieces WHERE id = ?")]
        {
            self.raw.prepare_cached(sql)?.execute([key(transaction)])?;
        }
        Ok(())
    }

    /// Keeps a decision.
    pub fn put_decision(&self, decision: &Decision) -> Result<()> {
        let mut statement = self
            .raw
            .prepare_cached(ours!("INSERT OR REPLACE INTO _decisions(id, decision) VALUES (?, ?)"))?;
        statement.execute((key(decision.transaction), encode(decision)?))?;
        Ok(())
    }

    /// The decision of a transaction.
    pub fn decision(&self, transaction: TransactionId) -> Result<Option<Decision>> {
        let mut statement = self.raw.prepare_cached(ours!("SELECT decision FROM _decisions WHERE id = ?"))?;
        decode_row(statement.query_row([key(transaction)], |row| row.get(0)).optional()?)
    }

    /// Every decision kept.
    pub fn all_decisions(&self) -> Result<Vec<Decision>> {
        self.list(ours!("SELECT decision FROM _decisions"))
    }

    /// Forgets a decision: every participant has confirmed it.
    pub fn remove_decision(&self, transaction: TransactionId) -> Result<()> {
        let mut statement = self.raw.prepare_cached(ours!("DELETE FROM _decisions WHERE id = ?"))?;
        statement.execute([key(transaction)])?;
        Ok(())
    }

    /// The decisions of transactions whose deadlines lie before `now`, oldest first.
    pub fn decisions_before(&self, now: Hlc) -> Result<Vec<Decision>> {
        let mut statement =
            self.raw.prepare_cached(ours!("SELECT decision FROM _decisions WHERE id < ? ORDER BY id"))?;
        let end = key(TransactionId { deadline: now, unique: 0 });
        let found = statement.query_map([end], |row| row.get::<_, Vec<u8>>(0))?;
        found.map(|bytes| decode(&bytes?)).collect()
    }

    fn list<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>> {
        let mut statement = self.raw.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(decode(&row.get::<_, Vec<u8>>(0)?)?);
        }
        Ok(found)
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let mut statement = self.raw.prepare_cached(ours!("SELECT value FROM _sys WHERE key = ?"))?;
        decode_row(statement.query_row([key], |row| row.get(0)).optional()?)
    }

    fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<()> {
        let mut statement =
            self.raw.prepare_cached(ours!("INSERT OR REPLACE INTO _sys(key, value) VALUES (?, ?)"))?;
        statement.execute((key, encode(value)?))?;
        Ok(())
    }
}

/// Transactions in order of their deadlines.
fn key(transaction: TransactionId) -> Vec<u8> {
    let mut bytes = transaction.deadline.0.to_be_bytes().to_vec();
    bytes.extend(transaction.unique.to_be_bytes());
    bytes
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|error| Failure::refused(Error::internal(error.to_string())))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes)
        .map_err(|error| Failure::diverged(format!("a system table is damaged: {error}")))
}

fn decode_row<T: DeserializeOwned>(bytes: Option<Vec<u8>>) -> Result<Option<T>> {
    bytes.map(|bytes| decode(&bytes)).transpose()
}
