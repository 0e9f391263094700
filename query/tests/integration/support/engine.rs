//! Partitions in this process as an engine to be compared.

use std::sync::Arc;

use differential::{Answer, Answered, Engine, batch};
use query::{PartitionAccess as _, Rules, Statistics};
use tokio::runtime::Runtime;

use super::Cluster;

/// A cluster with a runtime of its own.
pub struct Partitions {
    cluster: Cluster,
    runtime: Runtime,
}

impl Partitions {
    /// Partitions that hand out the rowids of deleted rows again, as one file does.
    pub fn new(mut cluster: Cluster) -> Partitions {
        cluster.reuses_rowids = true;
        // One file is what answers are compared with.
        cluster.set_rules(Rules::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        Partitions { cluster, runtime }
    }

    /// Takes these shortcuts and no others.
    pub fn set_rules(&mut self, rules: Rules) {
        self.cluster.set_rules(rules);
    }

    /// Takes these shortcuts and no others, knowing how many rows there are.
    pub fn set_rules_and_statistics(&mut self, rules: Rules, statistics: &Arc<Statistics>) {
        self.set_rules(rules);
        self.cluster.planner().set_statistics(Arc::clone(statistics));
    }

    /// How many rows there are.
    pub fn statistics(&self) -> Arc<Statistics> {
        Arc::new(self.cluster.statistics())
    }

    /// Makes tables that are declared as in a request.
    pub fn declare(&mut self, tables: &serde_json::Value) {
        let change = query::schema::declare_tables(&self.cluster.database(), tables).unwrap();
        self.runtime.block_on(self.cluster.change_schema(change)).unwrap();
    }

    /// The texts that define the tables.
    pub fn definitions(&self) -> Vec<String> {
        self.cluster.database().schema.objects.iter().map(|object| object.sql.clone()).collect()
    }
}

impl Engine for Partitions {
    fn run(&mut self, sql: &str) -> Answered {
        if let Some(statements) = batch::statements(sql) {
            return batch::answered(self.runtime.block_on(self.cluster.batch(&statements)));
        }
        Answer::of(self.runtime.block_on(self.cluster.sql(sql))?)
    }

    fn plan(&mut self, sql: &str) -> Vec<String> {
        let statement =
            common::protocol::Statement { sql: sql.to_owned(), params: common::protocol::Params::None };
        self.cluster.planner().describe(&statement).map_or_else(|_| Vec::new(), |plan| plan.lines())
    }
}
