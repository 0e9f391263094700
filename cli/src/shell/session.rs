//! A session: the database in use, how answers are shown, and statements run one after another.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use super::completion::Names;
use super::control::Control;
use crate::commands::docs;
use crate::connection::{Connection, StatementAnswer, segment};
use crate::failure::Failure;
use crate::output::{OutputFormat, RowSet};
use crate::statements::{self, ScriptStatement};
use polylite_client::{Transaction, TransactionOptions};

/// What a shell or a script carries from statement to statement.
pub struct Session {
    connection: Connection,
    database: Option<String>,
    /// The transaction that was begun and has not ended.
    transaction: Option<Transaction>,
    names: Arc<Names>,
    /// The collection of the document mode.
    collection: Option<String>,
    /// Whether a script has turned foreign keys off: they then wait for the end of each transaction.
    pub(super) foreign_keys_wait: bool,
    /// How rows are shown.
    pub mode: OutputFormat,
    /// Whether names of columns are shown where the mode can do without.
    pub headers: bool,
    /// Whether the time that a statement took is shown.
    pub timer: bool,
}

impl Session {
    /// A session on a database, or on none yet.
    pub fn new(connection: Connection, database: Option<String>, mode: OutputFormat) -> Session {
        Session {
            connection,
            database,
            transaction: None,
            names: Arc::default(),
            collection: None,
            foreign_keys_wait: false,
            mode,
            headers: true,
            timer: false,
        }
    }

    /// The server.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The database in use.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The database in use, or the failure that there is none.
    pub fn require_database(&self) -> Result<&str, Failure> {
        self.database.as_deref().ok_or_else(|| {
            Failure::usage("no database chosen").with_hint("add --db-name N, or .use N in the shell")
        })
    }

    /// Names for completion.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    /// Whether a transaction was begun and has not ended.
    pub fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Changes to another database, which must exist.
    pub async fn use_database(&mut self, name: &str) -> Result<(), Failure> {
        if self.is_in_transaction() {
            return Err(Failure::refused("a transaction is open").with_hint("COMMIT or ROLLBACK it first"));
        }
        self.connection.get(&format!("/databases/{}", segment(name))).await?;
        self.database = Some(name.to_owned());
        self.refresh_names().await
    }

    /// The collection of the document mode, if that is on.
    pub fn collection(&self) -> Option<&str> {
        self.collection.as_deref()
    }

    /// Turns the document mode on for a collection, or off.
    pub fn use_collection(&mut self, name: Option<&str>) -> Result<(), Failure> {
        self.require_database()?;
        self.collection = name.map(str::to_owned);
        Ok(())
    }

    /// Runs a line of the document mode.
    pub(super) async fn run_document_line(&self, collection: &str, line: &str) -> Result<(), Failure> {
        let request = docs::parse_line(line)?;
        let place = docs::Collection { database: self.require_database()?, name: collection };
        let form = Some(self.mode).filter(|mode| *mode != OutputFormat::Table);
        self.print(&docs::perform(&self.connection, place, &request, form).await?)
    }

    /// Runs every statement of a text, or the line of the document mode that it is.
    pub async fn run_statements(&mut self, text: &str) -> Result<(), Failure> {
        if let Some(collection) = self.collection() {
            return self.run_document_line(collection, text).await;
        }
        let all = statements::split(text).into_all();
        let several = all.len() > 1;
        for statement in all {
            let done = self.run_statement(&statement).await;
            done.map_err(|failure| if several { at_line(failure, statement.line) } else { failure })?;
        }
        Ok(())
    }

    /// Runs a statement and shows its answer.
    pub(super) async fn run_statement(&mut self, statement: &ScriptStatement) -> Result<(), Failure> {
        let started = Instant::now();
        if self.control_transaction(&statement.text).await? {
            return Ok(());
        }
        let answer = match &self.transaction {
            Some(transaction) => self.within(transaction, &statement.text).await?,
            None => self.connection.sql(self.require_database()?, &statement.text).await?,
        };
        self.show_answer(&answer)?;
        if self.timer {
            self.print(&format!("Time: {:.3} s\n", started.elapsed().as_secs_f64()))?;
        }
        if changes_names(&statement.text) {
            self.refresh_names().await?;
        }
        Ok(())
    }

    /// Begins or ends the transaction, or moves among its savepoints, if the statement asks for that.
    async fn control_transaction(&mut self, statement: &str) -> Result<bool, Failure> {
        match (Control::of(statement), &self.transaction) {
            (Control::Begin, None) => {
                let database = self.connection.database(self.require_database()?);
                self.transaction = Some(database.begin(TransactionOptions::default()).await?);
            }
            (Control::Commit, Some(transaction)) => {
                let committed = transaction.commit().await;
                // Whatever became of it, it is over.
                self.transaction = None;
                committed?;
            }
            (Control::RollBack, Some(transaction)) => {
                let rolled_back = transaction.roll_back().await;
                self.transaction = None;
                rolled_back?;
            }
            (Control::Savepoint, Some(transaction)) => {
                self.within(transaction, statement).await?;
            }
            (Control::Commit | Control::RollBack | Control::Savepoint, None) => {
                return Err(Failure::refused("no transaction is open").with_hint("begin one with BEGIN"));
            }
            (Control::Begin, Some(_)) | (Control::Nothing, _) => return Ok(false),
        }
        Ok(true)
    }

    async fn within(&self, transaction: &Transaction, statement: &str) -> Result<StatementAnswer, Failure> {
        Ok(StatementAnswer::of(
            transaction.sql(statement).max_rows(common::limits::ROWS_MAX).execute().await?,
        ))
    }

    /// The rows of a statement of the shell's own.
    pub async fn rows(&self, statement: &str) -> Result<RowSet, Failure> {
        let answer = self.connection.sql(self.require_database()?, statement).await?;
        Ok(answer.rows.unwrap_or_default())
    }

    /// Shows rows in the mode chosen.
    pub fn show(&self, rows: &RowSet) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        rows.write(self.mode, self.headers, &mut out)?;
        Ok(out.flush()?)
    }

    /// Prints a text.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    pub(super) fn show_answer(&self, answer: &StatementAnswer) -> Result<(), Failure> {
        if let Some(rows) = &answer.rows {
            self.show(rows)?;
        } else {
            let affected = answer.affected_rows;
            match self.mode {
                OutputFormat::Json => self.print(&format!("{{\"affected_rows\":{affected}}}\n"))?,
                OutputFormat::Csv => {}
                OutputFormat::Table | OutputFormat::Line => {
                    let noun = if affected == 1 { "row" } else { "rows" };
                    self.print(&format!("{affected} {noun} affected.\n"))?;
                }
            }
        }
        if answer.truncated {
            eprintln!("The answer was cut: it has more rows than one answer holds.");
            eprintln!("hint: add LIMIT, or use `polylite export`");
        }
        Ok(())
    }

    /// Learns the names of tables and columns again.
    pub async fn refresh_names(&mut self) -> Result<(), Failure> {
        let Some(database) = &self.database else { return Ok(()) };
        let answer = self.connection.get(&format!("/databases/{}/tables", segment(database))).await?;
        let tables = answer["tables"].as_array().into_iter().flatten().filter_map(|table| {
            let columns = table["columns"].as_array().into_iter().flatten();
            let columns = columns.filter_map(|column| column["name"].as_str()).map(str::to_owned);
            Some((table["name"].as_str()?.to_owned(), columns.collect()))
        });
        self.names = Arc::new(Names { tables: tables.collect() });
        Ok(())
    }
}

pub(super) fn at_line(failure: Failure, line: usize) -> Failure {
    failure.while_doing(format_args!("line {line}"))
}

/// Whether a statement may add or remove a table or a column.
pub(super) fn changes_names(statement: &str) -> bool {
    let first: String =
        statement.trim_start().chars().take_while(|character| character.is_alphabetic()).collect();
    ["CREATE", "ALTER", "DROP"].iter().any(|word| first.eq_ignore_ascii_case(word))
}
