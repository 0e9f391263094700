//! A coordinator: what the gateway does around the production's leases, for one client that reads without end.

use std::collections::BTreeMap;
use std::time::Duration;

use common::PartitionId;
use common::protocol::LeaseHolder;
use coordinator::result_cache::leases::{Asked, HeldLeases, Standing};

use super::{Event, PlantedBug, Process, Told, World};

const PARTITION: PartitionId = PartitionId(1);
/// When a client gives up, and how long something is asked for at most.
const PATIENCE: Duration = Duration::from_millis(700);

/// One coordinator. See the module.
pub struct Coordinator {
    number: usize,
    leases: HeldLeases,
    /// The answer that is kept, and the log index of the state that it was computed on.
    kept: Option<(u64, u64)>,
    questions: u64,
    /// What was asked for, by question.
    asked: BTreeMap<u64, Asked>,
    read: Option<Read>,
}

/// A client's read.
struct Read {
    /// The least that it may see.
    least: u64,
    begun: Duration,
    /// The question that it waits for.
    question: u64,
}

impl Coordinator {
    pub fn new(number: usize) -> Coordinator {
        let holder = LeaseHolder { process: number as u64, address: format!("coordinator-{number}:5000") };
        Coordinator {
            number,
            leases: HeldLeases::of(holder),
            kept: None,
            questions: 0,
            asked: BTreeMap::new(),
            read: None,
        }
    }

    fn now(&self, world: &World) -> Duration {
        world.clock(Process::Coordinator(self.number))
    }

    pub fn told(&mut self, world: &mut World, what: Told) -> Result<(), String> {
        match what {
            Told::Tick => {
                let (process, pause) = (Process::Coordinator(self.number), world.between(1, 8));
                world.after(pause, Event::Told { process, what: Told::Tick });
                if self.read.as_ref().is_some_and(|read| world.now - read.begun > PATIENCE) {
                    self.read = None;
                }
                if self.read.is_none() {
                    self.begin(world)?;
                }
            }
            Told::Asked { question, unchanged, lease } => {
                if let Some(mut asked) = self.asked.remove(&question) {
                    if world.has_bug(PlantedBug::CountedFromTheAnswer) {
                        asked.at = self.now(world);
                    }
                    self.leases.answered(asked, lease);
                }
                if let Some((value, _)) = self.answers(question, self.kept) {
                    if unchanged {
                        return self.end(world, value);
                    }
                    self.kept = None;
                    let question = self.ask_to_read(world);
                    self.read.iter_mut().for_each(|read| read.question = question);
                }
            }
            Told::Value { question, value, index } => {
                if self.answers(question, Some(())).is_some() {
                    self.kept = Some((value, index));
                    return self.end(world, value);
                }
            }
            Told::GiveBack { node, process, number } => {
                if self.leases.give_back(PARTITION, process).is_ok() {
                    world.send(Process::Node(node), Told::GivenBack { process, number });
                }
            }
            _ => unreachable!("this is told to nodes"),
        }
        Ok(())
    }

    /// What is there, if the read under way waits for the question.
    fn answers<T>(&self, question: u64, there: Option<T>) -> Option<T> {
        self.read.as_ref().filter(|read| read.question == question).and(there)
    }

    fn begin(&mut self, world: &mut World) -> Result<(), String> {
        let mut read = Read { least: world.known, begun: world.now, question: 0 };
        let Some((value, since)) = self.kept else {
            read.question = self.ask_to_read(world);
            self.read = Some(read);
            return Ok(());
        };
        let standing = self.leases.standings(&[(PARTITION, since)], || self.now(world))[0];
        match standing {
            Standing::Unchanged { renew, .. } => {
                self.read = Some(read);
                if renew {
                    self.ask_for_lease(world, since);
                }
                world.report.leased += 1;
                return self.end(world, value);
            }
            Standing::Changed => {
                self.kept = None;
                read.question = self.ask_to_read(world);
            }
            Standing::Unknown => read.question = self.ask_for_lease(world, since),
        }
        self.read = Some(read);
        Ok(())
    }

    fn ask_to_read(&mut self, world: &mut World) -> u64 {
        self.questions += 1;
        let (coordinator, question) = (self.number, self.questions);
        let node = world.believed_leader();
        world.send(Process::Node(node), Told::Read { coordinator, question });
        question
    }

    fn ask_for_lease(&mut self, world: &mut World, since: u64) -> u64 {
        self.questions += 1;
        let (coordinator, question) = (self.number, self.questions);
        // What was lost is not waited for without end.
        while self.asked.len() >= 8 {
            let oldest = self.asked.pop_first().map(|(_, asked)| asked);
            oldest.into_iter().for_each(|asked| self.leases.answered(asked, None));
        }
        self.asked.insert(question, self.leases.ask(PARTITION, self.now(world)));
        let holder = self.leases.holder().clone();
        let asks = Told::Ask { coordinator, holder, since, question };
        let node = world.believed_leader();
        world.send(Process::Node(node), asks);
        question
    }

    fn end(&mut self, world: &mut World, value: u64) -> Result<(), String> {
        let Some(read) = self.read.take() else { return Ok(()) };
        world.report.reads += 1;
        if value < read.least {
            let (number, now) = (self.number, world.now);
            return Err(format!(
                "at {now:?} coordinator {number} answered {value}, when {} was known before",
                read.least
            ));
        }
        world.learn(value);
        Ok(())
    }
}
