//! Tables declared by fields.

use common::catalog::Database;
use common::names::{check_table_name, quote_identifier};
use common::schema::{DeclaredColumn, DeclaredTable, Schema};
use common::{Error, ErrorCode, Result};
use serde_json::{Map, Value as Json};

use super::column_groups::NamedGroups;
use super::statement::{Said, define_with};
use super::{SchemaChange, group_declaration};
use crate::ast::{self, Cmd, CreateTableBody, Stmt};

/// A declared table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Declaration {
    name: String,
    table: DeclaredTable,
    partition_key: Option<Vec<String>>,
    /// Every bucket has a copy of it.
    reference: bool,
    column_groups: Option<NamedGroups>,
}

/// Reads the declarations and checks the types of their fields.
pub(super) fn parse(tables: &Json) -> Result<Vec<Declaration>> {
    let Json::Array(tables) = tables else { return Err(Error::bad_request("tables must be an array")) };
    tables.iter().map(parse_table).collect()
}

fn parse_table(table: &Json) -> Result<Declaration> {
    let Json::Object(fields) = table else {
        return Err(Error::bad_request("'tables' must be a list of objects"));
    };
    let (Some(name), Some(columns)) = (present(fields, "name"), present(fields, "columns")) else {
        return Err(Error::bad_request("Missing required fields for table").with_hint("name and columns"));
    };
    let name = text(name, "the table's name")?;
    check_table_name(&name)?;
    check_fields(&format!("table {name}"), fields, TABLE_FIELDS)?;
    let reference = match present(fields, "reference") {
        None => false,
        Some(Json::Bool(reference)) => *reference,
        Some(_) => return Err(Error::bad_request("reference must be true or false")),
    };
    let Json::Array(columns) = columns else {
        return Err(Error::bad_request("the table's columns must be an array"));
    };
    if columns.is_empty() {
        return Err(Error::bad_request(format!("table {name} has no columns")));
    }
    let columns = columns.iter().map(parse_column).collect::<Result<Vec<_>>>()?;
    let indexes = names(fields, "indexes")?.unwrap_or_default();
    for index in &indexes {
        if !columns.iter().any(|column| column.name.eq_ignore_ascii_case(index)) {
            return Err(Error::bad_request(format!("the index names {index}, which is no column of {name}")));
        }
    }
    let partition_key = names(fields, "partition_key")?;
    if reference && partition_key.is_some() {
        return Err(Error::bad_request(format!(
            "table {name} cannot be a reference table and have a partition key"
        ))
        .with_hint("every partition has all rows of a reference table"));
    }
    let column_groups = present(fields, "column_groups").map(group_declaration::parse).transpose()?;
    if reference && column_groups.is_some() {
        return Err(Error::bad_request(format!(
            "table {name} cannot be a reference table and have column groups"
        ))
        .with_hint("the rows of a reference table are kept whole"));
    }
    let table = DeclaredTable { columns, indexes };
    Ok(Declaration { name, table, partition_key, reference, column_groups })
}

fn parse_column(column: &Json) -> Result<DeclaredColumn> {
    let Json::Object(fields) = column else {
        return Err(Error::bad_request("'columns' must be a list of objects"));
    };
    let (Some(name), Some(data_type)) = (present(fields, "name"), present(fields, "data_type")) else {
        return Err(Error::bad_request("Missing required fields for column").with_hint("name and data_type"));
    };
    let flag = |field: &str, absent: bool| match present(fields, field) {
        None => Ok(absent),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Error::bad_request(format!("{field} must be true or false"))),
    };
    let name = text(name, "a column's name")?;
    if name.is_empty() || name.contains('\0') {
        return Err(Error::new(ErrorCode::BadName, "a column's name must not be empty"));
    }
    check_fields(&format!("column {name}"), fields, COLUMN_FIELDS)?;
    let default = fields.get("default").cloned().unwrap_or_default();
    if default.is_array() || default.is_object() {
        return Err(Error::bad_request(format!(
            "the default of {name} must be a number, a text, true, false or null"
        )));
    }
    let data_type = text(data_type, "a column's data_type")?;
    check_type(&data_type)?;
    Ok(DeclaredColumn {
        name,
        data_type,
        primary_key: flag("primary_key", false)?,
        nullable: flag("nullable", true)?,
        default,
    })
}

/// What a table may say of itself.
const TABLE_FIELDS: &[&str] = &["name", "columns", "indexes", "partition_key", "reference", "column_groups"];

/// What a column may say of itself.
const COLUMN_FIELDS: &[&str] = &["name", "data_type", "primary_key", "nullable", "default"];

/// Refuses a field that there is not: ignored, it would make another table than was meant.
fn check_fields(whose: &str, fields: &Map<String, Json>, known: &[&str]) -> Result<()> {
    let stray = |name: &&String| !known.contains(&name.as_str()) && present(fields, name).is_some();
    let Some(name) = fields.keys().find(stray) else { return Ok(()) };
    let hint = format!("it may have {}; constraints of other kinds are declared by SQL", known.join(", "));
    Err(Error::bad_request(format!("unknown field '{name}' of {whose}")).with_hint(hint))
}

/// A field that is there and not null.
fn present<'a>(fields: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    fields.get(name).filter(|value| !value.is_null())
}

fn text(value: &Json, what: &str) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| Error::bad_request(format!("{what} must be a text")))
}

/// A list of column names, or one.
fn names(fields: &Map<String, Json>, field: &str) -> Result<Option<Vec<String>>> {
    match present(fields, field) {
        None => Ok(None),
        Some(Json::String(name)) => Ok(Some(vec![name.clone()])),
        Some(Json::Array(names)) => names
            .iter()
            .map(|name| text(name, &format!("a name in {field}")))
            .collect::<Result<_>>()
            .map(Some),
        Some(_) => Err(Error::bad_request(format!("{field} must be a list of column names"))),
    }
}

/// The type is put into SQL as it is, so it must be nothing but a type: words, and at most two numbers.
fn check_type(data_type: &str) -> Result<()> {
    let words = |character: char| character.is_ascii_alphanumeric() || "_ (),+-.".contains(character);
    let sql = format!("CREATE TABLE t (c {data_type})");
    let parsed = match ast::parse(&sql) {
        Some(Cmd::Stmt(Stmt::CreateTable {
            body: CreateTableBody::ColumnsAndConstraints { columns, constraints, .. },
            ..
        })) => constraints.is_empty() && matches!(columns.as_slice(), [only] if only.constraints.is_empty()),
        _ => false,
    };
    if parsed && data_type.chars().all(words) {
        return Ok(());
    }
    Err(Error::bad_request(format!("'{data_type}' is not a type"))
        .with_hint("for example INTEGER, TEXT, REAL, VARCHAR(20), DECIMAL(10,2)"))
}

/// The change that makes the tables.
pub(super) fn change(database: &Database, declared: &[Declaration]) -> Result<SchemaChange> {
    let mut database = database.clone();
    let version = database.schema.version + 1;
    let mut change =
        SchemaChange { schema: Schema::default(), statements: Vec::new(), group_statements: Vec::new() };
    for declaration in declared {
        if database.schema.table(&declaration.name).is_some() {
            return Err(Error::new(
                ErrorCode::SqlError,
                format!("table {} already exists", quote_identifier(&declaration.name)),
            ));
        }
        let mut said = Said::default();
        let lower = declaration.name.to_ascii_lowercase();
        said.declared.insert(lower.clone(), declaration.table.clone());
        if declaration.reference {
            said.references.insert(lower.clone());
        }
        if let Some(key) = &declaration.partition_key {
            said.partition_keys.insert(lower.clone(), key.clone());
        }
        if let Some(groups) = &declaration.column_groups {
            said.column_groups.insert(lower, groups.clone());
        }
        for sql in ddl(declaration) {
            if let Some(definition) = define_with(&database, &sql, &said)? {
                database.schema = definition.change.schema;
                change.append(definition.change.statements, definition.change.group_statements);
            }
        }
    }
    change.schema = Schema { version, ..database.schema };
    Ok(change)
}

fn ddl(declaration: &Declaration) -> Vec<String> {
    let table = &declaration.table;
    let key: Vec<&DeclaredColumn> = table.columns.iter().filter(|column| column.primary_key).collect();
    let mut parts: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let mut part = format!("{} {}", quote_identifier(&column.name), column.data_type);
            if column.primary_key && key.len() == 1 {
                part.push_str(" PRIMARY KEY");
            }
            if !column.nullable {
                part.push_str(" NOT NULL");
            }
            if let Some(default) = default_sql(&column.default) {
                part.push_str(" DEFAULT ");
                part.push_str(&default);
            }
            part
        })
        .collect();
    if key.len() > 1 {
        let names: Vec<String> = key.iter().map(|column| quote_identifier(&column.name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    let name = quote_identifier(&declaration.name);
    let mut statements = vec![format!("CREATE TABLE {name} ({})", parts.join(", "))];
    for column in &table.indexes {
        let index = quote_identifier(&format!("idx_{}_{column}", declaration.name));
        statements.push(format!("CREATE INDEX {index} ON {name} ({})", quote_identifier(column)));
    }
    statements
}

/// A default as SQL; `None` without one.
fn default_sql(default: &Json) -> Option<String> {
    match default {
        Json::Null | Json::Array(_) | Json::Object(_) => None,
        Json::Bool(flag) => Some(if *flag { "1" } else { "0" }.to_owned()),
        Json::Number(number) => Some(number.to_string()),
        Json::String(text) if is_sql(text) => Some(text.clone()),
        Json::String(text) => Some(format!("'{}'", text.replace('\'', "''"))),
    }
}

/// Whether a text is one of the forms that are SQL: CURRENT_*, TRUE, FALSE, NULL, a number, a quoted literal
/// or one expression in brackets.
fn is_sql(text: &str) -> bool {
    let word = ["CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "TRUE", "FALSE", "NULL"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.parse::<f64>().is_ok_and(f64::is_finite);
    let quoted = text.len() >= 2
        && text.starts_with('\'')
        && text.ends_with('\'')
        && !text[1..text.len() - 1].replace("''", "").contains('\'');
    word || number || quoted || is_bracketed(text)
}

/// Whether the text is exactly one expression in brackets, so that it cannot close them and go on.
fn is_bracketed(text: &str) -> bool {
    if !(text.starts_with('(') && text.ends_with(')')) || text.contains("--") || text.contains("/*") {
        return false;
    }
    let sql = format!("CREATE TABLE t (c DEFAULT {text})");
    match ast::parse(&sql) {
        Some(Cmd::Stmt(Stmt::CreateTable {
            body: CreateTableBody::ColumnsAndConstraints { columns, constraints, .. },
            ..
        })) => constraints.is_empty() && matches!(columns.as_slice(), [only] if only.constraints.len() == 1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_sql_or_text_by_their_form() {
        for (given, sql) in [
            (json!(5), Some("5")),
            (json!(true), Some("1")),
            (json!(null), None),
            (json!("CURRENT_TIMESTAMP"), Some("CURRENT_TIMESTAMP")),
            (json!("3.5"), Some("3.5")),
            (json!("'a''b'"), Some("'a''b'")),
            (json!("(1 + 2)"), Some("(1 + 2)")),
            (json!("active"), Some("'active'")),
            (json!("it's"), Some("'it''s'")),
            (json!("(1), x INTEGER DEFAULT (2)"), Some("'(1), x INTEGER DEFAULT (2)'")),
        ] {
            assert_eq!(default_sql(&given).as_deref(), sql, "{given}");
        }
    }

    #[test]
    fn a_field_that_there_is_not_is_told() {
        let column = json!({"name": "a", "data_type": "TEXT", "unique": true});
        let error = parse(&json!([{"name": "t", "columns": [column]}])).unwrap_err();
        assert_eq!(error.message, "unknown field 'unique' of column a");
        let column = json!({"name": "a", "data_type": "TEXT", "comment": null});
        let error = parse(&json!([{"name": "t", "columns": [column], "partitonkey": "a"}])).unwrap_err();
        assert_eq!(error.message, "unknown field 'partitonkey' of table t");
    }

    #[test]
    fn a_type_is_nothing_but_a_type() {
        for good in ["INTEGER", "VARCHAR(20)", "DECIMAL(10,2)", "DOUBLE PRECISION", ""] {
            assert!(check_type(good).is_ok(), "{good}");
        }
        // So no table that names its partition key has generated columns, which could not choose a row's bucket.
        for computed in ["TEXT AS (a)", "INT GENERATED ALWAYS AS (1) STORED"] {
            assert!(check_type(computed).is_err(), "{computed}");
        }
        for bad in ["INTEGER PRIMARY KEY", "TEXT, x TEXT", "TEXT); DROP TABLE t; --", "TEXT DEFAULT 1"] {
            assert!(check_type(bad).is_err(), "{bad}");
        }
    }
}
