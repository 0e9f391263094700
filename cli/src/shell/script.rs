//! Scripts: statements one after another, and commands of the shell between them.
//!
//! What a script says between BEGIN and COMMIT is known before it is sent. If it changes the schema, as the dump of a
//! database does, it is sent as one atomic request, since transactions over several requests leave the schema alone.

use super::control::Control;
use super::dot_commands::{self, Next};
use super::session::{Session, at_line, changes_names};
use crate::connection::StatementAnswer;
use crate::failure::Failure;
use crate::statements::{self, ScriptStatement};

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
            if sets_foreign_keys(&statement.text) || sets_counters(&statement.text) {
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
        if !defines || !is_plain {
            return self.run_each(block).await;
        }
        let mut batch = self.connection().database(self.require_database()?).batch();
        batch = batch.max_rows(common::limits::ROWS_MAX);
        for statement in inner {
            batch = batch.sql(&statement.text);
        }
        let answers = batch.run().await.map_err(|error| {
            let at_fault = error.statement.and_then(|index| inner.get(usize::try_from(index).ok()?));
            at_line(error.into(), at_fault.unwrap_or(&block[0]).line)
        })?;
        for answer in answers {
            self.show_answer(&StatementAnswer::of(answer?))?;
        }
        self.refresh_names().await
    }
}

/// Whether a statement turns foreign keys on, which they always are, or off, as dumps begin. Says so if it is to no avail.
fn sets_foreign_keys(statement: &str) -> bool {
    let compact: String = statement.split_ascii_whitespace().collect::<String>().to_ascii_lowercase();
    let Some(value) = compact.strip_prefix("pragmaforeign_keys=") else { return false };
    if matches!(value, "off" | "0" | "false" | "no") {
        eprintln!("note: foreign keys are always enforced; `{}` has no effect", statement.trim());
    }
    true
}

/// Whether a statement sets what AUTOINCREMENT has counted, as dumps end: the rows that are inserted count by themselves.
fn sets_counters(statement: &str) -> bool {
    let words: Vec<String> =
        statement.split_ascii_whitespace().take(4).map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(|word| word.trim_matches('"')).collect();
    let sets = matches!(
        words.as_slice(),
        ["delete", "from", "sqlite_sequence"] | ["insert", "into", "sqlite_sequence", ..]
    );
    if sets && words[0] == "insert" {
        eprintln!(
            "note: rowids of AUTOINCREMENT are counted from the rows; `{}` has no effect",
            statement.trim()
        );
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dumps_say_that_needs_no_doing() {
        assert!(sets_foreign_keys("PRAGMA foreign_keys=OFF"));
        assert!(sets_foreign_keys("pragma foreign_keys = on"));
        assert!(!sets_foreign_keys("PRAGMA foreign_keys"));
        assert!(sets_counters("DELETE FROM sqlite_sequence"));
        assert!(!sets_counters("DELETE FROM sqlite_sequence WHERE name = 't'"));
        assert!(sets_counters("INSERT INTO \"sqlite_sequence\" VALUES('t',3)"));
        assert!(!sets_counters("INSERT INTO t SELECT seq FROM sqlite_sequence"));
    }
}
