//! What planning knows of one version of a database.

use std::sync::Arc;

use common::Result;
use common::catalog::Database;

/// Plans statements against one version of a database's schema and partition map. Shared by requests.
pub struct Planner {
    database: Arc<Database>,
}

impl Planner {
    /// Reads the schema into an empty SQLite database and gathers what planning needs of it.
    pub fn new(database: Arc<Database>) -> Result<Planner> {
        Ok(Planner { database })
    }

    /// The database as planned on.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }
}
