//! Makes a failing script smaller: statements are left out, then parts of their texts, as long as what
//! remains still fails (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).

/// Most scripts that are tried.
const ATTEMPTS: usize = 1_500;

/// The smallest script that was found to fail still. `fails` is given scripts whose last statement is what is
/// left of the last one.
pub fn minimise(script: Vec<String>, fails: &mut dyn FnMut(&[String]) -> bool) -> Vec<String> {
    let mut search = Search { script, fails, attempts: ATTEMPTS };
    while search.without_statements() | search.with_shorter_texts() {}
    search.script
}

struct Search<'a> {
    script: Vec<String>,
    fails: &'a mut dyn FnMut(&[String]) -> bool,
    attempts: usize,
}

impl Search<'_> {
    fn still_fails(&mut self, smaller: &[String]) -> bool {
        if self.attempts == 0 {
            return false;
        }
        self.attempts -= 1;
        (self.fails)(smaller)
    }

    /// Leaves out statements before the last one; says whether any could be.
    fn without_statements(&mut self) -> bool {
        let mut any = false;
        let mut size = self.script.len().saturating_sub(1).max(1);
        while size > 0 {
            let mut start = 0;
            while start + 1 < self.script.len() {
                let end = (start + size).min(self.script.len() - 1);
                let mut smaller = self.script.clone();
                smaller.drain(start..end);
                if self.still_fails(&smaller) {
                    self.script = smaller;
                    any = true;
                } else {
                    start = end;
                }
            }
            size /= 2;
        }
        any
    }

    /// Leaves out parts of the texts, the last one first; says whether any could be.
    fn with_shorter_texts(&mut self) -> bool {
        let mut any = false;
        for index in (0..self.script.len()).rev() {
            let mut size = words(&self.script[index]).len() / 2;
            while size > 0 {
                any |= self.without_runs(index, size);
                size = if size > 8 { size * 2 / 3 } else { size - 1 };
            }
            any |= self.without_parentheses(index);
        }
        any
    }

    /// Leaves out runs of so many words of a text.
    fn without_runs(&mut self, index: usize, size: usize) -> bool {
        let (mut any, mut start) = (false, 0);
        let mut words = words(&self.script[index]);
        while start + size <= words.len() {
            let mut fewer = words.clone();
            let left_out: Vec<String> = fewer.drain(start..start + size).collect();
            if is_balanced(&left_out) && self.still_fails_with(index, &fewer) {
                (words, any) = (fewer, true);
            } else {
                start += 1;
            }
        }
        any
    }

    /// Leaves out pairs of parentheses around what stays.
    fn without_parentheses(&mut self, index: usize) -> bool {
        let (mut any, mut start) = (false, 0);
        let mut words = words(&self.script[index]);
        while start < words.len() {
            let end = (start + 1..=words.len()).find(|&end| is_balanced(&words[start..end]));
            if let Some(end) = end.filter(|_| words[start].trim() == "(") {
                let mut fewer = words.clone();
                fewer.remove(end - 1);
                fewer.remove(start);
                if self.still_fails_with(index, &fewer) {
                    (words, any) = (fewer, true);
                }
            }
            start += 1;
        }
        any
    }

    /// Tries a text in the place of a statement, and keeps it if the script still fails.
    fn still_fails_with(&mut self, index: usize, words: &[String]) -> bool {
        let mut smaller = self.script.clone();
        smaller[index] = words.concat().trim().to_owned();
        let fails = self.still_fails(&smaller);
        if fails {
            self.script = smaller;
        }
        fails
    }
}

/// Whether parentheses are opened and closed in turn.
fn is_balanced(words: &[String]) -> bool {
    let mut depth = 0_i32;
    for word in words {
        match word.trim() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// A text as literals, names, and single characters, each with the space behind it.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut length = match first {
            '\'' | '"' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            'x' if rest.starts_with("x'") => rest[2..].find('\'').map_or(rest.len(), |end| end + 3),
            _ if is_of_name(first) => rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        length += rest[length..].len() - rest[length..].trim_start().len();
        words.push(rest[..length].to_owned());
        rest = &rest[length..];
    }
    words
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_remains() {
        let script = [
            "CREATE TABLE t (a, b)",
            "INSERT INTO t VALUES (1, 'x y')",
            "DELETE FROM t",
            "SELECT a, (b + 1) FROM t WHERE a = 1",
        ];
        let script = script.map(str::to_owned).to_vec();
        let found = minimise(script, &mut |script| {
            script.iter().any(|sql| sql.starts_with("CREATE")) && script.last().unwrap().contains("b + 1")
        });
        assert_eq!(found, ["CREATE", "b + 1"]);
    }

    #[test]
    fn literals_stay_whole() {
        assert_eq!(words("a.b= 'x y' ,x'00'"), ["a.b", "= ", "'x y' ", ",", "x'00'"]);
    }
}
