//! Scripts: statements one after another, and commands of the shell between them.
//!
//! What a script says between BEGIN and COMMIT is known before it is sent. If it changes the schema, as the dump of a
//! database does, it is sent as one atomic request, since transactions over several requests leave the schema alone.

use super::control::Control;
use super::dot_commands::{self, Next};
use super::dump::{follows_from_rows, foreign_keys_set, tables_first};
use super::session::{Session, at_line, changes_names};
use crate::connection::StatementAnswer;
use crate::failure::Failure;
use crate::statements::{self, ScriptStatement};

/// The code of an error of a foreign key.
const FOREIGN_KEY_VIOLATION: &str = "foreign_key_violation";

/// Goes before a transaction of a script that has turned foreign keys off.
const DEFER_FOREIGN_KEYS: &str = "PRAGMA defer_foreign_keys=ON";

impl Session {
    /// Runs a script: statements, and commands that begin a line with a dot between statements.
    pub async fn run_script(&mut self, script: &str) -> Result<(), Failure> {
        let mut pending = String::new();
        let mut pending_line = 1;
        let mut block = Vec::new();
        for (index, line) in script.lines().enumerate() {
            if line.starts_with('.') && statements::split(&pending).into_all().is_empty() {
                pending.clear();
                // It may depend on what was said before, or change what that is about.
                self.run_each(std::mem::take(&mut block)).await?;
                let next =
                    dot_commands::run(self, line).await.map_err(|failure| at_line(failure, index + 1))?;
                if next == Next::Quit {
                    return Ok(());
                }
                continue;
            }
            if let Some(collection) = self.collection() {
                if !line.trim().is_empty() {
                    let done = self.run_document_line(collection, line).await;
                    done.map_err(|failure| at_line(failure, index + 1))?;
                }
                continue;
            }
            if pending.is_empty() {
                pending_line = index + 1;
            }
            pending.push_str(line);
            pending.push('\n');
            // Only a line with a semicolon can end a statement; the text is looked at no more often than that.
            if line.contains(';') {
                let split = statements::split(&pending);
                let rest = split.rest.clone();
                self.run_all(split.statements, pending_line, &mut block).await?;
                pending_line += rest.as_ref().map_or(0, |rest| rest.line - 1);
                pending = rest.map_or_else(String::new, |rest| format!("{}\n", rest.text));
            }
        }
        self.run_all(statements::split(&pending).into_all(), pending_line, &mut block).await?;
        // A transaction without an end.
        self.run_each(block).await
    }

    /// Runs statements, and takes those of a transaction together in `block` until it ends.
    async fn run_all(
        &mut self,
        all: Vec<ScriptStatement>,
        first_line: usize,
        block: &mut Vec<ScriptStatement>,
    ) -> Result<(), Failure> {
        for mut statement in all {
            statement.line += first_line - 1;
            if let Some(enforced) = foreign_keys_set(&statement.text) {
                // Within a transaction SQLite does not listen.
                if block.is_empty() {
                    self.foreign_keys_wait = !enforced;
                }
                continue;
            }
            if follows_from_rows(&statement.text) {
                continue;
            }
            let control = Control::of(&statement.text);
            let begins = control == Control::Begin && !self.is_in_transaction();
            if block.is_empty() && !begins {
                self.run_each(vec![statement]).await?;
                continue;
            }
            block.push(statement);
            match control {
                Control::Commit => self.run_block(std::mem::take(block)).await?,
                Control::RollBack => self.run_each(std::mem::take(block)).await?,
                Control::Begin | Control::Savepoint | Control::Nothing => {}
            }
        }
        Ok(())
    }

    async fn run_each(&mut self, all: Vec<ScriptStatement>) -> Result<(), Failure> {
        for statement in all {
            let done = self.run_statement(&statement).await;
            done.map_err(|failure| at_line(failure, statement.line))?;
        }
        Ok(())
    }

    /// Runs a transaction, from its BEGIN to its COMMIT.
    async fn run_block(&mut self, block: Vec<ScriptStatement>) -> Result<(), Failure> {
        let inner = &block[1..block.len() - 1];
        let defines = inner.iter().any(|statement| changes_names(&statement.text));
        let is_plain = inner.iter().all(|statement| Control::of(&statement.text) == Control::Nothing);
        let waits = self.foreign_keys_wait;
        if !(defines || waits) || !is_plain {
            return self.run_each(block).await;
        }
        let inner = if waits { tables_first(inner) } else { inner.iter().collect() };
        let mut batch = self.connection().database(self.require_database()?).batch();
        batch = batch.max_rows(common::limits::ROWS_MAX);
        if waits {
            batch = batch.sql(DEFER_FOREIGN_KEYS);
        }
        for statement in &inner {
            batch = batch.sql(&statement.text);
        }
        let answers = batch.run().await.map_err(|error| {
            let index = error.statement.and_then(|index| usize::try_from(index).ok());
            let at_fault = index.and_then(|index| inner.get(index.checked_sub(usize::from(waits))?));
            // What waited is refused by the COMMIT.
            let whole = if error.code == FOREIGN_KEY_VIOLATION { &block[block.len() - 1] } else { &block[0] };
            at_line(error.into(), at_fault.map_or(whole.line, |statement| statement.line))
        })?;
        for answer in answers.into_iter().skip(usize::from(waits)) {
            self.show_answer(&StatementAnswer::of(answer?))?;
        }
        self.refresh_names().await
    }
}
