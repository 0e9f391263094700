//! Rows whose columns lie in several column groups: writers set all columns to one stamp, and no reader finds two
//! stamps in a row.

/// A row that was seen torn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Which read.
    pub read: usize,
    /// What its columns held.
    pub stamps: Vec<i64>,
}

/// Checks rows as they were read, each the stamps of its columns.
pub fn check(rows: &[Vec<i64>]) -> Result<(), Torn> {
    let is_torn = |row: &&Vec<i64>| row.windows(2).any(|pair| pair[0] != pair[1]);
    match rows.iter().position(|row| is_torn(&row)) {
        None => Ok(()),
        Some(read) => Err(Torn { read, stamps: rows[read].clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_stamp_are_whole() {
        assert_eq!(check(&[vec![1, 1, 1], vec![2, 2, 2], vec![]]), Ok(()));
    }

    #[test]
    fn a_row_of_two_stamps_is_found() {
        assert_eq!(check(&[vec![1, 1], vec![2, 1]]), Err(Torn { read: 1, stamps: vec![2, 1] }));
    }
}
