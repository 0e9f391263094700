//! The log by decree: who leads a term can have entries committed and leadership confirmed, and nobody else.

use rand::Rng as _;
use rand::rngs::StdRng;

/// The log of the partition.
#[derive(Debug, Default)]
pub struct Log {
    term: u64,
    leader: usize,
    /// For each committed entry, how many writes there are up to it, and the index of the last. The others are empty
    /// ones that begin a term.
    entries: Vec<(u64, u64)>,
    in_transit: Vec<Proposal>,
    proposed: u64,
}

#[derive(Debug)]
struct Proposal {
    number: u64,
    node: usize,
    is_write: bool,
}

impl Log {
    /// Who leads.
    pub fn leader(&self) -> usize {
        self.leader
    }

    /// Whether the term goes on.
    pub fn is_led_in(&self, term: u64) -> bool {
        self.term == term
    }

    /// How many entries are committed.
    pub fn committed(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many of the first entries are writes, and the index of the last of these.
    pub fn writes_up_to(&self, index: u64) -> (u64, u64) {
        let place = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        place.map_or((0, 0), |place| self.entries[place])
    }

    fn append(&mut self, is_write: bool) {
        let (writes, base) = self.writes_up_to(self.committed());
        let index = self.committed() + 1;
        self.entries.push(if is_write { (writes + 1, index) } else { (writes, base) });
    }

    /// A node proposes an entry. One that has not heard yet that it was deposed does so in vain.
    pub fn propose(&mut self, node: usize, term: u64, is_write: bool) -> u64 {
        self.proposed += 1;
        if self.term == term {
            self.in_transit.push(Proposal { number: self.proposed, node, is_write });
        }
        self.proposed
    }

    /// A proposal gets its majority, unless another leader came first. Answers who proposed it, and its index.
    pub fn commit(&mut self, number: u64) -> Option<(usize, u64)> {
        let place = self.in_transit.iter().position(|proposal| proposal.number == number)?;
        let proposal = self.in_transit.remove(place);
        self.append(proposal.is_write);
        Some((proposal.node, self.committed()))
    }

    /// Another term begins. Some of what its predecessor has proposed is in the new leader's log, the rest is lost.
    pub fn elect(&mut self, leader: usize, random: &mut StdRng) -> u64 {
        let kept =
            if self.in_transit.is_empty() { 0 } else { random.random_range(0..=self.in_transit.len()) };
        for proposal in std::mem::take(&mut self.in_transit).into_iter().take(kept) {
            self.append(proposal.is_write);
        }
        (self.term, self.leader) = (self.term + 1, leader);
        self.term
    }
}
