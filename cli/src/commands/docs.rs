//! `polylite docs`: documents of a collection from the command line. The shell's document mode does the same.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::query::as_rows;
use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::OutputFormat;

/// Flags of `docs`. They may stand before the operation or after it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// The database.
    #[arg(long, value_name = "N", env = "POLYLITE_DB_NAME", global = true)]
    db_name: Option<String>,
    /// The collection.
    #[arg(long, value_name = "C", env = "POLYLITE_COLLECTION", global = true)]
    collection: Option<String>,
    #[command(subcommand)]
    operation: Operation,
}

/// What is done.
#[derive(Debug, Subcommand)]
enum Operation {
    /// Show the documents that a filter matches.
    Find {
        /// The filter: JSON, or text such as 'age > 30'; left out, all documents.
        filter: Option<String>,
        /// Which fields are shown, as JSON.
        #[arg(long, value_name = "JSON", env = "POLYLITE_PROJECTION")]
        projection: Option<String>,
        /// The order, as JSON: {"age": -1}.
        #[arg(long, value_name = "JSON", env = "POLYLITE_SORT")]
        sort: Option<String>,
        /// Documents that are left out first.
        #[arg(long, value_name = "N", env = "POLYLITE_SKIP")]
        skip: Option<u64>,
        /// Most documents shown.
        #[arg(long, value_name = "N", env = "POLYLITE_LIMIT")]
        limit: Option<u64>,
    },
    /// Count the documents that a filter matches.
    Count {
        /// The filter; left out, all documents.
        filter: Option<String>,
    },
    /// Insert a document, or a list of them.
    Insert {
        /// The document as JSON.
        #[arg(required_unless_present = "file")]
        document: Option<String>,
        /// A file with it.
        #[arg(long, value_name = "F", env = "POLYLITE_FILE", conflicts_with = "document")]
        file: Option<PathBuf>,
    },
    /// Change the documents that a filter matches.
    Update {
        /// The filter.
        filter: String,
        /// The update, as JSON: {"$set": {"age": 31}}.
        update: String,
        /// Change one document only.
        #[arg(long, env = "POLYLITE_ONE")]
        one: bool,
        /// Make a document if none matches.
        #[arg(long, env = "POLYLITE_UPSERT")]
        upsert: bool,
    },
    /// Delete the documents that a filter matches.
    Delete {
        /// The filter; {} matches all.
        filter: String,
        /// Delete one document only.
        #[arg(long, env = "POLYLITE_ONE")]
        one: bool,
    },
    /// Show what a pipeline makes of the documents.
    Aggregate {
        /// The pipeline: a list of stages, as JSON.
        pipeline: String,
    },
}

impl Arguments {
    /// The names of database and collection, or the flag that is missing.
    pub fn place(&self) -> Result<(&str, &str), &'static str> {
        let database = self.db_name.as_deref().ok_or("--db-name")?;
        Ok((database, self.collection.as_deref().ok_or("--collection")?))
    }
}

/// Runs the operation and prints what it answers.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let missing = |flag| Failure::usage(format!("{flag} is missing: it says where the documents are"));
    let (database, name) = arguments.place().map_err(missing)?;
    let connection = Connection::open(&arguments.client)?;
    let request = arguments.operation.request()?;
    let place = Collection { database, name };
    let shown = perform(&connection, place, &request, arguments.client.output).await?;
    let mut out = io::stdout().lock();
    out.write_all(shown.as_bytes())?;
    Ok(out.flush()?)
}

/// Where documents are.
#[derive(Clone, Copy, Debug)]
pub struct Collection<'a> {
    /// The database.
    pub database: &'a str,
    /// The collection's name.
    pub name: &'a str,
}

/// A request to a collection's route.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    route: &'static str,
    body: Json,
}

impl Operation {
    fn request(&self) -> Result<Request, Failure> {
        let (route, body) = match self {
            Operation::Find { filter, projection, sort, skip, limit } => {
                let mut body = Map::new();
                body.insert("filter".to_owned(), optional_filter(filter.as_deref()));
                for (name, given) in [("projection", projection), ("sort", sort)] {
                    if let Some(text) = given {
                        body.insert(name.to_owned(), parse(name, text)?);
                    }
                }
                body.insert("skip".to_owned(), json!(skip));
                body.insert("limit".to_owned(), json!(limit));
                ("find", Json::Object(body))
            }
            Operation::Count { filter } => ("count", json!({ "filter": optional_filter(filter.as_deref()) })),
            Operation::Insert { document, file } => {
                let text = match (document, file) {
                    (Some(document), _) => document.clone(),
                    (None, Some(file)) => std::fs::read_to_string(file)
                        .map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?,
                    (None, None) => return Err(Failure::usage("no document is given")),
                };
                ("documents", inserted(parse("document", &text)?))
            }
            Operation::Update { filter, update, one, upsert } => {
                let update = parse("update", update)?;
                ("update", updated(filter_of(filter), update, *one, *upsert))
            }
            Operation::Delete { filter, one } => {
                ("delete", json!({"filter": filter_of(filter), "multi": !one}))
            }
            Operation::Aggregate { pipeline } => {
                ("aggregate", json!({ "pipeline": parse("pipeline", pipeline)? }))
            }
        };
        Ok(Request { route, body })
    }
}

/// The request that a line of the shell's document mode is: an operation and its JSON values, or the text of a filter.
pub fn parse_line(line: &str) -> Result<Request, Failure> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (operation, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let filter = || optional_filter(Some(rest).filter(|rest| !rest.is_empty()));
    let values = || -> Result<Vec<Json>, Failure> {
        let read = serde_json::Deserializer::from_str(rest).into_iter::<Json>();
        read.collect::<Result<_, _>>().map_err(|error| Failure::usage(format!("this is not JSON: {error}")))
    };
    let (route, body) = match operation {
        "find" => ("find", json!({ "filter": filter() })),
        "count" => ("count", json!({ "filter": filter() })),
        "insert" => match values()?.as_slice() {
            [document] => ("documents", inserted(document.clone())),
            _ => return Err(misuse("insert DOCUMENT")),
        },
        "update" => match values()?.as_slice() {
            [filter, update] => ("update", updated(filter.clone(), update.clone(), false, false)),
            _ => return Err(misuse("update FILTER UPDATE")),
        },
        "delete" if rest.is_empty() => return Err(misuse("delete FILTER, where {} matches all")),
        "delete" => ("delete", json!({ "filter": filter() })),
        "aggregate" => match values()?.as_slice() {
            [pipeline] => ("aggregate", json!({ "pipeline": pipeline })),
            _ => return Err(misuse("aggregate PIPELINE")),
        },
        other => {
            return Err(Failure::usage(format!("unknown operation: {other}"))
                .with_hint("find, count, insert, update, delete, aggregate; .sql leaves the document mode"));
        }
    };
    Ok(Request { route, body })
}

fn misuse(usage: &str) -> Failure {
    Failure::usage(format!("usage: {usage}"))
}

fn updated(filter: Json, update: Json, one: bool, upsert: bool) -> Json {
    let replaces = !update.as_object().is_some_and(|fields| fields.keys().any(|name| name.starts_with('$')));
    json!({"filter": filter, "update": update, "multi": !one && !replaces, "upsert": upsert})
}

/// A list of documents travels under its name.
fn inserted(given: Json) -> Json {
    match given {
        Json::Array(documents) => json!({ "documents": documents }),
        document => document,
    }
}

fn optional_filter(text: Option<&str>) -> Json {
    text.map_or(Json::Null, filter_of)
}

/// An object in JSON, or a text in the filter expression language.
fn filter_of(text: &str) -> Json {
    match serde_json::from_str(text) {
        Ok(object @ Json::Object(_)) => object,
        _ => Json::from(text),
    }
}

fn parse(what: &str, text: &str) -> Result<Json, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::usage(format!("{what} is not JSON: {error}")))
}

/// Sends a request; answers what is to be shown of its answer.
pub async fn perform(
    connection: &Connection,
    collection: Collection<'_>,
    request: &Request,
    form: Option<OutputFormat>,
) -> Result<String, Failure> {
    let base =
        format!("/databases/{}/collections/{}", segment(collection.database), segment(collection.name));
    let answer = connection.post(&format!("{base}/{}", request.route), &request.body).await?;
    shown(&answer, form)
}

/// Documents one a line, or in the form that is asked for; else the answer's own fields.
fn shown(answer: &Json, form: Option<OutputFormat>) -> Result<String, Failure> {
    let Some(Json::Array(documents)) = answer.get("documents") else {
        let fields = answer.as_object().into_iter().flatten();
        let own = fields
            .filter(|(name, value)| !matches!(name.as_str(), "success" | "bookmark") && !value.is_null());
        let own: Map<String, Json> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        return Ok(format!("{}\n", Json::Object(own)));
    };
    match form {
        None => Ok(documents.iter().map(|document| format!("{document}\n")).collect()),
        Some(OutputFormat::Json) => {
            let lines: Vec<String> = documents.iter().map(Json::to_string).collect();
            Ok(format!("[{}]\n", lines.join(",\n ")))
        }
        Some(form) => {
            let mut out = Vec::new();
            as_rows(&answer["documents"]).write(form, true, &mut out)?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_document_mode_are_requests() {
        let body = |line: &str| parse_line(line).map(|request| (request.route, request.body)).unwrap();
        assert_eq!(body("find"), ("find", json!({"filter": null})));
        assert_eq!(body("find {\"a\": 1};"), ("find", json!({"filter": {"a": 1}})));
        assert_eq!(body("count age > 30"), ("count", json!({"filter": "age > 30"})));
        assert_eq!(
            body("update {\"a\": 1} {\"$set\": {\"b\": 2}}"),
            (
                "update",
                json!({"filter": {"a": 1}, "update": {"$set": {"b": 2}}, "multi": true, "upsert": false})
            )
        );
        assert_eq!(body("insert [{\"a\": 1}]"), ("documents", json!({"documents": [{"a": 1}]})));
        assert_eq!(
            body("aggregate [{\"$count\": \"n\"}]"),
            ("aggregate", json!({"pipeline": [{"$count": "n"}]}))
        );
        for wrong in ["insert", "update {}", "delete", "drop", "aggregate", "insert {"] {
            assert_eq!(parse_line(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn documents_are_shown_one_a_line() {
        let answer =
            json!({"success": true, "documents": [{"_id": 1, "a": "x"}, {"_id": 2}], "bookmark": "b"});
        assert_eq!(shown(&answer, None).unwrap(), "{\"_id\":1,\"a\":\"x\"}\n{\"_id\":2}\n");
        assert_eq!(shown(&answer, Some(OutputFormat::Csv)).unwrap(), "_id,a\n1,x\n2,\n");
        let count = json!({"success": true, "count": 3, "bookmark": "b"});
        assert_eq!(shown(&count, None).unwrap(), "{\"count\":3}\n");
    }
}
