//! Files that are not what was written: a program or a disk has changed them, silently. Always on a minority of the
//! replicas: what most of them have is right.

use std::path::Path;

use bytes::Bytes;
use common::entry::{Change, Effect, Effects};
use common::{ReplicaId, Value};
use rand::Rng;
use sqlite::simulated::SimulatedDisk;
use sqlite::{Applier, Location, Maintenance};
use storage_node::replica::judgement::{Judgement, judge};
use storage_node::replica::machine::Compared;

use super::node::Node;
use super::{Event, Simulation, Violation};

/// Pause before the others are asked again whose digests decide.
const ASK_AGAIN_US: u64 = 100_000;
/// What a forged register says; clients write smaller numbers.
const FORGED: i64 = 1 << 40;
const PAGE: u64 = 4_096;

/// A fault in how a replica behaves whose file is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuarantineBug {
    /// It goes on as before.
    NotHonoured,
    /// What was committed while it had no file is not landed on the copy.
    MissedEntriesForgotten,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Harm {
    /// A register has another value, which is noticed by reading the file again before anybody can ask for it: from then
    /// on it must not be told.
    Register,
    /// There is a row that nobody wrote, in a table that clients do not read.
    Row,
    /// The same with sums that fit it, as a fault in the program leaves them: only the other replicas know better.
    RowAndSums,
    /// A page holds no page.
    Page,
}

const KINDS: [Harm; 4] = [Harm::Register, Harm::Row, Harm::RowAndSums, Harm::Page];

impl Simulation {
    /// Harms a replica's file, if most of the others are whole, and plans the next harm.
    pub(super) fn harm(&mut self) -> Result<(), Violation> {
        if self.healing {
            return Ok(());
        }
        let kind = KINDS[self.random.random_range(0..KINDS.len())];
        let index = self.random.random_range(0..self.places.len());
        let harmed = self.places.iter().filter(|place| place.harm.is_some()).count();
        if self.places[index].harm.is_none() && 2 * (harmed + 1) < self.places.len() {
            self.harm_place(index, kind)?;
        }
        self.plan(self.settings.harm_every_us, || Event::Harm);
        Ok(())
    }

    fn harm_place(&mut self, index: usize, kind: Harm) -> Result<(), Violation> {
        let register = self.random.random_range(0..self.settings.registers);
        let chance = self.random.random_range(0..u64::MAX);
        let place = &mut self.places[index];
        let Some(node) = place.node.as_mut().filter(|node| node.may_be_harmed()) else { return Ok(()) };
        let location = node.location().clone();
        let done = match kind {
            Harm::Register => insert(&location, "register", &[register.cast_signed(), FORGED], false),
            Harm::Row => insert(&location, "ballast", &[1], false),
            // What the process remembers would be written over it.
            Harm::RowAndSums => insert(&location, "ballast", &[1], true),
            Harm::Page => damage_page(&place.disk, &node.file(), chance),
        };
        if !done {
            return Ok(());
        }
        place.harm = Some(kind);
        place.setup.harmed = true;
        node.expect_harm();
        self.report.harms += 1;
        self.witness.note(&("harm", index, kind));
        match kind {
            Harm::Register => self.work(index, Node::read_again),
            Harm::RowAndSums => {
                self.crash_one(index, self.settings.down_us);
                Ok(())
            }
            Harm::Row | Harm::Page => Ok(()),
        }
    }

    /// Whether no file is harmed any more, as far as anybody but the simulation can know.
    pub(super) fn is_whole(&self) -> bool {
        let is_whole =
            |place: &super::Place| place.harm.is_none() && place.node.as_ref().is_some_and(Node::is_sound);
        self.places.iter().all(is_whole)
    }

    /// Whether what the replica hands on of its file is fit for others to find out if it is wrong. Where sums fit forged
    /// rows it is not: most replicas would soon have them, and nobody could know better.
    pub(super) fn may_hand_on(&self, index: usize) -> bool {
        self.places[index].harm != Some(Harm::RowAndSums)
    }

    /// A replica in quarantine asks another one, which it takes for the leader, for a copy.
    pub(super) fn ask_for_copy(&mut self, by: usize, of: ReplicaId, at_least: u64) {
        let of = place_of(of);
        if self.cut[by][of] == 0 && self.cut[of][by] == 0 {
            let delay = self.delay();
            self.schedule.after(delay, Event::CopyWanted { of, by, at_least });
        }
    }

    /// A copy leaves a replica.
    pub(super) fn send_copy(&mut self, of: usize, to: ReplicaId, index: u64, bytes: Bytes) {
        let place = place_of(to);
        if self.cut[of][place] == 0 && self.may_hand_on(of) {
            let delay = self.delay();
            self.schedule.after(delay, Event::CopyArrives { place, index, bytes });
        }
    }

    /// Whoever knows that its file is wrong tells nothing of it.
    pub(super) fn check_may_serve(&self, index: usize, serves: bool) -> Result<(), Violation> {
        if serves && self.places[index].condemned {
            return Err(Violation(format!("replica {} serves in quarantine", index + 1)));
        }
        Ok(())
    }

    /// A replica was found to be wrong. One that was not harmed must not be.
    pub(super) fn condemned(&mut self, index: usize) -> Result<(), Violation> {
        self.report.quarantines += 1;
        self.witness.note(&("condemned", index));
        self.places[index].condemned = true;
        match self.places[index].harm {
            Some(_) => Ok(()),
            None => Err(Violation(format!("replica {} is sound and was put into quarantine", index + 1))),
        }
    }

    /// A replica has a new file.
    pub(super) fn rebuilt(&mut self, index: usize) {
        self.witness.note(&("rebuilt", index));
        let place = &mut self.places[index];
        self.report.rebuilt += u64::from(place.harm.is_some());
        place.harm = None;
        place.condemned = false;
        place.setup.harmed = false;
    }

    /// A replica's file was read again and is what was written. That says nothing about sums that fit forged rows.
    pub(super) fn found_sound(&mut self, index: usize) {
        // What was written since has taken a damaged page's place, or nothing lies there; whoever comes to it may still
        // find that it cannot be used.
        if self.places[index].harm == Some(Harm::Page) {
            self.places[index].harm = None;
        }
    }

    /// A replica has its digest at an index. The leader, and who differs from it, asks the others.
    pub(super) fn compared(&mut self, index: usize, compared: Compared) -> Result<(), Violation> {
        let place = &self.places[index];
        self.witness.compared(compared, place.harm.is_none())?;
        if place.node.as_ref().is_some_and(Node::leads) || compared.own != compared.leaders {
            let delay = self.delay();
            self.schedule.after(delay, Event::Judge { place: index, compared });
        }
        Ok(())
    }

    /// The others have told their digests, those that can be reached.
    pub(super) fn judge(&mut self, index: usize, compared: Compared) -> Result<(), Violation> {
        let digest = |place: &super::Place| place.node.as_ref().and_then(Node::compared);
        let Some(asked) = digest(&self.places[index]).filter(|last| *last == compared) else { return Ok(()) };
        let others: Vec<u128> = (0..self.places.len())
            .filter(|&other| other != index && self.places[other].paused.is_none())
            .filter(|&other| self.cut[index][other] == 0 && self.cut[other][index] == 0)
            .filter_map(|other| digest(&self.places[other]))
            .filter(|other| other.index == asked.index)
            .map(|other| other.own)
            .collect();
        let Some(node) = &self.places[index].node else { return Ok(()) };
        match judge(compared, node.leads(), &others, node.voters()) {
            Judgement::Divergent => self.work(index, |node| node.condemn_itself(compared)),
            Judgement::Open => {
                self.schedule.after(ASK_AGAIN_US, Event::Judge { place: index, compared });
                Ok(())
            }
            Judgement::Sound => Ok(()),
        }
    }
}

pub(super) fn place_of(replica: ReplicaId) -> usize {
    usize::try_from(replica.0 - 1).expect("few replicas")
}

/// Inserts a row, or puts it in another one's place, behind a replica's back; with sums that fit or those of before. `false`
/// if the file is being written.
fn insert(location: &Location, table: &str, row: &[i64], with_sums: bool) -> bool {
    let Ok(mut applier) = Applier::open(location) else { return false };
    if applier.begin().is_err() {
        return false;
    }
    let row: Vec<Value> = row.iter().map(|number| Value::Integer(*number)).collect();
    let key = vec![row[0].clone()];
    let effects =
        |change| Effects { tables: vec![table.to_owned()], rows: vec![Effect { table: 0, change }] };
    let insertion = Change::Insert { key: key.clone(), row: row.clone() };
    let update = Change::Update { old_key: key.clone(), key, old_row: None, row };
    let Ok(changed) = applier.apply(&effects(update)).or_else(|_| applier.apply(&effects(insertion))) else {
        return false;
    };
    let system = applier.system();
    let mut sums = system.table_sums().expect("the sums are readable");
    sums.add(&changed);
    if with_sums {
        system.put_table_sum(table, sums.get(table)).expect("the sums are writable");
    }
    // Else the next power cut would undo it.
    applier.commit().is_ok()
        && Maintenance::open(location).is_ok_and(|maintenance| maintenance.sync_wal().is_ok())
}

/// Overwrites one page. `false` if nothing is there yet.
fn damage_page(disk: &SimulatedDisk, file: &Path, chance: u64) -> bool {
    let pages = disk.size(file).unwrap_or(0) / PAGE;
    if pages == 0 {
        return false;
    }
    let nonsense = [0xff; 4_096];
    disk.write_at(file, (chance % pages) * PAGE, &nonsense).and_then(|()| disk.sync(file)).is_ok()
}
