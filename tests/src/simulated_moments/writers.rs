//! Clients that write: increments on one partition, and transfers between two.

use common::digest::RowsDigest;
use common::protocol::{
    JointPurpose, JointRequest, Params, Proof, RequestWork, Statement, Verdict, WorkItem,
};
use common::{Error, Hlc, Outcome, TransactionId, Value};
use rand::Rng as _;
use sqlite::Budget;
use storage_node::replica::machine::{Job, Reply, Ticket};

use super::World;
use super::partition::{Partition, statement};

/// How long a transaction may take, in milliseconds.
const TIME_MS: u64 = 2_000;

/// Increments the counter of its partition.
pub struct Counter {
    partition: usize,
    waits: Option<Ticket>,
}

impl Counter {
    pub fn new(partition: usize) -> Counter {
        Counter { partition, waits: None }
    }

    pub fn is_idle(&self) -> bool {
        self.waits.is_none()
    }

    pub fn act(&mut self, world: &mut World, more: bool) {
        match self.waits {
            None if more && world.random.random_bool(0.2) => {
                let work = vec![statement("UPDATE t SET n = n + 1 WHERE name = 'counter'")];
                let request = world.partitions[self.partition].request(work);
                self.waits = Some(world.submit(self.partition, Job::Write(request)));
            }
            Some(ticket) => {
                if let Some(answer) = world.answers.remove(&ticket) {
                    world.acknowledged[self.partition] += i64::from(answer.is_ok());
                    let is_open = answer.is_err_and(|error| error.outcome != Outcome::NotApplied);
                    world.uncertain[self.partition] += i64::from(is_open);
                    self.waits = None;
                }
            }
            None => {}
        }
    }
}

/// Moves money from one partition to another: reads both accounts, and writes what it has computed, guarded by
/// proofs of what it read.
#[derive(Default)]
pub struct Transfer {
    under_way: Option<UnderWay>,
}

struct UnderWay {
    id: TransactionId,
    /// In ascending order; the first one decides.
    participants: Vec<(usize, Vec<WorkItem>)>,
    prepared_at: Hlc,
    /// The coordinator stands still before it commits, and goes on when a participant has asked what became of it.
    commits_late: bool,
    stage: Stage,
}

enum Stage {
    /// So many are prepared, the next one was asked.
    Preparing(usize, Ticket),
    /// The decider was asked.
    Deciding(Verdict, Ticket),
    /// The others are told.
    CarryingOut(Verdict, Vec<(usize, Option<Ticket>)>),
}

impl Transfer {
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub fn act(&mut self, world: &mut World, more: bool) {
        match self.under_way.take() {
            None if more && world.random.random_bool(0.1) => self.under_way = begin(world),
            None => {}
            Some(under_way) => self.under_way = under_way.go_on(world),
        }
    }
}

/// Reads two accounts, each as its leader has it, and asks the first partition to prepare.
fn begin(world: &mut World) -> Option<UnderWay> {
    let count = world.partitions.len();
    let from = world.random.random_range(0..count);
    let to = (from + world.random.random_range(1..count)) % count;
    let amount = world.random.random_range(1..20);
    let id = TransactionId {
        deadline: Hlc::from_millis(world.clocks.now_ms() + TIME_MS),
        unique: world.random.random(),
    };
    let mut participants = Vec::new();
    for (number, change) in [(from, -amount), (to, amount)] {
        let (balance, proof) = read_account(&world.partitions[number])?;
        let update = format!("UPDATE t SET n = {} WHERE name = 'account'", balance + change);
        participants.push((number, vec![WorkItem::Proof(proof), statement(&update)]));
    }
    participants.sort_by_key(|(number, _)| *number);
    let mut under_way = UnderWay {
        id,
        participants,
        prepared_at: Hlc::default(),
        commits_late: false,
        stage: Stage::Preparing(0, Ticket(0)),
    };
    under_way.stage = under_way.prepare(world, 0);
    Some(under_way)
}

fn read_account(partition: &Partition) -> Option<(i64, Proof)> {
    let sql = "SELECT n FROM t WHERE name = 'account'".to_owned();
    let statement = Statement { sql, params: Params::None };
    let mut reader = partition.readers(partition.leader).acquire().ok()?;
    let snapshot = reader.snapshot().ok()?;
    let index = snapshot.system().position().ok()?.index;
    let found = snapshot.query(&statement, &Budget::default()).ok()?;
    let mut digest = RowsDigest::default();
    digest.add(&found.rows);
    let proof = Proof { statement, digest: digest.finish(), index, pinned: None };
    match found.rows.to_values().ok()?.concat().as_slice() {
        [Value::Integer(balance)] => Some((*balance, proof)),
        _ => None,
    }
}

impl UnderWay {
    fn prepare(&self, world: &mut World, place: usize) -> Stage {
        let (number, work) = &self.participants[place];
        let participants = self.participants.iter().map(|(number, _)| world.partitions[*number].id).collect();
        let decider = world.partitions[self.participants[0].0].id;
        let job = Job::Joint(JointRequest {
            target: world.partitions[*number].request(Vec::new()).target,
            transaction: self.id,
            participants,
            requests: vec![RequestWork { work: work.clone(), max_rows: 10 }],
            purpose: JointPurpose::Prepare { decider, waits: true },
        });
        Stage::Preparing(place, world.submit(*number, job))
    }

    fn decide(&self, world: &mut World, verdict: Verdict) -> Stage {
        let job = Job::Decide { transaction: self.id, verdict, decides: true };
        Stage::Deciding(verdict, world.submit(self.participants[0].0, job))
    }

    fn go_on(mut self, world: &mut World) -> Option<UnderWay> {
        match self.stage {
            Stage::Preparing(place, ticket) => {
                let Some(answer) = world.answers.remove(&ticket) else { return Some(self) };
                self.stage = match answer {
                    Ok(Reply::Joint(reply)) if reply.results.iter().all(Result::is_ok) => {
                        self.prepared_at = self.prepared_at.max(reply.hlc);
                        // A coordinator that is gone, or stands still, leaves the question to the participants.
                        let gone = world.random.random_bool(0.05);
                        let next = place + 1;
                        if gone {
                            self.commits_late = next == self.participants.len();
                            self.decide(world, Verdict::ABORT)
                        } else if next < self.participants.len() {
                            self.prepare(world, next)
                        } else {
                            self.decide(world, Verdict { commit: true, at: self.prepared_at })
                        }
                    }
                    _ => self.decide(world, Verdict::ABORT),
                };
            }
            Stage::Deciding(verdict, ticket) => {
                let Some(answer) = world.answers.remove(&ticket) else { return Some(self) };
                self.stage = match answer {
                    Ok(Reply::Decided(_)) if std::mem::take(&mut self.commits_late) => {
                        self.decide(world, Verdict { commit: true, at: self.prepared_at })
                    }
                    Ok(Reply::Decided(verdict)) => {
                        world.report.transfers += usize::from(verdict.commit);
                        world.report.aborts += usize::from(!verdict.commit);
                        let others = self.participants[1..].iter().map(|(number, _)| (*number, None));
                        Stage::CarryingOut(verdict, others.collect())
                    }
                    Ok(_) => unreachable!("a decision is answered with a decision"),
                    Err(error) => {
                        assert_known(&error);
                        self.decide(world, verdict)
                    }
                };
            }
            Stage::CarryingOut(verdict, ref mut others) => {
                for (number, waits) in others.iter_mut() {
                    let answer = waits.and_then(|ticket| world.answers.remove(&ticket));
                    if let Some(Ok(_)) = answer {
                        *number = usize::MAX;
                    } else if waits.is_none() || answer.is_some() {
                        let job = Job::Decide { transaction: self.id, verdict, decides: false };
                        *waits = Some(world.submit(*number, job));
                    }
                }
                others.retain(|(number, _)| *number != usize::MAX);
                if others.is_empty() {
                    return None;
                }
            }
        }
        Some(self)
    }
}

/// Whatever became of a decision, it may be proposed again.
fn assert_known(error: &Error) {
    assert!(matches!(error.outcome, Outcome::NotApplied | Outcome::Unknown), "{error:?}");
}
