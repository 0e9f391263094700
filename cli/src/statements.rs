//! Where SQL statements end. SQLite's rule (`sqlite3_complete`, <https://sqlite.org/src/file/src/complete.c>):
//! at a semicolon outside literals and comments, and for CREATE TRIGGER at the semicolon after END.

/// A statement of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptStatement {
    /// Its text, without the semicolon that ends it.
    pub text: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// A script taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// The statements that are complete.
    pub statements: Vec<ScriptStatement>,
    /// What follows the last semicolon, if it is more than white space and comments.
    pub rest: Option<ScriptStatement>,
}

impl Script {
    /// All statements; the last one may lack its semicolon.
    pub fn into_all(self) -> Vec<ScriptStatement> {
        self.statements.into_iter().chain(self.rest).collect()
    }
}

/// Takes a script apart.
pub fn split(script: &str) -> Script {
    let mut statements = Vec::new();
    let mut machine = Machine::Start;
    // Where the statement under way begins; `None` before its first token.
    let mut start = None;
    let mut at = 0;
    while at < script.len() {
        let (token, length) = next_token(&script[at..]);
        if token != Token::Space && start.is_none() {
            start = Some(at);
        }
        let next = machine.after(token);
        let ends = token == Token::Semicolon && next == Machine::Start;
        if ends {
            let begin = start.take().unwrap_or(at);
            if begin < at {
                statements.push(statement(script, begin, at));
            }
        }
        machine = next;
        at += length;
    }
    let rest = start.map(|begin| statement(script, begin, script.len()));
    Script { statements, rest }
}

/// Whether a text is one or more complete statements, as `sqlite3_complete` says it.
pub fn is_complete(text: &str) -> bool {
    let script = split(text);
    script.rest.is_none() && !script.statements.is_empty()
}

fn statement(script: &str, begin: usize, end: usize) -> ScriptStatement {
    let line = script[..begin].matches('\n').count() + 1;
    ScriptStatement { text: script[begin..end].trim_end().to_owned(), line }
}

/// What `sqlite3_complete` has seen of the statement under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    Start,
    Normal,
    Explain,
    Create,
    Trigger,
    TriggerSemicolon,
    TriggerEnd,
}

impl Machine {
    fn after(self, token: Token) -> Machine {
        use Machine::{Create, Explain, Normal, Start, Trigger, TriggerEnd, TriggerSemicolon};
        match (self, token) {
            (state, Token::Space) => state,
            (Trigger | TriggerSemicolon, Token::Semicolon) => TriggerSemicolon,
            (TriggerSemicolon, Token::End) => TriggerEnd,
            (Trigger | TriggerSemicolon, _) => Trigger,
            (TriggerEnd, Token::Semicolon) | (Start | Normal | Explain | Create, Token::Semicolon) => Start,
            (TriggerEnd, _) => Trigger,
            (Start, Token::Explain) => Explain,
            (Start | Explain, Token::Create) => Create,
            // EXPLAIN QUERY PLAN CREATE …
            (Explain, Token::Other) => Explain,
            (Create, Token::Temporary) => Create,
            (Create, Token::Trigger) => Trigger,
            (Start | Normal | Explain | Create, _) => Normal,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Semicolon,
    /// White space or a comment.
    Space,
    Explain,
    Create,
    Temporary,
    Trigger,
    End,
    Other,
}

/// The token at the start of `text`, which is not empty, and its length in bytes.
fn next_token(text: &str) -> (Token, usize) {
    let bytes = text.as_bytes();
    match bytes[0] {
        b';' => (Token::Semicolon, 1),
        b' ' | b'\t' | b'\r' | b'\n' | b'\x0c' => (Token::Space, 1),
        b'-' if bytes.get(1) == Some(&b'-') => (Token::Space, text.find('\n').unwrap_or(text.len())),
        b'/' if bytes.get(1) == Some(&b'*') => match text[2..].find("*/") {
            Some(end) => (Token::Space, end + 4),
            // An open comment is not yet the end of anything.
            None => (Token::Other, text.len()),
        },
        quote @ (b'\'' | b'"' | b'`') => (Token::Other, quoted_length(text, quote)),
        b'[' => (Token::Other, text.find(']').map_or(text.len(), |end| end + 1)),
        byte if is_word(byte) => {
            let length = bytes.iter().take_while(|&&byte| is_word(byte)).count();
            (keyword(&text[..length]), length)
        }
        _ => (Token::Other, 1),
    }
}

/// A doubled quote inside is seen as the end of one literal and the start of the next, which comes to the same.
fn quoted_length(text: &str, quote: u8) -> usize {
    text[1..].find(quote as char).map_or(text.len(), |end| end + 2)
}

/// Bytes above 127 belong to words, so that characters are never cut apart.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn keyword(word: &str) -> Token {
    match word.to_ascii_uppercase().as_str() {
        "EXPLAIN" => Token::Explain,
        "CREATE" => Token::Create,
        "TEMP" | "TEMPORARY" => Token::Temporary,
        "TRIGGER" => Token::Trigger,
        "END" => Token::End,
        _ => Token::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<String> {
        split(script).into_all().into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn a_statement_ends_at_a_semicolon_outside_literals_and_comments() {
        let script = "SELECT ';', \"a;b\", [c;d], `e;f`; -- not; here\n/* nor; here */ SELECT 'it''s; x';";
        assert_eq!(texts(script), ["SELECT ';', \"a;b\", [c;d], `e;f`", "SELECT 'it''s; x'"]);
    }

    #[test]
    fn a_trigger_ends_at_the_semicolon_after_end() {
        let trigger =
            "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END";
        assert_eq!(texts(&format!("{trigger}; SELECT 2;")), [trigger, "SELECT 2"]);
        assert!(!is_complete("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;"));
    }

    #[test]
    fn lines_are_counted_from_one() {
        let script = split("\n-- why\nSELECT 1;\n\n  SELECT\n 2;\nSELECT 3");
        assert_eq!(script.statements.iter().map(|statement| statement.line).collect::<Vec<_>>(), [3, 5]);
        assert_eq!(script.rest, Some(ScriptStatement { text: "SELECT 3".into(), line: 7 }));
    }

    #[test]
    fn what_is_open_is_not_complete() {
        for open in ["", "SELECT 1", "SELECT ';", "SELECT 1; /* ", "SELECT \"a;", "CREATE TABLE \"é;"] {
            assert!(!is_complete(open), "{open}");
        }
        for complete in ["SELECT 1;", "SELECT 1; -- done", "EXPLAIN SELECT 1;", "SELECT 'é';\n"] {
            assert!(is_complete(complete), "{complete}");
        }
        assert_eq!(texts(";;  ; "), Vec::<String>::new());
    }
}
