//! Is a history of operations on one register linearizable?
//!
//! The search of J. Wing and C. Gong, "Testing and Verifying Concurrent Objects" (1993), with the
//! memoisation of G. Lowe, "Testing for Linearizability" (2017): a state that was reached before with the
//! same set of linearized operations is not explored again.

use std::collections::HashSet;

/// What a client did to the register, which is empty at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Wrote this value.
    Write(u64),
    /// Saw this value; `None`: the register was empty.
    Read(Option<u64>),
    /// Filled the empty register with this value.
    Create(u64),
    /// Emptied it.
    Clear,
    /// Was refused because the register is not empty.
    CreateRefused,
    /// Added one to what the register held, an empty one counting as 0, and was told the sum; `None`: was
    /// told nothing.
    Increment(Option<u64>),
}

impl Action {
    /// The register afterwards, or `None` if this cannot have happened to a register of that value.
    fn apply(self, value: Option<u64>) -> Option<Option<u64>> {
        match self {
            Action::Write(written) => Some(Some(written)),
            Action::Read(seen) => (seen == value).then_some(value),
            Action::Create(written) => value.is_none().then_some(Some(written)),
            Action::Clear => Some(None),
            Action::CreateRefused => value.is_some().then_some(value),
            Action::Increment(told) => {
                let sum = value.unwrap_or(0) + 1;
                told.is_none_or(|told| told == sum).then_some(Some(sum))
            }
        }
    }
}

/// One operation with its times, in any unit that orders events.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// What it did.
    pub action: Action,
    /// When the client sent it.
    pub invoked: u64,
    /// When the client got its answer. `None`: the outcome is unknown, so it may take effect at any later
    /// time, or never.
    pub returned: Option<u64>,
}

/// Whether some order of the operations, in which none moves outside its own interval, explains every read.
///
/// Operations known not to have been applied, and reads without an answer, must be left out by the caller.
#[must_use]
pub fn is_linearizable(history: &[Operation]) -> bool {
    let mut operations = history.to_vec();
    operations.sort_by_key(|operation| operation.invoked);
    let mut search = Search { done: BitSet::new(operations.len()), seen: HashSet::new(), operations };
    search.extend(None)
}

struct Search {
    operations: Vec<Operation>,
    done: BitSet,
    seen: HashSet<(BitSet, Option<u64>)>,
}

impl Search {
    /// Tries to linearize what is left, the register holding `value`.
    fn extend(&mut self, value: Option<u64>) -> bool {
        // Only what must take effect has to be explained; unknown writes may never have.
        let Some(deadline) = self.first_return() else { return true };
        if !self.seen.insert((self.done.clone(), value)) {
            return false;
        }
        for index in 0..self.operations.len() {
            let operation = self.operations[index];
            if operation.invoked > deadline {
                break;
            }
            if self.done.contains(index) {
                continue;
            }
            let Some(next) = operation.action.apply(value) else { continue };
            self.done.insert(index);
            if self.extend(next) {
                return true;
            }
            self.done.remove(index);
        }
        false
    }

    /// The earliest return among operations not yet linearized: whatever comes next was invoked by then.
    fn first_return(&self) -> Option<u64> {
        let open = (0..self.operations.len()).filter(|&index| !self.done.contains(index));
        open.filter_map(|index| self.operations[index].returned).min()
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct BitSet(Vec<u64>);

impl BitSet {
    fn new(length: usize) -> BitSet {
        BitSet(vec![0; length.div_ceil(64)])
    }

    fn contains(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn remove(&mut self, index: usize) {
        self.0[index / 64] &= !(1 << (index % 64));
    }
}

#[cfg(test)]
mod tests {
    use super::Action::{Read, Write};
    use super::*;

    fn operation(action: Action, invoked: u64, returned: impl Into<Option<u64>>) -> Operation {
        Operation { action, invoked, returned: returned.into() }
    }

    #[test]
    fn a_sequential_history_is_linearizable() {
        let history = [
            operation(Read(None), 0, 1),
            operation(Write(1), 2, 3),
            operation(Read(Some(1)), 4, 5),
            operation(Write(2), 6, 7),
            operation(Read(Some(2)), 8, 9),
        ];
        assert!(is_linearizable(&history));
    }

    #[test]
    fn a_read_of_a_replaced_value_is_found() {
        let history = [operation(Write(1), 0, 1), operation(Write(2), 2, 3), operation(Read(Some(1)), 4, 5)];
        assert!(!is_linearizable(&history));
    }

    #[test]
    fn a_lost_write_is_found() {
        assert!(!is_linearizable(&[operation(Write(1), 0, 1), operation(Read(None), 2, 3)]));
    }

    #[test]
    fn concurrent_operations_may_take_either_order() {
        for seen in [1, 2] {
            let history =
                [operation(Write(1), 0, 10), operation(Write(2), 0, 10), operation(Read(Some(seen)), 11, 12)];
            assert!(is_linearizable(&history));
        }
    }

    #[test]
    fn reads_do_not_go_back_in_time() {
        let history = [
            operation(Write(1), 0, 1),
            operation(Write(2), 2, 20),
            operation(Read(Some(2)), 3, 4),
            operation(Read(Some(1)), 5, 6),
        ];
        assert!(!is_linearizable(&history));
    }

    #[test]
    fn a_refusal_needs_a_reason() {
        let refused = operation(Action::CreateRefused, 2, 3);
        assert!(!is_linearizable(&[refused]));
        assert!(is_linearizable(&[operation(Action::Create(1), 0, 1), refused]));
        assert!(is_linearizable(&[operation(Action::Create(1), 0, None), refused]));
    }

    #[test]
    fn a_lost_increment_is_found() {
        let increment = |told: u64, at: u64| operation(Action::Increment(Some(told)), at, at + 1);
        assert!(is_linearizable(&[increment(1, 0), increment(2, 2)]));
        assert!(!is_linearizable(&[increment(1, 0), increment(1, 2)]));
        let unknown = operation(Action::Increment(None), 1, None);
        assert!(is_linearizable(&[increment(1, 0), unknown, increment(3, 2)]));
        assert!(!is_linearizable(&[increment(1, 0), unknown, increment(4, 2)]));
    }

    #[test]
    fn an_unknown_write_may_appear_late_or_never_but_not_twice() {
        let unknown = operation(Write(2), 0, None);
        let seen_late = [
            operation(Write(1), 0, 1),
            unknown,
            operation(Read(Some(1)), 2, 3),
            operation(Read(Some(2)), 4, 5),
        ];
        assert!(is_linearizable(&seen_late));
        assert!(is_linearizable(&seen_late[..3]));
        let back_again = [
            operation(Read(Some(2)), 2, 3),
            operation(Write(3), 4, 5),
            operation(Read(Some(2)), 6, 7),
            unknown,
        ];
        assert!(!is_linearizable(&back_again));
    }
}
