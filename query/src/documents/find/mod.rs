//! Finding, counting and listing values.

mod divided;
pub(crate) mod projection;
pub(crate) mod sort;
pub(crate) mod source;

pub(crate) mod pushed_order;
pub(crate) mod top;

use std::collections::BTreeSet;
use std::pin::Pin;

use common::json::kind_of;
use common::limits::DOCUMENT_BODY_MAX;
use common::names::quote_identifier;
use common::protocol::Statement;
use common::{Error, ErrorCode, Result, Value};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::Value as Json;

use self::projection::{Of, Projection};
use self::sort::Order;
use self::source::{Row, Source, number_in};
use self::top::Top;
use super::attributes::Touched;
use super::budget::Budget;
use super::expression::Scope;
use super::filter::path::{FieldPath, Leaf};
use super::filter::{Filter, parse};
use super::place::Place;
use super::stored::{Stored, document_of_row, existing, row_by_id, statement};
use super::value::Fields;
use super::value::order::Key;
use super::{id, one};
use crate::access::PartitionAccess;
use crate::planner::Planner;
use crate::sql::run_one;
use crate::table::Table;

/// A search as a request describes it.
#[derive(Clone, Debug)]
pub(crate) struct Find {
    pub(crate) filter: Filter,
    pub(crate) projection: Option<Projection>,
    pub(crate) order: Order,
    pub(crate) skip: u64,
    pub(crate) limit: Option<u64>,
}

impl Find {
    /// Reads `filter`, `projection`, `sort`, `skip`, `limit`.
    pub(crate) fn parse(request: &Fields) -> Result<Find> {
        known(request, &["filter", "projection", "sort", "skip", "limit"])?;
        // As MongoDB has it, a limit of 0 is none.
        let limit = number(request, "limit")?.filter(|limit| *limit > 0);
        Ok(Find {
            filter: filter(request)?,
            projection: Projection::parse(request.get("projection"), Of::Find, &Place::root("projection"))?,
            order: Order::parse(request.get("sort"), &Place::root("sort"))?,
            skip: number(request, "skip")?.unwrap_or(0),
            limit,
        })
    }

    /// What the answer depends on, beside the filter.
    fn touched(&self) -> Touched {
        let mut touched = Touched::none();
        match &self.projection {
            Some(projection) if projection.keeps() => {
                projection.touch(&mut touched);
                if projection.positional().is_some() {
                    touched.filter(&self.filter);
                }
            }
            _ => touched.all(),
        }
        touched.order(&self.order);
        touched
    }

    /// The order, if it is one that SQL knows.
    fn known_order(&self) -> Option<&'static str> {
        match self.order.fields.as_slice() {
            [] => Some("rowid"),
            // Ids are unique, so that what follows them does not count.
            [first, ..] if first.path.text == "_id" => {
                Some(if first.descending { "\"_id\" DESC" } else { "\"_id\"" })
            }
            _ => None,
        }
    }

    /// What partitions are asked first.
    pub(crate) fn statement(&self, planner: &Planner, table: &Table) -> (Source, Statement) {
        let source = if divided::is_of_few(table, self) {
            divided::narrow(planner, table, self)
        } else {
            Source::new(planner, table, self.filter.clone()).reading(self.touched())
        };
        let statement = match self.known_order() {
            Some(order) => source.ordered(order, self.wanted()),
            None => pushed_order::statement(&source, self).unwrap_or_else(|| source.ordered("rowid", None)),
        };
        (source, statement)
    }

    /// Documents that have to be found so that enough are left after those that are skipped.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.limit.and_then(|limit| limit.checked_add(self.skip))
    }
}

/// Documents on their way to a client, each as JSON text.
pub type DocumentStream<'a> = Pin<Box<dyn Stream<Item = Result<String>> + Send + 'a>>;

/// The documents of an answer as text: a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentList {
    text: String,
}

impl DocumentList {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// `POST find`: the body has `filter`, `projection`, `sort`, `skip`, `limit`.
pub async fn find(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<DocumentList> {
    let Some(id) = only_id(request) else {
        return collect(find_stream(planner, access, collection, request).await?).await;
    };
    // The commonest request needs no translation of its filter.
    let table = existing(planner, collection)?;
    let found = row_by_id(planner, access, &quote_identifier(&table.name), &id).await?;
    let text = one(&found)?.map(|document| document.text);
    Ok(DocumentList { text: format!("[{}]", text.unwrap_or_default()) })
}

/// The id, if a request asks for the whole document of an id and nothing else.
fn only_id(request: &Json) -> Option<Value> {
    let filter = request.as_object().filter(|request| request.len() == 1)?.get("filter")?;
    let id = filter.as_object().filter(|filter| filter.len() == 1)?.get("_id")?;
    id::of_json(id).ok()
}

/// The documents of a stream, as far as they fit in one answer.
pub(crate) async fn collect(mut stream: DocumentStream<'_>) -> Result<DocumentList> {
    let mut text = "[".to_owned();
    while let Some(document) = stream.next().await {
        let document = document?;
        if text.len() + document.len() > 2 * DOCUMENT_BODY_MAX {
            return Err(Error::new(ErrorCode::ResultTooBig, "the documents are larger than one answer may be")
                .with_hint("use a narrower filter, a projection or limit, or take a stream (Accept: application/x-ndjson)"));
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&document);
    }
    text.push(']');
    Ok(DocumentList { text })
}

/// The same as a stream, of any number of documents.
pub async fn find_stream<'a>(
    planner: &'a Planner,
    access: &'a impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<DocumentStream<'a>> {
    let find = Find::parse(fields(request)?)?;
    let table = existing(planner, collection)?;
    let source = Source::new(planner, &table, find.filter.clone()).reading(find.touched());
    let Find { projection, skip, limit, filter, .. } = &find;
    let (projection, filter) = (projection.clone(), filter.clone());
    let is_whole = projection.is_none();
    let answered = move |stored: Stored| {
        answer(stored.fields, projection.as_ref(), &filter).map(|document| document.to_string())
    };
    if divided::is_of_few(&table, &find) {
        let found = divided::first(planner, access, &table, &find).await?;
        return Ok(stream::iter(found).map(answered).boxed());
    }
    if let Some(known_order) = find.known_order() {
        let documents = source.open_ordered(planner, access, known_order, find.wanted()).await?;
        let state = (documents, *skip, *limit);
        let found = stream::try_unfold(state, |(mut documents, mut skip, mut left)| async move {
            loop {
                if left == Some(0) {
                    return Ok(None);
                }
                let Some(found) = documents.next_row().await? else { return Ok(None) };
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                left = left.map(|left| left - 1);
                return Ok(Some((found, (documents, skip, left))));
            }
        });
        let shown = move |row: Result<Row>| match row? {
            Row::Stored(stored) => answered(stored),
            Row::Undecoded(row) if is_whole => document_of_row(row).map(|document| document.text),
            Row::Undecoded(row) => answered(Stored::of(row)?),
        };
        return Ok(found.map(shown).boxed());
    }
    let sorted = match pushed_order::first(planner, access, &source, &find).await? {
        Some(found) => found,
        None => sorted(planner, access, &source, &find).await?,
    };
    let skip = usize::try_from(*skip).unwrap_or(usize::MAX);
    Ok(stream::iter(sorted.into_iter().skip(skip)).map(answered).boxed())
}

fn answer(mut fields: Fields, projection: Option<&Projection>, filter: &Filter) -> Result<Json> {
    let Some(projection) = projection else { return Ok(Json::Object(fields)) };
    if let Some(array) = projection.positional() {
        let found = filter.matched_index(&fields, array);
        leave_one(&mut fields, array, found)?;
    }
    projection.apply(&fields, &Scope::of_document(&fields)).map(Json::Object)
}

/// Leaves one element of an array; what is no array stays.
fn leave_one(fields: &mut Fields, array: &[String], index: Option<usize>) -> Result<()> {
    let Some((last, names)) = array.split_last() else { return Ok(()) };
    let mut within = fields;
    for name in names {
        let Some(Json::Object(inner)) = within.get_mut(name) else { return Ok(()) };
        within = inner;
    }
    if let Some(Json::Array(items)) = within.get_mut(last) {
        let index = index.filter(|index| *index < items.len()).ok_or_else(|| {
            Place::root("projection")
                .field(&format!("{}.$", array.join(".")))
                .wrong("no element of the array is the one because of which the filter holds")
        })?;
        *items = vec![items.swap_remove(index)];
    }
    Ok(())
}

/// Documents in their order, those that are skipped among them. All that match are looked at; only as many as are
/// wanted are held.
async fn sorted(
    planner: &Planner,
    access: &impl PartitionAccess,
    source: &Source,
    find: &Find,
) -> Result<Vec<Stored>> {
    let mut documents = source.open(planner, access, None).await?;
    let mut top = Top::new(find.order.clone(), find.wanted());
    while let Some(stored) = documents.next().await? {
        let (key, size) = (find.order.key(&stored.fields), super::value::size_of_fields(&stored.fields));
        top.add(key, stored, size)?;
    }
    Ok(top.finish())
}

/// `POST count`: the body has `filter`.
pub async fn count(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<u64> {
    let request = fields(request)?;
    known(request, &["filter"])?;
    let filter = filter(request)?;
    let table = existing(planner, collection)?;
    let source = Source::new(planner, &table, filter).reading(Touched::none());
    count_matching(planner, access, &source).await
}

/// How many documents match. Partitions count; where they meet documents on which they cannot decide, these are
/// read.
pub(crate) async fn count_matching(
    planner: &Planner,
    access: &impl PartitionAccess,
    source: &Source,
) -> Result<u64> {
    if let Some(counting) = counting(source) {
        let result = run_one(planner, access, &counting, 1).await?;
        let rows = result.rows.to_values().map_err(|error| Error::internal(error.to_string()))?;
        if number_in(&rows, 0)? == 0 {
            return number_in(&rows, 1);
        }
    }
    let mut documents = source.open(planner, access, None).await?;
    let mut count = 0;
    while documents.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Has partitions count documents that are in doubt, and all; `None` if they cannot tell.
pub(crate) fn counting(source: &Source) -> Option<Statement> {
    let undecided = source.undecided();
    if undecided.as_ref().is_some_and(|sql| sql.text == "NULL") {
        return None;
    }
    let clause = source.clause();
    let (column, mut params) = match undecided {
        None => ("0".to_owned(), Vec::new()),
        Some(sql) => (format!("count(CASE WHEN ({}) IS NULL THEN 1 END)", sql.text), sql.params),
    };
    params.extend(clause.params);
    let sql = format!("SELECT {column}, count(*) FROM {}{}", source.quoted(), clause.text);
    Some(statement(sql, params))
}

/// `POST distinct`: the body has `field` and `filter`. Answers the values in their order, elements of arrays one by
/// one.
pub async fn distinct(
    planner: &Planner,
    access: &impl PartitionAccess,
    collection: &str,
    request: &Json,
) -> Result<Vec<Json>> {
    let request = fields(request)?;
    known(request, &["field", "filter"])?;
    let place = Place::root("field");
    let path = match request.get("field") {
        Some(Json::String(field)) => FieldPath::parse(field, &place)?,
        other => {
            let found = other.map_or("nothing", kind_of);
            return Err(place.wrong(format!("the path of a field is wanted, not {found}")));
        }
    };
    let filter = filter(request)?;
    let table = existing(planner, collection)?;
    let mut touched = Touched::none();
    touched.path(&path);
    let source = Source::new(planner, &table, filter).reading(touched);
    let mut documents = source.open(planner, access, None).await?;
    let (mut values, mut budget) = (BTreeSet::new(), Budget::default());
    while let Some(stored) = documents.next().await? {
        for value in path.values(&stored.fields, Leaf::Elements).into_iter().flatten() {
            let key = Key(value.clone());
            if !values.contains(&key) {
                budget.hold(value)?;
                values.insert(key);
            }
        }
    }
    Ok(values.into_iter().map(|key| key.0).collect())
}

/// A request's fields.
pub(crate) fn fields(request: &Json) -> Result<&Fields> {
    request.as_object().ok_or_else(|| Error::bad_request("the request must be an object"))
}

/// Refuses fields that mean nothing here, rather than ignoring them.
pub(crate) fn known(request: &Fields, names: &[&str]) -> Result<()> {
    const OPTIONS: [&str; 3] = ["level", "timeout_ms", "max_staleness_ms"];
    match request.keys().find(|name| !names.contains(&name.as_str()) && !OPTIONS.contains(&name.as_str())) {
        Some(unknown) => {
            let hint = format!("fields here are {}", names.join(", "));
            Err(Place::root(unknown).wrong(format!("unknown field '{unknown}'")).with_hint(hint))
        }
        None => Ok(()),
    }
}

/// A request's filter; absent and null are the empty one.
pub(crate) fn filter(request: &Fields) -> Result<Filter> {
    parse::filter(request.get("filter"), &Place::root("filter"))
}

fn number(request: &Fields, field: &str) -> Result<Option<u64>> {
    match request.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match value.as_i64().and_then(|number| u64::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Place::root(field).wrong(format!("{field} must be an integer of at least 0"))),
        },
    }
}
