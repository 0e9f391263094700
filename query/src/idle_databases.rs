//! Databases in which the rows of split tables are made, kept for the next statement: to open one and to make
//! its tables takes longer than most statements do in it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlite::{TrialDatabase, Workspace};

use common::Result;

/// Most that are kept for one version of a schema. Each holds little more than the schema.
const KEPT_MAX: usize = 16;

/// Empty databases with a table each, the ones used lately.
#[derive(Default)]
pub(crate) struct IdleDatabases {
    /// The table that they are made for, by name, and the database.
    idle: Mutex<VecDeque<(String, TrialDatabase)>>,
}

impl IdleDatabases {
    /// One for a table: one that was kept, or else a new one, made by these texts.
    pub(crate) fn take<'t>(
        &self,
        table: &str,
        workspace: &Workspace,
        ddl: impl IntoIterator<Item = &'t str>,
    ) -> Result<TrialDatabase> {
        let kept = {
            let mut idle = self.idle();
            // The one used last is the likeliest to be in the processor's caches.
            let at = idle.iter().rposition(|(name, _)| name == table);
            at.and_then(|at| idle.remove(at))
        };
        if let Some((_, database)) = kept {
            database.wake();
            return Ok(database);
        }
        let mut database = TrialDatabase::to_be_kept(workspace)?;
        for sql in ddl {
            database.create(sql)?;
        }
        Ok(database)
    }

    /// Keeps one for the next statement. Its rows must be undone.
    pub(crate) fn keep(&self, table: &str, database: TrialDatabase) {
        if !database.rest() {
            return;
        }
        let mut idle = self.idle();
        idle.push_back((table.to_owned(), database));
        let too_many = (idle.len() > KEPT_MAX).then(|| idle.pop_front());
        // Closing takes a while, in which nobody should wait.
        drop(idle);
        drop(too_many);
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(String, TrialDatabase)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use common::Value;
    use common::protocol::{Params, Statement};
    use sqlite::{Budget, ForeignKeys, WorkspaceUse};

    use super::*;

    const DDL: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a DEFAULT 7)";

    fn insert(database: &mut TrialDatabase) -> usize {
        let sql = "INSERT INTO t VALUES (?, 1)".to_owned();
        let statement = Statement { sql, params: Params::Positional(vec![Value::Integer(1)]) };
        let trial =
            database.attempt(&[statement.into()], ForeignKeys::Ignored, &Budget::unlimited()).unwrap();
        trial.outcome.unwrap();
        trial.effects.rows.len()
    }

    #[test]
    fn a_kept_database_is_empty_again_and_takes_no_memory() {
        let (idle, workspace) = (IdleDatabases::default(), Workspace::default());
        for _ in 0..3 {
            let mut database = idle.take("t", &workspace, [DDL]).unwrap();
            assert_eq!(workspace.used().databases, 1);
            // The row would violate the primary key if it were still there.
            assert_eq!(insert(&mut database), 1);
            idle.keep("t", database);
            assert_eq!(idle.idle().len(), 1);
            assert_eq!(workspace.used(), WorkspaceUse::default());
        }
        assert!(idle.take("other", &workspace, ["CREATE TABLE other (a)"]).is_ok());
        assert_eq!(idle.idle().len(), 1);
    }

    #[test]
    fn few_are_kept() {
        let (idle, workspace) = (IdleDatabases::default(), Workspace::default());
        let databases: Vec<_> =
            (0..KEPT_MAX + 2).map(|_| idle.take("t", &workspace, [DDL]).unwrap()).collect();
        databases.into_iter().for_each(|database| idle.keep("t", database));
        assert_eq!(idle.idle().len(), KEPT_MAX);
    }
}
