//! Documents.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::database::Database;
use crate::error::{ErrorCode, Result};
use crate::http::{Request, segment};

/// A document's `_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DocumentId {
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
}

impl DocumentId {
    /// As it stands in a path. Text is put in quotes where it would be read as something else: as a number, as
    /// quotes around another text, as no segment at all, or as a step within the path.
    fn to_segment(&self) -> String {
        match self {
            DocumentId::Integer(number) => number.to_string(),
            DocumentId::Text(text) if needs_quotes(text) => segment(&format!("\"{text}\"")),
            DocumentId::Text(text) => segment(text),
        }
    }
}

fn needs_quotes(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('"') || [".", ".."].contains(&text)
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentId::Integer(number) => number.fmt(f),
            DocumentId::Text(text) => text.fmt(f),
        }
    }
}

impl From<i64> for DocumentId {
    fn from(number: i64) -> Self {
        DocumentId::Integer(number)
    }
}

impl From<&str> for DocumentId {
    fn from(text: &str) -> Self {
        DocumentId::Text(text.to_owned())
    }
}

impl From<String> for DocumentId {
    fn from(text: String) -> Self {
        DocumentId::Text(text)
    }
}

/// What an update did.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Updated {
    /// Documents that matched the filter.
    pub matched: u64,
    /// Documents that were changed.
    pub modified: u64,
    /// Id of the document that was made because none matched.
    #[serde(default)]
    pub upserted_id: Option<DocumentId>,
}

/// A collection of documents; made by [`Database::collection`].
///
/// A filter is an object of MongoDB's query language, or text like `role == "Dev" and age > 30`.
///
/// ```no_run
/// # async fn example(database: polylite_client::Database) -> polylite_client::Result<()> {
/// use serde_json::json;
///
/// let people = database.collection("people");
/// let id = people.insert(&json!({"name": "Ada", "age": 36})).await?;
/// people.patch(id.clone(), &json!({"age": 37})).await?;
/// let adults: Vec<serde_json::Value> =
///     people.find(json!({"age": {"$gte": 18}})).sort(json!({"name": 1})).limit(10).run().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Collection {
    database: Database,
    name: String,
    /// The transaction that its requests belong to.
    transaction: Option<String>,
}

impl Collection {
    pub(crate) fn new(database: Database, name: String) -> Collection {
        Collection { database, name, transaction: None }
    }

    /// The same as a part of an open transaction.
    pub(crate) fn within(self, transaction: &str) -> Collection {
        Collection { transaction: Some(transaction.to_owned()), ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, rest: &str) -> String {
        self.database.path(&format!("/collections/{}{rest}", segment(&self.name)))
    }

    fn document_path(&self, id: &DocumentId) -> String {
        self.path(&format!("/documents/{}", id.to_segment()))
    }

    async fn send<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        self.database.transport().json(&self.addressed(request)).await
    }

    async fn send_for_nothing(&self, request: Request) -> Result<()> {
        self.database.transport().bytes(&self.addressed(request)).await.map(drop)
    }

    /// Names the transaction in a request.
    fn addressed(&self, request: Request) -> Request {
        match &self.transaction {
            // What happens once is the transaction's commit.
            Some(transaction) => request.query("transaction", transaction).unnamed().of_transaction(),
            None => request,
        }
    }

    /// Inserts a document; without an `_id` of its own it is given one.
    pub async fn insert(&self, document: &impl Serialize) -> Result<DocumentId> {
        #[derive(Deserialize)]
        struct Answer {
            id: DocumentId,
        }
        Ok(self.send::<Answer>(Request::post(self.path("/documents"), document)?).await?.id)
    }

    /// Inserts several documents: all or none.
    pub async fn insert_many<T: Serialize>(&self, documents: &[T]) -> Result<Vec<DocumentId>> {
        #[derive(Deserialize)]
        struct Answer {
            ids: Vec<DocumentId>,
        }
        let body = json_of("documents", &documents)?;
        Ok(self.send::<Answer>(Request::post(self.path("/documents"), &body)?).await?.ids)
    }

    /// The document with an id, if there is one.
    pub async fn get<T: DeserializeOwned>(&self, id: impl Into<DocumentId>) -> Result<Option<T>> {
        let request = Request::get(self.document_path(&id.into()));
        match self.send::<OneDocument<T>>(request).await {
            Ok(answer) => Ok(Some(answer.document)),
            Err(error)
                if error.is(ErrorCode::DocumentNotFound) || error.is(ErrorCode::CollectionNotFound) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the document with an id, or creates it. Answers it as stored.
    pub async fn put(&self, id: impl Into<DocumentId>, document: &impl Serialize) -> Result<Json> {
        let request = Request::new(http::Method::PUT, self.document_path(&id.into())).json(document)?;
        Ok(self.send::<OneDocument<Json>>(request).await?.document)
    }

    /// Changes a document: by a merge patch (RFC 7396), or by operators as `{"$inc": {"age": 1}}`. Answers it
    /// as stored.
    pub async fn patch(&self, id: impl Into<DocumentId>, change: &impl Serialize) -> Result<Json> {
        let request = Request::new(http::Method::PATCH, self.document_path(&id.into())).json(change)?;
        Ok(self.send::<OneDocument<Json>>(request).await?.document)
    }

    /// Deletes the document with an id. Answers whether there was one.
    pub async fn delete(&self, id: impl Into<DocumentId>) -> Result<bool> {
        match self.send_for_nothing(Request::delete(self.document_path(&id.into()))).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(ErrorCode::DocumentNotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Documents that a filter matches.
    pub fn find(&self, filter: impl Into<Json>) -> Find {
        Find { collection: self.clone(), body: Map::from_iter([("filter".to_owned(), filter.into())]) }
    }

    /// Number of documents that a filter matches.
    pub async fn count(&self, filter: impl Into<Json>) -> Result<u64> {
        #[derive(Deserialize)]
        struct Answer {
            count: u64,
        }
        let request = Request::post(self.path("/count"), &json!({"filter": filter.into()}))?.reads();
        Ok(self.send::<Answer>(request).await?.count)
    }

    /// The values that a field has in the documents that a filter matches, each once.
    pub async fn distinct(&self, field: &str, filter: impl Into<Json>) -> Result<Vec<Json>> {
        #[derive(Deserialize)]
        struct Answer {
            values: Vec<Json>,
        }
        let body = json!({"field": field, "filter": filter.into()});
        Ok(self.send::<Answer>(Request::post(self.path("/distinct"), &body)?.reads()).await?.values)
    }

    /// What a pipeline makes of the documents.
    pub async fn aggregate<T: DeserializeOwned>(&self, pipeline: &[Json]) -> Result<Vec<T>> {
        let request = Request::post(self.path("/aggregate"), &json!({"pipeline": pipeline}))?;
        Ok(self.send::<Documents<T>>(request.reads()).await?.documents)
    }

    /// Changes every document that a filter matches.
    pub async fn update_many(&self, filter: impl Into<Json>, update: impl Into<Json>) -> Result<Updated> {
        self.update(filter, update, true, false).await
    }

    /// Changes one document that a filter matches.
    pub async fn update_one(&self, filter: impl Into<Json>, update: impl Into<Json>) -> Result<Updated> {
        self.update(filter, update, false, false).await
    }

    /// Changes one or all documents that a filter matches; with `upsert`, makes one if there is none.
    pub async fn update(
        &self,
        filter: impl Into<Json>,
        update: impl Into<Json>,
        multi: bool,
        upsert: bool,
    ) -> Result<Updated> {
        let body =
            json!({"filter": filter.into(), "update": update.into(), "multi": multi, "upsert": upsert});
        self.send(Request::post(self.path("/update"), &body)?).await
    }

    /// Deletes every document that a filter matches. Answers how many.
    pub async fn delete_many(&self, filter: impl Into<Json>) -> Result<u64> {
        self.delete_matching(filter.into(), true).await
    }

    /// Deletes one document that a filter matches. Answers how many.
    pub async fn delete_one(&self, filter: impl Into<Json>) -> Result<u64> {
        self.delete_matching(filter.into(), false).await
    }

    async fn delete_matching(&self, filter: Json, multi: bool) -> Result<u64> {
        #[derive(Deserialize)]
        struct Answer {
            deleted: u64,
        }
        let request = Request::post(self.path("/delete"), &json!({"filter": filter, "multi": multi}))?;
        Ok(self.send::<Answer>(request).await?.deleted)
    }

    /// Makes an index.
    pub async fn create_index(&self, name: &str, fields: &[&str], unique: bool) -> Result<()> {
        let body = json!({"name": name, "fields": fields, "unique": unique});
        self.send_for_nothing(Request::post(self.path("/indexes"), &body)?).await
    }

    /// Drops the collection with all its documents.
    pub async fn drop_collection(&self) -> Result<()> {
        self.send_for_nothing(Request::delete(self.path(""))).await
    }
}

#[derive(Deserialize)]
struct OneDocument<T> {
    document: T,
}

#[derive(Deserialize)]
struct Documents<T> {
    documents: Vec<T>,
}

fn json_of(field: &str, value: &impl Serialize) -> Result<Json> {
    let value = serde_json::to_value(value)
        .map_err(|error| crate::Error::invalid_use(format!("this cannot be sent as JSON: {error}")))?;
    Ok(Json::Object(Map::from_iter([(field.to_owned(), value)])))
}

/// A search; made by [`Collection::find`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before run"]
pub struct Find {
    collection: Collection,
    body: Map<String, Json>,
}

impl Find {
    fn with(mut self, field: &str, value: impl Into<Json>) -> Find {
        self.body.insert(field.to_owned(), value.into());
        self
    }

    /// Which attributes are answered.
    pub fn projection(self, projection: impl Into<Json>) -> Find {
        self.with("projection", projection)
    }

    /// The order: `{"name": 1, "age": -1}`.
    pub fn sort(self, sort: impl Into<Json>) -> Find {
        self.with("sort", sort)
    }

    /// How many documents are left out first.
    pub fn skip(self, documents: u64) -> Find {
        self.with("skip", documents)
    }

    /// Most documents answered.
    pub fn limit(self, documents: u64) -> Find {
        self.with("limit", documents)
    }

    /// Runs the search.
    pub async fn run<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        let request = Request::post(self.collection.path("/find"), &self.body)?.reads();
        Ok(self.collection.send::<Documents<T>>(request).await?.documents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_paths_keep_their_kind() {
        assert_eq!(DocumentId::from(42).to_segment(), "42");
        assert_eq!(DocumentId::from("42").to_segment(), "%2242%22");
        assert_eq!(DocumentId::from("a/b").to_segment(), "a%2Fb");
        for text in ["", "-", "99999999999999999999", "\"a\"", ".", ".."] {
            assert_eq!(DocumentId::from(text).to_segment(), segment(&format!("\"{text}\"")), "{text:?}");
        }
    }
}
