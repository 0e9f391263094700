//! What the answer of a read depends on: tables, or the rows of a table whose keys the read names.

use common::dependency::{Dependency, Keys};
use common::hash::{Collation, key_hash};
use common::protocol::Statement;
use common::query_object::{CollectionOperation, QueryObject, Which};
use common::row::ValueRef;
use common::{Result, Value};
use serde_json::Value as Json;

use crate::documents::id;
use crate::plan::{Action, Planned, Source};
use crate::planner::Planner;
use crate::table::{Key, Table};

/// Rows of more keys than this are taken for the whole table.
const KEYS_MAX: usize = 256;

impl Planner {
    /// What the answer of a statement depends on that only reads; nothing if that cannot be named.
    #[must_use]
    pub fn dependencies_of(&self, statement: &Statement) -> Vec<Dependency> {
        self.dependencies(statement).unwrap_or_default()
    }

    fn dependencies(&self, statement: &Statement) -> Result<Vec<Dependency>> {
        let planned = self.plan(&statement.sql)?;
        let params = planned.values(&statement.params)?;
        let sources = self.sources_of(&planned);
        let of_table = |name: &String| {
            let source = sources.iter().find(|source| source.table.name.eq_ignore_ascii_case(name));
            let keys =
                source.and_then(|source| keys(&source.table, source.route.keys(&source.table, &params)?));
            Dependency { table: name.clone(), keys }
        };
        Ok(planned.tables.iter().map(of_table).collect())
    }

    /// The rows that a read may touch, by table; none where that is not known.
    fn sources_of<'p>(&self, planned: &'p Planned) -> &'p [Source] {
        match &planned.action {
            Action::Read(read) => &read.sources,
            Action::OneBucket if planned.is_read => {
                planned.sources_in_one_bucket.get_or_init(|| self.sources_over_partitions(&planned.text))
            }
            _ => &[],
        }
    }

    /// What the answer depends on of a question about the document with an id.
    #[must_use]
    pub fn dependencies_of_document(&self, collection: &str, path_id: &str) -> Vec<Dependency> {
        vec![self.of_id(collection, id::of_path(path_id).ok())]
    }

    /// What the answer depends on of a question about the documents that the filter in a request's body matches.
    #[must_use]
    pub fn dependencies_of_filter(&self, collection: &str, body: &Json) -> Vec<Dependency> {
        let named = body.get("filter").and_then(|filter| filter.get("_id"));
        vec![self.of_id(collection, named.and_then(|id| id::of_json(id).ok()))]
    }

    /// What the answer of a query object depends on that only reads; nothing if that cannot be named.
    #[must_use]
    pub fn dependencies_of_object(&self, object: &Json) -> Vec<Dependency> {
        match QueryObject::parse(object.clone(), self.database().kind) {
            Ok(QueryObject::Table(query)) => self.dependencies_of(&query.statement()),
            Ok(QueryObject::Sql(statement)) => self.dependencies_of(&statement),
            Ok(QueryObject::Collection(query)) => {
                let CollectionOperation::Find { which } = query.operation else { return Vec::new() };
                let id = match which {
                    Which::Id(id) => Some(id),
                    Which::Matching(_) => None,
                };
                vec![self.of_id(&query.collection, id)]
            }
            Err(_) => Vec::new(),
        }
    }

    /// One document of a collection, or all.
    fn of_id(&self, collection: &str, id: Option<Value>) -> Dependency {
        let table = self.table(collection);
        let keys = id.and_then(|id| keys(table.as_ref()?, vec![vec![id]]));
        Dependency { keys, ..Dependency::on_table(collection) }
    }
}

/// Rows by the values of a table's key as they are stored, if equal values are the same.
fn keys(table: &Table, values: Vec<Vec<Value>>) -> Option<Keys> {
    let columns = match &table.key {
        Key::Rowid => Vec::new(),
        Key::Columns(positions) => {
            let binary = |&at: &usize| {
                table.columns[at].known_collation().is_some_and(|known| known == Collation::Binary)
            };
            positions.iter().all(binary).then_some(())?;
            positions.iter().map(|&at| table.columns[at].name.clone()).collect()
        }
    };
    let is_whole = |key: &Vec<Value>| key.len() == columns.len().max(1);
    if values.len() > KEYS_MAX || !values.iter().all(is_whole) {
        return None;
    }
    let hashes = values.iter().map(|key| key_hash(key.iter().map(ValueRef::from))).collect();
    Some(Keys { columns, hashes })
}
