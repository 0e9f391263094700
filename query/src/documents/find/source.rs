//! The documents of a collection that a filter lets through, as partitions find them.

use std::sync::Arc;

use common::names::quote_identifier;
use common::protocol::Statement;
use common::schema::ObjectKind;
use common::{Error, Result, Value};

use crate::access::PartitionAccess;
use crate::documents::attributes::{Attributes, Touched};
use crate::documents::filter::Filter;
use crate::documents::filter::pushed::{Sql, Verdict, by_index};
use crate::documents::stored::{Stored, statement};
use crate::planner::Planner;
use crate::sql::cursor::RowCursor;
use crate::table::Table;

/// What of a filter the partitions decide.
///
/// A filter's parts are asked one by one, so that a condition on the id shows where the document lies.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    filter: Arc<Filter>,
    attributes: Attributes,
    /// What is read of each document, as columns.
    columns: String,
    quoted: String,
    /// Conditions that hold for every document that matches.
    conditions: Vec<Sql>,
    /// Parts whose verdict may be NULL.
    open: Vec<Sql>,
    /// Some part is left to the coordinator entirely.
    unknown: bool,
}

impl Source {
    /// The documents of a collection's table that match.
    pub(crate) fn new(planner: &Planner, table: &Table, filter: Filter) -> Source {
        let attributes = Attributes::of(planner, table);
        let indexes = index_texts(planner, &table.name);
        let has_index = |key: &str| indexes.iter().any(|text| text.contains(key));
        let mut source = Source {
            conditions: by_index(&filter, &attributes, &has_index),
            columns: attributes.columns(&Touched::All),
            attributes,
            quoted: quote_identifier(&table.name),
            open: Vec::new(),
            unknown: false,
            filter: Arc::new(filter),
        };
        let filter = Arc::clone(&source.filter);
        match filter.as_ref() {
            Filter::All(parts) => parts.iter().for_each(|part| source.add(part)),
            part => source.add(part),
        }
        source
    }

    /// Reads no more of the documents than is needed to look at them again, and what is touched besides.
    pub(crate) fn reading(mut self, mut touched: Touched) -> Source {
        if !self.is_decided() {
            touched.filter(&self.filter);
        }
        self.columns = self.attributes.columns(&touched);
        self
    }

    fn add(&mut self, part: &Filter) {
        match Verdict::of(part, &self.attributes) {
            Verdict::Always => {}
            Verdict::Never => self.conditions.push(Sql { text: "0".to_owned(), params: Vec::new() }),
            Verdict::Unknown => self.unknown = true,
            Verdict::Expression(sql, true) => self.conditions.push(sql),
            Verdict::Expression(sql, false) => self.open.push(sql),
        }
    }

    /// Whether the partitions decide everything.
    pub(crate) fn is_decided(&self) -> bool {
        !self.unknown && self.open.is_empty()
    }

    /// Where attributes lie.
    pub(crate) fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The table's name in quotes.
    pub(crate) fn quoted(&self) -> &str {
        &self.quoted
    }

    /// The WHERE clause that lets through what matches or may match.
    pub(crate) fn clause(&self) -> Sql {
        let open = self.open.iter().map(|sql| (format!("({}) IS NOT FALSE", sql.text), &sql.params));
        let conditions = self.conditions.iter().map(|sql| (format!("({})", sql.text), &sql.params));
        let (texts, params): (Vec<String>, Vec<&Vec<Value>>) = conditions.chain(open).unzip();
        let text = if texts.is_empty() { String::new() } else { format!(" WHERE {}", texts.join(" AND ")) };
        Sql { text, params: params.into_iter().flatten().cloned().collect() }
    }

    /// A condition that holds only for documents that match; `None` if partitions cannot tell.
    pub(crate) fn surely(&self) -> Option<Sql> {
        if self.unknown {
            return None;
        }
        let parts = self.conditions.iter().chain(&self.open);
        let (texts, params): (Vec<String>, Vec<&Vec<Value>>) =
            parts.map(|sql| (format!("({})", sql.text), &sql.params)).unzip();
        let params = params.into_iter().flatten().cloned().collect();
        (!texts.is_empty()).then(|| Sql { text: texts.join(" AND "), params })
    }

    /// An expression that is NULL for documents on which the coordinator has to decide; `None` if there are none.
    pub(crate) fn undecided(&self) -> Option<Sql> {
        if self.is_decided() {
            return None;
        }
        if self.unknown {
            return Some(Sql { text: "NULL".to_owned(), params: Vec::new() });
        }
        let texts: Vec<String> = self.open.iter().map(|sql| format!("({})", sql.text)).collect();
        let params = self.open.iter().flat_map(|sql| sql.params.iter().cloned()).collect();
        Some(Sql { text: texts.join(" AND "), params })
    }

    /// Reads documents that may match; `order` and `rest` follow the condition.
    pub(crate) fn select(&self, extra: &Sql, rest: Sql) -> Statement {
        let clause = self.clause();
        let (columns, quoted) = (&self.columns, &self.quoted);
        let sql = format!("SELECT {columns}{} FROM {quoted}{}{}", extra.text, clause.text, rest.text);
        let params = [extra.params.clone(), clause.params, rest.params].concat();
        statement(sql, params)
    }

    /// The documents in the order of their making, at most so many if the partitions decide everything.
    pub(crate) async fn open(
        &self,
        planner: &Planner,
        access: &impl PartitionAccess,
        most: Option<u64>,
    ) -> Result<Documents> {
        self.open_ordered(planner, access, "rowid", most).await
    }

    /// The same in an order that SQL knows.
    pub(crate) async fn open_ordered(
        &self,
        planner: &Planner,
        access: &impl PartitionAccess,
        order: &str,
        most: Option<u64>,
    ) -> Result<Documents> {
        let rows = crate::sql::stream(planner, access, self.ordered(order, most)).await?;
        let filter = (!self.is_decided()).then(|| Arc::clone(&self.filter));
        Ok(Documents { rows: Some(RowCursor::new(rows.blocks)), filter })
    }

    /// Reads documents in an order that SQL knows, at most so many if the partitions decide everything.
    pub(crate) fn ordered(&self, order: &str, most: Option<u64>) -> Statement {
        let mut rest = Sql { text: format!(" ORDER BY {order}"), params: Vec::new() };
        if let Some(most) = most.filter(|_| self.is_decided()).and_then(|most| i64::try_from(most).ok()) {
            rest.text.push_str(" LIMIT ?");
            rest.params.push(most.into());
        }
        self.select(&Sql::default(), rest)
    }

    /// All documents that match, with their ids and versions.
    pub(crate) async fn all(
        &self,
        planner: &Planner,
        access: &impl PartitionAccess,
        most: Option<u64>,
    ) -> Result<Vec<Stored>> {
        self.first(planner, access, "rowid", most).await
    }

    /// The same in an order that SQL knows.
    pub(crate) async fn first(
        &self,
        planner: &Planner,
        access: &impl PartitionAccess,
        order: &str,
        most: Option<u64>,
    ) -> Result<Vec<Stored>> {
        let mut documents = self.open_ordered(planner, access, order, most).await?;
        let (mut found, mut budget) = (Vec::new(), crate::documents::budget::Budget::default());
        while most.is_none_or(|most| (found.len() as u64) < most)
            && let Some(stored) = documents.next().await?
        {
            budget.hold_fields(&stored.fields)?;
            found.push(stored);
        }
        Ok(found)
    }
}

/// The statements that made a table's indexes.
fn index_texts<'p>(planner: &'p Planner, table: &str) -> Vec<&'p str> {
    let objects = planner.database().schema.objects.iter();
    let indexes =
        objects.filter(|object| object.kind == ObjectKind::Index && object.table.eq_ignore_ascii_case(table));
    indexes.map(|object| object.sql.as_str()).collect()
}

/// Documents that match, one after another.
pub(crate) struct Documents {
    /// `None` at the end.
    rows: Option<RowCursor>,
    /// What partitions have not decided.
    filter: Option<Arc<Filter>>,
}

/// A document that matches.
pub(crate) enum Row {
    Stored(Stored),
    /// As its row, which need not be looked into to know that it matches.
    Undecoded(Vec<Value>),
}

impl Documents {
    /// The next document.
    pub(crate) async fn next(&mut self) -> Result<Option<Stored>> {
        match self.next_row().await? {
            None => Ok(None),
            Some(Row::Stored(stored)) => Ok(Some(stored)),
            Some(Row::Undecoded(row)) => Stored::of(row).map(Some),
        }
    }

    /// The same, only as far decoded as it had to be.
    pub(crate) async fn next_row(&mut self) -> Result<Option<Row>> {
        while let Some(rows) = &mut self.rows {
            rows.advance().await?;
            let Some(row) = rows.next.take() else {
                self.rows = None;
                break;
            };
            let Some(filter) = &self.filter else { return Ok(Some(Row::Undecoded(row))) };
            let stored = Stored::of(row)?;
            if filter.matches(&stored.fields)? {
                return Ok(Some(Row::Stored(stored)));
            }
        }
        Ok(None)
    }
}

/// A number in the first row of an answer.
pub(crate) fn number_in(rows: &[Vec<Value>], column: usize) -> Result<u64> {
    match rows.first().and_then(|row| row.get(column)) {
        Some(Value::Integer(number)) => Ok(u64::try_from(*number).unwrap_or(0)),
        _ => Err(Error::internal("a count is no integer")),
    }
}
