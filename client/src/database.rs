//! A database: SQL, query objects, tables, and the way to its collections.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::client::Client;
use crate::collection::{Collection, DocumentId};
use crate::declaration::Table;
use crate::error::Result;
use crate::http::{Request, Transport, segment};
use crate::sql::{Batch, Sql};

/// A database of the cluster; made by [`Client::database`], which asks nobody whether it exists.
#[derive(Clone)]
pub struct Database {
    client: Client,
    name: String,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Database").field(&self.name).finish()
    }
}

impl Database {
    pub(crate) fn new(client: Client, name: String) -> Database {
        Database { client, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn transport(&self) -> &Transport {
        self.client.transport()
    }

    /// The path of one of its routes.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/databases/{}{rest}", segment(&self.name))
    }

    /// An SQL statement; its values are bound, never written into the text.
    pub fn sql(&self, text: impl Into<String>) -> Sql {
        Sql::new(self.clone(), text.into())
    }

    /// Several SQL statements together: all are applied or none.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// A collection of documents; it comes to be with its first document.
    #[must_use]
    pub fn collection(&self, name: impl Into<String>) -> Collection {
        Collection::new(self.clone(), name.into())
    }

    /// Names of the collections with the number of their documents.
    pub async fn collections(&self) -> Result<Vec<CollectionInfo>> {
        #[derive(Deserialize)]
        struct Answer {
            collections: Vec<CollectionInfo>,
        }
        let request = Request::get(self.path("/collections"));
        Ok(self.transport().json::<Answer>(&request).await?.collections)
    }

    /// What the catalog says of it, as in `GET /databases/{db}`.
    pub async fn describe(&self) -> Result<DatabaseInfo> {
        #[derive(Deserialize)]
        struct Answer {
            database: DatabaseInfo,
        }
        Ok(self.transport().json::<Answer>(&Request::get(self.path(""))).await?.database)
    }

    /// Adds a table.
    pub async fn create_table(&self, table: &Table) -> Result<()> {
        self.transport().bytes(&Request::post(self.path("/tables"), table)?).await.map(drop)
    }

    /// How a statement would be carried out, as a tree.
    pub async fn explain(&self, sql: &str) -> Result<Json> {
        self.transport().json(&Request::post(self.path("/explain"), &json!({"sql": sql}))?.reads()).await
    }

    /// Runs a statement that reads and tells what each step of it took, as a tree.
    pub async fn analyze(&self, sql: &str) -> Result<Json> {
        let request = Request::post(self.path("/explain"), &json!({"sql": sql, "analyze": true}))?;
        self.transport().json(&request.reads()).await
    }

    /// Drops the database with all its data.
    pub async fn drop_database(&self) -> Result<()> {
        self.transport().bytes(&Request::delete(self.path(""))).await.map(drop)
    }

    /// Runs a query object, as query files hold them.
    pub async fn query_object(&self, query: &Json) -> Result<QueryResult> {
        let path = format!("/query/{}", segment(&self.name));
        let mut request = Request::post(path, query)?;
        if matches!(query.get("operation").and_then(Json::as_str), Some("get" | "query")) {
            request = request.reads();
        }
        self.transport().json(&request).await
    }

    /// Rows of a table.
    pub async fn sql_query(&self, table: &str, select: &Select) -> Result<QueryResult> {
        let mut query = object("query", "table", table);
        insert_if_some(&mut query, "columns", select.columns.as_ref().map(|columns| json!(columns)));
        insert_if_some(&mut query, "where", select.conditions.clone());
        insert_if_some(&mut query, "order_by", select.order_by.as_ref().map(|order| json!(order)));
        insert_if_some(&mut query, "limit", select.limit.map(|limit| json!(limit)));
        self.query_object(&Json::Object(query)).await
    }

    /// Inserts a row into a table.
    pub async fn sql_insert(&self, table: &str, values: Json) -> Result<QueryResult> {
        let mut query = object("insert", "table", table);
        query.insert("values".to_owned(), values);
        self.query_object(&Json::Object(query)).await
    }

    /// Changes the rows of a table that fulfil all conditions; without any, every row.
    pub async fn sql_update(
        &self,
        table: &str,
        values: Json,
        conditions: Option<Json>,
    ) -> Result<QueryResult> {
        let mut query = object("update", "table", table);
        query.insert("values".to_owned(), values);
        insert_if_some(&mut query, "where", conditions);
        self.query_object(&Json::Object(query)).await
    }

    /// Deletes the rows of a table that fulfil all conditions; without any, every row.
    pub async fn sql_delete(&self, table: &str, conditions: Option<Json>) -> Result<QueryResult> {
        let mut query = object("delete", "table", table);
        insert_if_some(&mut query, "where", conditions);
        self.query_object(&Json::Object(query)).await
    }

    /// The document with an id, or those that fulfil all conditions.
    pub async fn nosql_get(&self, collection: &str, which: Which) -> Result<QueryResult> {
        let mut query = object("get", "collection", collection);
        which.put_into(&mut query);
        self.query_object(&Json::Object(query)).await
    }

    /// Inserts a document.
    pub async fn nosql_insert(&self, collection: &str, document: Json) -> Result<QueryResult> {
        let mut query = object("insert", "collection", collection);
        query.insert("document".to_owned(), document);
        self.query_object(&Json::Object(query)).await
    }

    /// Changes documents.
    pub async fn nosql_update(&self, collection: &str, document: Json, which: Which) -> Result<QueryResult> {
        let mut query = object("update", "collection", collection);
        query.insert("document".to_owned(), document);
        which.put_into(&mut query);
        self.query_object(&Json::Object(query)).await
    }

    /// Deletes documents.
    pub async fn nosql_delete(&self, collection: &str, which: Which) -> Result<QueryResult> {
        let mut query = object("delete", "collection", collection);
        which.put_into(&mut query);
        self.query_object(&Json::Object(query)).await
    }
}

fn object(operation: &str, kind: &str, name: &str) -> Map<String, Json> {
    Map::from_iter([("operation".to_owned(), json!(operation)), (kind.to_owned(), json!(name))])
}

fn insert_if_some(query: &mut Map<String, Json>, field: &str, value: Option<Json>) {
    if let Some(value) = value {
        query.insert(field.to_owned(), value);
    }
}

/// What [`Database::sql_query`] selects.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// The columns; all if `None`.
    pub columns: Option<Vec<String>>,
    /// Conditions by column, all of which must hold: a value, or an object of `$lt`, `$lte`, `$gt`, `$gte`
    /// and `$ne`.
    pub conditions: Option<Json>,
    /// `column [ASC|DESC]`, or a list of them with commas.
    pub order_by: Option<String>,
    /// Most rows.
    pub limit: Option<u64>,
}

/// Which documents a query object is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Which {
    /// The one with this id.
    Id(DocumentId),
    /// Those whose attributes equal these.
    Where(Json),
}

impl Which {
    fn put_into(self, query: &mut Map<String, Json>) {
        match self {
            Which::Id(id) => query.insert("id".to_owned(), json!(id)),
            Which::Where(conditions) => query.insert("where".to_owned(), conditions),
        };
    }
}

/// What a query object answered.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct QueryResult {
    /// Rows or documents, or what was inserted.
    #[serde(default)]
    pub data: Json,
    /// Rows or documents that were changed.
    #[serde(default)]
    pub affected_rows: u64,
    /// Whether the answer came from the coordinator's cache.
    #[serde(default)]
    pub cached: bool,
}

/// A database as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// `SQL` or `NOSQL`.
    pub db_type: String,
    /// `HORIZONTAL`, `VERTICAL` or `MIXED`.
    pub partition_type: String,
    /// The column or attribute that decides where a row lives.
    #[serde(default)]
    pub partition_key: Option<String>,
    /// Its tables.
    #[serde(default)]
    pub tables: Vec<Table>,
    /// What else the server says.
    #[serde(flatten)]
    pub more: Map<String, Json>,
}

/// A collection and its size.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// Number of its documents.
    #[serde(default)]
    pub count: u64,
}
