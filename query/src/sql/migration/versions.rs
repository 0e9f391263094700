//! The schema as the statements of a request find it, one after another.

use std::sync::{Arc, OnceLock};

use common::Result;
use common::catalog::Database;
use common::schema::Schema;

use crate::Planner;
use crate::plan::Rules;

/// The schemas before and after each change, the first one that of the request.
pub(super) struct Versions<'a> {
    first: &'a Planner,
    /// What rows are placed by before the first change, if that is not the request's own: an index under construction
    /// goes with any change of the schema, so that its entries need no care.
    first_settled: Option<Version>,
    later: Vec<Version>,
}

struct Version {
    database: Arc<Database>,
    /// Made when it is asked for: most changes of a dump are followed by another one.
    planner: OnceLock<Planner>,
}

impl Version {
    fn of(database: &Database, schema: Schema) -> Version {
        Version { database: Arc::new(Database { schema, ..database.clone() }), planner: OnceLock::new() }
    }

    fn planner(&self) -> Result<&Planner> {
        if let Some(planner) = self.planner.get() {
            return Ok(planner);
        }
        // What it plans is computed anyway.
        let planner = Planner::new(Arc::clone(&self.database), Rules::none())?;
        Ok(self.planner.get_or_init(|| planner))
    }
}

impl<'a> Versions<'a> {
    pub(super) fn beginning_with(first: &'a Planner) -> Versions<'a> {
        let database = first.database();
        let mut schema = database.schema.clone();
        for spec in schema.tables.values_mut() {
            spec.global_indexes.retain(|index| !index.building);
        }
        let is_settled = schema == database.schema;
        let first_settled = (!is_settled).then(|| Version::of(database, schema));
        Versions { first, first_settled, later: Vec::new() }
    }

    /// The number of the newest.
    pub(super) fn newest(&self) -> usize {
        self.later.len()
    }

    pub(super) fn push(&mut self, schema: Schema) {
        self.later.push(Version::of(self.first.database(), schema));
    }

    pub(super) fn database(&self, number: usize) -> &Arc<Database> {
        match number.checked_sub(1) {
            None => self.first.database(),
            Some(later) => &self.later[later].database,
        }
    }

    /// What statements are planned by, and rows placed.
    pub(super) fn planner(&self, number: usize) -> Result<&Planner> {
        match (number.checked_sub(1), &self.first_settled) {
            (None, None) => Ok(self.first),
            (None, Some(settled)) => settled.planner(),
            (Some(later), _) => self.later[later].planner(),
        }
    }
}
