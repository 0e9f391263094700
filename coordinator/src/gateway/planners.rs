//! Planners, kept per version of a database: making one reads the whole schema into SQLite.

use std::collections::HashMap;
use std::sync::Arc;

use common::catalog::{Catalog, Database};
use common::{PartitionId, Result};
use parking_lot::RwLock;
use query::{Planner, Rules};

use super::Gateway;

/// What a planner depends on. Two databases of one name, one after the other, differ in their partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    schema: u64,
    first_partition: Option<PartitionId>,
    /// Buckets that take the place of others have newer partitions than any before.
    newest_partition: Option<PartitionId>,
    /// Epochs of the same buckets only grow, so their sum changes when any does.
    epochs: u64,
}

impl Version {
    fn of(database: &Database) -> Version {
        Version {
            schema: database.schema.version,
            first_partition: database.partition(0).map(|(_, _, id)| id),
            newest_partition: database.buckets.iter().flat_map(|bucket| &bucket.partitions).max().copied(),
            epochs: database.buckets.iter().map(|bucket| bucket.epoch).sum(),
        }
    }
}

/// The newest planner of each database.
pub struct Planners {
    rules: Rules,
    kept: RwLock<HashMap<String, (Version, Arc<Planner>)>>,
}

impl Planners {
    /// None yet; those to come use `rules`.
    #[must_use]
    pub fn new(rules: Rules) -> Planners {
        Planners { rules, kept: RwLock::default() }
    }

    /// The planner for a database as it is now, if it is made already.
    fn at_hand(&self, database: &Database) -> Option<Arc<Planner>> {
        let kept = self.kept.read();
        let (known, planner) = kept.get(&database.name)?;
        (*known == Version::of(database)).then(|| planner.clone())
    }

    fn keep(&self, planner: &Arc<Planner>) {
        let database = planner.database();
        let mut kept = self.kept.write();
        if let Some((_, older)) = kept.get(&database.name) {
            planner.set_statistics(older.statistics());
        }
        kept.insert(database.name.clone(), (Version::of(database), planner.clone()));
    }

    /// All that are kept.
    pub fn all(&self) -> Vec<Arc<Planner>> {
        self.kept.read().values().map(|(_, planner)| planner.clone()).collect()
    }

    /// Drops planners of databases that are gone.
    pub fn retain(&self, catalog: &Catalog) {
        self.kept.write().retain(|name, _| catalog.databases.contains_key(name));
    }
}

impl Gateway {
    /// The planner for a database as it is now.
    pub(super) async fn planner_of(&self, database: &Database) -> Result<Arc<Planner>> {
        let planners = &self.shared.planners;
        if let Some(planner) = planners.at_hand(database) {
            return Ok(planner);
        }
        let (database, rules) = (Arc::new(database.clone()), planners.rules);
        // Reading a schema of many objects takes SQLite milliseconds.
        let planner = Arc::new(self.compute(move || Planner::new(database, rules)).await?);
        planners.keep(&planner);
        Ok(planner)
    }
}
