//! What takes a schema change back on a partition that has made it, where another could not.
//!
//! A change fails on some partitions and not on others only for their data: the build of a UNIQUE index, a
//! column that must not be NULL added to a table with rows. So what has to be undone are new objects and added
//! columns; everything else fails on all partitions or on none.

use common::names::quote_identifier;
use common::schema::{ObjectKind, Schema, SchemaObject};

/// Statements that bring a partition from `after` back to `before`, which `statements` had changed.
#[must_use]
pub(super) fn statements(before: &Schema, after: &Schema, statements: &[String]) -> Vec<String> {
    let added = statements.iter().rev().filter_map(|statement| added_column(statement));
    let columns = added.map(|(table, column)| format!("ALTER TABLE {table} DROP COLUMN {column}"));
    let is_new = |object: &&SchemaObject| {
        !before
            .objects
            .iter()
            .any(|old| old.kind == object.kind && old.name.eq_ignore_ascii_case(&object.name))
    };
    let objects = after.objects.iter().rev().filter(is_new).filter_map(|object| {
        let kind = match object.kind {
            ObjectKind::Table => "TABLE",
            ObjectKind::Index => "INDEX",
            ObjectKind::View => "VIEW",
            // Partitions have none.
            ObjectKind::Trigger => return None,
        };
        Some(format!("DROP {kind} IF EXISTS {}", quote_identifier(&object.name)))
    });
    let old_system_tables = system_tables(before);
    let system_tables = system_tables(after).into_iter().filter(|table| !old_system_tables.contains(table));
    let system_tables =
        system_tables.map(|table| format!("DROP TABLE IF EXISTS {}", quote_identifier(table)));
    columns.chain(objects).chain(system_tables).collect()
}

/// Those of the statements that concern the partitions of a column group: columns are only ever added to the
/// first.
#[must_use]
pub(super) fn on_group(undo: &[String], group: usize) -> Vec<String> {
    undo.iter().filter(|statement| group == 0 || statement.starts_with("DROP ")).cloned().collect()
}

/// The system's tables behind global indexes.
fn system_tables(schema: &Schema) -> Vec<&str> {
    let indexes = schema.tables.values().flat_map(|table| &table.global_indexes);
    indexes.map(|index| index.table.as_str()).collect()
}

/// Table and column, as written, of an `ALTER TABLE … ADD [COLUMN] …`.
fn added_column(statement: &str) -> Option<(&str, &str)> {
    let mut words = Words(statement);
    words.keyword("ALTER")?;
    words.keyword("TABLE")?;
    let table = words.next_word()?;
    let table = match words.0.trim_start().strip_prefix('.') {
        // Behind a schema's name comes the table's.
        Some(rest) => {
            words.0 = rest;
            words.next_word()?
        }
        None => table,
    };
    words.keyword("ADD")?;
    let column = words.next_word()?;
    let column = if column.eq_ignore_ascii_case("COLUMN") { words.next_word()? } else { column };
    Some((table, column))
}

/// The words of a statement, quoted ones whole. Only as much SQL as the beginning of ALTER TABLE needs.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next_word(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let first = text.chars().next()?;
        let end = match first {
            '"' | '`' | '\'' => quoted_end(text, first)?,
            '[' => text.find(']')? + 1,
            _ => text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len()),
        };
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    fn keyword(&mut self, keyword: &str) -> Option<()> {
        self.next_word()?.eq_ignore_ascii_case(keyword).then_some(())
    }
}

/// Where a quoted word ends; a doubled quote stands for one.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((position, character)) = characters.next() {
        if character == quote {
            match characters.peek() {
                Some((_, next)) if *next == quote => drop(characters.next()),
                _ => return Some(position + quote.len_utf8()),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use common::schema::GlobalIndex;

    use super::*;

    fn object(kind: ObjectKind, name: &str) -> SchemaObject {
        SchemaObject { kind, name: name.into(), table: "t".into(), sql: String::new() }
    }

    #[test]
    fn new_objects_are_dropped_last_first() {
        let before = Schema { objects: vec![object(ObjectKind::Table, "t")], ..Schema::default() };
        let mut after = before.clone();
        after.objects.push(object(ObjectKind::Index, "i"));
        after.objects.push(object(ObjectKind::View, "v\"w"));
        let undo = statements(&before, &after, &[]);
        assert_eq!(undo, ["DROP VIEW IF EXISTS \"v\"\"w\"", "DROP INDEX IF EXISTS \"i\""]);
    }

    #[test]
    fn tables_of_new_global_indexes_are_dropped() {
        let table = |indexes: &[&str]| {
            let index = |table: &&str| GlobalIndex {
                table: (*table).into(),
                columns: vec![],
                index: None,
                building: false,
                computed: None,
            };
            let spec = common::schema::TableSpec {
                name: "t".into(),
                kind: common::schema::TableKind::Relational,
                partition_key: vec![],
                reference: false,
                global_indexes: indexes.iter().map(index).collect(),
                next_rowid: 1,
                rowids_set_by_client: false,
                column_groups: Vec::new(),
                declared: None,
            };
            Schema { tables: [("t".to_owned(), spec)].into(), ..Schema::default() }
        };
        let undo = statements(&table(&["_unique_1"]), &table(&["_unique_1", "_unique_2"]), &[]);
        assert_eq!(undo, ["DROP TABLE IF EXISTS \"_unique_2\""]);
    }

    #[test]
    fn added_columns_are_dropped() {
        let undone = |statement: &str| {
            statements(&Schema::default(), &Schema::default(), &[statement.to_owned()]).pop()
        };
        let simple = undone("alter table t add column c TEXT NOT NULL");
        assert_eq!(simple.as_deref(), Some("ALTER TABLE t DROP COLUMN c"));
        let quoted = undone("ALTER TABLE main.\"a \"\"b\" ADD [c d] INT");
        assert_eq!(quoted.as_deref(), Some("ALTER TABLE \"a \"\"b\" DROP COLUMN [c d]"));
        assert_eq!(undone("ALTER TABLE t RENAME TO u"), None);
        assert_eq!(undone("CREATE TABLE t (x)"), None);
    }
}
