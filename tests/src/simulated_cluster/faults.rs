//! Crashes, cuts, pauses, and their end.

use consensus::{Message, MessageKind};
use rand::Rng;

use super::node::{Input, Node};
use super::{Event, Simulation, Violation, Waiting};

/// Longest time that healing may take, in microseconds.
const HEALING_US: u64 = 60_000_000;

impl Simulation {
    /// Lets faults begin.
    pub(super) fn plan_faults(&mut self) {
        self.healing = false;
        self.plan(self.settings.crash_every_us, || Event::Crash);
        self.plan(self.settings.cut_every_us, || Event::Cut);
        self.plan(self.settings.pause_every_us, || Event::Pause);
        self.plan(self.settings.disk_fault_every_us, || Event::DiskFault);
        self.plan(self.settings.harm_every_us, || Event::Harm);
    }

    pub(super) fn plan(&mut self, every_us: u64, event: impl Fn() -> Event) {
        if every_us > 0 && !self.healing {
            let time = self.random.random_range(every_us / 10..every_us * 2);
            self.schedule.after(time, event());
        }
    }

    /// One node, or all of them, lose power.
    pub(super) fn crash(&mut self) -> Result<(), Violation> {
        if self.healing {
            return Ok(());
        }
        let everywhere = self.settings.power_cuts && self.random.random_bool(0.3);
        let one = self.random.random_range(0..self.places.len());
        for index in 0..self.places.len() {
            if (everywhere || index == one) && self.places[index].node.is_some() {
                self.crash_one(index, self.settings.down_us);
            }
        }
        self.plan(self.settings.crash_every_us, || Event::Crash);
        Ok(())
    }

    /// A node that has voted may lose power before long, and be back before all who ask for its vote have asked.
    pub(super) fn crash_voter(&mut self, index: usize, message: &Message) {
        let rate = self.settings.crash_after_vote;
        if rate > 0 && message.kind() == MessageKind::VoteResponse && self.strikes(rate) {
            let incarnation = self.places[index].incarnation;
            let time = self.random.random_range(0..300);
            self.schedule.after(time, Event::CrashOne { place: index, incarnation });
        }
    }

    pub(super) fn crash_one(&mut self, index: usize, down_us: u64) {
        self.report.crashes += 1;
        self.witness.note(&("crash", index));
        let place = &mut self.places[index];
        // The power goes first: what the dying process would still do in its destructors is lost with it.
        place.disk.lose_power();
        place.node = None;
        place.disk.crash();
        place.paused = None;
        let gone = place.setup.replica;
        for other in 0..self.places.len() {
            // Some see at once that the process has ended.
            if other != index && self.random.random_bool(0.5) {
                let delay = self.delay();
                self.schedule.after(delay, Event::Gone { place: other, other: gone });
            }
        }
        let down = self.random.random_range(down_us.min(4_000) / 4..down_us);
        self.schedule.after(down, Event::Restart { place: index });
    }

    /// A disk is full for a while, or fails to sync, read or write.
    pub(super) fn harm_disk(&mut self) {
        if self.healing {
            return;
        }
        self.report.disk_faults += 1;
        let index = self.random.random_range(0..self.places.len());
        let kind = self.random.random_range(0..5);
        let disk = &self.places[index].disk;
        match kind {
            0 | 1 => disk.set_capacity(Some(0)),
            2 => disk.fail_syncs(1),
            3 => disk.fail_writes(1),
            _ => disk.fail_reads(1),
        }
        self.witness.note(&("disk", index, kind));
        let time = self.random.random_range(5_000..400_000);
        self.schedule.after(time, Event::MendDisk { place: index });
        self.plan(self.settings.disk_fault_every_us, || Event::DiskFault);
    }

    pub(super) fn mend_disk(&mut self, index: usize) {
        let disk = &self.places[index].disk;
        disk.set_capacity(None);
        disk.fail_syncs(0);
        disk.fail_writes(0);
        disk.fail_reads(0);
    }

    /// Cuts one-way links: all from, all to, or both around a few nodes.
    pub(super) fn cut(&mut self) {
        if self.healing {
            return;
        }
        self.report.cuts += 1;
        let count = self.places.len();
        let alone = self.random.random_range(0..count);
        let (outwards, inwards) =
            [(true, true), (true, false), (false, true)][self.random.random_range(0..3)];
        let mut links = Vec::new();
        for other in (0..count).filter(|&other| other != alone) {
            if outwards {
                links.push((alone, other));
            }
            if inwards {
                links.push((other, alone));
            }
        }
        links.iter().for_each(|&(from, to)| self.cut[from][to] += 1);
        self.witness.note(&("cut", alone, outwards, inwards));
        let time = self.random.random_range(50_000..1_500_000);
        self.schedule.after(time, Event::Mend { links });
        self.plan(self.settings.cut_every_us, || Event::Cut);
    }

    /// One process stands still for a while.
    pub(super) fn pause(&mut self) {
        if self.healing {
            return;
        }
        let index = self.random.random_range(0..self.places.len());
        let place = &mut self.places[index];
        if place.node.is_some() && place.paused.is_none() {
            self.report.pauses += 1;
            place.paused = Some(Vec::new());
            self.witness.note(&("pause", index));
            let time = self.random.random_range(20_000..1_000_000);
            self.schedule.after(time, Event::Resume { place: index });
        }
        self.plan(self.settings.pause_every_us, || Event::Pause);
    }

    /// A process goes on, and finds what has arrived in the meantime. Clients have connections of their own: what
    /// they ask may be seen before what the other replicas have sent long ago.
    pub(super) fn resume(&mut self, index: usize) -> Result<(), Violation> {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let clients_first = self.random.random_bool(0.5);
        for waiting in self.places[index].paused.take().unwrap_or_default() {
            let is_client = matches!(waiting, Waiting::Arrived(Input::Read { .. } | Input::Write(_)));
            if clients_first && !is_client { second.push(waiting) } else { first.push(waiting) }
        }
        for waiting in first.into_iter().chain(second) {
            match waiting {
                Waiting::Arrived(input) => self.input(index, input)?,
                Waiting::Synced => {
                    let incarnation = self.places[index].incarnation;
                    self.happen(Event::Synced { place: index, incarnation })?;
                }
            }
        }
        Ok(())
    }

    /// No more faults: everything runs and hears everything, and all operations end.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.healing = true;
        self.cut.iter_mut().flatten().for_each(|cut| *cut = 0);
        for index in 0..self.places.len() {
            self.mend_disk(index);
            self.resume(index)?;
            self.start(index)?;
        }
        let limit = self.schedule.now() + HEALING_US;
        self.go_on(|simulation| simulation.under_way.is_empty(), limit)?;
        self.go_on(Simulation::is_whole, limit)?;
        self.come_to_rest()
    }

    /// A cut of a link ends; another one may go on.
    pub(super) fn mend(&mut self, from: usize, to: usize) {
        // Healing may have ended it already.
        self.cut[from][to] = self.cut[from][to].saturating_sub(1);
    }

    /// Lets events happen until every replica has applied all that there is.
    pub(super) fn come_to_rest(&mut self) -> Result<(), Violation> {
        let limit = self.schedule.now() + HEALING_US;
        self.go_on(Simulation::is_at_rest, limit)
    }

    fn is_at_rest(&self) -> bool {
        let mut applied = self.places.iter().map(|place| place.node.as_ref().and_then(Node::at_rest));
        let first = applied.next().flatten();
        first.is_some() && applied.all(|other| other == first)
    }
}
