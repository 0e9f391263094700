//! What clients do, and what is checked once they have done it.

use rand::Rng;
use storage_node::replica::machine::{Job, Pending, Ticket};

use super::clients::{Intent, TABLES, UnderWay};
use super::node::Input;
use super::{ANSWER_US, Event, PATIENCE_US, Simulation, Told, Violation};
use crate::linearizability;

/// Ticket of the change that founds the table; operations of clients are numbered from 1.
const FOUNDING: u64 = 0;

impl Simulation {
    /// Makes the table, before anything goes wrong.
    pub(super) fn found_table(&mut self) -> Result<(), Violation> {
        self.go_on(|simulation| simulation.writable().is_some(), PATIENCE_US * 10)?;
        let leader = self.writable().expect("it was waited for");
        let job = Job::Schema { version: 1, statements: TABLES.map(str::to_owned).to_vec() };
        let pending = Pending { ticket: Ticket(FOUNDING), deadline_ms: u64::MAX, job };
        self.input(leader, Input::Write(pending))?;
        let founded = |simulation: &Simulation| {
            simulation
                .places
                .iter()
                .all(|place| place.node.as_ref().is_some_and(|node| node.schema_version() == 1))
        };
        self.go_on(founded, PATIENCE_US * 20)
    }

    fn writable(&self) -> Option<usize> {
        self.places.iter().position(|place| place.node.as_ref().is_some_and(super::node::Node::is_writable))
    }

    /// A client begins its next operation.
    pub(super) fn act(&mut self, client: usize) {
        if self.healing {
            return;
        }
        self.last_operation += 1;
        let operation = self.last_operation;
        let register = self.random.random_range(0..self.settings.registers);
        let intent = Intent::drawn(&mut self.random, register, operation);
        let invoked = self.schedule.now();
        self.under_way.insert(operation, UnderWay { operation, client, register, intent, invoked });
        let place = match self.strikes(self.settings.stray) {
            true => self.random.random_range(0..self.places.len()),
            false => self.believed_leader[client],
        };
        let delay = self.delay();
        self.schedule.after(delay, Event::Ask { place, operation });
        self.schedule.after(PATIENCE_US, Event::ClientGivesUp { operation });
    }

    /// A client will act again, soon.
    pub(super) fn next_action(&mut self, client: usize) {
        let rest = self.random.random_range(100..20_000);
        self.schedule.after(rest, Event::ClientActs { client });
    }

    /// An operation arrives at a node.
    pub(super) fn ask(&mut self, place: usize, operation: u64) -> Result<(), Violation> {
        let Some(of) = self.under_way.get(&operation).copied() else { return Ok(()) };
        let input = match of.intent.request(of.register, operation) {
            None => Input::Read { operation, register: of.register },
            Some(write) => Input::Write(Pending {
                ticket: Ticket(operation),
                deadline_ms: (self.schedule.now() + ANSWER_US) / 1_000,
                job: Job::Write(write),
            }),
        };
        self.input(place, input)
    }

    /// An answer leaves a node.
    pub(super) fn answer_client(&mut self, operation: u64, told: Told) {
        if operation != FOUNDING {
            let delay = self.delay();
            self.schedule.after(delay, Event::Told { operation, told });
        }
    }

    /// An answer arrives at its client, if that still waits.
    pub(super) fn told(&mut self, operation: u64, told: Told) {
        let Some(of) = self.under_way.remove(&operation) else { return };
        let now = self.schedule.now();
        self.witness.note(&("told", operation, now));
        let served = match told {
            Told::Read(Ok(value)) => {
                self.history.read(&of, now, value);
                true
            }
            Told::Read(Err(())) => false,
            Told::Write(answer) => {
                self.history.answered(&of, now, &answer.result);
                answer.result.is_ok()
            }
        };
        if !served {
            self.believed_leader[of.client] = self.random.random_range(0..self.places.len());
        }
        self.next_action(of.client);
    }

    /// What must hold when everything has come to rest.
    pub(super) fn check(&mut self) -> Result<(), Violation> {
        self.check_replicas_equal()?;
        self.read_all_registers()?;
        let node = self.places[0].node.as_mut().expect("every node runs once all is healed");
        self.history.check_done(&node.done()?)?;
        for (register, operations) in self.history.registers() {
            if !linearizability::is_linearizable(operations) {
                let mut told = operations.to_vec();
                told.sort_by_key(|operation| operation.invoked);
                return Err(Violation(format!("register {register} is not linearizable: {told:#?}")));
            }
        }
        Ok(())
    }

    fn check_replicas_equal(&mut self) -> Result<(), Violation> {
        let mut digests = Vec::new();
        for place in &mut self.places {
            let node = place.node.as_mut().expect("every node runs once all is healed");
            digests.push(node.digest()?);
        }
        self.witness.note(&digests);
        let first = digests[0];
        match digests.iter().position(|digest| *digest != first) {
            None => Ok(()),
            Some(other) => Err(Violation(format!(
                "replicas 1 and {} differ at rest: {first:x?} and {:x?}",
                other + 1,
                digests[other]
            ))),
        }
    }

    /// A last read of everything: what was acknowledged must still be there.
    fn read_all_registers(&mut self) -> Result<(), Violation> {
        let invoked = self.schedule.now();
        for register in 0..self.settings.registers {
            let node = self.places[0].node.as_mut().expect("every node runs once all is healed");
            let value = node.register(register)?;
            let of = UnderWay { operation: 0, client: 0, register, intent: Intent::Read, invoked };
            self.history.read(&of, invoked + 1, value);
        }
        Ok(())
    }
}
