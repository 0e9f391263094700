//! Columns that joins compare without naming them in an expression. SQLite does not tell its authorizer about
//! the columns of USING and NATURAL, so they are found in the text. Too many may be found, never too few:
//! reading a column that nobody needs does no harm.

use std::collections::BTreeSet;

/// What a text's USING and NATURAL may compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JoinColumns {
    /// There may be a NATURAL join: any column.
    pub(crate) all: bool,
    /// Names listed after USING.
    pub(crate) named: Vec<String>,
    /// Everything that the text may name, in lower case.
    mentioned: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word without quotes.
    Word(String),
    /// Anything in quotes, without them; SQLite takes also a string for a name there.
    Quoted(String),
    Sign(char),
}

impl JoinColumns {
    /// Adds what a text may compare.
    pub(crate) fn add(&mut self, sql: &str) {
        let mut tokens = tokens(sql).into_iter().peekable();
        while let Some(token) = tokens.next() {
            self.mention(&token);
            let Token::Word(word) = token else { continue };
            self.all |= word.eq_ignore_ascii_case("natural");
            if !word.eq_ignore_ascii_case("using") || tokens.next_if_eq(&Token::Sign('(')).is_none() {
                continue;
            }
            for token in tokens.by_ref() {
                self.mention(&token);
                match token {
                    Token::Word(name) | Token::Quoted(name) => self.named.push(name),
                    Token::Sign(')') => break,
                    Token::Sign(_) => {}
                }
            }
        }
    }

    fn mention(&mut self, token: &Token) {
        if let Token::Word(name) | Token::Quoted(name) = token {
            self.mentioned.insert(name.to_ascii_lowercase());
        }
    }

    /// Whether a join may compare columns without naming them in an expression.
    pub(crate) fn is_any(&self) -> bool {
        self.all || !self.named.is_empty()
    }

    /// Whether a table or view of this name may be meant.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.mentioned.contains(&name.to_ascii_lowercase())
    }

    /// Whether a join may compare a column of this name.
    pub(crate) fn contains(&self, column: &str) -> bool {
        self.all || self.named.iter().any(|name| name.eq_ignore_ascii_case(column))
    }
}

/// The tokens of a text, without comments; of those that are neither words nor quoted each character.
fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' | '`' | '[' => {
                let end = if first == '[' { ']' } else { first };
                let (text, length) = quoted(rest, end);
                tokens.push(Token::Quoted(text));
                length
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            _ if is_word(first) => {
                let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
            _ if first.is_whitespace() => first.len_utf8(),
            _ => {
                tokens.push(Token::Sign(first));
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// The content of a quoted token at the beginning of a text, and the token's length. A doubled quote stands
/// for itself, except in brackets.
fn quoted(text: &str, end: char) -> (String, usize) {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == end {
            let doubled = end != ']' && characters.next_if(|(_, next)| *next == end).is_some();
            if !doubled {
                return (content, at + 1);
            }
        }
        content.push(character);
    }
    (content, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str) -> JoinColumns {
        let mut columns = JoinColumns::default();
        columns.add(sql);
        columns
    }

    #[test]
    fn names_after_using_are_found_however_they_are_written() {
        let columns = found(
            "SELECT 1 FROM a JOIN b using/* x) */( k , \"odd \"\"name\", [x y],'s',`t`) JOIN c USING(m)",
        );
        assert_eq!(columns.named, ["k", "odd \"name", "x y", "s", "t", "m"]);
        assert!(!columns.all && columns.contains("K") && !columns.contains("x"));
    }

    #[test]
    fn strings_and_comments_say_nothing() {
        let columns = found(
            "SELECT 'natural', \"using\" -- natural join\n FROM a /* using (k) */ WHERE x = 'using (k)'",
        );
        assert!(!columns.is_any());
        assert!(columns.mentions("A") && !columns.mentions("k"));
    }

    #[test]
    fn a_natural_join_compares_any_column() {
        assert!(found("SELECT * FROM a Natural LEFT JOIN b").contains("whatever"));
    }
}
