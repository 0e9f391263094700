//! Tables as answers show them: columns as they were declared by fields, or as SQLite reads them out of the
//! SQL text that made them.

use common::schema::{DeclaredColumn, Schema, TableKind};
use common::{Error, Result};
use serde_json::{Value as Json, json};
use sqlite::schema::{Column, IndexOrigin, Table};

/// The tables of a schema; collections are not among them.
pub async fn describe_tables(schema: Schema) -> Result<Json> {
    // SQLite reads the schema, which takes milliseconds when it is large.
    let described = tokio::task::spawn_blocking(move || describe(&schema)).await;
    described.map_err(|error| Error::internal(error.to_string()))?
}

fn describe(schema: &Schema) -> Result<Json> {
    let shadow = sqlite::Shadow::new(schema.objects.iter().map(|object| object.sql.as_str()))?;
    let is_table =
        |table: &&Table| schema.table(&table.name).is_none_or(|spec| spec.kind == TableKind::Relational);
    let tables = shadow.schema().tables.iter().filter(is_table).map(|table| describe_table(schema, table));
    Ok(tables.collect())
}

fn describe_table(schema: &Schema, table: &Table) -> Json {
    let spec = schema.table(&table.name);
    let declared = spec.and_then(|spec| spec.declared.as_ref()).map_or(&[][..], |declared| &declared.columns);
    let columns = table.columns.iter().enumerate().map(|(position, column)| {
        let as_declared = declared.iter().find(|declared| declared.name.eq_ignore_ascii_case(&column.name));
        as_declared.map_or_else(|| from_definition(table, position, column), from_declaration)
    });
    let indexes = table.indexes.iter().filter(|index| index.origin == IndexOrigin::Statement);
    let indexes = indexes.map(|index| {
        let name = |term: &sqlite::schema::IndexTerm| {
            term.column.map_or("<expression>", |column| table.columns[column].name.as_str())
        };
        index.terms.iter().map(name).collect::<Vec<_>>().join(", ")
    });
    json!({
        "name": table.name,
        "columns": columns.collect::<Vec<_>>(),
        "indexes": indexes.collect::<Vec<_>>(),
        "partition_key": spec.map(|spec| &spec.partition_key),
        "reference": spec.is_some_and(|spec| spec.reference),
    })
}

fn from_declaration(column: &DeclaredColumn) -> Json {
    json!({
        "name": column.name,
        "data_type": column.data_type,
        "primary_key": column.primary_key,
        "nullable": column.nullable,
        "default": column.default,
    })
}

/// A default is shown as SQL, which is how a declaration by fields would be given it.
fn from_definition(table: &Table, position: usize, column: &Column) -> Json {
    json!({
        "name": column.name,
        "data_type": column.declared_type,
        "primary_key": table.primary_key.contains(&position),
        "nullable": !column.not_null,
        "default": column.default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::schema::{ObjectKind, SchemaObject, TableSpec, collection_ddl};

    fn object(kind: ObjectKind, name: &str, table: &str, sql: &str) -> SchemaObject {
        SchemaObject { kind, name: name.into(), table: table.into(), sql: sql.into() }
    }

    #[tokio::test]
    async fn tables_made_by_sql_are_described_and_collections_left_out() {
        let mut schema = Schema::default();
        let create = "CREATE TABLE t (id INTEGER PRIMARY KEY, n VARCHAR(9) NOT NULL DEFAULT 'x')";
        schema.objects.push(object(ObjectKind::Table, "t", "t", create));
        schema.objects.push(object(ObjectKind::Index, "i", "t", "CREATE INDEX i ON t (n)"));
        schema.objects.push(object(ObjectKind::Table, "c", "c", &collection_ddl("c", 1)));
        let collection = TableSpec {
            name: "c".into(),
            kind: TableKind::Collection,
            partition_key: vec!["_id".into()],
            reference: false,
            global_indexes: Vec::new(),
            next_rowid: 1,
            rowids_set_by_client: false,
            column_groups: Vec::new(),
            declared: None,
        };
        schema.tables.insert("c".into(), collection);
        assert_eq!(
            describe_tables(schema).await.unwrap(),
            json!([{"name": "t", "indexes": ["n"], "partition_key": null, "reference": false, "columns": [
                {"name": "id", "data_type": "INTEGER", "primary_key": true, "nullable": true, "default": null},
                {"name": "n", "data_type": "VARCHAR(9)", "primary_key": false, "nullable": false, "default": "'x'"}]}])
        );
    }
}
