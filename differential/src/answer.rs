//! What a database answers to a statement, whatever carries the answer.

use common::Value;
use common::protocol::StatementResult;

/// What a statement did and answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Declared types of the columns, `""` for expressions.
    pub types: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
    /// Rows inserted, changed or deleted by the statement itself.
    pub affected_rows: u64,
    /// Rowid of the last row that it inserted.
    pub last_insert_rowid: Option<i64>,
}

/// Why a statement was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable word for the kind of error.
    pub code: String,
    /// The text for people: SQLite's own, where SQLite would refuse it too.
    pub message: String,
}

/// An answer or a refusal.
pub type Answered = Result<Answer, Refusal>;

/// A database that runs statements one after the other.
pub trait Engine {
    /// Runs one statement in a transaction of its own.
    fn run(&mut self, sql: &str) -> Answered;

    /// Runs statements of which none depends on the answer of another; an engine may send them together if
    /// each is answered as if it had come alone.
    fn run_all(&mut self, statements: &[String]) -> Vec<Answered> {
        statements.iter().map(|sql| self.run(sql)).collect()
    }

    /// How it would run a statement, to be told beside a difference.
    fn plan(&mut self, sql: &str) -> Vec<String>;
}

impl Answer {
    /// The answer of a partition or a planner; what is too long to be compared counts as refused.
    ///
    /// # Errors
    /// If it was cut.
    ///
    /// # Panics
    /// If its rows are malformed.
    pub fn of(result: StatementResult) -> Answered {
        if result.truncated {
            let message = "the answer is too long to be compared".to_owned();
            return Err(Refusal { code: "result_too_big".to_owned(), message });
        }
        Ok(Answer {
            rows: result.rows.to_values().expect("rows are as they were encoded"),
            columns: result.columns,
            types: result.types,
            affected_rows: result.affected_rows,
            last_insert_rowid: result.last_insert_rowid,
        })
    }
}

impl From<common::Error> for Refusal {
    fn from(error: common::Error) -> Refusal {
        Refusal { code: error.code.as_str().to_owned(), message: error.message }
    }
}
