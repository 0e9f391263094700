//! A replica in a temporary folder.
#![allow(dead_code)]

use common::entry::Effects;
use common::protocol::{Params, Statement, WorkItem};
use common::{Hlc, Value};
use sqlite::Digest;
use sqlite::{Applier, Budget, Executor, Location, Maintenance, Position, Reader, SystemState};

pub struct Replica {
    pub folder: tempfile::TempDir,
    pub location: Location,
}

pub fn statement(text: &str) -> Statement {
    Statement { sql: text.to_owned(), params: Params::None }
}

pub fn sql(text: &str) -> WorkItem {
    WorkItem::Statement(statement(text))
}

pub fn with(text: &str, values: Vec<Value>) -> WorkItem {
    WorkItem::Statement(Statement { sql: text.to_owned(), params: Params::Positional(values) })
}

pub fn named(text: &str, values: &[(&str, Value)]) -> WorkItem {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    WorkItem::Statement(Statement { sql: text.to_owned(), params: Params::Named(values) })
}

impl Replica {
    pub fn new(schema: &[&str]) -> Replica {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let location = Location::file(folder.path().join("p.db"));
        let mut applier = Applier::create(&location, &SystemState::default()).expect("created");
        let statements: Vec<String> = schema.iter().map(|sql| (*sql).to_owned()).collect();
        applier.begin().unwrap();
        assert!(applier.change_schema(1, &statements, &sqlite::TableSums::default()).unwrap().is_some());
        applier.commit().unwrap();
        Replica { folder, location }
    }

    pub fn executor(&self) -> Executor {
        Executor::open(&self.location).unwrap()
    }

    pub fn applier(&self) -> Applier {
        Applier::open(&self.location).unwrap()
    }

    /// Each statement is a request; all are one batch.
    pub fn execute(&self, statements: &[&str]) -> Effects {
        let mut executor = self.executor();
        executor.begin().unwrap();
        for text in statements {
            executor
                .run(&[sql(text)], &Budget::default())
                .unwrap_or_else(|failure| panic!("{text}: {failure}"));
        }
        let effects = executor.take_effects();
        executor
            .commit(|system| {
                system.set_position(Position {
                    index: 1,
                    term: 1,
                    base: 1,
                    hlc: Hlc(1),
                    ..Position::default()
                })
            })
            .unwrap();
        effects
    }

    pub fn apply(&self, effects: &Effects) {
        let mut applier = self.applier();
        applier.begin().unwrap();
        applier.apply(effects).unwrap();
        applier
            .system()
            .set_position(Position { index: 1, term: 1, base: 1, hlc: Hlc(1), ..Position::default() })
            .unwrap();
        applier.commit().unwrap();
    }

    pub fn digest(&self) -> Digest {
        Maintenance::open(&self.location).unwrap().digest().unwrap()
    }

    pub fn read(&self, text: &str) -> Vec<Vec<Value>> {
        let mut reader = Reader::open(&self.location).unwrap();
        let result = reader
            .query(&statement(text), &Budget::default())
            .unwrap_or_else(|failure| panic!("{text}: {failure}"));
        result.rows.to_values().unwrap()
    }
}
