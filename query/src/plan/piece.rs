//! What a gathering statement reads of a table: one statement per column group that it needs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use common::Value;
use common::names::quote_identifier;
use common::protocol::{Params, Statement};

use super::Source;
use crate::filter::Filter;
use crate::table::{Table, stamp_column};

/// What is read of one column group of a table.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Position of the column group in its database.
    pub(crate) group: usize,
    /// Whether the rows will be put together with those of other column groups: then each begins with its key
    /// and its stamps.
    pub(crate) joins: bool,
    /// The column groups whose stamps the rows carry.
    pub(crate) stamps: Vec<usize>,
    /// Positions of the columns, in order.
    pub(crate) columns: Vec<usize>,
    /// Conditions on columns that lie there.
    pub(crate) filters: Vec<Filter>,
}

impl Source {
    /// The pieces, the anchor's first if there are several: the anchor says which rows there are.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let table = &self.table;
        if let Some(group) = table.group_of(&self.columns) {
            let (columns, filters) = (self.columns.clone(), self.filters_within(group));
            return vec![Piece { group, joins: false, stamps: Vec::new(), columns, filters }];
        }
        let (anchor, others) = table.parts.split_first().expect("a table has a part");
        let columns = self.read_columns();
        let made = table.divided.as_ref().filter(|divided| columns.contains(&divided.document));
        let is_wanted = |column: &usize| {
            columns.contains(column) || made.is_some_and(|divided| divided.is_made_of(*column))
        };
        let wanted = |own: &[usize]| -> Vec<usize> { own.iter().copied().filter(is_wanted).collect() };
        let mut pieces = vec![Piece {
            group: anchor.group,
            joins: true,
            stamps: Vec::new(),
            columns: wanted(&anchor.own),
            filters: self.filters_within(anchor.group),
        }];
        for part in others {
            // What the anchor holds too is read there.
            let own: Vec<usize> =
                part.own.iter().copied().filter(|column| !anchor.columns.contains(column)).collect();
            let columns = wanted(&own);
            if !columns.is_empty() {
                pieces[0].stamps.push(part.group);
                let (stamps, filters) = (vec![part.group], self.filters_within(part.group));
                pieces.push(Piece { group: part.group, joins: true, stamps, columns, filters });
            }
        }
        pieces
    }

    /// Positions of the columns that the partitions are asked for: where a generated one is computed here, all are, from
    /// what they are computed from.
    pub(crate) fn read_columns(&self) -> Vec<usize> {
        let table = &self.table;
        if !self.columns.iter().any(|&column| table.computed_here(column).is_some()) {
            return self.columns.clone();
        }
        let mut read = BTreeSet::new();
        for column in &self.columns {
            match table.generated.iter().find(|generated| generated.column == *column) {
                Some(generated) => read.extend(&generated.reads),
                None => {
                    read.insert(*column);
                }
            }
        }
        read.into_iter().collect()
    }

    fn filters_within(&self, group: usize) -> Vec<Filter> {
        let part = self.table.parts.iter().find(|part| part.group == group);
        let applies = |filter: &&Filter| part.is_some_and(|part| part.holds(filter.columns()));
        self.filters.iter().filter(applies).cloned().collect()
    }
}

impl Piece {
    /// How many values each row has before its columns.
    pub(crate) fn lead(&self, table: &Table) -> usize {
        if self.joins { table.key_names().len() + self.stamps.len() } else { 0 }
    }

    /// Reads all rows that pass the filters, in the order of their keys.
    pub(crate) fn statement(&self, table: &Table, params: &[Value]) -> Statement {
        let mut given = Vec::new();
        let conditions: Option<Vec<String>> =
            self.filters.iter().map(|filter| filter.render(params, &mut given)).collect();
        let condition = match conditions {
            Some(conditions) => conditions.join(" AND "),
            // A parameter is missing; the client's text will be refused for it.
            None => {
                given.clear();
                String::new()
            }
        };
        self.select(table, &condition, given)
    }

    /// Reads the rows with some keys, in the order of their keys.
    pub(crate) fn by_keys(&self, table: &Table, keys: &[Vec<Value>]) -> Statement {
        let names = table.key_terms_of_rows();
        let one = vec!["?"; names.len()].join(", ");
        let condition = match names.as_slice() {
            [name] => format!("{name} IN ({})", vec!["?"; keys.len()].join(", ")),
            _ => format!(
                "({}) IN (VALUES {})",
                names.join(", "),
                vec![format!("({one})"); keys.len()].join(", ")
            ),
        };
        self.select(table, &condition, keys.iter().flatten().cloned().collect())
    }

    fn select(&self, table: &Table, condition: &str, given: Vec<Value>) -> Statement {
        let key = table.key_names();
        let mut columns: Vec<String> =
            if self.joins { key.clone() } else { table.rowid_name.map(str::to_owned).into_iter().collect() };
        columns.extend(self.stamps.iter().map(|&group| quote_identifier(&stamp_column(group))));
        columns.extend(self.columns.iter().map(|&position| quote_identifier(&table.columns[position].name)));
        if columns.is_empty() {
            columns.push("NULL".to_owned());
        }
        let mut sql = format!("SELECT {} FROM {}", columns.join(", "), quote_identifier(&table.name));
        if !condition.is_empty() {
            let _ = write!(sql, " WHERE {condition}");
        }
        if !key.is_empty() {
            let _ = write!(sql, " ORDER BY {}", table.key_terms_of_rows().join(", "));
        }
        let params = if given.is_empty() { Params::None } else { Params::Positional(given) };
        Statement { sql, params }
    }
}
