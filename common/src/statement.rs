//! Statements, and what they answer.

use serde::{Deserialize, Serialize};

use crate::Value;
use crate::row::RowBlock;

/// Parameters of a statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Params {
    /// None.
    #[default]
    None,
    /// For `?` and `?NNN`, in order.
    Positional(Vec<Value>),
    /// For `:name`, `@name` and `$name`; names are given without their first character.
    Named(Vec<(String, Value)>),
}

/// One SQL statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// Its parameters.
    pub params: Params,
}

/// What a statement answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementResult {
    /// Whether it only read.
    pub is_read: bool,
    /// Names of the columns; empty for a write without RETURNING.
    pub columns: Vec<String>,
    /// Declared types of the columns, `""` for expressions.
    pub types: Vec<String>,
    /// The rows.
    pub rows: RowBlock,
    /// Whether rows were left out for a limit.
    pub truncated: bool,
    /// Rows inserted, changed or deleted by the statement itself (not by triggers or foreign keys).
    pub affected_rows: u64,
    /// Rowid of the last row inserted by it.
    pub last_insert_rowid: Option<i64>,
}

impl StatementResult {
    /// Leaves out the rows past a limit, and says so.
    pub fn cut(&mut self, max_rows: u32) {
        if self.rows.rows <= max_rows {
            return;
        }
        self.truncated = true;
        if let Ok(mut rows) = self.rows.to_values() {
            rows.truncate(max_rows as usize);
            self.rows = RowBlock::from_values(self.columns.len(), &rows);
        }
    }
}
