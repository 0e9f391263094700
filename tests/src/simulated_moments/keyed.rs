//! Clients whose writes have idempotency keys: each adds one to the counters of two partitions, through coordinators that
//! may be gone at any time, and is sent again until it is answered. Which partitions these are is drawn anew each time, as
//! rowids are that the database gives to rows. The answer names them.

use std::collections::BTreeSet;

use bytes::Bytes;
use common::idempotency::{CommittedAnswer, IdempotencyKey, Keeps, Kept, Keyed, KeyedRequest};
use common::protocol::{
    JointPurpose, JointReply, JointRequest, RequestWork, StatementResult, Verdict, WorkItem, decode,
};
use common::{Error, Hlc, TransactionId, Value};
use rand::Rng as _;
use storage_node::replica::machine::{Job, Reply, Ticket};

use super::partition::statement;
use super::{CoordinatorBug, World};

/// How long a transaction may take, in milliseconds.
const TIME_MS: u64 = 2_000;
/// Most writes of a transaction.
const TOGETHER_MAX: usize = 3;

/// Writes that share their transactions, and transactions that their coordinators have left alone.
#[derive(Default)]
pub struct Clients {
    writes: Vec<Write>,
    under_way: Option<UnderWay>,
    left_alone: Vec<Ending>,
    begun: u64,
}

/// A write that is not answered.
#[derive(Clone)]
struct Write {
    key: KeyedRequest,
    /// Partitions whose counters it raises, in this attempt.
    counters: BTreeSet<usize>,
    home: usize,
}

struct UnderWay {
    id: TransactionId,
    writes: Vec<Write>,
    /// In ascending order; the last one decides.
    participants: Vec<usize>,
    prepared_at: Hlc,
    /// Writes under whose keys something is kept.
    known: Vec<(KeyedRequest, Kept)>,
    stage: Stage,
}

enum Stage {
    /// All were asked.
    Preparing(Vec<(usize, Ticket)>),
    /// The decider was asked.
    Committing(Ticket),
    /// Participants are told.
    Ending(Ending),
    /// Who decided was asked for the answer to a write.
    Following(KeyedRequest, Ticket),
    /// Participants of the transaction that has answered are asked, so that all know of it.
    Awaiting(KeyedRequest, Bytes, Vec<(usize, Ticket)>),
}

/// A transaction comes to its end, as its decider says.
struct Ending {
    id: TransactionId,
    decider: usize,
    others: Vec<(usize, Option<Ticket>)>,
    verdict: Option<Verdict>,
    asked: Option<Ticket>,
}

impl Clients {
    pub fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.under_way.is_none() && self.left_alone.is_empty()
    }

    pub fn act(&mut self, world: &mut World, more: bool) {
        self.left_alone.retain_mut(|ending| ending.act(world).is_none());
        match self.under_way.take() {
            Some(under_way) => self.go_on(world, under_way),
            None => {
                while more && self.writes.len() < TOGETHER_MAX && world.random.random_bool(0.1) {
                    self.begun += 1;
                    // The name of the first partition tells clients of one run apart.
                    let name = format!("write-{}-{}", self.begun, world.random.random::<u32>());
                    let key = IdempotencyKey::parse(name.as_bytes()).expect("a key");
                    let key = KeyedRequest { key, digest: self.begun.into() };
                    self.writes.push(Write { key, counters: BTreeSet::new(), home: 0 });
                }
                if !self.writes.is_empty() {
                    let writes = self.writes.clone();
                    self.under_way = Some(UnderWay::begin(world, writes));
                }
            }
        }
    }

    fn go_on(&mut self, world: &mut World, mut under_way: UnderWay) {
        if !matches!(under_way.stage, Stage::Ending(_)) && world.random.random_bool(0.003) {
            // The coordinator is gone. Participants find out what became of it.
            let end = under_way.end(None);
            return self.left_alone.push(end);
        }
        let next = match under_way.stage {
            Stage::Preparing(ref asked) => {
                if asked.iter().any(|(_, ticket)| !world.answers.contains_key(ticket)) {
                    self.under_way = Some(under_way);
                    return;
                }
                let asked = asked.clone();
                let prepared = asked.iter().fold(true, |prepared, (number, ticket)| {
                    let answer = world.answers.remove(ticket).expect("all have answered");
                    under_way.take(*number, answer) && prepared
                });
                match prepared && under_way.known.is_empty() {
                    true => Stage::Committing(under_way.commit(world)),
                    false => Stage::Ending(under_way.end(Some(Verdict::ABORT))),
                }
            }
            Stage::Committing(ticket) => match world.answers.remove(&ticket) {
                None => Stage::Committing(ticket),
                Some(Ok(Reply::Decided(verdict))) => Stage::Ending(under_way.end(Some(verdict))),
                Some(Ok(_)) => unreachable!("a decision is answered with a decision"),
                Some(Err(_)) => return self.left_alone.push(under_way.end(None)),
            },
            Stage::Ending(ref mut ending) => {
                let Some(commit) = ending.act(world) else {
                    self.under_way = Some(under_way);
                    return;
                };
                if commit {
                    let told = std::mem::take(&mut under_way.writes);
                    told.into_iter().for_each(|write| self.answered(world, &write.key, &write.counters));
                    return;
                }
                match under_way.known.pop() {
                    None => return,
                    Some((key, Kept::Decided(decider))) => {
                        let number = world.number_of(decider);
                        Stage::Following(key.clone(), world.look_up(number, key))
                    }
                    Some((key, Kept::Committed(kept))) => wait(world, key, kept),
                    Some((_, other)) => unreachable!("nobody keeps {other:?}"),
                }
            }
            Stage::Following(key, ticket) => match world.answers.remove(&ticket) {
                None => Stage::Following(key, ticket),
                Some(answer) => match kept_in_write(&answer) {
                    Some(Kept::Committed(kept)) => wait(world, key, kept),
                    // Its leader was lost; the write is sent again.
                    _ => return,
                },
            },
            Stage::Awaiting(key, answer, mut asked) => {
                if asked.iter().all(|(_, ticket)| world.answers.contains_key(ticket)) {
                    for (number, ticket) in &mut asked {
                        if world.answers.remove(ticket).is_some_and(|answer| answer.is_err()) {
                            *ticket = world.look_up(*number, key.clone());
                        } else {
                            *number = usize::MAX;
                        }
                    }
                    asked.retain(|(number, _)| *number != usize::MAX);
                }
                if asked.is_empty() {
                    let counters = answer.iter().map(|number| usize::from(*number)).collect();
                    world.report.found_again += 1;
                    return self.answered(world, &key, &counters);
                }
                Stage::Awaiting(key, answer, asked)
            }
        };
        under_way.stage = next;
        self.under_way = Some(under_way);
    }

    fn answered(&mut self, world: &mut World, key: &KeyedRequest, counters: &BTreeSet<usize>) {
        let before = self.writes.len();
        self.writes.retain(|write| write.key != *key);
        if self.writes.len() < before {
            world.report.keyed += 1;
            counters.iter().for_each(|counter| world.acknowledged[*counter] += 1);
        }
    }
}

impl Write {
    /// The next attempt: a coordinator draws rowids, which route it.
    fn route(&mut self, world: &mut World) {
        let count = world.partitions.len();
        let first = world.random.random_range(0..count);
        self.counters = BTreeSet::from([first, (first + world.random.random_range(1..count)) % count]);
        self.home = match world.coordinator_bug {
            Some(CoordinatorBug::KeyLookedUpWhereRouted) => first,
            None => usize::try_from(self.key.key.slot()).expect("few") % count,
        };
    }

    /// The answer that is kept: the numbers of the partitions.
    fn answer(&self) -> Bytes {
        self.counters.iter().map(|number| u8::try_from(*number).expect("few partitions")).collect()
    }

    fn work_on(
        &self,
        number: usize,
        (decider, decider_id): (usize, common::PartitionId),
    ) -> Option<RequestWork> {
        let mut work = Vec::new();
        if self.home == number {
            let keeps = if decider == number { Keeps::Nothing } else { Keeps::Decider(decider_id) };
            work.push(WorkItem::Key(Keyed { request: self.key.clone(), keeps }));
        }
        if self.counters.contains(&number) {
            work.push(statement("UPDATE t SET n = n + 1 WHERE name = 'counter'"));
        }
        (!work.is_empty()).then_some(RequestWork { work, max_rows: 10 })
    }
}

impl UnderWay {
    fn begin(world: &mut World, mut writes: Vec<Write>) -> UnderWay {
        writes.iter_mut().for_each(|write| write.route(world));
        let deadline = Hlc::from_millis(world.clocks.now_ms() + TIME_MS);
        let id = TransactionId { deadline, unique: world.random.random() };
        let participants: BTreeSet<usize> =
            writes.iter().flat_map(|write| write.counters.iter().copied().chain([write.home])).collect();
        let participants: Vec<usize> = participants.into_iter().collect();
        let mut under_way = UnderWay {
            id,
            writes,
            participants,
            prepared_at: Hlc::default(),
            known: Vec::new(),
            stage: Stage::Preparing(Vec::new()),
        };
        let asked = under_way.participants.iter().map(|&number| (number, under_way.prepare(world, number)));
        under_way.stage = Stage::Preparing(asked.collect());
        under_way
    }

    fn decider(&self) -> usize {
        *self.participants.last().expect("a transaction has participants")
    }

    fn prepare(&self, world: &mut World, number: usize) -> Ticket {
        let decider = world.partitions[self.decider()].id;
        let work = |write: &Write| write.work_on(number, (self.decider(), decider));
        let job = Job::Joint(JointRequest {
            target: world.partitions[number].request(Vec::new()).target,
            transaction: self.id,
            participants: self.participants.iter().map(|number| world.partitions[*number].id).collect(),
            requests: self.writes.iter().filter_map(work).collect(),
            purpose: JointPurpose::Prepare { decider, waits: false },
        });
        world.submit(number, job)
    }

    /// Takes note of an answer. Says whether the part is prepared.
    fn take(&mut self, number: usize, answer: Result<Reply, Error>) -> bool {
        let Ok(Reply::Joint(JointReply { results, hlc, .. })) = answer else { return false };
        self.prepared_at = self.prepared_at.max(hlc);
        let here = |write: &&Write| write.home == number || write.counters.contains(&number);
        for (write, result) in self.writes.iter().filter(here).zip(results) {
            let Ok(results) = result else { return false };
            if write.home == number
                && let Some(kept) = kept_in(&results)
            {
                self.known.push((write.key.clone(), kept));
            }
        }
        true
    }

    fn commit(&self, world: &mut World) -> Ticket {
        let participants: Vec<_> =
            self.participants.iter().map(|number| world.partitions[*number].id).collect();
        let keyed = |write: &Write| {
            let answer = CommittedAnswer { answer: write.answer(), participants: participants.clone() };
            Keyed { request: write.key.clone(), keeps: Keeps::Committed(answer) }
        };
        let job = Job::DecideKeyed {
            transaction: self.id,
            participants: participants.clone(),
            keyed: self.writes.iter().map(keyed).collect(),
            prepared_at: self.prepared_at,
        };
        world.submit(self.decider(), job)
    }

    fn end(&self, verdict: Option<Verdict>) -> Ending {
        let others = &self.participants[..self.participants.len() - 1];
        Ending {
            id: self.id,
            decider: self.decider(),
            others: others.iter().map(|number| (*number, None)).collect(),
            // An abort is the decider's to say.
            verdict: verdict.filter(|verdict| verdict.commit),
            asked: None,
        }
    }
}

/// Asks who takes part in the transaction that was found.
fn wait(world: &mut World, key: KeyedRequest, kept: CommittedAnswer) -> Stage {
    let numbers: Vec<usize> = kept.participants.iter().map(|id| world.number_of(*id)).collect();
    let asked = numbers.into_iter().map(|number| (number, world.look_up(number, key.clone()))).collect();
    Stage::Awaiting(key, kept.answer, asked)
}

impl Ending {
    /// Says whether the transaction has committed, once all participants know.
    fn act(&mut self, world: &mut World) -> Option<bool> {
        let Some(verdict) = self.verdict else {
            let answer = self.asked.and_then(|ticket| world.answers.remove(&ticket));
            match answer {
                Some(Ok(Reply::Decided(verdict))) => self.verdict = Some(verdict),
                Some(_) => self.asked = None,
                None => {}
            }
            if self.asked.is_none() {
                let job = Job::Decide { transaction: self.id, verdict: Verdict::ABORT, decides: true };
                self.asked = Some(world.submit(self.decider, job));
            }
            return None;
        };
        for (number, waits) in &mut self.others {
            let answer = waits.and_then(|ticket| world.answers.remove(&ticket));
            if let Some(Ok(_)) = answer {
                *number = usize::MAX;
            } else if waits.is_none() || answer.is_some() {
                let job = Job::Decide { transaction: self.id, verdict, decides: false };
                *waits = Some(world.submit(*number, job));
            }
        }
        self.others.retain(|(number, _)| *number != usize::MAX);
        self.others.is_empty().then_some(verdict.commit)
    }
}

impl World {
    fn number_of(&self, partition: common::PartitionId) -> usize {
        self.partitions.iter().position(|known| known.id == partition).expect("a partition of the world")
    }

    fn look_up(&mut self, number: usize, request: KeyedRequest) -> Ticket {
        let work = vec![WorkItem::Key(Keyed { request, keeps: Keeps::Nothing })];
        let write = self.partitions[number].request(work);
        self.submit(number, Job::Write(write))
    }
}

fn kept_in_write(answer: &Result<Reply, Error>) -> Option<Kept> {
    match answer {
        Ok(Reply::Written(reply)) => kept_in(&reply.results),
        _ => None,
    }
}

/// What is kept under the key that work begins with.
fn kept_in(results: &[StatementResult]) -> Option<Kept> {
    let rows = results.first()?.rows.to_values().expect("rows are sound");
    let [Value::Blob(bytes)] = &rows.first()?[..] else { return None };
    Some(decode(bytes).expect("what is kept can be read"))
}
