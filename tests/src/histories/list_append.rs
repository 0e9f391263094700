//! Transactions that append to lists and read them. From what is read follows the order of the versions, and from
//! that on which others each transaction depends; serializable transactions depend on each other without cycles.
//!
//! After K. Kingsbury, P. Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (2020); the
//! anomalies are those of A. Adya, "Weak Consistency" (1999).

use std::collections::{BTreeMap, BTreeSet};

use super::dependencies::{Dependencies, Dependency};

/// What a transaction does with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Appends a value, which is appended to this list once and never again.
    Append(u64, u64),
    /// Reads the whole list.
    Read(u64, Vec<u64>),
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was acknowledged.
    Committed,
    /// It was refused.
    Aborted,
    /// Nobody knows. Its reads were not answered.
    Unknown,
}

/// A transaction as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What it did, in order.
    pub steps: Vec<Step>,
    /// What became of it.
    pub fate: Fate,
    /// When it was sent and when it was answered, on one clock.
    pub time: (u64, u64),
}

/// What cannot be in a serializable history. Transactions are named by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Two reads of a list of which neither continues the other.
    IncompatibleOrder(u64),
    /// A list that holds a value twice, or one that nobody appended.
    ImpossibleValue(u64, u64),
    /// A read of what a refused transaction wrote (G1a).
    AbortedRead(usize),
    /// A read of a version that its writer went on to change (G1b).
    IntermediateRead(usize),
    /// A transaction that does not see its own writes.
    Internal(usize),
    /// Writes in a circle (G0).
    DirtyWrite(Vec<usize>),
    /// Writes and reads in a circle (G1c).
    CircularInformation(Vec<usize>),
    /// A circle with one overwritten read (G-single), such as a lost update.
    SingleAntiDependency(Vec<usize>),
    /// A circle with several (G2), such as write skew.
    AntiDependencyCycle(Vec<usize>),
}

/// Checks a history. Transactions of which one ended before the other began are taken to be in that order where they
/// touch a common partition.
pub fn check(history: &[Transaction], partition_of: impl Fn(u64) -> u64) -> Result<(), Anomaly> {
    let writers = writers_of(history);
    let orders = orders_of(history)?;
    for (number, transaction) in history.iter().enumerate() {
        check_reads(history, &writers, number, transaction)?;
    }
    let mut graph = Dependencies::default();
    add_versions(&mut graph, &writers, &orders);
    add_reads(&mut graph, history, &writers, &orders);
    add_real_time(&mut graph, history, partition_of);
    check_cycles(&graph)
}

type Writers = BTreeMap<(u64, u64), usize>;

fn writers_of(history: &[Transaction]) -> Writers {
    let mut writers = Writers::new();
    for (number, transaction) in history.iter().enumerate() {
        for step in &transaction.steps {
            if let Step::Append(key, value) = step {
                writers.insert((*key, *value), number);
            }
        }
    }
    writers
}

/// Reads that were answered: which transaction, which list, what was there before its own appends.
fn reads(history: &[Transaction]) -> impl Iterator<Item = (usize, u64, &[u64])> {
    let committed = history.iter().enumerate().filter(|(_, transaction)| transaction.fate == Fate::Committed);
    committed.flat_map(|(number, transaction)| {
        transaction.steps.iter().enumerate().filter_map(move |(place, step)| match step {
            Step::Read(key, values) => {
                let before = &transaction.steps[..place];
                let is_own = |step: &&Step| matches!(step, Step::Append(of, _) if of == key);
                let own = before.iter().filter(is_own).count();
                Some((number, *key, &values[..values.len().saturating_sub(own)]))
            }
            Step::Append(..) => None,
        })
    })
}

/// The longest version of each list, of which all others must be the beginning.
fn orders_of(history: &[Transaction]) -> Result<BTreeMap<u64, Vec<u64>>, Anomaly> {
    let mut orders: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let all = history.iter().filter(|transaction| transaction.fate == Fate::Committed);
    let lists = all.flat_map(|transaction| &transaction.steps).filter_map(|step| match step {
        Step::Read(key, values) => Some((*key, values)),
        Step::Append(..) => None,
    });
    for (key, values) in lists {
        let longest = orders.entry(key).or_default();
        let shorter = longest.len().min(values.len());
        if longest[..shorter] != values[..shorter] {
            return Err(Anomaly::IncompatibleOrder(key));
        }
        if values.len() > longest.len() {
            longest.clone_from(values);
        }
    }
    Ok(orders)
}

fn check_reads(
    history: &[Transaction],
    writers: &Writers,
    number: usize,
    transaction: &Transaction,
) -> Result<(), Anomaly> {
    if transaction.fate != Fate::Committed {
        return Ok(());
    }
    let mut own: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for step in &transaction.steps {
        match step {
            Step::Append(key, value) => own.entry(*key).or_default().push(*value),
            Step::Read(key, values) => {
                let own = own.get(key).map(Vec::as_slice).unwrap_or_default();
                if !values.ends_with(own) {
                    return Err(Anomaly::Internal(number));
                }
                check_values(history, writers, number, *key, &values[..values.len() - own.len()])?;
            }
        }
    }
    Ok(())
}

fn check_values(
    history: &[Transaction],
    writers: &Writers,
    reader: usize,
    key: u64,
    values: &[u64],
) -> Result<(), Anomaly> {
    let mut seen = BTreeSet::new();
    for value in values {
        let writer = writers.get(&(key, *value)).filter(|_| seen.insert(*value));
        let writer = *writer.ok_or(Anomaly::ImpossibleValue(key, *value))?;
        if history[writer].fate == Fate::Aborted {
            return Err(Anomaly::AbortedRead(reader));
        }
    }
    let Some(last) = values.last() else { return Ok(()) };
    let writer = writers[&(key, *last)];
    let wrote_last = history[writer].steps.iter().rev().find_map(|step| match step {
        Step::Append(of, value) if *of == key => Some(*value),
        _ => None,
    });
    if writer != reader && wrote_last != Some(*last) {
        return Err(Anomaly::IntermediateRead(reader));
    }
    Ok(())
}

fn add_versions(graph: &mut Dependencies, writers: &Writers, orders: &BTreeMap<u64, Vec<u64>>) {
    for (key, values) in orders {
        for pair in values.windows(2) {
            let writer = |value: u64| writers.get(&(*key, value));
            if let (Some(first), Some(second)) = (writer(pair[0]), writer(pair[1])) {
                graph.add(*first, *second, Dependency::Write);
            }
        }
    }
}

fn add_reads(
    graph: &mut Dependencies,
    history: &[Transaction],
    writers: &Writers,
    orders: &BTreeMap<u64, Vec<u64>>,
) {
    for (reader, key, values) in reads(history) {
        if let Some(writer) = values.last().and_then(|last| writers.get(&(key, *last))) {
            graph.add(*writer, reader, Dependency::Read);
        }
        let next = orders.get(&key).and_then(|order| order.get(values.len()));
        if let Some(writer) = next.and_then(|next| writers.get(&(key, *next))) {
            graph.add(reader, *writer, Dependency::Overwrite);
        }
    }
}

fn add_real_time(graph: &mut Dependencies, history: &[Transaction], partition_of: impl Fn(u64) -> u64) {
    let partitions = |transaction: &Transaction| -> BTreeSet<u64> {
        let keys = transaction.steps.iter().map(|step| match step {
            Step::Append(key, _) | Step::Read(key, _) => partition_of(*key),
        });
        keys.collect()
    };
    let committed: Vec<(usize, &Transaction, BTreeSet<u64>)> = history
        .iter()
        .enumerate()
        .filter(|(_, transaction)| transaction.fate == Fate::Committed)
        .map(|(number, transaction)| (number, transaction, partitions(transaction)))
        .collect();
    for (first, earlier, here) in &committed {
        for (second, later, there) in &committed {
            if earlier.time.1 < later.time.0 && !here.is_disjoint(there) {
                graph.add(*first, *second, Dependency::RealTime);
            }
        }
    }
}

fn check_cycles(graph: &Dependencies) -> Result<(), Anomaly> {
    use Dependency::{Overwrite, Read, RealTime, Write};
    if let Some(cycle) = graph.cycle(&[Write, RealTime]) {
        return Err(Anomaly::DirtyWrite(cycle));
    }
    if let Some(cycle) = graph.cycle(&[Write, Read, RealTime]) {
        return Err(Anomaly::CircularInformation(cycle));
    }
    if let Some(cycle) = graph.cycle_with_one(Overwrite, &[Write, Read, RealTime]) {
        return Err(Anomaly::SingleAntiDependency(cycle));
    }
    match graph.cycle(&[Write, Read, Overwrite, RealTime]) {
        Some(cycle) => Err(Anomaly::AntiDependencyCycle(cycle)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Append, Read};
    use super::*;

    /// Transactions at the same time, so that only what they read and wrote says in which order they were.
    fn side_by_side(transactions: &[(Fate, &[Step])]) -> Vec<Transaction> {
        let transaction = |(fate, steps): &(Fate, &[Step])| Transaction {
            steps: steps.to_vec(),
            fate: *fate,
            time: (0, 100),
        };
        transactions.iter().map(transaction).collect()
    }

    fn verdict(transactions: &[(Fate, &[Step])]) -> Result<(), Anomaly> {
        check(&side_by_side(transactions), |key| key)
    }

    use Fate::{Aborted, Committed, Unknown};

    #[test]
    fn a_serial_history_is_fine() {
        assert_eq!(
            verdict(&[
                (Committed, &[Append(1, 1), Read(1, vec![1]), Append(2, 1)]),
                (Committed, &[Read(1, vec![1]), Append(1, 2)]),
                (Unknown, &[Append(1, 3)]),
                (Aborted, &[Append(1, 4)]),
                (Committed, &[Read(1, vec![1, 2, 3]), Read(2, vec![1])]),
            ]),
            Ok(())
        );
    }

    #[test]
    fn reads_of_what_never_was_are_found() {
        let aborted = verdict(&[(Aborted, &[Append(1, 1)]), (Committed, &[Read(1, vec![1])])]);
        assert_eq!(aborted, Err(Anomaly::AbortedRead(1)));
        let between =
            verdict(&[(Committed, &[Append(1, 1), Append(1, 2)]), (Committed, &[Read(1, vec![1])])]);
        assert_eq!(between, Err(Anomaly::IntermediateRead(1)));
        let nobody = verdict(&[(Committed, &[Read(1, vec![9])])]);
        assert_eq!(nobody, Err(Anomaly::ImpossibleValue(1, 9)));
        let twice = verdict(&[(Committed, &[Append(1, 1)]), (Committed, &[Read(1, vec![1, 1])])]);
        assert_eq!(twice, Err(Anomaly::ImpossibleValue(1, 1)));
        let own = verdict(&[(Committed, &[Append(1, 1), Read(1, vec![])])]);
        assert_eq!(own, Err(Anomaly::Internal(0)));
    }

    #[test]
    fn orders_that_contradict_each_other_are_found() {
        let writes: &[Step] = &[Append(1, 1)];
        let found = verdict(&[
            (Committed, writes),
            (Committed, &[Append(1, 2)]),
            (Committed, &[Read(1, vec![1, 2])]),
            (Committed, &[Read(1, vec![2])]),
        ]);
        assert_eq!(found, Err(Anomaly::IncompatibleOrder(1)));
    }

    #[test]
    fn writes_in_a_circle_are_found() {
        let found = verdict(&[
            (Committed, &[Append(1, 1), Append(2, 1)]),
            (Committed, &[Append(1, 2), Append(2, 2)]),
            (Committed, &[Read(1, vec![1, 2])]),
            (Committed, &[Read(2, vec![2, 1])]),
        ]);
        assert_eq!(found, Err(Anomaly::DirtyWrite(vec![0, 1])));
    }

    #[test]
    fn information_in_a_circle_is_found() {
        let found = verdict(&[
            (Committed, &[Append(1, 1), Read(2, vec![1])]),
            (Committed, &[Append(2, 1), Read(1, vec![1])]),
        ]);
        assert_eq!(found, Err(Anomaly::CircularInformation(vec![0, 1])));
    }

    #[test]
    fn a_lost_update_is_one_overwritten_read() {
        let found = verdict(&[
            (Committed, &[Read(1, vec![]), Append(1, 1)]),
            (Committed, &[Read(1, vec![]), Append(1, 2)]),
            (Committed, &[Read(1, vec![1, 2])]),
        ]);
        assert!(matches!(found, Err(Anomaly::SingleAntiDependency(_))), "{found:?}");
    }

    #[test]
    fn write_skew_is_several_overwritten_reads() {
        let found = verdict(&[
            (Committed, &[Read(1, vec![]), Append(2, 1)]),
            (Committed, &[Read(2, vec![]), Append(1, 1)]),
            (Committed, &[Read(1, vec![1]), Read(2, vec![1])]),
        ]);
        assert_eq!(found, Err(Anomaly::AntiDependencyCycle(vec![0, 1])));
    }

    #[test]
    fn a_long_fork_is_found() {
        let found = verdict(&[
            (Committed, &[Append(1, 1)]),
            (Committed, &[Append(2, 1)]),
            (Committed, &[Read(1, vec![1]), Read(2, vec![])]),
            (Committed, &[Read(1, vec![]), Read(2, vec![1])]),
            (Committed, &[Read(1, vec![1]), Read(2, vec![1])]),
        ]);
        assert!(matches!(found, Err(Anomaly::AntiDependencyCycle(_))), "{found:?}");
    }

    #[test]
    fn a_stale_read_breaks_real_time_where_a_partition_is_shared() {
        let mut history =
            side_by_side(&[(Committed, &[Append(1, 1)]), (Committed, &[Read(1, vec![]), Read(2, vec![])])]);
        history.extend(side_by_side(&[(Committed, &[Read(1, vec![1])])]));
        history[1].time = (200, 300);
        history[2].time = (400, 500);
        assert!(matches!(check(&history, |key| key), Err(Anomaly::SingleAntiDependency(_))));
        history[1].time = (50, 300);
        assert_eq!(check(&history, |key| key), Ok(()));
    }
}
