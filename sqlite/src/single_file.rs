//! Plain SQLite as a reference: one database in memory with nothing around it, whose answers ours are
//! compared with.

use common::Value;
use rusqlite::{Connection, params_from_iter};

use crate::binding::values_of;

/// A database of one file, in memory.
pub struct SingleFile {
    connection: Connection,
}

impl SingleFile {
    /// An empty one.
    pub fn new() -> rusqlite::Result<SingleFile> {
        Ok(SingleFile { connection: Connection::open_in_memory()? })
    }

    /// Runs statements that answer nothing, such as DDL.
    pub fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.execute_batch(sql)
    }

    /// Inserts rows of texts, `None` for NULL, which become what the columns' affinities make of them.
    pub fn insert_texts(
        &mut self,
        insert: &str,
        rows: impl IntoIterator<Item = Vec<Option<String>>>,
    ) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction()?;
        let mut count = 0;
        {
            let mut statement = transaction.prepare(insert)?;
            for row in rows {
                count += statement.execute(params_from_iter(row))?;
            }
        }
        transaction.commit()?;
        Ok(count)
    }

    /// All rows that a text answers.
    pub fn query(&self, sql: &str) -> rusqlite::Result<Vec<Vec<Value>>> {
        let mut statement = self.connection.prepare(sql)?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| values_of(row, 0..columns))?;
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_what_their_columns_make_of_them() {
        let mut file = SingleFile::new().unwrap();
        file.run("CREATE TABLE t (a INTEGER, b REAL, c TEXT)").unwrap();
        let row = vec![Some("1".to_owned()), Some("2".to_owned()), None];
        assert_eq!(file.insert_texts("INSERT INTO t VALUES (?, ?, ?)", [row]).unwrap(), 1);
        let found = file.query("SELECT * FROM t").unwrap();
        assert_eq!(found, [[Value::Integer(1), Value::Real(2.0), Value::Null]]);
    }
}
