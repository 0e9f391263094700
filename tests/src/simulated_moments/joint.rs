//! A coordinator that commits several requests as one transaction: transfers between two partitions, increments on two,
//! and requests that one of the partitions refuses.

use std::collections::BTreeSet;

use common::protocol::{JointPurpose, JointReply, JointRequest, RequestWork, Verdict, WorkItem};
use common::{Error, Hlc, Outcome, TransactionId};
use rand::Rng as _;
use storage_node::replica::machine::{Job, Reply, Ticket};

use super::World;
use super::partition::statement;

/// How long a transaction may take, in milliseconds.
const TIME_MS: u64 = 2_000;
/// Most requests of a transaction.
const REQUESTS_MAX: usize = 4;
/// Attempts at the same requests.
const ATTEMPTS_MAX: usize = 4;

/// See the module.
#[derive(Default)]
pub struct Joint {
    under_way: Option<UnderWay>,
}

/// A request's work by partition, and whether it counts.
#[derive(Clone)]
struct Request {
    parts: Vec<(usize, WorkItem)>,
    increments: bool,
}

struct UnderWay {
    id: TransactionId,
    requests: Vec<Request>,
    /// In ascending order; the last one decides.
    participants: Vec<usize>,
    prepared_at: Hlc,
    in_line: bool,
    attempts: usize,
    /// Requests that a partition has refused.
    refused: BTreeSet<usize>,
    /// The coordinator stands still before it commits, and goes on when the decider was asked what became of it.
    commits_late: bool,
    /// The clients were told that it has committed. The logs of the others may not have it yet, which their leaders
    /// find out themselves if need be; here the coordinator asks again.
    is_told: bool,
    stage: Stage,
}

enum Stage {
    /// These were asked, the others not yet.
    Preparing(Vec<(usize, Ticket)>),
    /// The decider was asked.
    Committing(Ticket),
    /// The decider is asked what became of it.
    Asking(Ticket),
    /// The others are told.
    Ending(Verdict, Vec<(usize, Option<Ticket>)>),
}

impl Joint {
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub fn act(&mut self, world: &mut World, more: bool) {
        match self.under_way.take() {
            None if more && world.random.random_bool(0.1) => {
                let requests = (0..world.random.random_range(1..=REQUESTS_MAX)).map(|_| Request::draw(world));
                let requests = requests.collect();
                self.under_way = Some(UnderWay::begin(world, requests, false, 1));
            }
            None => {}
            Some(under_way) => self.under_way = under_way.go_on(world),
        }
    }
}

impl Request {
    fn draw(world: &mut World) -> Request {
        let count = world.partitions.len();
        let from = world.random.random_range(0..count);
        let to = (from + world.random.random_range(1..count)) % count;
        let amount = world.random.random_range(1..20);
        let add = |name: &str, amount: i64| {
            statement(&format!("UPDATE t SET n = n + {amount} WHERE name = '{name}'"))
        };
        let (parts, increments) = match world.random.random_range(0..4) {
            0 => (vec![(from, add("counter", 1)), (to, add("counter", 1))], true),
            1 => {
                let exists = statement("INSERT INTO t VALUES ('account', 0)");
                (vec![(from, add("account", -amount)), (to, exists)], false)
            }
            _ => (vec![(from, add("account", -amount)), (to, add("account", amount))], false),
        };
        Request { parts, increments }
    }
}

impl UnderWay {
    fn begin(world: &mut World, requests: Vec<Request>, in_line: bool, attempts: usize) -> UnderWay {
        let deadline = Hlc::from_millis(world.clocks.now_ms() + TIME_MS);
        let id = TransactionId { deadline, unique: world.random.random() };
        let participants: BTreeSet<usize> =
            requests.iter().flat_map(|request| &request.parts).map(|(partition, _)| *partition).collect();
        let mut under_way = UnderWay {
            id,
            requests,
            participants: participants.into_iter().collect(),
            prepared_at: Hlc::default(),
            in_line,
            attempts,
            refused: BTreeSet::new(),
            commits_late: false,
            is_told: false,
            stage: Stage::Preparing(Vec::new()),
        };
        let others = &under_way.participants[..under_way.participants.len() - 1];
        let first = if in_line { &others[..1] } else { others };
        let waits = in_line || others.len() == 1;
        let asked = first.iter().map(|&number| (number, under_way.prepare(world, number, waits))).collect();
        under_way.stage = Stage::Preparing(asked);
        under_way
    }

    fn decider(&self) -> usize {
        *self.participants.last().expect("a transaction has participants")
    }

    /// Numbers of the requests that have work on a partition.
    fn on(&self, number: usize) -> Vec<usize> {
        let has_work = |request: &Request| request.parts.iter().any(|(partition, _)| *partition == number);
        (0..self.requests.len()).filter(|&request| has_work(&self.requests[request])).collect()
    }

    fn ask(&self, world: &mut World, number: usize, purpose: JointPurpose) -> Ticket {
        let work = |&request: &usize| RequestWork {
            work: self.requests[request]
                .parts
                .iter()
                .filter(|(partition, _)| *partition == number)
                .map(|(_, item)| item.clone())
                .collect(),
            max_rows: 10,
        };
        let job = Job::Joint(JointRequest {
            target: world.partitions[number].request(Vec::new()).target,
            transaction: self.id,
            participants: self.participants.iter().map(|number| world.partitions[*number].id).collect(),
            requests: self.on(number).iter().map(work).collect(),
            purpose,
        });
        world.submit(number, job)
    }

    fn prepare(&self, world: &mut World, number: usize, waits: bool) -> Ticket {
        let decider = world.partitions[self.decider()].id;
        self.ask(world, number, JointPurpose::Prepare { decider, waits })
    }

    fn commit(&self, world: &mut World) -> Stage {
        let purpose = JointPurpose::Commit { prepared_at: self.prepared_at };
        Stage::Committing(self.ask(world, self.decider(), purpose))
    }

    fn ask_decider(&self, world: &mut World) -> Stage {
        let job = Job::Decide { transaction: self.id, verdict: Verdict::ABORT, decides: true };
        Stage::Asking(world.submit(self.decider(), job))
    }

    fn end(&self, verdict: Verdict) -> Stage {
        let others = &self.participants[..self.participants.len() - 1];
        Stage::Ending(verdict, others.iter().map(|number| (*number, None)).collect())
    }

    /// Takes note of an answer. Says whether the part is in order.
    fn take(&mut self, number: usize, answer: Result<Reply, Error>) -> bool {
        let Ok(Reply::Joint(JointReply { results, hlc, .. })) = answer else { return false };
        self.prepared_at = self.prepared_at.max(hlc);
        let refused = self.on(number).into_iter().zip(results).filter(|(_, result)| result.is_err());
        let refused: Vec<usize> = refused.map(|(request, _)| request).collect();
        let is_in_order = refused.is_empty();
        self.refused.extend(refused);
        is_in_order
    }

    fn go_on(mut self, world: &mut World) -> Option<UnderWay> {
        match self.stage {
            Stage::Preparing(ref asked) => {
                if asked.iter().any(|(_, ticket)| !world.answers.contains_key(ticket)) {
                    return Some(self);
                }
                let asked = asked.clone();
                let mut in_order = true;
                for (number, ticket) in &asked {
                    let answer = world.answers.remove(ticket).expect("all have answered");
                    in_order &= self.take(*number, answer);
                }
                let next = asked.last().and_then(|(last, _)| {
                    self.participants.iter().copied().find(|number| self.in_line && number > last)
                });
                self.stage = if !in_order {
                    // Nothing can commit that the coordinator has not asked for.
                    self.end(Verdict::ABORT)
                } else if world.random.random_bool(0.05) {
                    self.commits_late = true;
                    self.ask_decider(world)
                } else {
                    match next.filter(|next| *next != self.decider()) {
                        Some(next) => {
                            let ticket = self.prepare(world, next, true);
                            Stage::Preparing(vec![(next, ticket)])
                        }
                        None => self.commit(world),
                    }
                };
            }
            Stage::Committing(ticket) => {
                let answer = world.answers.remove(&ticket);
                let is_lost = world.random.random_bool(0.02);
                self.stage = match answer {
                    None => return Some(self),
                    Some(_) if is_lost => self.ask_decider(world),
                    Some(Err(error)) if error.outcome == Outcome::Unknown => self.ask_decider(world),
                    Some(answer) => {
                        let number = self.decider();
                        match self.take(number, answer) {
                            true => self.end(Verdict { commit: true, at: self.prepared_at }),
                            false => self.end(Verdict::ABORT),
                        }
                    }
                };
            }
            Stage::Asking(ticket) => {
                self.stage = match world.answers.remove(&ticket) {
                    None => return Some(self),
                    Some(Ok(Reply::Decided(_))) if std::mem::take(&mut self.commits_late) => {
                        self.commit(world)
                    }
                    Some(Ok(Reply::Decided(verdict))) => self.end(verdict),
                    Some(Ok(_)) => unreachable!("a decision is answered with a decision"),
                    Some(Err(_)) => self.ask_decider(world),
                };
            }
            Stage::Ending(verdict, ref mut others) => {
                for (number, waits) in others.iter_mut() {
                    let answer = waits.and_then(|ticket| world.answers.remove(&ticket));
                    if let Some(Ok(_)) = answer {
                        *number = usize::MAX;
                    } else if waits.is_none() || answer.is_some() {
                        let job = match verdict.commit && !self.is_told {
                            true => Job::CarryOut { transaction: self.id, at: verdict.at },
                            false => Job::Decide { transaction: self.id, verdict, decides: false },
                        };
                        *waits = Some(world.submit(*number, job));
                    }
                }
                others.retain(|(number, _)| *number != usize::MAX);
                if others.is_empty() {
                    return self.ended(world, verdict);
                }
            }
        }
        Some(self)
    }

    /// The clients are answered, or what was not refused is tried again.
    fn ended(mut self, world: &mut World, verdict: Verdict) -> Option<UnderWay> {
        if self.is_told {
            return None;
        }
        if verdict.commit {
            world.report.joint += self.requests.len();
            let counted = self.requests.iter().filter(|request| request.increments);
            for (partition, _) in counted.flat_map(|request| &request.parts) {
                world.acknowledged[*partition] += 1;
            }
            self.is_told = true;
            self.stage = self.end(verdict);
            return Some(self);
        }
        world.report.refused += self.refused.len();
        let in_line = self.refused.is_empty();
        let refused = &self.refused;
        let left = self.requests.into_iter().enumerate().filter(|(number, _)| !refused.contains(number));
        let left: Vec<Request> = left.map(|(_, request)| request).collect();
        let again = !left.is_empty() && self.attempts < ATTEMPTS_MAX;
        again.then(|| UnderWay::begin(world, left, in_line, self.attempts + 1))
    }
}
