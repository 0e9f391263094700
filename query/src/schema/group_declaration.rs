//! Column groups as a declaration names them: `{"profile": ["name", "email"], "stats": ["age"]}`.

use common::names::check_database_name;
use common::{Error, Result};
use serde_json::{Map, Value as Json};

use super::column_groups::NamedGroups;

const FIELD: &str = "column_groups";

/// Reads the groups of one table, in their order.
pub(super) fn parse(groups: &Json) -> Result<NamedGroups> {
    let wrong = || Error::bad_request("column_groups must give lists of column names by the groups' names");
    let Json::Object(groups) = groups else { return Err(wrong()) };
    let mut parsed = NamedGroups::new();
    for (name, columns) in groups {
        check_database_name("column group", name)?;
        let columns = columns.as_array().ok_or_else(wrong)?;
        let columns = columns.iter().map(|column| column.as_str().map(str::to_owned).ok_or_else(wrong));
        parsed.push((name.clone(), columns.collect::<Result<_>>()?));
    }
    Ok(parsed)
}

/// The column groups of a new database: those that `groups`, for all tables that have such columns, and the
/// tables themselves name, in the order in which they are named; none if nobody names any. Tables that name
/// no groups of their own are given what `groups` says of their columns.
pub fn declare_column_groups(groups: Option<&Json>, tables: &mut [Json]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut add = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    if let Some(groups) = groups {
        let groups = parse(groups)?;
        groups.iter().for_each(|(name, _)| add(name));
        check_columns(&groups, tables)?;
        for table in tables.iter_mut().filter(|table| table.get(FIELD).is_none_or(Json::is_null)) {
            let own = groups_of_table(&groups, table);
            if let (Some(fields), false) = (table.as_object_mut(), own.is_empty()) {
                fields.insert(FIELD.to_owned(), Json::Object(own));
            }
        }
    }
    for groups in tables.iter().filter_map(|table| table.get(FIELD)).filter(|groups| !groups.is_null()) {
        parse(groups)?.iter().for_each(|(name, _)| add(name));
    }
    Ok(names)
}

/// The attributes of documents that `groups`, which has been read, says to lie in each of some column groups.
pub fn declare_attribute_groups(groups: Option<&Json>, column_groups: &[String]) -> Result<Vec<Vec<String>>> {
    let Some(groups) = groups else { return Ok(Vec::new()) };
    let mut said = vec![Vec::new(); column_groups.len()];
    for (name, attributes) in parse(groups)? {
        if let Some(group) = column_groups.iter().position(|known| *known == name) {
            said[group].extend(attributes);
        }
    }
    Ok(said)
}

/// Each column is one of some table, and is named once.
fn check_columns(groups: &NamedGroups, tables: &[Json]) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    // Without tables they are attributes of documents, in which the letter case counts.
    let is_same = |known: &str, column: &str| match tables.is_empty() {
        true => known == column,
        false => known.eq_ignore_ascii_case(column),
    };
    for column in groups.iter().flat_map(|(_, columns)| columns) {
        if seen.iter().any(|known| is_same(known, column)) {
            return Err(Error::bad_request(format!("column {column} is named twice in column_groups")));
        }
        seen.push(column);
        if !tables.is_empty() && !tables.iter().any(|table| has_column(table, column)) {
            let message = format!("column_groups names {column}, which is a column of no table");
            return Err(Error::bad_request(message));
        }
    }
    Ok(())
}

fn groups_of_table(groups: &NamedGroups, table: &Json) -> Map<String, Json> {
    let own = groups.iter().map(|(name, columns)| {
        let columns = columns.iter().filter(|column| has_column(table, column));
        (name.clone(), Json::from(columns.cloned().collect::<Vec<String>>()))
    });
    own.filter(|(_, columns)| columns.as_array().is_some_and(|columns| !columns.is_empty())).collect()
}

fn has_column(table: &Json, name: &str) -> bool {
    let columns = table.get("columns").and_then(Json::as_array);
    columns.into_iter().flatten().any(|column| {
        column.get("name").and_then(Json::as_str).is_some_and(|known| known.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_of_the_database_are_given_to_the_tables_that_have_their_columns() {
        let mut tables = vec![
            json!({"name": "a", "columns": [{"name": "x"}, {"name": "Y"}]}),
            json!({"name": "b", "columns": [{"name": "z"}], "column_groups": {"own": ["z"]}}),
            json!({"name": "c", "columns": [{"name": "q"}]}),
        ];
        let names =
            declare_column_groups(Some(&json!({"left": ["x"], "right": ["y"]})), &mut tables).unwrap();
        assert_eq!(names, ["left", "right", "own"]);
        assert_eq!(tables[0]["column_groups"], json!({"left": ["x"], "right": ["y"]}));
        assert_eq!(tables[1]["column_groups"], json!({"own": ["z"]}));
        assert_eq!(tables[2].get("column_groups"), None);
    }

    #[test]
    fn what_is_no_list_of_columns_is_refused() {
        for wrong in [json!([]), json!({"a": "x"}), json!({"a": [1]}), json!({"1": ["x"]})] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
        let mut tables = vec![json!({"name": "a", "columns": [{"name": "x"}]})];
        for wrong in [json!({"a": ["x"], "b": ["X"]}), json!({"a": ["unknown"]})] {
            assert!(declare_column_groups(Some(&wrong), &mut tables).is_err(), "{wrong}");
        }
    }
}
