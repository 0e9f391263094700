//! What planning knows of a table.

use std::ops::Deref;

use common::Value;
use common::catalog::Database;
use common::hash::{Collation, slot};
use common::names::quote_identifier;
use common::partition_map::{bucket_of_home, bucket_of_key};
use common::schema::{ATTRIBUTE_ORDER, GlobalIndex, TableKind, TableSpec, attributes_column};
use sqlite::schema::Table as Definition;

use crate::generated::{GeneratedColumn, generated_columns};

/// What chooses the bucket of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    /// The rowid.
    Rowid,
    /// Columns, by position.
    Columns(Vec<usize>),
}

/// A table: its definition as SQLite understood it, and how its rows are spread.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    definition: Definition,
    pub(crate) kind: TableKind,
    /// Of a reference table it means nothing.
    pub(crate) key: Key,
    /// Every bucket has all rows.
    pub(crate) reference: bool,
    pub(crate) global_indexes: Vec<GlobalIndex>,
    /// What lies in which column group, the anchor's part first; more than one if the table is split.
    pub(crate) parts: Vec<Part>,
    /// Without a rowid, the collations by which the primary key compares.
    key_collations: Vec<Collation>,
    /// Of a split table, how its generated columns are computed.
    pub(crate) generated: Vec<GeneratedColumn>,
    /// Whether stamps may be those of parts that had more columns.
    pub(crate) lost_columns: bool,
    /// The documents of a collection whose attributes lie in several column groups.
    pub(crate) divided: Option<Divided>,
    /// What makes its rows on a partition, if it stands for a join.
    pub(crate) joined: Option<Subquery>,
    /// Whether a constraint says by itself what becomes of rows that violate it (ON CONFLICT REPLACE).
    pub(crate) resolves_conflicts: bool,
}

/// A query that stands in place of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subquery {
    /// In brackets.
    pub(crate) text: String,
    /// The greatest number of a parameter in it.
    pub(crate) parameters: usize,
}

impl Deref for Table {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

impl Table {
    /// Puts a definition and what the catalog says of it together.
    pub(crate) fn new(definition: Definition, spec: Option<&TableSpec>) -> Table {
        let generated = computed_by_group(&definition, spec);
        Table {
            key: key_of(&definition, spec.map(|spec| spec.partition_key.as_slice()).unwrap_or_default()),
            kind: spec.map(|spec| spec.kind).unwrap_or_default(),
            reference: spec.is_some_and(|spec| spec.reference),
            global_indexes: spec.map(|spec| spec.global_indexes.clone()).unwrap_or_default(),
            resolves_conflicts: has_conflict_clause(&definition.sql),
            parts: parts_of(&definition, spec, &generated),
            generated,
            key_collations: key_collations(&definition),
            lost_columns: spec.is_some_and(has_lost_columns),
            divided: Divided::of(&definition, spec),
            joined: None,
            definition,
        }
    }

    /// Joined rows, which lie in the bucket that a key of theirs chooses, as a table.
    pub(crate) fn of_join(definition: Definition, key: Key, subquery: Subquery) -> Table {
        Table { key, joined: Some(subquery), ..Table::new(definition, None) }
    }

    /// What a FROM clause on a partition calls it.
    pub(crate) fn source_text(&self) -> String {
        match &self.joined {
            Some(subquery) => subquery.text.clone(),
            None => quote_identifier(&self.name),
        }
    }

    /// Parameters that what it is made of uses.
    pub(crate) fn parameters(&self) -> usize {
        self.joined.as_ref().map_or(0, |subquery| subquery.parameters)
    }

    /// Whether its columns lie in several column groups.
    pub(crate) fn is_split(&self) -> bool {
        self.parts.len() > 1
    }

    /// How a column is computed that no partition has, as what it is computed from lies in several column groups.
    pub(crate) fn computed_here(&self, column: usize) -> Option<&GeneratedColumn> {
        let found = self.generated.iter().find(|generated| generated.column == column)?;
        self.group_of(&[column]).is_none().then_some(found)
    }

    /// The column group whose partitions hold all of some columns; the first, if several do.
    pub(crate) fn group_of(&self, columns: &[usize]) -> Option<usize> {
        self.parts.iter().find(|part| part.holds(columns)).map(|part| part.group)
    }

    /// The definition alone.
    pub(crate) fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Whether a change of the column could move the row or touch a global index.
    pub(crate) fn decides_place(&self, name: &str) -> bool {
        if self.names_rowid(name) || self.has_computed_entries() {
            return true;
        }
        let Some(position) = self.column(name) else { return true };
        let in_key = matches!(&self.key, Key::Columns(columns) if columns.contains(&position));
        in_key || self.is_globally_unique(position)
    }

    pub(crate) fn is_globally_unique(&self, position: usize) -> bool {
        self.global_indexes.iter().any(|index| {
            index.columns.iter().any(|name| name.eq_ignore_ascii_case(&self.columns[position].name))
        })
    }

    /// Whether a global index has entries that only SQLite can make of a row.
    pub(crate) fn has_computed_entries(&self) -> bool {
        self.global_indexes.iter().any(|index| index.computed.is_some())
    }

    /// Positions of the columns whose values a row image holds.
    pub(crate) fn stored(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.columns.len()).filter(|&position| !self.columns[position].is_generated())
    }

    /// Positions of a global index's columns, if its entries are values of columns.
    pub(crate) fn index_columns(&self, index: &GlobalIndex) -> Vec<usize> {
        index.columns.iter().filter_map(|name| self.column(name)).collect()
    }

    /// Whether columns, by their names, are the table's primary key.
    pub(crate) fn is_primary_key(&self, names: &[String]) -> bool {
        let named: Vec<usize> = names.iter().filter_map(|name| self.column(name)).collect();
        named == self.primary_key || named.as_slice() == self.rowid_alias.as_slice()
    }

    /// The values of a row's entry in a global index, folded as they are compared there; `None` where that is not known.
    pub(crate) fn folded_entry(&self, index: &GlobalIndex, values: &[Value]) -> Option<Vec<Value>> {
        let collation = |at: usize| match &index.computed {
            Some(computed) => Collation::parse(computed.collations.get(at)?),
            None => self.columns[self.column(index.columns.get(at)?)?].known_collation(),
        };
        values.iter().enumerate().map(|(at, value)| Some(collation(at)?.fold(value.clone()))).collect()
    }

    /// What names a row, as SQL: the rowid, or the columns of the primary key.
    pub(crate) fn key_names(&self) -> Vec<String> {
        match self.rowid_name {
            Some(rowid) => vec![rowid.to_owned()],
            None => self.primary_key.iter().map(|at| quote_identifier(&self.columns[*at].name)).collect(),
        }
    }

    /// The same as what names rows is compared by, and put in order.
    pub(crate) fn key_terms_of_rows(&self) -> Vec<String> {
        if self.rowid_name.is_some() {
            return self.key_names();
        }
        let term = |(&position, collation): (&usize, &Collation)| {
            let column = &self.columns[position];
            let name = quote_identifier(&column.name);
            match column.known_collation() == Some(*collation) {
                true => name,
                false => format!("{name} COLLATE {}", collation.name()),
            }
        };
        self.primary_key.iter().zip(&self.key_collations).map(term).collect()
    }

    /// A value of what names rows, folded as it is compared there.
    pub(crate) fn folded_key(&self, at: usize, value: &Value) -> Value {
        match self.key_collations.get(at) {
            Some(collation) => collation.fold(value.clone()),
            None => value.clone(),
        }
    }

    /// The columns that choose the bucket, with the rowid as its alias where it has one.
    pub(crate) fn key_columns(&self) -> Vec<usize> {
        match &self.key {
            Key::Rowid => self.rowid_alias.into_iter().collect(),
            Key::Columns(columns) => columns.clone(),
        }
    }

    /// A stored value folded as the column's collation compares it; `None` where that is not known.
    pub(crate) fn folded(&self, position: usize, stored: Value) -> Option<Value> {
        self.columns[position].known_collation().map(|collation| collation.fold(stored))
    }
}

/// A document whose attributes lie in several column groups: a column that no partition has, because it is put together
/// of others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Divided {
    /// Position of the document.
    pub(crate) document: usize,
    /// Position of the column that tells the order of the attributes.
    pub(crate) order: usize,
    /// Positions of the columns that hold them, by column group.
    pub(crate) shares: Vec<usize>,
}

impl Divided {
    fn of(table: &Definition, spec: Option<&TableSpec>) -> Option<Divided> {
        spec.filter(|spec| spec.kind == TableKind::Collection)?;
        let order = table.column(ATTRIBUTE_ORDER)?;
        let shares = (0..).map_while(|group| table.column(&attributes_column(group)));
        Some(Divided { document: table.column(DOCUMENT)?, order, shares: shares.collect() })
    }

    /// Whether the document is put together of a column among others.
    pub(crate) fn is_made_of(&self, column: usize) -> bool {
        column == self.order || self.shares.contains(&column)
    }
}

fn key_collations(table: &Definition) -> Vec<Collation> {
    if !table.without_rowid {
        return Vec::new();
    }
    // SQLite knows three.
    let collation = |name: &str| Collation::parse(name).unwrap_or(Collation::Binary);
    table.key_terms().iter().map(|term| collation(&term.collation)).collect()
}

/// The column of a collection's documents.
const DOCUMENT: &str = "doc";

/// A column group's share of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Position of the column group in its database.
    pub(crate) group: usize,
    /// Positions of the columns that lie there, in order; the key columns lie in each part.
    pub(crate) columns: Vec<usize>,
    /// Those of them that lie nowhere else or, in the anchor's part, are read from there.
    pub(crate) own: Vec<usize>,
}

impl Part {
    /// Positions of the columns whose values its own row images hold.
    pub(crate) fn stored<'p>(&'p self, table: &'p Definition) -> impl Iterator<Item = usize> + 'p {
        let is_stored = |position: &usize| !table.columns[*position].is_generated();
        self.columns.iter().copied().filter(is_stored)
    }

    /// Whether all of some columns lie there.
    pub(crate) fn holds(&self, columns: &[usize]) -> bool {
        columns.iter().all(|column| self.columns.contains(column))
    }
}

/// How the catalog says that the columns lie in column groups.
pub(crate) fn parts_of(
    table: &Definition,
    spec: Option<&TableSpec>,
    generated: &[GeneratedColumn],
) -> Vec<Part> {
    let groups = spec.map(|spec| spec.column_groups.as_slice()).unwrap_or_default();
    let key = spec.map(|spec| repeated_columns(table, &spec.partition_key)).unwrap_or_default();
    let elsewhere: Vec<usize> =
        groups.iter().skip(1).flatten().filter_map(|name| table.column(name)).collect();
    let made = Divided::of(table, spec).map(|divided| divided.document);
    // A generated column is computed wherever all is that it is computed from.
    let holding = |lies_there: &dyn Fn(usize) -> bool| -> Vec<usize> {
        let is_there = |&position: &usize| match generated.iter().find(|found| found.column == position) {
            Some(found) => found.reads.iter().all(|&read| lies_there(read)),
            None => lies_there(position),
        };
        (0..table.columns.len()).filter(is_there).collect()
    };
    let anchor = holding(&|position| !elsewhere.contains(&position) && made != Some(position));
    let mut parts = vec![Part { group: 0, own: anchor.clone(), columns: anchor.clone() }];
    for (group, names) in groups.iter().enumerate().skip(1).filter(|(_, names)| !names.is_empty()) {
        let mut own: Vec<usize> = names.iter().filter_map(|name| table.column(name)).collect();
        let columns = holding(&|position| own.contains(&position) || key.contains(&position));
        let is_computed = |position: &usize| generated.iter().any(|found| found.column == *position);
        own.extend(columns.iter().filter(|position| is_computed(position) && !anchor.contains(position)));
        parts.push(Part { group, columns, own });
    }
    parts
}

/// How generated columns are computed, of a table whose columns may lie in several column groups. Others are left to
/// the table's own text.
pub(crate) fn computed_by_group(table: &Definition, spec: Option<&TableSpec>) -> Vec<GeneratedColumn> {
    let groups = spec.map(|spec| spec.column_groups.as_slice()).unwrap_or_default();
    let is_split = groups.iter().skip(1).any(|names| !names.is_empty());
    // A text that is not understood does not become that of a split table.
    if is_split { generated_columns(table).unwrap_or_default() } else { Vec::new() }
}

fn has_lost_columns(spec: &TableSpec) -> bool {
    spec.column_groups.iter().flatten().any(|name| name == LOST_COLUMNS)
}

/// The columns that lie in every column group: those of the partition key and of the primary key.
pub(crate) fn repeated_columns(table: &Definition, partition_key: &[String]) -> Vec<usize> {
    let mut columns: Vec<usize> = partition_key.iter().filter_map(|name| table.column(name)).collect();
    columns.extend(&table.primary_key);
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Names of the system's columns in the tables of split tables begin so; a client's must not.
pub(crate) const STAMP_PREFIX: &str = "_column_group_";

/// Stands among the columns of a column group that has lost some. What is left of the part of a row is not what its stamp
/// was made of, until the row is stamped anew.
pub(crate) const LOST_COLUMNS: &str = "_column_group_";

/// The column that tells the versions of a row's part in a column group apart. It stands in the group's own
/// partition and in the anchor's.
pub(crate) fn stamp_column(group: usize) -> String {
    format!("{STAMP_PREFIX}{group}")
}

/// Whether the words ON CONFLICT are in the text of a table; a comment that has them does no harm.
fn has_conflict_clause(sql: &str) -> bool {
    let upper = sql.to_ascii_uppercase();
    let mut words =
        upper.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut before = "";
    words.any(|word| std::mem::replace(&mut before, word) == "ON" && word == "CONFLICT")
}

/// The key that names of columns make.
pub(crate) fn key_of(table: &Definition, names: &[String]) -> Key {
    let positions: Vec<usize> = names.iter().filter_map(|name| table.column(name)).collect();
    match positions.as_slice() {
        [] => Key::Rowid,
        [only] if Some(*only) == table.rowid_alias => Key::Rowid,
        _ => Key::Columns(positions),
    }
}

/// The bucket that owns a row's key, whose values are stored and folded.
pub(crate) fn bucket_of(database: &Database, key: &[Value]) -> usize {
    bucket_of_key(&database.buckets, key)
}

/// The bucket whose copy of a reference table is read where any would do: one for each name, so that not all
/// such tables burden the same.
pub(crate) fn bucket_of_reference(database: &Database, table: &Table) -> usize {
    let number = table
        .name
        .bytes()
        .fold(0_usize, |number, byte| number.wrapping_mul(31).wrapping_add(usize::from(byte)));
    number % database.buckets.len().max(1)
}

/// The bucket of a row of a global index, whatever the method of the database.
pub(crate) fn bucket_of_index_row(database: &Database, values: &[Value]) -> usize {
    if database.buckets.len() == 1 {
        return 0;
    }
    bucket_of_home(&database.buckets, slot(values))
}
