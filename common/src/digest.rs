//! A digest of a read's rows, by which it is told whether the same read finds the same rows again.

use xxhash_rust::xxh3::Xxh3;

use crate::row::RowBlock;

/// Takes rows in blocks of any size; the digest depends on the rows and their order alone.
#[derive(Clone, Default)]
pub struct RowsDigest {
    hasher: Xxh3,
    rows: u64,
}

impl RowsDigest {
    /// Adds the rows of a block.
    pub fn add(&mut self, block: &RowBlock) {
        self.hasher.update(&block.data);
        self.rows += u64::from(block.rows);
    }

    /// The digest of all rows added.
    #[must_use]
    pub fn finish(mut self) -> u128 {
        // Rows without columns have no bytes, yet there may be more or fewer of them.
        self.hasher.update(&self.rows.to_le_bytes());
        self.hasher.digest128()
    }
}

impl std::fmt::Debug for RowsDigest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RowsDigest").field("rows", &self.rows).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::RowsDigest;
    use crate::Value;
    use crate::row::RowBlock;

    fn digest(blocks: &[&[i64]]) -> u128 {
        let mut digest = RowsDigest::default();
        for block in blocks {
            let rows: Vec<Vec<Value>> = block.iter().map(|number| vec![Value::Integer(*number)]).collect();
            digest.add(&RowBlock::from_values(1, &rows));
        }
        digest.finish()
    }

    #[test]
    fn a_digest_depends_on_the_rows_and_not_on_their_blocks() {
        assert_eq!(digest(&[&[1, 2], &[3]]), digest(&[&[1], &[2, 3]]));
        assert_ne!(digest(&[&[1, 2]]), digest(&[&[2, 1]]));
        assert_ne!(digest(&[&[1]]), digest(&[&[1, 1]]));
    }
}
