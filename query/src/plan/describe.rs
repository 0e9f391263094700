//! A plan as a tree for people, tests and programs: EXPLAIN QUERY PLAN, the plan tests and the explain
//! route all show it.

use common::Value;
use common::catalog::Database;
use common::protocol::Statement;

use super::{Shipment, Source, Step, join};
use crate::sql::Measured;
use crate::statistics::Statistics;

/// One step of a plan; what it works on are its children.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanNode {
    /// What kind of step it is, as one or two words in capitals: `SINGLE`, `MERGE`, `FRAGMENT`, `WHY` …
    pub node: String,
    /// The rest of it: the text that is run, or a sentence.
    pub detail: String,
    /// The partitions that it touches, where it touches any.
    pub partitions: Option<Partitions>,
    /// How many rows it is expected to give, where that is known.
    pub rows_estimated: Option<u64>,
    /// The table that a step reads rows of, where it is one.
    pub table: Option<String>,
    /// What each of its partitions is asked.
    pub statement: Option<Statement>,
    /// What it brought back, if it was run.
    pub measured: Option<Measured>,
    /// The steps that come before it, in order.
    pub children: Vec<PlanNode>,
}

/// Which partitions a step touches, by partition index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Those that are asked.
    pub asked: Vec<usize>,
    /// Those that could hold rows of the same table, and that conditions on the key rule out.
    pub pruned: Vec<usize>,
}

impl Partitions {
    /// `asked` of the buckets of a database.
    pub(crate) fn of(database: &Database, asked: Vec<usize>) -> Partitions {
        Partitions::of_group(database, 0, &asked)
    }

    /// The same in the partitions of a column group.
    pub(crate) fn of_group(database: &Database, group: usize, asked: &[usize]) -> Partitions {
        let indexes = |wanted: bool| {
            let buckets = (0..database.buckets.len()).filter(move |bucket| asked.contains(bucket) == wanted);
            buckets.map(|bucket| database.partition_index(group, bucket)).collect()
        };
        Partitions { asked: indexes(true), pruned: indexes(false) }
    }
}

impl PlanNode {
    /// A step without partitions, estimate and children.
    pub(crate) fn new(node: &str, detail: impl Into<String>) -> PlanNode {
        PlanNode { node: node.to_owned(), detail: detail.into(), ..PlanNode::default() }
    }

    /// Why a cheaper way was not taken.
    pub(crate) fn why(detail: impl Into<String>) -> PlanNode {
        PlanNode::new("WHY", detail)
    }

    /// The client's text, unchanged, on one partition.
    pub(crate) fn single(database: &Database, partition: usize) -> PlanNode {
        let buckets = database.buckets.len();
        let partitions = Partitions::of_group(database, partition / buckets, &[partition % buckets]);
        PlanNode::new("SINGLE", "").on(partitions)
    }

    /// A text that reads from partitions what is worked on at the coordinator; several for a table whose
    /// columns are needed from several column groups.
    pub(crate) fn fragment(source: &Source, database: &Database, params: &[Value]) -> PlanNode {
        let buckets = source.route.buckets(database, &source.table, params);
        let mut pieces: Vec<PlanNode> = source
            .pieces()
            .iter()
            .map(|piece| {
                let statement = piece.statement(&source.table, params);
                PlanNode {
                    table: Some(source.table.name.clone()),
                    statement: Some(statement.clone()),
                    ..PlanNode::new("FRAGMENT", statement.sql).on(Partitions::of_group(
                        database,
                        piece.group,
                        &buckets,
                    ))
                }
            })
            .collect();
        match pieces.len() {
            1 => pieces.remove(0),
            _ => PlanNode::new("REJOIN", format!("column groups of {}", source.table.name)).over(pieces),
        }
    }

    /// Adds how many rows the steps that read tables may give: conditions make it less.
    pub(crate) fn estimate(&mut self, statistics: &Statistics) {
        if let (Some(table), Some(partitions)) = (&self.table, &self.partitions) {
            self.rows_estimated = statistics.rows(table, &partitions.asked);
        }
        for child in &mut self.children {
            child.estimate(statistics);
        }
    }

    /// The step with the partitions that it touches.
    pub(crate) fn on(self, partitions: Partitions) -> PlanNode {
        PlanNode { partitions: Some(partitions), ..self }
    }

    /// The step with children after those that it has.
    pub(crate) fn over(mut self, children: impl IntoIterator<Item = PlanNode>) -> PlanNode {
        self.children.extend(children);
        self
    }

    /// The step alone as one line: `FRAGMENT p0,p2 (pruned 2) SELECT … [about 1000 rows]`.
    #[must_use]
    pub fn line(&self) -> String {
        let mut words = vec![self.node.clone()];
        if let Some(Partitions { asked, pruned }) = &self.partitions {
            let names: Vec<String> = asked.iter().map(|partition| format!("p{partition}")).collect();
            words.push(if names.is_empty() { "no partition".to_owned() } else { names.join(",") });
            if !pruned.is_empty() {
                words.push(format!("(pruned {})", pruned.len()));
            }
        }
        words.extend(Some(self.detail.clone()).filter(|detail| !detail.is_empty()));
        words.extend(self.rows_estimated.map(|rows| format!("[about {rows} rows]")));
        words.join(" ")
    }

    /// The tree as lines, children indented below their parents.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.rows().into_iter().map(|row| format!("{}{}", "  ".repeat(row.depth), row.detail)).collect()
    }

    /// The tree as rows of EXPLAIN QUERY PLAN, parents before children.
    #[must_use]
    pub fn rows(&self) -> Vec<PlanRow> {
        let mut rows = Vec::new();
        self.add_rows(0, 0, &mut rows);
        rows
    }

    fn add_rows(&self, parent: usize, depth: usize, rows: &mut Vec<PlanRow>) {
        let id = rows.len() + 1;
        rows.push(PlanRow { id, parent, depth, detail: self.line() });
        for child in &self.children {
            child.add_rows(id, depth + 1, rows);
        }
    }
}

/// A step in the form in which SQLite shows plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRow {
    /// Its number, from 1.
    pub id: usize,
    /// The number of the step that it works for; 0 for the first.
    pub parent: usize,
    /// How many steps are above it.
    pub depth: usize,
    /// The step as one line.
    pub detail: String,
}

/// A step at the coordinator over rows that are gathered from partitions.
pub(crate) fn gather(word: &str, sources: &[Source], database: &Database, params: &[Value]) -> PlanNode {
    PlanNode::new(word, "the statement over gathered rows")
        .over(sources.iter().map(|source| PlanNode::fragment(source, database, params)))
}

/// What is fetched before the rest, for the values that others are asked for.
pub(crate) fn shipments(steps: &[Step], sources: &[Source]) -> Vec<PlanNode> {
    let shipments = steps.iter().flat_map(|step| step.shipments.iter().map(move |to| (step, to)));
    let node = |(step, shipment): (&Step, &Shipment)| {
        let from = join::shown(&sources[step.from].table, shipment.from_column);
        let to = join::shown(&sources[shipment.to].table, shipment.column);
        PlanNode::new("KEYS", format!("of {from}, which is fetched first, ask for {to}, if they are few"))
    };
    shipments.map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::{Partitions, PlanNode};

    #[test]
    fn a_tree_is_shown_as_indented_lines_and_as_rows_that_name_their_parents() {
        let leaf = |detail: &str, asked: Vec<usize>| {
            PlanNode::new("FRAGMENT", detail).on(Partitions { asked, pruned: vec![3] })
        };
        let mut tree =
            PlanNode::new("MERGE", "").over([leaf("SELECT 1", vec![0, 1]), leaf("SELECT 2", vec![])]);
        tree.children[1].rows_estimated = Some(7);
        let tree = PlanNode::new("INSERT", "rows").over([tree, PlanNode::why("because")]);
        let expected = [
            "INSERT rows",
            "  MERGE",
            "    FRAGMENT p0,p1 (pruned 1) SELECT 1",
            "    FRAGMENT no partition (pruned 1) SELECT 2 [about 7 rows]",
            "  WHY because",
        ];
        assert_eq!(tree.lines(), expected);
        let parents: Vec<(usize, usize)> = tree.rows().iter().map(|row| (row.id, row.parent)).collect();
        assert_eq!(parents, [(1, 0), (2, 1), (3, 2), (4, 2), (5, 1)]);
    }
}
