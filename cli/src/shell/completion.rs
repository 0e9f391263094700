//! Completion of keywords, of the names of tables and columns, and of the shell's own commands.

use std::sync::Arc;

use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

use super::dot_commands::COMMANDS;
use super::keywords::KEYWORDS;

/// The names in a database.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables with their columns.
    pub tables: Vec<(String, Vec<String>)>,
}

/// Completes the word before the cursor.
#[derive(Default, Helper, Highlighter, Hinter, Validator)]
pub struct NameCompleter {
    /// What can be named at the moment.
    pub names: Arc<Names>,
}

impl Completer for NameCompleter {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = candidates(&self.names, &line[..at]);
        let pairs = words.into_iter().map(|word| Pair { display: word.clone(), replacement: word });
        Ok((start, pairs.collect()))
    }
}

/// Where the word at the end of `line` begins, and what it may become.
fn candidates(names: &Names, line: &str) -> (usize, Vec<String>) {
    if line.starts_with('.') && !line.contains(' ') {
        let commands = COMMANDS.iter().map(|command| command.name);
        return (0, commands.filter(|name| name.starts_with(line)).map(str::to_owned).collect());
    }
    let start = line
        .rfind(|character: char| !is_part_of_name(character))
        .map_or(0, |index| index + line[index..].chars().next().map_or(1, char::len_utf8));
    let word = &line[start..];
    if let Some((table, column)) = word.rsplit_once('.') {
        return (start + table.len() + 1, columns_of(names, table, column));
    }
    if word.is_empty() {
        return (start, Vec::new());
    }
    let mut words = Vec::new();
    if !line.starts_with('.') {
        words.extend(keywords(word));
    }
    let tables = names.tables.iter().map(|(table, _)| table);
    let columns = names.tables.iter().flat_map(|(_, columns)| columns);
    words.extend(tables.chain(columns).filter(|name| begins_with(name, word)).cloned());
    words.sort_by_key(|word| word.to_lowercase());
    words.dedup();
    (start, words)
}

fn columns_of(names: &Names, table: &str, beginning: &str) -> Vec<String> {
    let found = names.tables.iter().find(|(name, _)| name.eq_ignore_ascii_case(table));
    let columns = found.map(|(_, columns)| columns.as_slice()).unwrap_or_default();
    columns.iter().filter(|column| begins_with(column, beginning)).cloned().collect()
}

/// Keywords in the letter case that was begun with.
fn keywords(word: &str) -> impl Iterator<Item = String> {
    let upper = word.to_ascii_uppercase();
    let is_lower = word.bytes().any(|byte| byte.is_ascii_lowercase());
    let found = KEYWORDS.iter().filter(move |keyword| keyword.starts_with(&upper));
    found.map(move |keyword| if is_lower { keyword.to_ascii_lowercase() } else { (*keyword).to_owned() })
}

fn is_part_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '$')
}

fn begins_with(name: &str, beginning: &str) -> bool {
    name.get(..beginning.len()).is_some_and(|head| head.eq_ignore_ascii_case(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> (usize, Vec<String>) {
        let names = Names {
            tables: vec![
                ("users".into(), vec!["id".into(), "user_name".into()]),
                ("Orders".into(), vec!["id".into(), "total".into()]),
            ],
        };
        candidates(&names, line)
    }

    #[test]
    fn keywords_keep_the_letter_case_that_was_begun_with() {
        assert_eq!(completed("sel"), (0, vec!["select".into()]));
        assert_eq!(completed("SELECT * FR"), (9, vec!["FROM".into()]));
    }

    #[test]
    fn tables_and_columns_are_completed() {
        assert_eq!(completed("SELECT user").1, ["user_name", "users"]);
        assert_eq!(completed("SELECT orders.t"), (14, vec!["total".into()]));
        assert_eq!(completed("SELECT id FROM ord").1, ["order", "Orders"]);
    }

    #[test]
    fn commands_are_completed_at_the_start_only() {
        assert_eq!(completed(".ta"), (0, vec![".tables".into()]));
        assert_eq!(completed(".schema us"), (8, vec!["user_name".into(), "users".into()]));
    }

    #[test]
    fn nothing_is_offered_for_nothing() {
        assert_eq!(completed("SELECT "), (7, Vec::new()));
        assert_eq!(completed("SELECT é"), (7, Vec::new()));
    }
}
