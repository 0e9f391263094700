//! A replica: what its worker and its reads do around the production's grants.

use std::collections::BTreeMap;
use std::time::Duration;

use common::lease::LEASE_KEPT;
use common::protocol::{Lease, LeaseHolder};
use storage_node::replica::leases::{Gate, Grants};

use super::{Event, PlantedBug, Process, Told, World};

/// How often a worker looks at what waits.
const TICK: Duration = Duration::from_millis(20);

/// One node. See the module.
pub struct Node {
    number: usize,
    grants: Grants,
    /// The newest term that it has heard of, and whether it leads it.
    term: u64,
    leads: bool,
    /// Whether the empty entry of its own term is applied.
    ready: bool,
    applied: u64,
    /// Whether a proposal is under way.
    writing: bool,
    waiting: u32,
    rounds: u64,
    /// Who waits for leadership to be confirmed, by round.
    confirming: BTreeMap<u64, Waiting>,
    /// Who waits for an index to be applied.
    confirmed: Vec<(u64, Waiting)>,
}

enum Waiting {
    Asked { coordinator: usize, question: u64, since: u64, process: u64, granted: Option<u64> },
    Read { coordinator: usize, question: u64 },
}

impl Node {
    pub fn new(number: usize) -> Node {
        Node {
            number,
            grants: Grants::default(),
            term: 0,
            leads: false,
            ready: false,
            applied: 0,
            writing: false,
            waiting: 0,
            rounds: 0,
            confirming: BTreeMap::new(),
            confirmed: Vec::new(),
        }
    }

    fn now(&self, world: &World) -> Duration {
        world.clock(Process::Node(self.number))
    }

    pub fn told(&mut self, world: &mut World, what: Told) {
        match what {
            Told::Tick => {
                let process = Process::Node(self.number);
                world.after(TICK, Event::Told { process, what: Told::Tick });
            }
            Told::Role { term, leads } if term > self.term => self.change_role(world, term, leads),
            Told::Role { .. } => {}
            Told::Committed { index } => self.apply(world, index),
            Told::Confirmed { round, index } => {
                if let Some(waiting) = self.confirming.remove(&round)
                    && let Some(index) = index
                {
                    self.confirmed.push((index, waiting));
                }
            }
            Told::Write if self.leads => self.waiting += 1,
            Told::Write => {}
            Told::Ask { coordinator, holder, since, question } => {
                self.asked(world, coordinator, &holder, since, question);
            }
            Told::Read { coordinator, question } => {
                self.confirm(world, Waiting::Read { coordinator, question });
            }
            Told::GivenBack { process, number } => self.grants.given_back(process, number),
            Told::Asked { .. } | Told::Value { .. } | Told::GiveBack { .. } => {
                unreachable!("these are told to coordinators")
            }
        }
        self.turn(world);
        self.answer(world);
    }

    fn change_role(&mut self, world: &mut World, term: u64, leads: bool) {
        (self.term, self.leads, self.ready, self.writing) = (term, leads, false, false);
        (self.waiting, self.confirming) = (0, BTreeMap::new());
        if leads {
            let mut now = self.now(world);
            if world.has_bug(PlantedBug::NewLeaderDoesNotWait) {
                now = now.saturating_sub(LEASE_KEPT);
            }
            self.grants.begin_leading(now);
            self.propose(world, false);
        } else {
            self.grants.end_leading();
        }
        self.grants.update(false, false);
    }

    fn propose(&mut self, world: &mut World, is_write: bool) {
        let proposal = world.log.propose(self.number, self.term, is_write);
        let delay = world.delay();
        world.after(delay, Event::Commit { proposal });
    }

    /// A proposal of its own is committed; a leader applies nothing else but what was there before.
    fn apply(&mut self, world: &mut World, index: u64) {
        let own = self.leads && self.applied < index;
        self.applied = self.applied.max(index);
        if !own {
            return;
        }
        if self.ready {
            // Who wrote is told now.
            self.writing = false;
            world.learn(world.log.writes_up_to(index).0);
            world.report.writes += 1;
        }
        self.ready = true;
        self.grants.update(true, false);
    }

    /// Begins to write what waits, as soon as no lease stands in the way.
    fn turn(&mut self, world: &mut World) {
        if !self.ready || self.writing || self.waiting == 0 {
            return;
        }
        let (_, base) = world.log.writes_up_to(self.applied);
        if let Gate::Shut(recalls) = self.grants.begin_write(base, self.now(world)) {
            world.report.recalls += recalls.len() as u64;
            for recall in recalls {
                let coordinator = usize::try_from(recall.holder.process).expect("a small number");
                let (node, process, number) = (self.number, recall.holder.process, recall.number);
                world.send(Process::Coordinator(coordinator), Told::GiveBack { node, process, number });
            }
            if !world.has_bug(PlantedBug::WriteBeforeGivenBack) {
                return;
            }
        }
        (self.writing, self.waiting) = (true, 0);
        self.grants.update(true, true);
        self.propose(world, true);
    }

    fn asked(
        &mut self,
        world: &mut World,
        coordinator: usize,
        holder: &LeaseHolder,
        since: u64,
        question: u64,
    ) {
        let (_, base) = world.log.writes_up_to(self.applied);
        let granted = self.grants.grant(holder, base, self.now(world));
        if world.has_bug(PlantedBug::GrantedWithoutConfirmation) && granted.is_some() {
            let lease = Some(Lease { base, index: self.applied });
            let told = Told::Asked { question, unchanged: base <= since, lease };
            return world.send(Process::Coordinator(coordinator), told);
        }
        let process = holder.process;
        self.confirm(world, Waiting::Asked { coordinator, question, since, process, granted });
    }

    /// Has a majority confirm that this node leads, by a round that begins now.
    fn confirm(&mut self, world: &mut World, waiting: Waiting) {
        if !self.ready {
            return;
        }
        self.rounds += 1;
        self.confirming.insert(self.rounds, waiting);
        let (delay, node) = (world.delay(), self.number);
        world.after(delay, Event::Confirm { node, term: self.term, round: self.rounds });
    }

    /// Answers those whose index is applied.
    fn answer(&mut self, world: &mut World) {
        let (ripe, rest) =
            std::mem::take(&mut self.confirmed).into_iter().partition(|(index, _)| *index <= self.applied);
        self.confirmed = rest;
        let ripe: Vec<(u64, Waiting)> = ripe;
        let (value, base) = world.log.writes_up_to(self.applied);
        let index = self.applied;
        for (_, waiting) in ripe {
            match waiting {
                Waiting::Asked { coordinator, question, since, process, granted } => {
                    let stands = granted.is_some_and(|number| self.grants.stands(process, number));
                    let lease = stands.then_some(Lease { base, index });
                    let told = Told::Asked { question, unchanged: base <= since, lease };
                    world.send(Process::Coordinator(coordinator), told);
                }
                Waiting::Read { coordinator, question } => {
                    world.send(Process::Coordinator(coordinator), Told::Value { question, value, index });
                }
            }
        }
    }
}
