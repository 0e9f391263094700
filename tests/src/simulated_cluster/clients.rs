//! Clients and what they remember: each has one operation under way, on one register.

use std::collections::{BTreeMap, BTreeSet};

use common::protocol::{Params, PartitionTarget, Statement, WorkItem, WriteRequest};
use common::{Error, ErrorCode, Outcome, Value};
use rand::Rng;
use rand::rngs::StdRng;
use storage_node::replica::machine::Reply;

use super::Violation;
use super::node::PARTITION;
use crate::linearizability::{Action, Operation};

/// The tables under test: the registers, the operations that changed one, each exactly once, and what nobody reads or
/// writes.
pub const TABLES: [&str; 3] = [
    "CREATE TABLE register (key INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
    "CREATE TABLE done (operation INTEGER PRIMARY KEY)",
    "CREATE TABLE ballast (id INTEGER PRIMARY KEY)",
];

/// Rows answered; none of the statements has more than one.
const MAX_ROWS: u32 = 10;

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Read the register.
    Read,
    /// Write this value into it.
    Write(u64),
    /// Fill it with this value, if it is empty.
    Create(u64),
    /// Empty it.
    Clear,
    /// Add one.
    Increment,
}

impl Intent {
    /// Draws an operation. Registers differ in use, so that one kind of operation does not hide the faults
    /// that another would show.
    pub fn drawn(random: &mut StdRng, register: u64, unique: u64) -> Intent {
        if random.random_bool(0.4) {
            return Intent::Read;
        }
        match register % 3 {
            0 if random.random_bool(0.3) => Intent::Clear,
            0 => Intent::Create(unique),
            1 => Intent::Increment,
            _ => Intent::Write(unique),
        }
    }

    /// The request that carries it out under the name of the operation, or nothing for a read.
    #[must_use]
    pub fn request(self, register: u64, operation: u64) -> Option<WriteRequest> {
        let (sql, value) = match self {
            Intent::Read => return None,
            Intent::Write(value) => (
                "INSERT INTO register (key, value) VALUES (?, ?) \
                 ON CONFLICT DO UPDATE SET value = excluded.value",
                value,
            ),
            Intent::Create(value) => ("INSERT INTO register (key, value) VALUES (?, ?)", value),
            Intent::Clear => ("DELETE FROM register WHERE key = ?1 AND ?2 = 0", 0),
            Intent::Increment => (
                "INSERT INTO register (key, value) VALUES (?, ?) \
                 ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value",
                1,
            ),
        };
        let change = statement(sql, vec![number(register), number(value)]);
        let note = statement("INSERT INTO done VALUES (?)", vec![number(operation)]);
        Some(WriteRequest {
            target: PartitionTarget { partition: PARTITION, epoch: 0, schema_version: 1, timeout_ms: 0 },
            // Whatever is refused, nothing of its request may stay, whether it came before or after.
            work: if operation.is_multiple_of(2) { vec![change, note] } else { vec![note, change] },
            max_rows: MAX_ROWS,
        })
    }

    /// What happened, given the answer; nothing if it is certain that nothing did.
    fn action(self, result: &Result<Reply, Error>) -> Option<Action> {
        match (self, result) {
            (Intent::Read, _) => None,
            (Intent::Write(value), Ok(_)) => Some(Action::Write(value)),
            (Intent::Create(value), Ok(_)) => Some(Action::Create(value)),
            (Intent::Clear, Ok(_)) => Some(Action::Clear),
            (Intent::Increment, Ok(reply)) => Some(Action::Increment(Some(told_sum(reply)))),
            (Intent::Create(_), Err(error)) if error.code == ErrorCode::UniqueViolation => {
                Some(Action::CreateRefused)
            }
            (_, Err(error)) if error.outcome == Outcome::NotApplied => None,
            (intent, Err(_)) => intent.unknown(),
        }
    }

    /// What may have happened, or may yet, without an answer.
    fn unknown(self) -> Option<Action> {
        match self {
            Intent::Read => None,
            Intent::Write(value) => Some(Action::Write(value)),
            Intent::Create(value) => Some(Action::Create(value)),
            Intent::Clear => Some(Action::Clear),
            Intent::Increment => Some(Action::Increment(None)),
        }
    }
}

fn statement(sql: &str, params: Vec<Value>) -> WorkItem {
    WorkItem::Statement(Statement { sql: sql.into(), params: Params::Positional(params) })
}

fn number(number: u64) -> Value {
    Value::Integer(i64::try_from(number).expect("small numbers"))
}

fn told_sum(reply: &Reply) -> u64 {
    let Reply::Written(reply) = reply else { panic!("an increment was answered {reply:?}") };
    let told =
        reply.results.iter().find(|result| !result.columns.is_empty()).expect("an increment tells its sum");
    let rows = told.rows.to_values().expect("rows as they were written");
    match rows[0][0] {
        Value::Integer(sum) => u64::try_from(sum).expect("sums are positive"),
        ref other => panic!("an increment told {other:?}"),
    }
}

/// An operation under way.
#[derive(Clone, Copy, Debug)]
pub struct UnderWay {
    /// Names it.
    pub operation: u64,
    /// Whose it is.
    pub client: usize,
    /// The register.
    pub register: u64,
    /// What it does.
    pub intent: Intent,
    /// When it began.
    pub invoked: u64,
}

/// What all clients have seen, by register.
#[derive(Debug, Default)]
pub struct History {
    registers: BTreeMap<u64, Vec<Operation>>,
    /// Writes answered with success: they must be there in the end.
    done: BTreeSet<u64>,
    /// Writes answered as not applied: they must not.
    not_done: BTreeSet<u64>,
    /// Operations answered with success.
    pub acknowledged: u64,
    /// Operations whose outcome is unknown.
    pub unknown: u64,
}

impl History {
    /// A write was answered.
    pub fn answered(&mut self, of: &UnderWay, now: u64, result: &Result<Reply, Error>) {
        match result {
            Ok(_) => self.done.insert(of.operation),
            Err(error) if error.outcome == Outcome::NotApplied => self.not_done.insert(of.operation),
            Err(_) => false,
        };
        let Some(action) = of.intent.action(result) else { return };
        let unknown = matches!(result, Err(error) if error.outcome != Outcome::NotApplied);
        self.acknowledged += u64::from(result.is_ok());
        self.unknown += u64::from(unknown);
        self.add(of, action, (!unknown).then_some(now));
    }

    /// A read was answered.
    pub fn read(&mut self, of: &UnderWay, now: u64, value: Option<u64>) {
        self.acknowledged += 1;
        self.add(of, Action::Read(value), Some(now));
    }

    /// Nobody answered in time.
    pub fn timed_out(&mut self, of: &UnderWay) {
        if let Some(action) = of.intent.unknown() {
            self.unknown += 1;
            self.add(of, action, None);
        }
    }

    fn add(&mut self, of: &UnderWay, action: Action, returned: Option<u64>) {
        let operation = Operation { action, invoked: of.invoked, returned };
        self.registers.entry(of.register).or_default().push(operation);
    }

    /// Whether exactly those writes were applied that had to be, given all that were.
    pub fn check_done(&self, applied: &BTreeSet<u64>) -> Result<(), Violation> {
        if let Some(lost) = self.done.difference(applied).next() {
            return Err(Violation(format!("operation {lost} was acknowledged and is lost")));
        }
        match self.not_done.intersection(applied).next() {
            Some(lie) => Err(Violation(format!("operation {lie} was answered as not applied and is there"))),
            None => Ok(()),
        }
    }

    /// The operations on each register.
    pub fn registers(&self) -> impl Iterator<Item = (u64, &[Operation])> {
        self.registers.iter().map(|(register, operations)| (*register, operations.as_slice()))
    }
}
