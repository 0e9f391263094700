//! Where the attributes of documents lie, and which of them a request touches.
//!
//! In a database with several column groups each has a column for its share of a collection's attributes. A request
//! that touches one share reads that column alone, and thereby that column group alone; the whole document, in
//! the column `doc`, is put together of all of them. Where little of a document is wanted, partitions send
//! no more than that.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::catalog::Database;
use common::names::quote_identifier;
use common::schema::{ATTRIBUTE_ORDER, attributes_column};
use common::{Error, Result, Value};
use sqlite::document_fields::FIELDS;

use super::expression::{Expression, Variable};
use super::filter::Filter;
use super::filter::path::FieldPath;
use super::find::sort::Order;
use super::stored::RESERVED;
use super::value::Fields;
use crate::planner::Planner;
use crate::table::Table;

/// Most attributes that are taken out of documents by name.
const NAMES_MAX: usize = 64;

/// How documents lie in their collection's table.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    database: Arc<Database>,
    /// Whether they lie in several column groups.
    is_divided: bool,
}

/// A column of a document's row that holds it or a share of it, with what makes its value of a parameter.
pub(super) struct Written {
    /// Quoted.
    pub(super) column: String,
    /// An expression with one parameter.
    pub(super) expression: &'static str,
    pub(super) value: Value,
}

/// The column of whole documents.
const WHOLE: &str = "\"doc\"";

/// Makes binary JSON of a text.
const OF_TEXT: &str = "jsonb(?)";

impl Attributes {
    /// Those of a collection.
    pub(crate) fn of(planner: &Planner, table: &Table) -> Attributes {
        Attributes { database: Arc::clone(planner.database()), is_divided: table.divided.is_some() }
    }

    /// Whether they lie in several column groups.
    pub(crate) fn is_divided(&self) -> bool {
        self.is_divided
    }

    /// The column that holds an attribute, quoted.
    pub(crate) fn column_of(&self, attribute: &str) -> String {
        match self.is_divided {
            true => column_of_group(self.database.group_of_attribute(attribute)),
            false => WHOLE.to_owned(),
        }
    }

    /// What a document is written as; `text` is all of it.
    pub(super) fn written(&self, document: &Fields, text: String) -> Result<Vec<Written>> {
        if !self.is_divided {
            return Ok(vec![Written { column: WHOLE.to_owned(), expression: OF_TEXT, value: text.into() }]);
        }
        let mut shares = vec![Fields::new(); self.database.column_groups.len()];
        let mut order = Vec::with_capacity(document.len());
        for (name, value) in document.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str())) {
            let group = self.database.group_of_attribute(name);
            shares[group].insert(name.clone(), value.clone());
            order.push(u8::try_from(group).map_err(|_| Error::internal("a column group has no byte"))?);
        }
        let order =
            Written { column: quote_identifier(ATTRIBUTE_ORDER), expression: "?", value: Value::Blob(order) };
        let share = |(group, share): (usize, Fields)| {
            let text = serde_json::to_string(&share).map_err(|error| Error::internal(error.to_string()))?;
            let column = column_of_group(group);
            Ok(Written { column, expression: OF_TEXT, value: text.into() })
        };
        let shares = shares.into_iter().enumerate().map(share);
        std::iter::once(Ok(order)).chain(shares).collect()
    }

    /// The columns of a document's row as read: its id, its text and its metadata, NULL where these are not wanted.
    pub(crate) fn columns(&self, touched: &Touched) -> String {
        match touched {
            Touched::All => Attributes::columns_of_whole(WHOLE),
            Touched::Some(names) if RESERVED[1..].iter().any(|name| names.contains(*name)) => {
                Attributes::columns_of_whole(&self.taken(names))
            }
            Touched::Some(names) => format!("\"_id\", json({}), NULL, NULL, NULL", self.taken(names)),
        }
    }

    /// The same with all metadata, and with an expression for the document.
    pub(super) fn columns_of_whole(document: &str) -> String {
        format!("\"_id\", json({document}), \"_version\", \"_created_at\", \"_updated_at\"")
    }

    /// Some attributes, as an object in binary JSON.
    fn taken(&self, names: &BTreeSet<String>) -> String {
        let names: Vec<&String> = names.iter().filter(|name| !RESERVED.contains(&name.as_str())).collect();
        if names.is_empty() {
            return "'{}'".to_owned();
        }
        let columns: BTreeSet<String> = names.iter().map(|name| self.column_of(name)).collect();
        let column = match columns.first() {
            Some(column) if columns.len() == 1 => column.as_str(),
            _ => WHOLE,
        };
        if names.len() > NAMES_MAX {
            return column.to_owned();
        }
        let literal = |name: &&String| format!(", '{}'", name.replace('\'', "''"));
        format!("{FIELDS}({column}{})", names.iter().map(literal).collect::<String>())
    }
}

fn column_of_group(group: usize) -> String {
    quote_identifier(&attributes_column(group))
}

/// The attributes of documents that an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    All,
    Some(BTreeSet<String>),
}

impl Touched {
    /// None yet.
    pub(crate) fn none() -> Touched {
        Touched::Some(BTreeSet::new())
    }

    /// All of them.
    pub(crate) fn all(&mut self) {
        *self = Touched::All;
    }

    /// Those of another, too.
    pub(crate) fn also(&mut self, other: Touched) {
        match other {
            Touched::All => self.all(),
            Touched::Some(names) => names.iter().for_each(|name| self.name(name)),
        }
    }

    /// An attribute by its name.
    pub(crate) fn name(&mut self, name: &str) {
        if let Touched::Some(names) = self {
            names.insert(name.to_owned());
        }
    }

    /// What a path begins with.
    pub(crate) fn path(&mut self, path: &FieldPath) {
        self.name(&path.names[0]);
    }

    /// What a filter looks at.
    pub(crate) fn filter(&mut self, filter: &Filter) {
        match filter {
            Filter::All(parts) | Filter::Any(parts) => parts.iter().for_each(|part| self.filter(part)),
            Filter::Not(part) => self.filter(part),
            Filter::Field(path, _) => self.path(path),
            Filter::Expression(expression) => self.expression(expression),
        }
    }

    /// What an order looks at.
    pub(crate) fn order(&mut self, order: &Order) {
        order.fields.iter().for_each(|field| self.path(&field.path));
    }

    /// What an expression looks at.
    pub(crate) fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::Literal(_) => {}
            Expression::Path(Variable::Document, names) => match names.first() {
                Some(name) => self.name(name),
                None => self.all(),
            },
            Expression::Path(..) => {}
            Expression::Object(fields) => fields.iter().for_each(|(_, value)| self.expression(value)),
            Expression::Array(parts)
            | Expression::Call(_, parts)
            | Expression::And(parts)
            | Expression::Or(parts)
            | Expression::IfNull(parts) => parts.iter().for_each(|part| self.expression(part)),
            Expression::Switch(cases, otherwise) => {
                for (condition, value) in cases {
                    self.expression(condition);
                    self.expression(value);
                }
                otherwise.iter().for_each(|otherwise| self.expression(otherwise));
            }
            Expression::Let(variables, inner) => {
                variables.iter().for_each(|(_, value)| self.expression(value));
                self.expression(inner);
            }
            Expression::Filter { input, condition, limit, .. } => {
                self.expression(input);
                self.expression(condition);
                limit.iter().for_each(|limit| self.expression(limit));
            }
            Expression::Map { input, mapped, .. } => {
                self.expression(input);
                self.expression(mapped);
            }
            Expression::Reduce { input, initial, next } => {
                [input, initial, next].into_iter().for_each(|part| self.expression(part));
            }
        }
    }
}
