//! The way to the cluster: the client library, its failures turned into those of commands.

use std::time::Duration;

use common::Value;
use polylite_client::{Client, Database, Executed, Request, RetryPolicy};
use serde_json::Value as Json;

use crate::arguments::ClientArguments;
use crate::failure::Failure;
use crate::output::RowSet;

pub use polylite_client::segment;

/// About a second: a person who has mistyped an address should not wait longer to hear of it.
const PATIENCE: RetryPolicy =
    RetryPolicy { attempts_max: 6, pause_min: Duration::from_millis(50), pause_max: Duration::from_secs(1) };

/// A cluster by its coordinators. Clones share their connections.
#[derive(Clone)]
pub struct Connection {
    client: Client,
}

/// What a statement answered.
#[derive(Debug, Default)]
pub struct StatementAnswer {
    /// Its rows, if it is one that answers rows.
    pub rows: Option<RowSet>,
    /// Rows inserted, changed or deleted.
    pub affected_rows: u64,
    /// Whether rows were left out because there were too many.
    pub truncated: bool,
}

impl Connection {
    /// The cluster that the flags name. Nothing is sent yet.
    pub fn open(arguments: &ClientArguments) -> Result<Connection, Failure> {
        Connection::to(&arguments.coordinators)
    }

    /// The cluster with these coordinators. Nothing is sent yet.
    pub fn to(coordinators: &[String]) -> Result<Connection, Failure> {
        let addresses = coordinators.iter().map(|address| with_scheme(address));
        let client = Client::builder(addresses).retry(PATIENCE).build()?;
        Ok(Connection { client })
    }

    /// A database, existing or not.
    pub fn database(&self, name: &str) -> Database {
        self.client.database(name)
    }

    /// The answer to GET.
    pub async fn get(&self, path: &str) -> Result<Json, Failure> {
        Ok(self.client.send(&Request::get(path)).await?)
    }

    /// The answer to POST.
    pub async fn post(&self, path: &str, body: &Json) -> Result<Json, Failure> {
        Ok(self.client.send(&Request::post(path, body)?).await?)
    }

    /// The answer to DELETE.
    pub async fn delete(&self, path: &str) -> Result<Json, Failure> {
        Ok(self.client.send(&Request::delete(path)).await?)
    }

    /// Runs one statement.
    pub async fn sql(&self, database: &str, statement: &str) -> Result<StatementAnswer, Failure> {
        self.sql_with(database, statement, &[]).await
    }

    /// Runs one statement with parameters by position.
    pub async fn sql_with(
        &self,
        database: &str,
        statement: &str,
        parameters: &[Value],
    ) -> Result<StatementAnswer, Failure> {
        let mut sql = self.database(database).sql(statement).max_rows(common::limits::ROWS_MAX);
        for parameter in parameters {
            sql = sql.bind(parameter.clone());
        }
        Ok(StatementAnswer::of(sql.execute().await?))
    }
}

impl StatementAnswer {
    /// What a statement did.
    pub fn of(done: Executed) -> StatementAnswer {
        let truncated = done.rows.truncated();
        let columns = done.rows.columns().to_vec();
        let values = done.rows.iter().map(|row| row.values().to_vec()).collect();
        let rows = (!columns.is_empty()).then_some(RowSet { columns, rows: values });
        StatementAnswer { rows, affected_rows: done.affected_rows, truncated }
    }
}

/// `host:port` is taken for `http://host:port`.
fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_scheme() {
        assert_eq!(with_scheme("localhost:5000"), "http://localhost:5000");
        assert_eq!(with_scheme("https://db.example"), "https://db.example");
    }

    #[test]
    fn an_address_that_is_none_is_a_mistake_in_usage() {
        let failure = Connection::to(&["ftp://x".to_owned()]).err().expect("refused");
        assert_eq!(failure.exit_code(), 2, "{}", failure.text());
    }
}
