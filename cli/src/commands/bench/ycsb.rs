//! The core workloads of YCSB (<https://github.com/brianfrankcooper/YCSB/wiki/Core-Workloads>): mixes of operations, and
//! keys of which a few are asked for much more often than others.

use super::workload::scattered;

/// A mix of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Half reads, half updates.
    A,
    /// Reads, 5 % updates.
    B,
    /// Reads.
    C,
    /// Reads of the latest records, 5 % inserts.
    D,
    /// Short ranges, 5 % inserts.
    E,
    /// Half reads, half reads of what is then changed.
    F,
}

/// What is done with a record, by its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read(u64),
    Update(u64),
    /// A new record.
    Insert,
    /// So many records from one on.
    Scan(u64, u64),
    ReadAndUpdate(u64),
}

/// Longest range.
const SCAN_MAX: u64 = 100;

impl Mix {
    /// The operation of a number, which stands for chance, where there are so many records.
    pub fn operation(self, number: u64, records: u64) -> Operation {
        let (percent, chance) = (scattered(number) % 100, scattered(!number));
        let key = skewed(chance, records);
        match self {
            Mix::A if percent < 50 => Operation::Read(key),
            Mix::A => Operation::Update(key),
            Mix::B if percent < 95 => Operation::Read(key),
            Mix::B => Operation::Update(key),
            Mix::C => Operation::Read(key),
            Mix::D if percent < 95 => Operation::Read(records - 1 - rank(chance, records)),
            Mix::E if percent < 95 => Operation::Scan(key, 1 + scattered(chance) % SCAN_MAX),
            Mix::D | Mix::E => Operation::Insert,
            Mix::F if percent < 50 => Operation::Read(key),
            Mix::F => Operation::ReadAndUpdate(key),
        }
    }
}

/// How uneven keys are, as YCSB has it.
const SKEW: f64 = 0.99;

/// A record by Zipf's law: the popular ones lie scattered among all.
fn skewed(chance: u64, records: u64) -> u64 {
    scattered(rank(chance, records)) % records
}

/// A rank from 0 by Zipf's law (Gray et al., "Quickly generating billion-record synthetic databases", 1994).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is drawn by chance"
)]
fn rank(chance: u64, records: u64) -> u64 {
    let uniform = (chance >> 11) as f64 / (1_u64 << 53) as f64;
    let all = zeta(records);
    let scaled = uniform * all;
    if scaled < 1.0 {
        return 0;
    }
    if scaled < 1.0 + 0.5_f64.powf(SKEW) {
        return 1.min(records - 1);
    }
    let eta = (1.0 - (2.0 / records as f64).powf(1.0 - SKEW)) / (1.0 - zeta(2) / all);
    let drawn = records as f64 * (eta * uniform - eta + 1.0).powf(1.0 / (1.0 - SKEW));
    (drawn as u64).min(records - 1)
}

/// The generalized harmonic number, by the Euler-Maclaurin formula beyond its first terms.
#[expect(clippy::cast_precision_loss, reason = "an approximation")]
fn zeta(records: u64) -> f64 {
    const EXACT: u64 = 20;
    let term = |number: u64| (number as f64).powf(-SKEW);
    let first: f64 = (1..=records.min(EXACT)).map(term).sum();
    if records <= EXACT {
        return first;
    }
    let power = 1.0 - SKEW;
    let integral = ((records as f64).powf(power) - (EXACT as f64).powf(power)) / power;
    first + integral + (term(records) - term(EXACT)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keys_are_asked_for_often_and_all_exist() {
        let records = 10_000;
        let mut counts = vec![0_u32; 10_000];
        for number in 0..100_000 {
            counts[usize::try_from(rank(scattered(number), records)).unwrap()] += 1;
        }
        // Zipf's law gives the first rank a share of 1 / zeta(10,000), about a tenth.
        assert!((8_000..13_000).contains(&counts[0]), "{}", counts[0]);
        assert!(counts[0] > counts[1] && counts[1] > counts[10] && counts[10] > counts[1_000]);
        let exact: f64 = (1..=10_000).map(|number| f64::from(number).powf(-SKEW)).sum();
        assert!((zeta(10_000) - exact).abs() < 1e-3, "{} {exact}", zeta(10_000));
        assert_eq!(rank(u64::MAX, 1), 0);
    }

    #[test]
    fn mixes_have_the_shares_that_they_are_known_by() {
        for (mix, share) in
            [(Mix::A, 50), (Mix::B, 95), (Mix::C, 100), (Mix::D, 95), (Mix::E, 0), (Mix::F, 50)]
        {
            let operations = (0..20_000).map(|number| mix.operation(number, 1_000));
            let reads = operations.filter(|operation| matches!(operation, Operation::Read(_))).count();
            assert!((reads / 2).abs_diff(share * 100) < 200, "{mix:?}: {reads}");
        }
    }
}
