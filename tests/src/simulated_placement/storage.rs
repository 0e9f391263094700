//! Replicas on the storage nodes: what reaches them, and what they wish.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use common::protocol::{PinId, ReplicaReport};
use rand::Rng as _;
use sqlite::simulated::SimulatedDisk;

use super::world::{BEGIN_MS, Event, Name, State};
use crate::simulated_cluster::Violation;
use crate::simulated_cluster::node::{Broken, Input, Node, NodeSetup, PinnedState, Wish};

/// Where a replica lives.
pub struct Place {
    /// The storage node.
    pub(crate) on: usize,
    setup: NodeSetup,
    disk: SimulatedDisk,
    pub(crate) incarnation: u64,
    /// While it runs.
    pub(crate) node: Option<Node>,
    pub(crate) pins: BTreeMap<PinId, Arc<PinnedState>>,
}

impl Place {
    pub(crate) fn new(on: usize, setup: NodeSetup, disk: SimulatedDisk) -> Place {
        Place { on, setup, disk, incarnation: 0, node: None, pins: BTreeMap::new() }
    }

    /// It loses power, and with it what it has not synced.
    pub(crate) fn crash(&mut self) {
        // First of all: what the dying process would still do in its destructors is lost with it.
        self.disk.lose_power();
        self.node = None;
        self.pins.clear();
        self.disk.crash();
    }

    pub(crate) fn report(&self) -> Option<ReplicaReport> {
        self.node.as_ref().map(Node::report)
    }
}

impl State {
    pub(crate) fn start(&mut self, name: Name) -> Result<(), Violation> {
        let place = self.places.get_mut(&name).expect("it was assigned");
        place.incarnation += 1;
        let incarnation = place.incarnation;
        place.node = Some(Node::start(&place.setup, &place.disk, incarnation)?);
        self.note(&("start", name.0.0, name.1.0));
        self.schedule_tick(name, incarnation);
        Ok(())
    }

    /// Something happens to a replica.
    pub(crate) fn input(&mut self, name: Name, input: Input) -> Result<(), Violation> {
        let now = self.schedule.now();
        self.work(name, |node| node.input(now, input))
    }

    pub(crate) fn synced(&mut self, name: Name) -> Result<(), Violation> {
        let now = self.schedule.now();
        self.work(name, |node| node.synced(now))
    }

    fn work(
        &mut self,
        name: Name,
        act: impl FnOnce(&mut Node) -> Result<Vec<Wish>, Broken>,
    ) -> Result<(), Violation> {
        let Some(node) = self.places.get_mut(&name).and_then(|place| place.node.as_mut()) else {
            return Ok(());
        };
        let wishes = act(node)?;
        for wish in wishes {
            self.fulfil(name, wish)?;
        }
        Ok(())
    }

    fn fulfil(&mut self, name: Name, wish: Wish) -> Result<(), Violation> {
        let (partition, replica) = name;
        match wish {
            Wish::Send(message) => {
                let to = (partition, message.to());
                if !self.loses_message() {
                    let delay = self.delay();
                    let clock = self.clock_of(self.places[&name].on);
                    let wall_ms = BEGIN_MS + self.schedule.now() / 1_000;
                    let clock = clock.map(|clock| clock.now(wall_ms));
                    self.schedule.after(delay, Event::Arrive { name: to, message, clock });
                }
            }
            Wish::Sync => {
                let incarnation = self.places[&name].incarnation;
                let time = self.random.random_range(100..5_000);
                self.schedule.after(time, Event::Synced { name, incarnation });
            }
            Wish::Answer(answer) => match self.jobs.remove(&answer.ticket.0) {
                // Whoever asked may have gone.
                Some(job) => drop(job.send(answer.result)),
                None => self.answered(answer.ticket.0, name, answer.result),
            },
            Wish::Served { operation, outcome } => {
                if let Some(rows) = self.rows.remove(&operation) {
                    drop(rows.send(outcome));
                }
            }
            Wish::Pinned { operation, outcome } => self.pinned(operation, name, outcome),
            Wish::Leads(term) => {
                let first = *self.leaders.entry((partition, term)).or_insert(replica);
                if first != replica {
                    let both = format!("replicas {first} and {replica} of partition {partition}");
                    return Err(Violation(format!("{both} both led term {term}")));
                }
            }
            Wish::Committed(index, term, data) => {
                let mut hasher = DefaultHasher::new();
                data.hash(&mut hasher);
                let entry = (term, hasher.finish());
                if *self.committed.entry((partition, index)).or_insert(entry) != entry {
                    let place = format!("index {index} of partition {partition}");
                    return Err(Violation(format!("{place} was committed twice, otherwise")));
                }
            }
            // Nobody asks for these here, and no file is harmed.
            Wish::Read { .. }
            | Wish::Compared(_)
            | Wish::Condemned
            | Wish::Rebuilt
            | Wish::FoundSound
            | Wish::WantCopy { .. }
            | Wish::Copy { .. } => {}
        }
        Ok(())
    }
}
