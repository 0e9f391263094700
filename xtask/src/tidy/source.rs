//! Rust sources as the rules see them: without comments and the contents of literals.

use std::io;
use std::path::{Path, PathBuf};

/// One Rust file.
pub struct SourceFile {
    /// Its path relative to the workspace, with `/` between the parts.
    pub path: String,
    /// Its text, in which comments and the contents of strings are blanks; line numbers are kept.
    pub code: String,
    /// Whether it is compiled for tests alone.
    pub is_test: bool,
}

impl SourceFile {
    /// Every Rust file of the workspace, in the order of their paths.
    pub fn read_all(root: &Path) -> io::Result<Vec<SourceFile>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(root)? {
            let path = entry?.path();
            if path.join("Cargo.toml").is_file() {
                collect(&path, &mut paths)?;
            }
        }
        paths.sort();
        let mut files =
            paths.into_iter().map(|path| SourceFile::read(root, &path)).collect::<io::Result<Vec<_>>>()?;
        mark_test_modules(&mut files);
        Ok(files)
    }

    fn read(root: &Path, path: &Path) -> io::Result<SourceFile> {
        let relative = path.strip_prefix(root).unwrap_or(path);
        let path_text = relative.to_string_lossy().replace('\\', "/");
        Ok(SourceFile::new(path_text, without_comments(&std::fs::read_to_string(path)?)))
    }

    /// A file by its path; integration tests and examples are told by it.
    pub fn new(path: impl Into<String>, code: impl Into<String>) -> SourceFile {
        let path = path.into();
        let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.contains("/examples/");
        SourceFile { path, code: code.into(), is_test }
    }

    /// Paths, without their ending, of the modules that this file declares for tests alone.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder,
            _ => self.path.trim_end_matches(".rs"),
        };
        let mut modules = Vec::new();
        let mut lines = self.code.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
                let declaration = lines.next().unwrap_or_default();
                let name = declaration.strip_suffix(';').and_then(|text| text.rsplit_once("mod "));
                modules.extend(name.map(|(_, name)| format!("{folder}/{name}")));
            }
        }
        modules
    }

    /// The code before the module of unit tests that closes a file.
    pub fn code_without_tests(&self) -> &str {
        let end = self.code.find("#[cfg(test)]\nmod ").unwrap_or(self.code.len());
        &self.code[..end]
    }

    /// Places (`path:line`) at which `code`, a part of this file from its start, has the word `word`.
    pub fn places_of(&self, code: &str, word: &str) -> Vec<String> {
        let lines = code.lines().enumerate().filter(|(_, line)| has_word(line, word));
        lines.map(|(index, _)| format!("{}:{}", self.path, index + 1)).collect()
    }
}

/// Marks the files of modules that are compiled for tests alone, and of the modules below them.
fn mark_test_modules(files: &mut [SourceFile]) {
    let modules: Vec<String> = files.iter().flat_map(SourceFile::test_modules).collect();
    for file in files {
        let belongs = |module: &String| {
            let rest = file.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        file.is_test = file.is_test || modules.iter().any(belongs);
    }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, paths)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// Whether `line` has `word` where no letter, digit or underscore touches its ends.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = line.as_bytes();
    line.match_indices(word).any(|(start, _)| {
        let end = start + word.len();
        let before = start.checked_sub(1).and_then(|index| bytes.get(index));
        let ends_in_letter = is_part(word.as_bytes().last());
        let goes_on = ends_in_letter && is_part(bytes.get(end));
        !is_part(before) && !goes_on
    })
}

/// Blanks out comments, strings and characters, line ends excepted.
fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if let Some(hashes) = raw_string_hashes(rest, at.checked_sub(1).map(|index| bytes[index])) {
            raw_string(rest, hashes)
        } else if rest[0] == b'"' {
            quoted(rest, b'"')
        } else if rest[0] == b'\'' && is_character(rest) {
            quoted(rest, b'\'')
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        out.extend(rest[..length].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
        at += length;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Length of a block comment; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The number of hashes if a raw string begins here.
fn raw_string_hashes(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if rest[0] != b'r'
        || before.is_some_and(|byte| byte.is_ascii_alphanumeric() && byte != b'b' || byte == b'_')
    {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_string(rest: &[u8], hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let start = 2 + hashes;
    let found = rest[start..].windows(end.len()).position(|window| window == end.as_slice());
    found.map_or(rest.len(), |position| start + position + end.len())
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Tells a character from a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(byte) if byte.is_ascii() => rest.get(2) == Some(&b'\''),
        Some(_) => rest.iter().take(6).skip(2).any(|&byte| byte == b'\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank() {
        let text = "use a; // axum::x\nlet s = \"axum::\\\"y\"; /* axum:: /* n */ z */ let r = r#\"raft::\"#; 'x' '\\'' &'a str";
        let code = without_comments(text);
        assert!(!code.contains("axum") && !code.contains("raft"), "{code}");
        assert!(code.contains("let s =") && code.contains("let r =") && code.contains("&'a str"), "{code}");
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn words_end_where_identifiers_end() {
        assert!(has_word("use raft::Raft;", "raft::"));
        assert!(!has_word("use miniraft::Raft;", "raft::"));
        assert!(has_word("let now = Instant::now();", "Instant"));
        assert!(!has_word("let now = InstantLike::now();", "Instant"));
    }

    #[test]
    fn unit_tests_are_cut_off() {
        let file = SourceFile::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {}\n");
        assert_eq!(file.code_without_tests(), "fn a() {}\n");
    }

    #[test]
    fn modules_for_tests_alone_are_known() {
        let mut files = [
            SourceFile::new("a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod script;\n"),
            SourceFile::new("a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
            SourceFile::new("a/src/b/tests.rs", ""),
            SourceFile::new("a/src/script/cluster.rs", ""),
            SourceFile::new("a/src/scripted.rs", ""),
        ];
        mark_test_modules(&mut files);
        assert_eq!(files.map(|file| file.is_test), [false, false, true, true, false]);
    }
}
