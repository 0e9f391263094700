//! Which shortcuts planning may take. Every shortcut can be turned off where a server runs, should its answers
//! ever be in doubt; gathering needs none of them.

use std::fmt;
use std::str::FromStr;

use common::Error;

/// A way of answering a statement without bringing all of its rows to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Filters and projections run on the partitions, whose rows are put together in the order of their rowids.
    Scatter,
    /// Partitions stop once they have sent as many rows as a LIMIT asks for.
    Limit,
    /// ORDER BY: each partition sorts its rows, and with LIMIT sends the first alone.
    TopK,
    /// Aggregates are computed per partition and merged.
    PartialAggregates,
    /// Partitions find groups by hashing where SQLite would sort all rows.
    HashedGroups,
    /// Groups that lie in one partition each are computed there, whatever they are made of.
    LocalGroups,
    /// DISTINCT: partitions send each row once.
    Distinct,
    /// Queries in FROM, views and WITH that only pick rows of a table are put together with the query around them.
    Flattening,
    /// Joins of rows that lie in one partition run there.
    CoLocatedJoins,
    /// Subqueries whose rows lie in the partition of the row around them are evaluated there.
    LocalSubqueries,
    /// Subqueries that mean the same wherever they stand are answered first, and the answers sent.
    Subqueries,
    /// Queries within a statement are answered by themselves, and it is evaluated over their answers.
    Composition,
    /// The rows of a small table are sent to where they are joined.
    Broadcast,
    /// The values that one side of a join asks for are sent to the other side's partitions.
    KeyShipping,
    /// Conditions choose rows and partitions before rows are gathered, also inside views, WITH and subqueries.
    Filters,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 15] = [
        Rule::Scatter,
        Rule::Limit,
        Rule::TopK,
        Rule::PartialAggregates,
        Rule::HashedGroups,
        Rule::LocalGroups,
        Rule::Distinct,
        Rule::Flattening,
        Rule::CoLocatedJoins,
        Rule::LocalSubqueries,
        Rule::Subqueries,
        Rule::Composition,
        Rule::Broadcast,
        Rule::KeyShipping,
        Rule::Filters,
    ];

    /// What it is called in settings and plans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::Scatter => "scatter",
            Rule::Limit => "limit",
            Rule::TopK => "top-k",
            Rule::PartialAggregates => "partial-aggregates",
            Rule::HashedGroups => "hashed-groups",
            Rule::LocalGroups => "local-groups",
            Rule::Distinct => "distinct",
            Rule::Flattening => "flattening",
            Rule::CoLocatedJoins => "co-located-joins",
            Rule::LocalSubqueries => "local-subqueries",
            Rule::Subqueries => "subqueries",
            Rule::Composition => "composition",
            Rule::Broadcast => "broadcast",
            Rule::KeyShipping => "key-shipping",
            Rule::Filters => "filters",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The rules that planning may use, and whether their answers are checked.
///
/// As text it is a list of changes to the default, which is all rules: `-top-k,-distinct` turns two off,
/// `-all,scatter` leaves one, `verify` checks every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    enabled: u32,
    verify: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { enabled: Rule::ALL.into_iter().fold(0, |bits, rule| bits | rule.bit()), verify: false }
    }
}

impl Rules {
    /// No rule: whatever concerns several partitions is gathered.
    #[must_use]
    pub fn none() -> Rules {
        Rules { enabled: 0, verify: false }
    }

    /// Whether a rule may be used.
    #[must_use]
    pub fn has(self, rule: Rule) -> bool {
        self.enabled & rule.bit() != 0
    }

    /// With a rule allowed.
    #[must_use]
    pub fn with(self, rule: Rule) -> Rules {
        Rules { enabled: self.enabled | rule.bit(), ..self }
    }

    /// With a rule not allowed.
    #[must_use]
    pub fn without(self, rule: Rule) -> Rules {
        Rules { enabled: self.enabled & !rule.bit(), ..self }
    }

    /// With each answer compared with the one that gathering gives; a difference is an internal error. Both
    /// are computed, one after the other, so this is for tests and for looking into a doubt.
    #[must_use]
    pub fn verifying(self) -> Rules {
        Rules { verify: true, ..self }
    }

    /// Whether answers are compared.
    #[must_use]
    pub fn verifies(self) -> bool {
        self.verify
    }
}

impl FromStr for Rules {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rules, Error> {
        let mut rules = Rules::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, wanted) = match word.strip_prefix('-') {
                Some(name) => (name, false),
                None => (word.strip_prefix('+').unwrap_or(word), true),
            };
            let rule = Rule::ALL.into_iter().find(|rule| rule.name() == name);
            match (name, rule) {
                ("verify", _) => rules.verify = wanted,
                ("all", _) => {
                    rules.enabled = if wanted { Rules::default().enabled } else { Rules::none().enabled };
                }
                (_, Some(rule)) => rules = if wanted { rules.with(rule) } else { rules.without(rule) },
                (_, None) => {
                    let names = Rule::ALL.map(Rule::name).join(", ");
                    return Err(Error::bad_request(format!("there is no rule '{name}'"))
                        .with_hint(format!("the rules are {names}; all and verify are understood too")));
                }
            }
        }
        Ok(rules)
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let off =
            Rule::ALL.into_iter().filter(|rule| !self.has(*rule)).map(|rule| format!("-{}", rule.name()));
        let words: Vec<String> = off.chain(self.verify.then(|| "verify".to_owned())).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_turned_off_and_on_by_name() {
        let rules: Rules = "-top-k, -distinct,verify".parse().unwrap();
        assert!(!rules.has(Rule::TopK) && !rules.has(Rule::Distinct) && rules.has(Rule::Scatter));
        assert!(rules.verifies());
        assert_eq!(rules.to_string(), "-top-k,-distinct,verify");
        assert_eq!("".parse::<Rules>().unwrap(), Rules::default());
        assert_eq!("-all,scatter".parse::<Rules>().unwrap(), Rules::none().with(Rule::Scatter));
        assert!("-topk".parse::<Rules>().unwrap_err().hint.unwrap().contains("top-k"));
    }

    #[test]
    fn each_rule_has_a_bit_and_a_name_of_its_own() {
        for (index, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(rule as usize, index);
            assert_eq!(Rule::ALL.iter().filter(|other| other.name() == rule.name()).count(), 1);
        }
    }
}
