//! Reads SQLite's own query plan (<https://sqlite.org/eqp.html>) for the tables that it scans a single time
//! from beginning to end.

use std::collections::BTreeMap;

use crate::stream_table::MODULE_NAME;

/// A line of EXPLAIN QUERY PLAN.
#[derive(Clone, Debug)]
pub(crate) struct PlanLine {
    pub(crate) id: i64,
    pub(crate) parent: i64,
    pub(crate) detail: String,
}

/// Steps whose own steps run once if they themselves do. What is not named here may run its steps any number
/// of times.
const ONCE: [&str; 13] = [
    "COMPOUND QUERY",
    "LEFT-MOST SUBQUERY",
    "UNION ALL",
    "UNION USING",
    "EXCEPT USING",
    "INTERSECT USING",
    "MERGE (",
    "LEFT",
    "RIGHT",
    "CO-ROUTINE",
    "MATERIALIZE",
    "SCALAR SUBQUERY",
    "LIST SUBQUERY",
];

/// Steps that are no loop over a table: beside them a loop may still be the outermost.
const NO_LOOP: [&str; 5] = ["USE TEMP B-TREE", "BLOOM FILTER", "CORRELATED", "REUSE", "SETUP"];

/// The streams, by the number that each shows in plans, that a plan scans exactly once.
pub(crate) fn scanned_once(plan: &[PlanLine]) -> Vec<i32> {
    // The rows of a right or full join that find no partner take another look at the tables.
    if plan.iter().any(|line| line.detail.starts_with("RIGHT-JOIN")) {
        return Vec::new();
    }
    let mut scans: BTreeMap<i32, (usize, bool)> = BTreeMap::new();
    for (position, line) in plan.iter().enumerate() {
        if let Some(number) = stream_number(&line.detail) {
            let once = is_outermost(plan, position) && runs_once(plan, line.parent);
            let (count, all_once) = scans.entry(number).or_insert((0, true));
            *count += 1;
            *all_once &= once;
        }
    }
    scans.into_iter().filter(|(_, (count, once))| *count == 1 && *once).map(|(number, _)| number).collect()
}

/// Whether a plan is one query without inner ones: its loops stand one within the other, and the outermost is
/// run once.
pub(crate) fn is_flat(plan: &[PlanLine]) -> bool {
    let known = ["SCAN ", "SEARCH ", "USE TEMP B-TREE", "BLOOM FILTER"];
    plan.iter().all(|line| line.parent == 0 && known.iter().any(|word| line.detail.starts_with(word)))
}

/// The number in `SCAN t VIRTUAL TABLE INDEX 3:gathered_stream`; other virtual tables have other words there.
fn stream_number(detail: &str) -> Option<i32> {
    let (_, rest) = detail.split_once(" VIRTUAL TABLE INDEX ")?;
    let (number, module) = rest.split_once(':')?;
    if module.split(' ').next() != Some(MODULE_NAME) {
        return None;
    }
    number.parse().ok()
}

/// Loops of one query stand one after another, the outermost first.
fn is_outermost(plan: &[PlanLine], position: usize) -> bool {
    let parent = plan[position].parent;
    plan[..position].iter().filter(|line| line.parent == parent).all(|line| {
        let begins = |words: &[&str]| words.iter().any(|word| line.detail.starts_with(word));
        begins(&ONCE) || begins(&NO_LOOP)
    })
}

/// A co-routine runs as often as whoever takes its rows: once, if that is the outermost loop.
fn is_consumed_once(plan: &[PlanLine], line: &PlanLine) -> bool {
    let Some(name) = line.detail.strip_prefix("CO-ROUTINE ") else { return true };
    let scan = format!("SCAN {name}");
    let mut beside = plan.iter().enumerate().filter(|(_, other)| other.parent == line.parent);
    beside.any(|(position, other)| {
        let takes = other.detail == scan || other.detail.starts_with(&format!("{scan} "));
        takes && is_outermost(plan, position)
    })
}

fn runs_once(plan: &[PlanLine], id: i64) -> bool {
    let mut id = id;
    // The tree is no deeper than it has lines.
    for _ in 0..=plan.len() {
        if id == 0 {
            return true;
        }
        let Some(line) = plan.iter().find(|line| line.id == id) else { return false };
        if !ONCE.iter().any(|word| line.detail.starts_with(word)) || !is_consumed_once(plan, line) {
            return false;
        }
        id = line.parent;
    }
    false
}
