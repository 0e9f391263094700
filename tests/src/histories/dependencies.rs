//! Dependencies between transactions, and cycles in them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// The other wrote the next version.
    Write,
    /// The other read what it wrote.
    Read,
    /// The other wrote the next version after the one that it read: an anti-dependency.
    Overwrite,
    /// It had ended before the other began.
    RealTime,
}

/// Transactions by number, and why they come one after the other.
#[derive(Clone, Debug, Default)]
pub struct Dependencies {
    edges: BTreeMap<usize, BTreeSet<(usize, Dependency)>>,
}

impl Dependencies {
    pub fn add(&mut self, first: usize, second: usize, why: Dependency) {
        if first != second {
            self.edges.entry(first).or_default().insert((second, why));
        }
    }

    /// A shortest cycle through dependencies of some kinds.
    pub fn cycle(&self, kinds: &[Dependency]) -> Option<Vec<usize>> {
        let starts = self.edges.keys();
        starts.filter_map(|start| self.path(*start, *start, kinds)).min_by_key(Vec::len)
    }

    /// A shortest cycle of exactly one dependency of a kind and any number of others.
    pub fn cycle_with_one(&self, kind: Dependency, others: &[Dependency]) -> Option<Vec<usize>> {
        let all = self.edges.iter().flat_map(|(from, edges)| edges.iter().map(move |edge| (*from, *edge)));
        let closing = all.filter(|(_, (_, why))| *why == kind);
        closing.filter_map(|(from, (to, _))| self.path(to, from, others)).min_by_key(Vec::len)
    }

    /// Transactions on a shortest way that has at least one step.
    fn path(&self, start: usize, end: usize, kinds: &[Dependency]) -> Option<Vec<usize>> {
        let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut waiting = VecDeque::from([start]);
        while let Some(here) = waiting.pop_front() {
            let edges = self.edges.get(&here).into_iter().flatten();
            for (next, _) in edges.filter(|(_, why)| kinds.contains(why)) {
                if *next == end {
                    let mut path = vec![here];
                    let mut back = here;
                    while back != start {
                        back = came_from[&back];
                        path.push(back);
                    }
                    path.reverse();
                    if start != end {
                        path.push(end);
                    }
                    return Some(path);
                }
                if *next != start && !came_from.contains_key(next) {
                    came_from.insert(*next, here);
                    waiting.push_back(*next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Dependency::{Overwrite, Read, Write};
    use super::*;

    #[test]
    fn cycles_are_found_by_their_kinds() {
        let mut graph = Dependencies::default();
        graph.add(1, 2, Write);
        graph.add(2, 3, Read);
        graph.add(3, 1, Overwrite);
        assert_eq!(graph.cycle(&[Write, Read]), None);
        assert_eq!(graph.cycle_with_one(Overwrite, &[Write, Read]), Some(vec![1, 2, 3]));
        assert_eq!(graph.cycle(&[Write, Read, Overwrite]).map(|cycle| cycle.len()), Some(3));
        graph.add(2, 1, Write);
        assert_eq!(graph.cycle(&[Write]), Some(vec![1, 2]));
    }
}
