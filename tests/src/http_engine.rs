//! A database of a cluster, asked over HTTP, as an engine to be compared.

use differential::{Answer, Answered, Engine, Layout, Refusal};
use polylite_client::{Client, CreateDatabase, Database, Executed};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

/// Most rows of an answer, as many as the interface gives at once.
const ROWS_MAX: u32 = 1_000_000;

/// One database, with a runtime of its own.
pub struct HttpEngine {
    database: Database,
    runtime: Runtime,
}

impl HttpEngine {
    /// Makes an empty database, divided in some way, by a column of its tables if one is named.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn create(coordinators: Vec<String>, name: &str, layout: Layout, key: Option<&str>) -> HttpEngine {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let client = Client::new(coordinators).expect("an address");
        let partition_type = match (layout.buckets, layout.column_groups) {
            (_, 1) => polylite_client::PartitionType::Horizontal,
            (1, _) => polylite_client::PartitionType::Vertical,
            _ => polylite_client::PartitionType::Mixed,
        };
        let mut wanted = CreateDatabase::sql(name).partition_type(partition_type).replication_factor(1);
        if layout.buckets > 1 {
            wanted = wanted.partitions(layout.buckets);
        }
        if let Some(column) = key {
            wanted = wanted.partition_key(column);
        }
        let database = runtime.block_on(client.create_database(&wanted)).expect("a database is made");
        HttpEngine { database, runtime }
    }
}

impl Engine for HttpEngine {
    fn run(&mut self, sql: &str) -> Answered {
        self.runtime
            .block_on(self.database.sql(sql).max_rows(ROWS_MAX).execute())
            .map(answer_of)
            .map_err(refusal_of)
    }

    fn run_all(&mut self, statements: &[String]) -> Vec<Answered> {
        let begun = |sql: &String| sql.trim_start().get(..6).map(str::to_ascii_uppercase);
        let inserts = statements.iter().all(|sql| begun(sql).is_some_and(|word| word == "INSERT"));
        if inserts && statements.len() > 1 {
            let batch = statements.iter().fold(self.database.batch(), |batch, sql| batch.sql(sql));
            // A batch with an error is undone as a whole; each statement is then answered alone.
            if let Ok(executed) = self.runtime.block_on(batch.run()) {
                return executed.into_iter().map(|one| one.map(answer_of).map_err(refusal_of)).collect();
            }
        }
        statements.iter().map(|sql| self.run(sql)).collect()
    }

    fn plan(&mut self, sql: &str) -> Vec<String> {
        let explained = self.runtime.block_on(self.database.explain(sql));
        explained.iter().map(Json::to_string).collect()
    }
}

fn answer_of(executed: Executed) -> Answer {
    assert!(!executed.rows.truncated(), "an answer is too long to be compared");
    Answer {
        columns: executed.rows.columns().to_vec(),
        types: executed.rows.types().to_vec(),
        rows: executed.rows.iter().map(|row| row.values().to_vec()).collect(),
        affected_rows: executed.affected_rows,
        last_insert_rowid: executed.last_insert_rowid,
    }
}

fn refusal_of(error: polylite_client::Error) -> Refusal {
    Refusal { code: error.code, message: error.message }
}
