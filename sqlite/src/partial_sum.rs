//! Sums that are computed in parts and still come out as one file computes them, to the last bit.
//!
//! SQLite adds integers exactly and reals by the Kahan-Babuska-Neumaier summation: a running sum `s` and, apart
//! from it, the sum `e` of the rounding errors, which each step finds exactly. Its result is `s + e`, rounded
//! once. Let `n` be the number of terms, `B` the sum of their absolute values and `u` = 2^-53. Without rounding
//! in `e`, `s + e` is the true sum `S`; rounding in `e` makes it `S + d` with `|d| <= n² u² B`, in whatever
//! order the rows come. So the result is the same in every order
//!
//! - if `e` is never rounded: all terms are multiples of one power of two, `g`, and `n u B <= g 2^53`; or
//! - if all reals within `n² u² B` of `S` are rounded to the same double.
//!
//! Each partition sends its `s`, `e`, `n`, `B` and `g`; where neither holds for them together, merging fails and
//! the rows have to be gathered. So it does where integers alone might overflow in some order.

use std::ffi::{CStr, c_int, c_void};

use rusqlite::ffi;

use crate::error::Result;

/// Name of the function that sums up the rows of one partition; what it answers is for the others.
pub const PART: &str = "_sum_part";
/// Name of the function that merges parts to what `sum` answers.
pub const MERGE_SUM: &str = "_sum_merge";
/// Name of the function that merges parts to what `total` answers.
pub const MERGE_TOTAL: &str = "_total_merge";
/// Name of the function that merges parts to what `avg` answers.
pub const MERGE_AVERAGE: &str = "_avg_merge";

/// Bytes of a part.
const PART_BYTES: usize = 57;

/// Why parts cannot be merged.
const NOT_PROVEN: &CStr = c"the sum may depend on the order of the rows";

/// What is known of the sum of some values. All zeros, as SQLite provides it, is that of none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Part {
    /// Values that are not NULL.
    count: i64,
    /// The integers among them, added up; of use while `magnitude` is below 2^63.
    integers: i64,
    /// The absolute values of the integers, added up.
    magnitude: u64,
    /// The reals: running sum, and sum of its errors.
    sum: f64,
    error: f64,
    /// The absolute values of all, added up.
    absolute: f64,
    /// An exponent of two that divides all values; never above 0.
    grain: i32,
    /// Whether there was anything but integers.
    has_reals: bool,
}

impl Part {
    pub(crate) fn add_integer(&mut self, value: i64) {
        self.count += 1;
        self.integers = self.integers.wrapping_add(value);
        self.magnitude = self.magnitude.saturating_add(value.unsigned_abs());
        #[expect(clippy::cast_precision_loss, reason = "a bound that is widened before it is used")]
        let absolute = value.unsigned_abs() as f64;
        self.absolute += absolute;
    }

    pub(crate) fn add_real(&mut self, value: f64) {
        self.count += 1;
        self.has_reals = true;
        let sum = self.sum + value;
        self.error +=
            if self.sum.abs() > value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
        self.absolute += value.abs();
        self.grain = self.grain.min(grain(value));
    }

    fn encode(&self) -> [u8; PART_BYTES] {
        let mut bytes = [0; PART_BYTES];
        let words = [
            self.count.to_le_bytes(),
            self.integers.to_le_bytes(),
            self.magnitude.to_le_bytes(),
            self.sum.to_le_bytes(),
            self.error.to_le_bytes(),
            self.absolute.to_le_bytes(),
            i64::from(self.grain).to_le_bytes(),
        ];
        for (to, word) in bytes.chunks_mut(8).zip(words) {
            to.copy_from_slice(&word);
        }
        bytes[PART_BYTES - 1] = u8::from(self.has_reals);
        bytes
    }

    /// It as bytes; `None` if there was no value.
    pub(crate) fn encoded(&self) -> Option<[u8; PART_BYTES]> {
        (self.count > 0).then(|| self.encode())
    }

    fn decode(bytes: &[u8]) -> Option<Part> {
        let bytes: &[u8; PART_BYTES] = bytes.try_into().ok()?;
        let mut words = bytes.chunks_exact(8).map(|word| word.try_into().unwrap_or_default());
        let mut word = || words.next().unwrap_or_default();
        Some(Part {
            count: i64::from_le_bytes(word()),
            integers: i64::from_le_bytes(word()),
            magnitude: u64::from_le_bytes(word()),
            sum: f64::from_le_bytes(word()),
            error: f64::from_le_bytes(word()),
            absolute: f64::from_le_bytes(word()),
            grain: i32::try_from(i64::from_le_bytes(word())).ok()?,
            has_reals: bytes[PART_BYTES - 1] != 0,
        })
    }
}

/// The greatest exponent of two that divides a finite real.
fn grain(value: f64) -> i32 {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    let (mantissa, shift) =
        if exponent == 0 { (fraction, -1_074) } else { (fraction | 1 << 52, exponent as i32 - 1_075) };
    if mantissa == 0 { 0 } else { shift + mantissa.trailing_zeros() as i32 }
}

/// Parts on their way to one sum.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Merged {
    /// Counts and bounds of all parts; its sums are not used.
    all: Part,
    /// The sum as two reals, the second at most half a unit in the last place of the first.
    high: f64,
    low: f64,
    parts: u32,
    malformed: bool,
}

/// A sum that is the same in every order of the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sum {
    Integer(i64),
    Real(f64),
}

impl Merged {
    fn add(&mut self, part: &Part) {
        self.parts += 1;
        self.all.count += part.count;
        self.all.integers = self.all.integers.wrapping_add(part.integers);
        self.all.magnitude = self.all.magnitude.saturating_add(part.magnitude);
        self.all.absolute += part.absolute;
        self.all.grain = self.all.grain.min(part.grain);
        self.all.has_reals |= part.has_reals;
        self.add_term(part.sum);
        self.add_term(part.error);
    }

    fn add_term(&mut self, term: f64) {
        let (high, error) = two_sum(self.high, term);
        (self.high, self.low) = two_sum(high, self.low + error);
    }

    /// The sum, or `None` if some order of the rows might give another.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts are bounds; integers are rounded as SQLite rounds"
    )]
    fn sum(mut self) -> Option<Sum> {
        if self.malformed || self.all.magnitude > i64::MAX as u64 {
            return None;
        }
        if !self.all.has_reals {
            return Some(Sum::Integer(self.all.integers));
        }
        let whole = self.all.integers as f64;
        self.add_term(whole);
        self.add_term((i128::from(self.all.integers) - whole as i128) as f64);
        // Twice the terms, since SQLite adds great integers in two steps.
        let terms = 2.0 * self.all.count as f64 + 2.0 * f64::from(self.parts) + 8.0;
        let bound = self.all.absolute * 1.001;
        if !bound.is_finite() || bound > 1e300 {
            return None;
        }
        let rounded = self.high + self.low;
        let never_rounded = terms * bound <= 2_f64.powi(106 + self.all.grain.max(-1_100));
        if never_rounded {
            return Some(Sum::Real(rounded));
        }
        let doubt = terms * terms * bound * 2_f64.powi(-102);
        let (least, most) = (self.high + (self.low - doubt), self.high + (self.low + doubt));
        (least.to_bits() == most.to_bits()).then_some(Sum::Real(rounded))
    }
}

/// The sum of two reals and its exact error (Knuth).
fn two_sum(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    let part = sum - left;
    (sum, (left - (sum - part)) + (right - part))
}

/// Makes the function known that partitions sum up with.
pub(crate) fn load_part(connection: &rusqlite::Connection) -> Result<()> {
    load(connection, c"_sum_part", part_step, part_final)
}

/// Makes the functions known that merge parts.
pub(crate) fn load_merge(connection: &rusqlite::Connection) -> Result<()> {
    load(connection, c"_sum_merge", merge_step, merge_final::<{ Kind::SUM }>)?;
    load(connection, c"_total_merge", merge_step, merge_final::<{ Kind::TOTAL }>)?;
    load(connection, c"_avg_merge", merge_step, merge_final::<{ Kind::AVERAGE }>)
}

/// What is wanted of a sum.
struct Kind;

impl Kind {
    const SUM: u8 = 0;
    const TOTAL: u8 = 1;
    const AVERAGE: u8 = 2;
}

type Step = unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);
type Final = unsafe extern "C" fn(*mut ffi::sqlite3_context);

fn load(connection: &rusqlite::Connection, name: &CStr, step: Step, last: Final) -> Result<()> {
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    // SAFETY: the handle is open while `connection` is borrowed, the name ends with a NUL, and the callbacks
    // are functions of this program, which outlive every connection.
    let code = unsafe {
        ffi::sqlite3_create_function_v2(
            connection.handle(),
            name.as_ptr(),
            1,
            flags,
            std::ptr::null_mut::<c_void>(),
            None,
            Some(step),
            Some(last),
            None,
        )
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into())
    }
}

/// The state that SQLite keeps for a group; `None` if there is no memory, or, with `size` 0, if there was no
/// row.
///
/// # Safety
/// `context` must be that of a call of an aggregate whose state is a `T`, for which all zeros is a value.
unsafe fn state<'c, T>(context: *mut ffi::sqlite3_context, size: usize) -> Option<&'c mut T> {
    let size = c_int::try_from(size).unwrap_or(c_int::MAX);
    // SAFETY: SQLite provides zeroed memory of that size, aligned for any type, for as long as the group is
    // computed, and calls on one thread.
    unsafe { ffi::sqlite3_aggregate_context(context, size).cast::<T>().as_mut() }
}

unsafe extern "C" fn part_step(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls with one value, and all zeros is a `Part`.
    unsafe {
        let value = *values;
        // Text counts as the number that it begins with, as in SQLite's own functions.
        let kind = ffi::sqlite3_value_numeric_type(value);
        let Some(part) = state::<Part>(context, size_of::<Part>()) else {
            ffi::sqlite3_result_error_nomem(context);
            return;
        };
        match kind {
            ffi::SQLITE_NULL => {}
            ffi::SQLITE_INTEGER => part.add_integer(ffi::sqlite3_value_int64(value)),
            _ => part.add_real(ffi::sqlite3_value_double(value)),
        }
    }
}

unsafe extern "C" fn part_final(context: *mut ffi::sqlite3_context) {
    // SAFETY: as in `part_step`; SQLite copies the bytes.
    unsafe {
        match state::<Part>(context, 0).and_then(|part| part.encoded()) {
            Some(bytes) => {
                let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
                ffi::sqlite3_result_blob(context, bytes.as_ptr().cast(), length, ffi::SQLITE_TRANSIENT());
            }
            None => ffi::sqlite3_result_null(context),
        }
    }
}

unsafe extern "C" fn merge_step(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls with one value, and all zeros is a `Merged`; a blob's bytes are read at once.
    unsafe {
        let value = *values;
        if ffi::sqlite3_value_type(value) == ffi::SQLITE_NULL {
            return;
        }
        let Some(merged) = state::<Merged>(context, size_of::<Merged>()) else {
            ffi::sqlite3_result_error_nomem(context);
            return;
        };
        let bytes = ffi::sqlite3_value_blob(value).cast::<u8>();
        let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
        let part =
            if bytes.is_null() { None } else { Part::decode(std::slice::from_raw_parts(bytes, length)) };
        match part {
            Some(part) => merged.add(&part),
            None => merged.malformed = true,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "SQLite rounds integers to reals in the same way")]
unsafe extern "C" fn merge_final<const KIND: u8>(context: *mut ffi::sqlite3_context) {
    // SAFETY: as in `merge_step`; SQLite copies the message.
    unsafe {
        let merged = state::<Merged>(context, 0);
        let Some(merged) = merged else {
            match KIND {
                Kind::TOTAL => ffi::sqlite3_result_double(context, 0.0),
                _ => ffi::sqlite3_result_null(context),
            }
            return;
        };
        let as_real = |sum| match sum {
            Sum::Integer(sum) => sum as f64,
            Sum::Real(sum) => sum,
        };
        match (KIND, merged.sum()) {
            (_, None) => ffi::sqlite3_result_error(context, NOT_PROVEN.as_ptr(), -1),
            (Kind::SUM, Some(Sum::Integer(sum))) => ffi::sqlite3_result_int64(context, sum),
            (Kind::AVERAGE, Some(sum)) => {
                ffi::sqlite3_result_double(context, as_real(sum) / merged.all.count as f64);
            }
            (_, Some(sum)) => ffi::sqlite3_result_double(context, as_real(sum)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use rusqlite::types::Value;

    use super::*;

    /// Numbers that only have to differ (SplitMix64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        fn fraction(&mut self) -> f64 {
            (self.next() >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// A value of one of several distributions.
        fn value(&mut self, distribution: u64) -> Value {
            let cents = self.below(1_000_000) as f64 / 100.0;
            match distribution {
                0 => Value::Real(cents),
                1 => Value::Real(cents - 5_000.0),
                2 => Value::Real((self.fraction() - 0.5) * 10_f64.powi(self.below(30) as i32 - 15)),
                3 => Value::Integer(self.next() as i64 >> self.below(60)),
                4 if self.below(2) == 0 => Value::Integer(self.below(1_000) as i64 - 500),
                4 => Value::Real(cents),
                5 => [Value::Null, Value::Text("12.5x".into()), Value::Blob(b"7".to_vec()), Value::Real(0.1)]
                    [self.below(4) as usize]
                    .clone(),
                6 => Value::Real([1e16, -1e16, 1.0, 3.0][self.below(4) as usize]),
                _ => Value::Real([1e300, -1e300, f64::INFINITY, 5e-324][self.below(4) as usize]),
            }
        }
    }

    fn database(values: &[(i64, Value)]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        load_part(&connection).unwrap();
        load_merge(&connection).unwrap();
        connection.execute_batch("CREATE TABLE t (part, value)").unwrap();
        let mut insert = connection.prepare("INSERT INTO t VALUES (?, ?)").unwrap();
        for value in values {
            insert.execute((value.0, &value.1)).unwrap();
        }
        drop(insert);
        connection
    }

    fn answer(connection: &Connection, sql: &str) -> Option<Vec<Value>> {
        connection.query_row(sql, [], |row| (0..3).map(|column| row.get(column)).collect()).ok()
    }

    fn exact(values: &[Value]) -> Vec<String> {
        // The text of a real is shortest, and so tells it from all others.
        values.iter().map(|value| format!("{value:?}")).collect()
    }

    const PLAIN: &str = "SELECT sum(value), total(value), avg(value) FROM t";
    const MERGED: &str = "SELECT _sum_merge(p), _total_merge(p), _avg_merge(p)
        FROM (SELECT _sum_part(value) AS p FROM t GROUP BY part)";

    #[test]
    fn merged_sums_are_those_of_every_order() {
        let mut random = Random(1);
        let (mut proven, mut tried) = ([0; 8], [0; 8]);
        for round in 0..400 {
            let distribution = random.below(8);
            let count = random.below(60);
            let mut values: Vec<(i64, Value)> =
                (0..count).map(|_| (random.below(4) as i64, random.value(distribution))).collect();
            tried[distribution as usize] += 1;
            let Some(merged) = answer(&database(&values), MERGED) else { continue };
            proven[distribution as usize] += 1;
            for _ in 0..4 {
                for index in (1..values.len()).rev() {
                    values.swap(index, random.below(index as u64 + 1) as usize);
                }
                let plain = answer(&database(&values), PLAIN).expect("no order overflows");
                assert_eq!(exact(&merged), exact(&plain), "round {round}, {values:?}");
            }
        }
        // Amounts of money, and integers among them, must hardly ever be gathered.
        for distribution in [0, 1, 4, 5] {
            assert_eq!(proven[distribution], tried[distribution], "{distribution}");
        }
    }

    #[test]
    fn sums_that_depend_on_the_order_are_not_merged() {
        let integers = |values: &[i64]| -> Vec<(i64, Value)> {
            values.iter().map(|value| (value % 2, Value::Integer(*value))).collect()
        };
        assert_eq!(answer(&database(&integers(&[i64::MAX, 1, -10])), MERGED), None);
        assert!(answer(&database(&integers(&[i64::MAX - 11, 1, -10])), MERGED).is_some());
        let infinite = [(0, Value::Real(f64::INFINITY)), (1, Value::Real(1.0))];
        assert_eq!(answer(&database(&infinite), MERGED), None);
    }

    #[test]
    fn a_million_amounts_are_merged() {
        let mut random = Random(2);
        let mut parts = [Part::default(); 8];
        for _ in 0..1_000_000 {
            let part = random.below(8) as usize;
            parts[part].add_real(random.below(10_000_000) as f64 / 100.0);
        }
        let mut merged = Merged::default();
        parts.iter().for_each(|part| merged.add(&Part::decode(&part.encode()).unwrap()));
        assert!(merged.sum().is_some());
    }

    #[test]
    fn the_grain_is_the_last_bit_that_is_set() {
        for (value, expected) in [(1.0, 0), (1.5, -1), (12.0, 2), (0.0, 0), (5e-324, -1_074), (-0.25, -2)] {
            assert_eq!(grain(value), expected, "{value}");
        }
    }
}
