//! What a transaction has read and changed so far.

use std::collections::{BTreeMap, BTreeSet};

use common::entry::{Change, Effect, Effects};
use common::protocol::{Proof, StatementResult, WorkItem};
use common::tries::{Repeated, TimeAndChance, Tried};
use common::{Error, ErrorCode, Result, Value};
use sqlite::DoneBefore;

use super::within::Locks;

/// Most reads and changes of a transaction.
const ITEMS_MAX: usize = 10_000;
/// Most bytes, about, of its changes.
const BYTES_MAX: usize = 64 << 20;

/// By partition, in order.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Journal {
    parts: BTreeMap<usize, Part>,
    items: usize,
    bytes: usize,
    /// Its locks; they stay whatever is taken back.
    pub(super) locks: Option<Locks>,
    /// What its statements have done so far, whatever of it was taken back; `None` if none changed rows.
    pub(in crate::gateway) done: Option<DoneBefore>,
    /// Tables in which it has set rowids itself.
    pub(in crate::gateway) rowids_set: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Part {
    work: Vec<WorkItem>,
    own: Effects,
}

/// A state of the journal to go back to.
#[derive(Debug)]
pub(in crate::gateway) struct Mark {
    /// By partition, how much work and how many changed rows.
    parts: BTreeMap<usize, (usize, usize)>,
    items: usize,
    bytes: usize,
}

impl Journal {
    /// What the transaction has changed on a partition.
    pub(super) fn own(&self, index: usize) -> Effects {
        self.parts.get(&index).map(|part| part.own.clone()).unwrap_or_default()
    }

    /// Notes a read.
    pub(super) fn note_read(&mut self, index: usize, proof: Proof) -> Result<()> {
        self.note(index, WorkItem::Proof(proof), 0)
    }

    /// Notes work that was tried.
    pub(super) fn note_tried(
        &mut self,
        index: usize,
        work: Vec<WorkItem>,
        max_rows: u32,
        pinned: TimeAndChance,
        tried: &Tried,
    ) -> Result<()> {
        let effects = tried.effects.clone();
        let bytes = effects.rows.iter().map(size_of).sum();
        let (digest, index_then, refused) = (tried.digest, tried.index, tried.refusal.is_some());
        let repeated = Repeated { work, max_rows, pinned, effects, digest, refused, index: index_then };
        self.note(index, WorkItem::Repeated(repeated), bytes)?;
        append(&mut self.parts.entry(index).or_default().own, &tried.effects);
        Ok(())
    }

    fn note(&mut self, index: usize, item: WorkItem, bytes: usize) -> Result<()> {
        if self.items >= ITEMS_MAX || self.bytes + bytes > BYTES_MAX {
            let text = format!("a transaction reads and changes at most {ITEMS_MAX} times, and 64 MiB");
            return Err(Error::new(ErrorCode::BodyTooLarge, text).with_hint("make several of it"));
        }
        self.items += 1;
        self.bytes += bytes;
        self.parts.entry(index).or_default().work.push(item);
        Ok(())
    }

    pub(in crate::gateway) fn mark(&self) -> Mark {
        let sizes = |part: &Part| (part.work.len(), part.own.rows.len());
        Mark {
            parts: self.parts.iter().map(|(index, part)| (*index, sizes(part))).collect(),
            items: self.items,
            bytes: self.bytes,
        }
    }

    /// Takes back what was changed since the mark. What was seen meanwhile must still be true when the transaction
    /// commits.
    pub(in crate::gateway) fn take_back(&mut self, mark: &Mark) {
        for (index, part) in &mut self.parts {
            let (work, rows) = mark.parts.get(index).copied().unwrap_or_default();
            part.own.rows.truncate(rows);
            let since = part.work.get(work..).unwrap_or_default();
            let changes = |item: &WorkItem| matches!(item, WorkItem::Repeated(done) if !done.refused);
            if let Some(first) = since.iter().position(changes) {
                let undone = part.work.split_off(work + first);
                part.work.push(WorkItem::Undone(undone));
            }
        }
    }

    /// Notes what a client's statements have done. Rows of triggers and foreign keys do not count.
    pub(in crate::gateway) fn note_done(&mut self, results: &[StatementResult]) {
        for result in results.iter().filter(|result| !result.is_read) {
            let done = self.done.get_or_insert_default();
            done.changes = result.affected_rows.cast_signed();
            done.total_changes = done.total_changes.saturating_add(done.changes);
            done.last_insert_rowid = result.last_insert_rowid.unwrap_or(done.last_insert_rowid);
        }
    }

    /// Whether nothing was read or changed.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.values().all(|part| part.work.is_empty())
    }

    /// The first partition that it concerns.
    pub(super) fn first(&self) -> Option<usize> {
        self.parts.iter().find(|(_, part)| !part.work.is_empty()).map(|(index, _)| *index)
    }

    /// Whether rows change when it commits.
    pub(super) fn changes_rows(&self) -> bool {
        self.parts.values().any(|part| !part.own.rows.is_empty())
    }

    /// The greatest rowid of a table that the transaction has given to a row itself.
    pub(in crate::gateway) fn greatest_rowid(&self, table: &str) -> Option<i64> {
        let of_part = |part: &Part| {
            let number = part.own.tables.iter().position(|name| name.eq_ignore_ascii_case(table))?;
            let rowids = part.own.rows.iter().filter(|effect| usize::from(effect.table) == number);
            rowids.filter_map(|effect| new_rowid(&effect.change)).max()
        };
        self.parts.values().filter_map(of_part).max()
    }

    /// Forgets what was noted since the mark.
    pub(in crate::gateway) fn cut(&mut self, mark: &Mark) {
        for (index, part) in &mut self.parts {
            let (work, rows) = mark.parts.get(index).copied().unwrap_or_default();
            part.work.truncate(work);
            part.own.rows.truncate(rows);
        }
        (self.items, self.bytes) = (mark.items, mark.bytes);
    }

    /// All of it, to be sent to the partitions.
    pub(super) fn work(&self) -> Vec<(usize, Vec<WorkItem>)> {
        let parts = self.parts.iter().filter(|(_, part)| !part.work.is_empty());
        parts.map(|(index, part)| (*index, part.work.clone())).collect()
    }
}

/// The rowid that a change gives to a row; that of a table without rowids means nothing.
fn new_rowid(change: &Change) -> Option<i64> {
    match change {
        Change::Insert { key, .. } | Change::Update { key, .. } => match key.as_slice() {
            [Value::Integer(rowid)] => Some(*rowid),
            _ => None,
        },
        Change::Delete { .. } | Change::Schema(_) => None,
    }
}

/// Appends changes; their tables get the numbers that they have here.
fn append(effects: &mut Effects, more: &Effects) {
    let mut number = |name: &String| {
        let known = effects.tables.iter().position(|table| table == name);
        let position = known.unwrap_or_else(|| {
            effects.tables.push(name.clone());
            effects.tables.len() - 1
        });
        u16::try_from(position).unwrap_or(u16::MAX)
    };
    let numbers: Vec<u16> = more.tables.iter().map(&mut number).collect();
    effects.rows.extend(
        more.rows.iter().map(|effect| Effect {
            table: numbers[usize::from(effect.table)],
            change: effect.change.clone(),
        }),
    );
}

fn size_of(effect: &Effect) -> usize {
    let (Change::Insert { row, .. } | Change::Update { row, .. }) = &effect.change else { return 64 };
    row.iter().map(|value| 16 + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(table: &str, rowid: i64) -> Tried {
        let change = Change::Insert { key: vec![rowid.into()], row: vec![rowid.into()] };
        let effects = Effects { tables: vec![table.to_owned()], rows: vec![Effect { table: 0, change }] };
        Tried { effects, ..Tried::default() }
    }

    #[test]
    fn changes_add_up_and_can_be_taken_back() {
        let mut journal = Journal::default();
        journal.note_tried(3, Vec::new(), 1, TimeAndChance::default(), &tried("a", 1)).unwrap();
        let mark = journal.mark();
        journal.note_tried(3, Vec::new(), 1, TimeAndChance::default(), &tried("b", 2)).unwrap();
        journal.note_tried(3, Vec::new(), 1, TimeAndChance::default(), &tried("a", 3)).unwrap();
        journal.note_tried(5, Vec::new(), 1, TimeAndChance::default(), &tried("a", 4)).unwrap();
        let own = journal.own(3);
        let tables = own.rows.iter().map(|effect| own.tables[usize::from(effect.table)].as_str());
        assert_eq!(tables.collect::<Vec<_>>(), ["a", "b", "a"]);
        journal.cut(&mark);
        assert_eq!(journal.own(3).rows.len(), 1);
        assert!(journal.own(5).rows.is_empty());
        let work = journal.work();
        assert_eq!(work.iter().map(|(index, work)| (*index, work.len())).collect::<Vec<_>>(), [(3, 1)]);
    }

    #[test]
    fn what_is_taken_back_is_still_checked() {
        let mut journal = Journal::default();
        let note = |journal: &mut Journal, rowid| {
            journal.note_tried(3, Vec::new(), 1, TimeAndChance::default(), &tried("a", rowid)).unwrap();
        };
        let mark = journal.mark();
        for rowid in 1..=3 {
            note(&mut journal, rowid);
            journal.take_back(&mark);
        }
        assert_eq!(journal.greatest_rowid("a"), None);
        note(&mut journal, 9);
        assert_eq!(journal.greatest_rowid("A"), Some(9));
        assert_eq!(journal.own(3).rows.len(), 1);
        let work = journal.work().remove(0).1;
        let undone = |item: &WorkItem| matches!(item, WorkItem::Undone(items) if items.len() == 1);
        assert!(work[..3].iter().all(undone) && work.len() == 4, "{work:?}");
    }

    #[test]
    fn a_transaction_is_bounded() {
        let mut journal = Journal::default();
        for rowid in 0..ITEMS_MAX {
            journal
                .note_tried(0, Vec::new(), 1, TimeAndChance::default(), &tried("a", rowid as i64))
                .unwrap();
        }
        let error =
            journal.note_tried(0, Vec::new(), 1, TimeAndChance::default(), &tried("a", 0)).unwrap_err();
        assert_eq!(error.code, ErrorCode::BodyTooLarge);
    }
}
