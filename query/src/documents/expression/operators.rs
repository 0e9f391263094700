//! The operators that compute a value from values, as data.

use common::Result;
use serde_json::Value as Json;

use super::{
    arithmetic, arrays, comparison, conversion, date_parts, dates, selections, sets, spread, strings,
    trigonometry,
};

/// Operands with their values; `None` is a missing one.
pub(super) type Values<'a> = &'a [Option<Json>];
/// What an operator answers.
pub(super) type Answer = Result<Option<Json>>;

/// How operands are given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arguments {
    /// A list of at least and at most so many; one may stand by itself.
    Positional(usize, usize),
    /// Any number.
    Any,
    /// An object with these fields, of which the first so many must be there.
    Named(&'static [&'static str], usize),
    /// A date, or an object with a date and a time zone.
    DateAndZone,
}

/// An operator.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(super) name: &'static str,
    pub(super) arguments: Arguments,
    pub(super) apply: fn(Values<'_>) -> Answer,
}

/// The operator of a name.
pub(super) fn find(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.name == name)
}

const fn of(name: &'static str, count: usize, apply: fn(Values<'_>) -> Answer) -> Operator {
    Operator { name, arguments: Arguments::Positional(count, count), apply }
}

const fn between(name: &'static str, least: usize, most: usize, apply: fn(Values<'_>) -> Answer) -> Operator {
    Operator { name, arguments: Arguments::Positional(least, most), apply }
}

const fn any(name: &'static str, apply: fn(Values<'_>) -> Answer) -> Operator {
    Operator { name, arguments: Arguments::Any, apply }
}

const fn named(
    name: &'static str,
    names: &'static [&'static str],
    needed: usize,
    apply: fn(Values<'_>) -> Answer,
) -> Operator {
    Operator { name, arguments: Arguments::Named(names, needed), apply }
}

const fn of_date(name: &'static str, apply: fn(Values<'_>) -> Answer) -> Operator {
    Operator { name, arguments: Arguments::DateAndZone, apply }
}

pub(super) static OPERATORS: &[Operator] = &[
    of("$abs", 1, arithmetic::absolute),
    any("$add", arithmetic::add),
    any("$avg", arithmetic::average_of),
    of("$ceil", 1, arithmetic::ceiling),
    of("$divide", 2, arithmetic::divide),
    of("$exp", 1, arithmetic::exponential),
    of("$floor", 1, arithmetic::floor),
    of("$ln", 1, arithmetic::natural_logarithm),
    of("$log", 2, arithmetic::logarithm),
    of("$log10", 1, arithmetic::logarithm_of_10),
    of("$mod", 2, arithmetic::modulo),
    any("$multiply", arithmetic::multiply),
    of("$pow", 2, arithmetic::power),
    between("$round", 1, 2, arithmetic::round),
    of("$sqrt", 1, arithmetic::square_root),
    any("$stdDevPop", spread::population_of),
    any("$stdDevSamp", spread::sample_of),
    of("$subtract", 2, arithmetic::subtract),
    any("$sum", arithmetic::sum_of),
    between("$trunc", 1, 2, arithmetic::truncate),
    of("$acos", 1, trigonometry::arc_cosine),
    of("$asin", 1, trigonometry::arc_sine),
    of("$atan", 1, trigonometry::arc_tangent),
    of("$atan2", 2, trigonometry::arc_tangent_of_two),
    of("$cos", 1, trigonometry::cosine),
    of("$degreesToRadians", 1, trigonometry::to_radians),
    of("$radiansToDegrees", 1, trigonometry::to_degrees),
    of("$sin", 1, trigonometry::sine),
    of("$tan", 1, trigonometry::tangent),
    of("$cmp", 2, comparison::compare),
    of("$eq", 2, comparison::equal),
    of("$gt", 2, comparison::greater),
    of("$gte", 2, comparison::greater_or_equal),
    of("$lt", 2, comparison::less),
    of("$lte", 2, comparison::less_or_equal),
    any("$max", comparison::maximum),
    any("$min", comparison::minimum),
    of("$ne", 2, comparison::not_equal),
    of("$not", 1, comparison::not),
    any("$concat", strings::concatenate),
    between("$indexOfBytes", 2, 4, strings::index_of_bytes),
    between("$indexOfCP", 2, 4, strings::index_of),
    named("$ltrim", &["input", "chars"], 1, strings::trim_left),
    named("$regexFind", &["input", "regex", "options"], 2, strings::regex_find),
    named("$regexFindAll", &["input", "regex", "options"], 2, strings::regex_find_all),
    named("$regexMatch", &["input", "regex", "options"], 2, strings::regex_match),
    named("$replaceAll", &["input", "find", "replacement"], 3, strings::replace_all),
    named("$replaceOne", &["input", "find", "replacement"], 3, strings::replace_one),
    named("$rtrim", &["input", "chars"], 1, strings::trim_right),
    of("$split", 2, strings::split),
    of("$strLenBytes", 1, strings::length_in_bytes),
    of("$strLenCP", 1, strings::length),
    of("$strcasecmp", 2, strings::compare_letters),
    of("$substr", 3, strings::substring_of_bytes),
    of("$substrBytes", 3, strings::substring_of_bytes),
    of("$substrCP", 3, strings::substring),
    of("$toLower", 1, strings::lower),
    of("$toUpper", 1, strings::upper),
    named("$trim", &["input", "chars"], 1, strings::trim),
    named("$convert", &["input", "to", "onError", "onNull"], 2, conversion::convert),
    of("$isNumber", 1, conversion::is_number),
    of("$toBool", 1, conversion::to_bool),
    of("$toDate", 1, conversion::to_date),
    of("$toDouble", 1, conversion::to_double),
    of("$toInt", 1, conversion::to_int),
    of("$toLong", 1, conversion::to_long),
    of("$toString", 1, conversion::to_string),
    of("$type", 1, conversion::type_of),
    named("$dateAdd", &["startDate", "unit", "amount", "timezone"], 3, dates::add),
    named("$dateDiff", &["startDate", "endDate", "unit", "timezone"], 3, dates::difference),
    named("$dateFromParts", date_parts::FIELDS, 0, date_parts::from_parts),
    named("$dateFromString", &["dateString", "timezone", "onError", "onNull"], 1, dates::from_string),
    named("$dateSubtract", &["startDate", "unit", "amount", "timezone"], 3, dates::subtract),
    named("$dateToParts", &["date", "timezone", "iso8601"], 1, date_parts::to_parts),
    named("$dateToString", &["date", "format", "timezone", "onNull"], 1, dates::to_string),
    named("$dateTrunc", &["date", "unit", "binSize", "timezone"], 2, dates::truncate),
    of_date("$dayOfMonth", dates::day_of_month),
    of_date("$dayOfWeek", dates::day_of_week),
    of_date("$dayOfYear", dates::day_of_year),
    of_date("$hour", dates::hour),
    of_date("$isoDayOfWeek", dates::iso_day_of_week),
    of_date("$isoWeek", date_parts::iso_week),
    of_date("$isoWeekYear", date_parts::iso_week_year),
    of_date("$millisecond", dates::millisecond),
    of_date("$minute", dates::minute),
    of_date("$month", dates::month),
    of_date("$second", dates::second),
    of_date("$week", dates::week),
    of_date("$year", dates::year),
    of("$arrayElemAt", 2, arrays::element_at),
    of("$arrayToObject", 1, arrays::to_object),
    any("$concatArrays", arrays::concatenate),
    of("$first", 1, arrays::first),
    named("$firstN", &["n", "input"], 2, selections::first),
    named("$getField", &["field", "input"], 2, arrays::field),
    of("$in", 2, arrays::contains),
    between("$indexOfArray", 2, 4, arrays::index_of),
    of("$isArray", 1, arrays::is_array),
    of("$last", 1, arrays::last),
    named("$lastN", &["n", "input"], 2, selections::last),
    named("$maxN", &["n", "input"], 2, selections::greatest),
    any("$mergeObjects", arrays::merge_objects),
    named("$minN", &["n", "input"], 2, selections::least),
    of("$objectToArray", 1, arrays::of_object),
    between("$range", 2, 3, arrays::range),
    of("$reverseArray", 1, arrays::reverse),
    named("$setField", &["field", "input", "value"], 2, arrays::set_field),
    of("$size", 1, arrays::size),
    between("$slice", 2, 3, arrays::slice),
    named("$sortArray", &["input", "sortBy"], 2, arrays::sort),
    named("$unsetField", &["field", "input"], 2, arrays::unset_field),
    named("$zip", &["inputs", "useLongestLength", "defaults"], 1, selections::zip),
    of("$allElementsTrue", 1, sets::all_true),
    of("$anyElementTrue", 1, sets::any_true),
    of("$setDifference", 2, sets::difference),
    any("$setEquals", sets::equals),
    any("$setIntersection", sets::intersection),
    of("$setIsSubset", 2, sets::is_subset),
    any("$setUnion", sets::union),
];
