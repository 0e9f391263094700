//! Plain SQLite as a measure: what one file takes when every commit is synced, with nothing around it.

use std::path::Path;

use rusqlite::{Connection, params};

/// The text of a row, which makes it about 100 bytes long: the size that systems are usually compared at.
#[must_use]
pub fn row_text(number: u64) -> String {
    format!("name of row {number:0>72}")
}

/// A table in a file of its own, in WAL mode, synced at every commit.
pub struct SyncedTable {
    connection: Connection,
    next: i64,
}

impl SyncedTable {
    /// Makes the file, which must not exist.
    pub fn create(path: &Path) -> rusqlite::Result<SyncedTable> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount REAL)",
        )?;
        Ok(SyncedTable { connection, next: 1 })
    }

    /// Inserts `rows` rows in one commit.
    pub fn insert(&mut self, rows: u64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO rows VALUES (?1, ?2, ?3)")?;
            for _ in 0..rows {
                insert.execute(params![self.next, row_text(self.next.unsigned_abs()), 0.5])?;
                self.next += 1;
            }
        }
        transaction.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_there_after_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = SyncedTable::create(&folder.path().join("a.db")).unwrap();
        table.insert(1).unwrap();
        table.insert(9).unwrap();
        let count: i64 =
            table.connection.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 10);
    }
}
