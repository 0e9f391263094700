//! Random schemas and statements from a seed.
//!
//! Statements are mostly sound: names exist, and values often equal what is stored. Where SQLite leaves an
//! answer open (which of several equal values represents a group, which rows a LIMIT without an order takes),
//! the statement is written so that it does not matter, or matters seldom.

mod change;
mod correlated;
mod definition;
mod expression;
mod schema;
mod select;
mod value;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::batch;
use crate::compare::Order;
pub use schema::{Column, Schema, Table};
pub use value::Class;

/// A statement to be compared.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// Whether it says how its rows are ordered.
    pub order: Order,
    /// Whether it changes rows.
    pub is_change: bool,
}

/// What random schemas may hold beside tables, indexes and views.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// Foreign keys.
    pub foreign_keys: bool,
    /// Triggers.
    pub triggers: bool,
    /// AUTOINCREMENT.
    pub autoincrement: bool,
    /// Changes of the schema among the statements.
    pub definitions: bool,
    /// Several statements in one request.
    pub batches: bool,
}

/// Makes statements over one schema.
pub struct Generator {
    random: SmallRng,
    features: Features,
    schema: Schema,
    /// Number of the next alias.
    next_alias: usize,
    /// Names of the WITH clause around what is being made, with the classes of their columns.
    with: Vec<Relation>,
}

/// What a FROM clause offers under one name.
#[derive(Clone, Debug)]
struct Relation {
    name: String,
    columns: Vec<(String, Class)>,
    has_rowid: bool,
}

impl Generator {
    /// A random schema.
    #[must_use]
    pub fn new(seed: u64, features: Features) -> Generator {
        let mut generator = Generator {
            random: SmallRng::seed_from_u64(seed),
            features,
            schema: Schema::default(),
            next_alias: 0,
            with: Vec::new(),
        };
        generator.make_schema(features);
        generator
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The next statement: of `changes` in a hundred, one that changes rows.
    pub fn statement(&mut self, changes: u32) -> Statement {
        self.next_alias = 0;
        self.with.clear();
        if self.features.definitions && self.below(60) == 0 {
            return self.definition();
        }
        if self.features.batches && self.chance(6) {
            return self.batch();
        }
        if self.chance(changes) { self.change() } else { self.query() }
    }

    /// Some statements as one request.
    fn batch(&mut self) -> Statement {
        let mut statements: Vec<String> = (0..2 + self.below(4))
            .map(|_| {
                self.next_alias = 0;
                self.with.clear();
                if self.chance(75) { self.change().sql } else { self.query().sql }
            })
            .collect();
        // A rowid that is deleted is not used again: what inserts comes before.
        statements.sort_by_key(|sql| sql.contains("DELETE FROM"));
        if self.chance(25) {
            let at = 1 + self.below(statements.len());
            statements.insert(at, "SELECT changes(), total_changes()".to_owned());
        }
        if self.features.foreign_keys && self.chance(20) {
            let at = self.below(statements.len());
            statements
                .insert(at, format!("PRAGMA defer_foreign_keys={}", self.pick(&["ON", "ON", "ON", "OFF"])));
        }
        if self.features.definitions && self.chance(30) {
            let together = self.chance(60);
            let mut at = self.below(statements.len() + 1);
            for sql in self.definitions_of_a_batch() {
                statements.insert(at, sql);
                at += 1;
                at += if together { 0 } else { self.below(statements.len() + 1 - at) };
            }
        }
        Statement { sql: batch::text(&statements), order: Order::Any, is_change: true }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// Whether what happens so often in a hundred times happens now.
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn alias(&mut self, prefix: &str) -> String {
        self.next_alias += 1;
        format!("{prefix}{}", self.next_alias)
    }
}

/// One of a list, by chance.
fn one_of<T: Clone>(random: &mut SmallRng, list: &[T]) -> T {
    list[random.random_range(0..list.len())].clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Engine as _;
    use crate::reference::Reference;

    #[test]
    fn most_statements_are_sound_and_a_seed_makes_the_same_ones() {
        let (mut sound, mut texts) = (0, Vec::new());
        for seed in 0..20 {
            let mut generator = Generator::new(seed, Features::default());
            let mut again = Generator::new(seed, Features::default());
            let mut file = Reference::new();
            for sql in &generator.schema().ddl.clone() {
                file.run(sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"));
            }
            for _ in 0..50 {
                let statement = generator.statement(50);
                assert_eq!(statement.sql, again.statement(50).sql);
                let answered = file.run(&statement.sql);
                sound += usize::from(answered.is_ok());
                if let Err(refusal) = answered
                    && refusal.code == "sql_error"
                {
                    texts.push(format!("{}: {}", refusal.message, statement.sql));
                }
            }
        }
        assert!(sound > 700, "{sound} of 1000 are sound\n{}", texts.join("\n"));
    }
}
