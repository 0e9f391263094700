//! Plain SQLite as an engine.

use sqlite::single_file::SingleFile;

use crate::answer::{Answer, Answered, Engine};
use crate::batch;

/// One SQLite file in memory.
pub struct Reference {
    file: SingleFile,
}

impl Reference {
    /// An empty one.
    ///
    /// # Panics
    /// If SQLite does not work.
    #[must_use]
    pub fn new() -> Reference {
        Reference { file: SingleFile::new().expect("SQLite works") }
    }

    /// Whether rows are visited backwards where a statement does not say how.
    ///
    /// # Panics
    /// If SQLite does not work.
    pub fn visit_backwards(&self, backwards: bool) {
        self.file.visit_backwards(backwards).expect("SQLite has this setting");
    }
}

impl Default for Reference {
    fn default() -> Self {
        Reference::new()
    }
}

impl Engine for Reference {
    fn run(&mut self, sql: &str) -> Answered {
        if let Some(statements) = batch::statements(sql) {
            return batch::answered(self.file.execute_all(&statements));
        }
        Answer::of(self.file.execute(sql)?)
    }

    fn plan(&mut self, sql: &str) -> Vec<String> {
        let explained = self.run(&format!("EXPLAIN QUERY PLAN {sql}"));
        explained
            .map_or_else(|_| Vec::new(), |answer| answer.rows.iter().map(|row| format!("{row:?}")).collect())
    }
}
