//! Linearizable reads: asked of the group, served from the replica's file.

use std::collections::{BTreeMap, BTreeSet};

use common::Value;
use common::protocol::{Params, Statement};
use sqlite::{Budget, Failure};

use super::service::Waiting;
use super::{Broken, Node, Sound, Wish, broken};

/// Reads and confirmations of leadership under way, by their context.
#[derive(Default)]
pub(super) struct Reads {
    last_context: u64,
    waiting: BTreeMap<u64, Question>,
    /// Answered by the group, waiting for their index to be applied.
    ready: Vec<(u64, Ready)>,
}

pub(super) enum Question {
    Register { operation: u64, register: u64 },
    Leadership { batch: u64 },
    State { operation: u64 },
    Rows(Waiting),
}

/// What is read once enough is applied.
enum Ready {
    Register { operation: u64, register: u64 },
    State { operation: u64 },
    Rows(Waiting),
}

impl Node {
    pub(super) fn ask(&mut self, question: Question) {
        self.reads.last_context += 1;
        let context = self.reads.last_context;
        if self.group.read(context).is_ok() {
            self.reads.waiting.insert(context, question);
        } else {
            self.refuse(question);
        }
    }

    /// The group may forget a read; asking again under a new name is always right.
    pub(super) fn ask_again(&mut self) {
        for (_, question) in std::mem::take(&mut self.reads.waiting) {
            self.ask(question);
        }
    }

    fn refuse(&mut self, question: Question) {
        match question {
            Question::Register { operation, .. } => {
                self.wishes.push(Wish::Read { operation, outcome: Err(()) });
            }
            Question::Leadership { batch } => {
                if let Some(sound) = &mut self.sound {
                    sound.machine.leadership_unconfirmed(batch);
                }
            }
            Question::State { operation } => self.wishes.push(Wish::Pinned { operation, outcome: None }),
            Question::Rows(waiting) => self.refuse_rows(&waiting),
        }
    }

    pub(super) fn refuse_reads(&mut self) {
        for (_, question) in std::mem::take(&mut self.reads.waiting) {
            self.refuse(question);
        }
    }

    /// There is no file to read from, also for those that only wait for their index.
    pub(super) fn refuse_all_reads(&mut self) {
        self.refuse_reads();
        for (_, ready) in std::mem::take(&mut self.reads.ready) {
            self.refuse(match ready {
                Ready::Register { operation, register } => Question::Register { operation, register },
                Ready::State { operation } => Question::State { operation },
                Ready::Rows(waiting) => Question::Rows(waiting),
            });
        }
    }

    pub(super) fn answered(&mut self, context: u64, index: u64) {
        match self.reads.waiting.remove(&context) {
            Some(Question::Register { operation, register }) => {
                self.reads.ready.push((index, Ready::Register { operation, register }));
            }
            Some(Question::State { operation }) => {
                self.reads.ready.push((index, Ready::State { operation }));
            }
            Some(Question::Rows(waiting)) => self.reads.ready.push((index, Ready::Rows(waiting))),
            Some(Question::Leadership { batch }) => {
                if let Some(sound) = &mut self.sound {
                    sound.machine.leadership_confirmed(batch);
                    sound.promises.update(&sound.machine);
                }
            }
            // An earlier name of a question that was asked again.
            None => {}
        }
    }

    pub(super) fn serve_reads(&mut self) -> Result<(), Broken> {
        let Some(sound) = &self.sound else { return Ok(()) };
        let applied = sound.machine.received();
        let (now, later) =
            std::mem::take(&mut self.reads.ready).into_iter().partition(|(index, ..)| *index <= applied);
        self.reads.ready = later;
        let now: Vec<(u64, Ready)> = now;
        for (index, ready) in now {
            let wish = match ready {
                Ready::Rows(waiting) => match self.rows_for(&waiting) {
                    Some(outcome) => Wish::Served { operation: waiting.operation, outcome },
                    None => {
                        self.reads.ready.push((index, Ready::Rows(waiting)));
                        continue;
                    }
                },
                Ready::Register { operation, register } => {
                    let found = self.with_sound("read a register", |sound| sound.register(register))?;
                    Wish::Read { operation, outcome: found.ok_or(()) }
                }
                Ready::State { operation } => {
                    Wish::Pinned { operation, outcome: Some(Box::new(self.state()?)) }
                }
            };
            self.wishes.push(wish);
        }
        Ok(())
    }

    /// What this replica's file says of a register.
    pub fn register(&mut self, register: u64) -> Result<Option<u64>, Broken> {
        self.sound()?.register(register).map_err(|error| broken("read a register")(&error))
    }

    /// The writes that this replica's file holds.
    pub fn done(&mut self) -> Result<BTreeSet<u64>, Broken> {
        let done = self.sound()?.numbers("SELECT operation FROM done");
        done.map_err(|error| broken("read what is done")(&error))
    }

    fn sound(&mut self) -> Result<&mut Sound, Broken> {
        self.sound.as_mut().ok_or_else(|| Broken("no sound file".into()))
    }
}

impl Sound {
    fn register(&mut self, register: u64) -> Result<Option<u64>, Failure> {
        let found = self.numbers(&format!("SELECT value FROM register WHERE key = {register}"))?;
        Ok(found.into_iter().next())
    }

    fn numbers(&mut self, sql: &str) -> Result<BTreeSet<u64>, Failure> {
        let statement = Statement { sql: sql.into(), params: Params::None };
        let result = self.reader.query(&statement, &Budget::unlimited())?;
        let rows = result.rows.to_values().expect("rows as they were written");
        let number = |row: Vec<Value>| match row[0] {
            Value::Integer(number) => u64::try_from(number).expect("only positive numbers are written"),
            ref other => panic!("a number was written, {other:?} was read"),
        };
        Ok(rows.into_iter().map(number).collect())
    }
}
