//! How deep a text nests, told without understanding it.
//!
//! The parser descends once for every level, on the stack of whoever plans, and a tree of expressions is
//! walked and dropped in the same way. SQLite itself takes any number of parentheses. So a text is measured
//! before it is parsed, by an estimate that errs upwards, and refused if it weighs too much.

/// What a text may weigh. A chain of a thousand operators, SQLite's own limit, or a hundred levels.
const WEIGHT_MAX: u32 = 1_000;

/// What a level weighs that the parser descends for: many of its functions lie on the stack then.
const LEVEL: u32 = 10;

/// Words that are operators, of which the parser makes a level each.
const OPERATORS: [&str; 14] = [
    "and", "or", "is", "in", "like", "glob", "match", "regexp", "between", "escape", "collate", "isnull",
    "notnull", "join",
];

/// Words that the parser descends for.
const LEVELS: [&str; 2] = ["case", "conflict"];

/// Operators after which NOT begins an operand, and so another level.
const BEFORE_OPERAND: [&str; 7] = ["not", "like", "glob", "match", "regexp", "between", "escape"];

/// Whether a text may nest deeper than the parser and its tree are safe with.
pub(crate) fn is_too_deep(sql: &str) -> bool {
    let mut weight = Weight { open: Vec::new(), item: 0, before: 0, after_operator: false };
    let mut rest = sql.as_bytes();
    while let Some(&first) = rest.first() {
        rest = &rest[weight.take(rest, first)..];
        if weight.total() > WEIGHT_MAX {
            return true;
        }
    }
    false
}

/// The weight of the place that the scan has reached.
struct Weight {
    /// What the items weigh around the open parentheses.
    open: Vec<u32>,
    /// The operators of the item so far; a comma begins another item.
    item: u32,
    /// The sum of `open`.
    before: u32,
    /// Whether the last token demands an operand.
    after_operator: bool,
}

impl Weight {
    fn total(&self) -> u32 {
        self.before + self.item
    }

    /// Takes the next token; answers its length.
    fn take(&mut self, rest: &[u8], first: u8) -> usize {
        match first {
            b'\'' | b'"' | b'`' | b'[' => self.operand(quoted(rest, first)),
            b'-' if rest.starts_with(b"--") => until(rest, b"\n"),
            b'/' if rest.starts_with(b"/*") => until(rest, b"*/"),
            b'(' => {
                self.open.push(self.item + LEVEL);
                self.before += self.item + LEVEL;
                self.begin_item();
                1
            }
            b')' => {
                let around = self.open.pop().unwrap_or_default();
                self.before -= around;
                self.item = around.saturating_sub(LEVEL);
                self.after_operator = false;
                1
            }
            b',' | b';' => {
                self.begin_item();
                1
            }
            b'-' | b'+' | b'~' => {
                self.item += if self.after_operator { LEVEL } else { 1 };
                self.after_operator = true;
                1
            }
            b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'|' | b'&' => {
                self.item += 1;
                self.after_operator = true;
                1
            }
            _ if is_word(first) => self.word(rest),
            _ => 1,
        }
    }

    fn begin_item(&mut self) {
        self.item = 0;
        self.after_operator = false;
    }

    fn operand(&mut self, length: usize) -> usize {
        self.after_operator = false;
        length
    }

    fn word(&mut self, rest: &[u8]) -> usize {
        let length = rest.iter().position(|&byte| !is_word(byte)).unwrap_or(rest.len());
        let is = |list: &[&str]| list.iter().any(|word| rest[..length].eq_ignore_ascii_case(word.as_bytes()));
        if is(&["not"]) {
            self.item += if self.after_operator { LEVEL } else { 1 };
            self.after_operator = true;
        } else if is(&["select"]) {
            // No expression reaches over the word without parentheses.
            self.begin_item();
        } else {
            self.item += if is(&LEVELS) { LEVEL } else { u32::from(is(&OPERATORS)) };
            self.after_operator = is(&BEFORE_OPERAND);
        }
        length
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of a quoted text; a doubled quote begins another one, which comes to the same.
fn quoted(rest: &[u8], first: u8) -> usize {
    let last = if first == b'[' { b']' } else { first };
    rest[1..].iter().position(|&byte| byte == last).map_or(rest.len(), |at| at + 2)
}

/// The length up to the end of `mark`.
fn until(rest: &[u8], mark: &[u8]) -> usize {
    rest.windows(mark.len())
        .skip(2)
        .position(|found| found == mark)
        .map_or(rest.len(), |at| at + 2 + mark.len())
}

#[cfg(test)]
mod tests {
    use crate::ast;
    use common::limits::SQL_STACK;

    /// Forms in which a text nests as deep as it likes.
    fn nested(depth: usize) -> Vec<String> {
        let wrap = |open: &str, close: &str| format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth));
        vec![
            wrap("(", ")"),
            wrap("(1+", ")"),
            wrap("(SELECT ", ")"),
            wrap("CASE WHEN 1 THEN ", " END"),
            wrap("CASE 1 WHEN 2 THEN 3 ELSE ", " END"),
            wrap("abs(", ")"),
            wrap("NOT ", ""),
            wrap("- ", ""),
            wrap("~", ""),
            wrap("1 = NOT ", ""),
            wrap("1 LIKE NOT ", ""),
            wrap("1 IN (", ")"),
            wrap("EXISTS (SELECT ", ")"),
            wrap("1 + ", ""),
            wrap("1 OR ", ""),
            wrap("'a' || ", ""),
            wrap("", " COLLATE nocase"),
            wrap("", " ISNULL"),
            wrap("", " -> 'a'"),
            wrap("1 UNION SELECT ", ""),
            format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(depth), ")".repeat(depth)),
            format!("SELECT * FROM {}t{}", "(t JOIN ".repeat(depth), ")".repeat(depth)),
            format!("INSERT INTO t VALUES (1) {}", "ON CONFLICT (a) DO NOTHING ".repeat(depth)),
            format!("CREATE TABLE t (a CHECK ({}1{}))", "(".repeat(depth), ")".repeat(depth)),
        ]
    }

    #[test]
    fn no_text_is_too_deep_for_the_stack() {
        let parse = || {
            for depth in [80, 98, 120, 500, 5_000, 100_000] {
                for sql in nested(depth) {
                    drop(ast::parse(&sql));
                }
            }
        };
        // The other half is for what lies below the parser.
        let thread = std::thread::Builder::new().stack_size(SQL_STACK / 2);
        thread.spawn(parse).unwrap().join().unwrap();
    }

    #[test]
    fn what_programs_write_is_parsed() {
        let rows = vec!["(-1, NOT 0, 'it''s', \"x\")"; 5_000].join(", ");
        let terms: Vec<String> = (0..90).map(|id| format!("(a = {id} AND b IS NOT NULL)")).collect();
        let list: Vec<String> = (0..10_000).map(|id| id.to_string()).collect();
        let members = vec!["SELECT a + b || c FROM t WHERE a > 1"; 500];
        for sql in [
            members.join(" UNION ALL "),
            format!("INSERT INTO t VALUES {rows}"),
            format!("SELECT 1 WHERE {}", terms.join(" OR ")),
            format!("SELECT 1 WHERE a IN ({})", list.join(",")),
            format!("SELECT 1 -- {}\n, /* {} */ 2", "(".repeat(500), "(".repeat(500)),
        ] {
            assert!(ast::parse(&sql).is_some(), "{}", &sql[..60]);
        }
    }
}
