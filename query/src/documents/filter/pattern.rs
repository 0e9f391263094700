//! Regular expressions. The engine takes time linear in the text, whatever the pattern, and knows no
//! backreferences and no looking around (<https://docs.rs/regex>).

use common::Result;
use regex::{Regex, RegexBuilder};

use crate::documents::place::Place;

/// Longest pattern in bytes.
const PATTERN_MAX: usize = 32 << 10;
/// Most memory of a compiled pattern.
const COMPILED_MAX: usize = 1 << 20;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    /// What every text that fits begins with; empty if that is not known.
    prefix: String,
}

/// A place of a text that fits a pattern.
pub(crate) struct FittingPlace<'t> {
    pub(crate) text: &'t str,
    /// Characters in front of it.
    pub(crate) start: usize,
    /// What the pattern's groups hold there.
    pub(crate) groups: Vec<Option<&'t str>>,
}

impl Pattern {
    /// Compiles a pattern; `options` are some of `i`, `m`, `s`, `x`, `u`.
    pub(crate) fn new(pattern: &str, options: &str, place: &Place<'_>) -> Result<Pattern> {
        if pattern.len() > PATTERN_MAX {
            return Err(place.wrong(format!("the pattern is longer than {PATTERN_MAX} bytes")));
        }
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).nest_limit(100);
        for option in options.chars() {
            match option {
                'i' => builder.case_insensitive(true),
                'm' => builder.multi_line(true),
                's' => builder.dot_matches_new_line(true),
                'x' => builder.ignore_whitespace(true),
                'u' => &mut builder,
                _ => return Err(place.wrong(format!("'{option}' is no option of a regular expression"))),
            };
        }
        let regex = builder.build().map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or("it is too large").trim_start_matches("error: ");
            place
                .wrong(format!("the regular expression is invalid: {reason}"))
                .with_hint("the syntax is that of linear-time engines, without backreferences and lookaround")
        })?;
        let prefix = if options.is_empty() { literal_prefix(pattern) } else { String::new() };
        Ok(Pattern { regex, prefix })
    }

    /// Whether it is found in a text.
    pub(crate) fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The places of a text that fit, one after another.
    pub(crate) fn places<'t>(&self, text: &'t str) -> impl Iterator<Item = FittingPlace<'t>> {
        let (mut characters, mut bytes) = (0, 0);
        self.regex.captures_iter(text).filter_map(move |found| {
            let whole = found.get(0)?;
            characters += text[bytes..whole.start()].chars().count();
            bytes = whole.start();
            let groups = found.iter().skip(1).map(|group| group.map(|group| group.as_str())).collect();
            Some(FittingPlace { text: whole.as_str(), start: characters, groups })
        })
    }

    /// What every text that fits begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// The letters and digits after `^` that nothing makes optional.
fn literal_prefix(pattern: &str) -> String {
    let Some(rest) = pattern.strip_prefix('^').filter(|rest| !rest.contains('|')) else {
        return String::new();
    };
    let is_plain = |character: &char| {
        character.is_alphanumeric() || matches!(character, ' ' | '_' | '-' | '@' | ':' | '/')
    };
    let mut prefix: String = rest.chars().take_while(is_plain).collect();
    if rest[prefix.len()..].starts_with(['*', '?', '{', '+']) {
        prefix.pop();
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compiled_within_bounds() {
        let place = Place::root("filter");
        assert!(Pattern::new("^a.c$", "is", &place).unwrap().fits("A\nC"));
        for (pattern, options) in
            [("(", ""), ("a", "q"), ("(a)\\1", ""), ("(?=a)", ""), ("a{1000}{1000}", "")]
        {
            let error = Pattern::new(pattern, options, &place).unwrap_err();
            assert_eq!(error.code, common::ErrorCode::BadRequest, "{pattern}");
        }
    }

    #[test]
    fn a_prefix_is_what_must_be_there() {
        for (pattern, prefix) in
            [("^abc", "abc"), ("^abc?d", "ab"), ("^ab|c", ""), ("abc", ""), ("^a.c", "a"), ("^é+x", "")]
        {
            assert_eq!(literal_prefix(pattern), prefix, "{pattern}");
        }
    }
}
