//! The shell's own commands. They begin with a dot, take one line, and are read as words, quoted where a
//! word holds blanks.

use std::path::Path;

use clap::ValueEnum as _;
use common::Value;
use serde_json::Value as Json;

use super::session::Session;
use crate::commands::{export, import, list_databases};
use crate::failure::Failure;
use crate::output::{OutputFormat, RowSet};
use crate::transfer;
use polylite_client::Target;

/// A command as `.help` tells it.
pub struct DotCommand {
    /// Its name with the dot.
    pub name: &'static str,
    arguments: &'static str,
    help: &'static str,
}

const fn command(name: &'static str, arguments: &'static str, help: &'static str) -> DotCommand {
    DotCommand { name, arguments, help }
}

/// All commands, in alphabetical order.
pub const COMMANDS: &[DotCommand] = &[
    command(".collection", "COLLECTION", "Work on documents: find, count, insert, update, delete, aggregate"),
    command(".databases", "", "List the databases"),
    command(".exit", "", "Leave"),
    command(".explain", "[analyze] SQL", "Show how a statement is run; analyze runs it"),
    command(".export", "TABLE FILE", "Write a table to a .csv or .ndjson file"),
    command(".headers", "on|off", "Show the names of columns, or not"),
    command(".help", "", "Show this text"),
    command(".import", "FILE TABLE", "Load a .csv or .ndjson file into a table"),
    command(".indexes", "[TABLE]", "List the indexes"),
    command(".mode", "table|json|csv|line", "Choose how rows are shown"),
    command(".partitions", "", "List the partitions of the database"),
    command(".quit", "", "Leave"),
    command(".read", "FILE", "Run the statements and commands of a file"),
    command(".schema", "[TABLE]", "Show the statements that made the tables"),
    command(".sql", "", "Leave the document mode"),
    command(".tables", "", "List the tables and views"),
    command(".timer", "on|off", "Show how long statements take, or not"),
    command(".use", "DATABASE", "Choose the database"),
];

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Reads on.
    Continue,
    /// Ends.
    Quit,
}

/// Runs the command in `line`.
pub async fn run(session: &mut Session, line: &str) -> Result<Next, Failure> {
    if let Some(statement) = line.trim().strip_prefix(".explain ") {
        explain(session, statement.trim()).await?;
        return Ok(Next::Continue);
    }
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [".quit" | ".exit"] => return Ok(Next::Quit),
        [".help"] => session.print(&help())?,
        [".tables"] => tables(session).await?,
        [".schema"] => schema(session, None).await?,
        [".schema", table] => schema(session, Some(table)).await?,
        [".indexes"] => indexes(session, None).await?,
        [".indexes", table] => indexes(session, Some(table)).await?,
        [".databases"] => databases(session).await?,
        [".partitions"] => partitions(session).await?,
        [".collection", collection] => session.use_collection(Some(collection))?,
        [".sql"] => session.use_collection(None)?,
        [".use", database] => session.use_database(database).await?,
        [".mode"] => session.print(&format!("{}\n", mode_name(session.mode)))?,
        [".mode", mode] => session.mode = parse_mode(mode)?,
        [".headers", switch] => session.headers = parse_switch(switch)?,
        [".timer", switch] => session.timer = parse_switch(switch)?,
        [".import", file, table] => import_file(session, Path::new(file), table).await?,
        [".export", table, file] => export_file(session, table, Path::new(file)).await?,
        [".read", file] => {
            let script = std::fs::read_to_string(file)
                .map_err(|error| Failure::refused(format!("{file}: {error}")))?;
            Box::pin(session.run_script(&script)).await?;
        }
        _ => return Err(misuse(&words)),
    }
    Ok(Next::Continue)
}

/// Tells a known command's arguments, or that there is no such command.
fn misuse(words: &[&str]) -> Failure {
    let name = words.first().copied().unwrap_or(".");
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(known) => Failure::usage(format!("usage: {} {}", known.name, known.arguments)),
        None => Failure::usage(format!("unknown command: {name}")).with_hint(".help lists them"),
    }
}

fn help() -> String {
    let lines = COMMANDS.iter().map(|command| {
        format!("{:<32} {}\n", format!("{} {}", command.name, command.arguments), command.help)
    });
    lines.chain(["Anything else is SQL and ends with a semicolon.\n".to_owned()]).collect()
}

async fn tables(session: &mut Session) -> Result<(), Failure> {
    const NAMES: &str = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
                         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let set = session.rows(NAMES).await?;
    session.print(&one_a_line(&set))
}

async fn schema(session: &mut Session, table: Option<&str>) -> Result<(), Failure> {
    let filter = table.map(|table| format!(" AND tbl_name = {} COLLATE NOCASE", literal(table)));
    let statement =
        format!("SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL{}", filter.unwrap_or_default());
    let set = session.rows(&statement).await?;
    session.print(&one_a_line(&set))
}

async fn indexes(session: &mut Session, table: Option<&str>) -> Result<(), Failure> {
    let filter = table.map(|table| format!(" AND tbl_name = {} COLLATE NOCASE", literal(table)));
    let statement = format!(
        "SELECT name FROM sqlite_schema WHERE type = 'index'{} ORDER BY name",
        filter.unwrap_or_default()
    );
    let set = session.rows(&statement).await?;
    session.print(&one_a_line(&set))
}

async fn databases(session: &mut Session) -> Result<(), Failure> {
    let databases = list_databases::read(session.connection()).await?;
    session.show(&RowSet::of_objects(&["name", "db_type", "partition_type", "partition_key"], &databases))
}

async fn partitions(session: &mut Session) -> Result<(), Failure> {
    let path = format!("/partitions/{}", crate::connection::segment(session.require_database()?));
    let answer = session.connection().get(&path).await?;
    let partitions = answer["partitions"].as_object().into_iter().flat_map(|object| object.values());
    let columns = ["id", "partition_value", "leader", "storage_nodes", "rows", "bytes"];
    session.show(&RowSet::of_objects(&columns, partitions))
}

async fn explain(session: &mut Session, statement: &str) -> Result<(), Failure> {
    let database = session.connection().database(session.require_database()?);
    let plan = match statement.split_once(char::is_whitespace) {
        Some((word, sql)) if word.eq_ignore_ascii_case("analyze") => database.analyze(sql.trim()).await?,
        _ => database.explain(statement).await?,
    };
    session.print(&plan_text(&plan, 0))
}

/// A step of a plan and those below it, a line for each.
fn plan_text(step: &Json, depth: usize) -> String {
    let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
    let count = |name: &str| step[name].as_array().map(Vec::len);
    let mut line = format!("{}{}", "  ".repeat(depth), text("node"));
    if let (Some(asked), Some(pruned)) = (count("partitions"), count("partitions_pruned")) {
        let all = asked + pruned;
        line += &format!(" on {asked} of {all} partitions");
    }
    if !text("detail").is_empty() {
        line += &format!(": {}", text("detail"));
    }
    if let Some(rows) = step["rows_estimated"].as_u64() {
        line += &format!(" [at most about {rows} rows]");
    }
    if let (Some(rows), Some(milliseconds)) = (step["rows"].as_u64(), step["milliseconds"].as_f64()) {
        line += &format!(" [{rows} rows, {} bytes, {milliseconds:.1} ms]", step["bytes"]);
    }
    line.push('\n');
    let below = step["children"].as_array().into_iter().flatten();
    below.fold(line, |text, child| text + &plan_text(child, depth + 1))
}

async fn import_file(session: &mut Session, file: &Path, table: &str) -> Result<(), Failure> {
    let format = import::format_of(file, None)?;
    let database = session.connection().database(session.require_database()?);
    let target = Target::table(table);
    let source = std::fs::File::open(file)
        .map_err(|error| Failure::refused(format!("{}: {error}", file.display())))?;
    let size = source.metadata()?.len();
    let source = tokio::fs::File::from_std(source);
    let rows = transfer::import(&database, &target, format, None, source, Some(size)).await?;
    session.print(&format!("{rows} rows imported.\n"))
}

async fn export_file(session: &mut Session, table: &str, file: &Path) -> Result<(), Failure> {
    let format = import::format_of(file, None)?;
    let database = session.connection().database(session.require_database()?);
    let target = Target::table(table);
    let bytes = export::to_file(&database, &target, format, file).await?;
    session.print(&format!("{bytes} bytes written to {}.\n", file.display()))
}

fn one_a_line(set: &RowSet) -> String {
    let texts = set.rows.iter().filter_map(|row| match row.first() {
        Some(Value::Text(text)) => Some(format!("{text}\n")),
        _ => None,
    });
    texts.collect()
}

/// A text as SQL writes it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn parse_mode(word: &str) -> Result<OutputFormat, Failure> {
    if word == "line" {
        return Ok(OutputFormat::Line);
    }
    OutputFormat::from_str(word, true)
        .map_err(|_| Failure::usage(format!("unknown mode: {word}")).with_hint("table, json, csv or line"))
}

fn mode_name(mode: OutputFormat) -> &'static str {
    match mode {
        OutputFormat::Table => "table",
        OutputFormat::Json => "json",
        OutputFormat::Csv => "csv",
        OutputFormat::Line => "line",
    }
}

fn parse_switch(word: &str) -> Result<bool, Failure> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Failure::usage(format!("neither on nor off: {word}"))),
    }
}

/// The words of a line; quotes of either kind hold blanks together.
fn words(line: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '\'' | '"' => rest[1..]
                .split_once(first)
                .ok_or_else(|| Failure::usage(format!("a quote is not closed: {rest}")))?,
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_a_word_together() {
        assert_eq!(words(" .import 'my file.csv'  t ").unwrap(), [".import", "my file.csv", "t"]);
        assert!(words(".import 'open").is_err());
    }

    #[test]
    fn misuse_tells_what_is_right() {
        assert_eq!(misuse(&[".import", "x"]).text(), "usage: .import FILE TABLE");
        assert!(misuse(&[".frobnicate"]).text().contains(".help"));
    }

    #[test]
    fn commands_are_sorted_and_told() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        assert!(help().contains(".mode table|json|csv|line"));
    }

    #[test]
    fn a_plan_is_shown_as_an_indented_tree() {
        let plan = serde_json::json!({"node": "MERGE", "detail": "the statement", "partitions": null,
            "rows": 3, "bytes": 40, "milliseconds": 1.25, "children": [{"node": "FRAGMENT",
            "detail": "SELECT 1", "partitions": ["a"], "partitions_pruned": ["b"], "rows_estimated": 7,
            "children": []}]});
        assert_eq!(
            plan_text(&plan, 0),
            "MERGE: the statement [3 rows, 40 bytes, 1.2 ms]\n  \
             FRAGMENT on 1 of 2 partitions: SELECT 1 [at most about 7 rows]\n"
        );
    }

    #[test]
    fn modes_have_names() {
        for mode in ["table", "json", "csv", "line"] {
            assert_eq!(mode_name(parse_mode(mode).unwrap()), mode);
        }
        assert!(parse_mode("html").is_err());
    }
}
