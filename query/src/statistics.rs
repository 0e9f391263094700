//! What is known of how many rows there are where, as a value: planning asks nobody.

use std::collections::BTreeMap;

/// Rows of each table in each partition, as the partitions told not long ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// By partition index: rows of each table, by name in lower case.
    partitions: BTreeMap<usize, BTreeMap<String, u64>>,
}

impl Statistics {
    /// Takes over what a partition told, by its index.
    pub fn set<'t>(&mut self, partition: usize, tables: impl IntoIterator<Item = (&'t str, u64)>) {
        let tables = tables.into_iter().map(|(table, rows)| (table.to_ascii_lowercase(), rows));
        self.partitions.insert(partition, tables.collect());
    }

    /// Rows of a table in some partitions; `None` if one of them has not told.
    #[must_use]
    pub fn rows(&self, table: &str, partitions: &[usize]) -> Option<u64> {
        let table = table.to_ascii_lowercase();
        partitions
            .iter()
            .map(|partition| Some(self.partitions.get(partition)?.get(&table).copied().unwrap_or(0)))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_where_every_partition_told() {
        let mut statistics = Statistics::default();
        statistics.set(0, [("Orders", 5)]);
        statistics.set(2, [("orders", 7), ("people", 1)]);
        assert_eq!(statistics.rows("ORDERS", &[0, 2]), Some(12));
        assert_eq!(statistics.rows("people", &[0, 2]), Some(1));
        assert_eq!(statistics.rows("orders", &[0, 1]), None);
        assert_eq!(statistics.rows("orders", &[]), Some(0));
    }
}
