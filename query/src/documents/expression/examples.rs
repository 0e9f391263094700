//! Each operator with the answers that MongoDB's manual gives for its examples
//! (<https://www.mongodb.com/docs/manual/reference/operator/aggregation/>).

use common::ErrorCode;
use serde_json::{Map, Value as Json, json};

use super::operators::OPERATORS;
use super::{Expression, Scope};
use crate::documents::place::Place;
use crate::documents::value::order::equal;

/// Operators that do not evaluate all of their operands, and so are none of [`OPERATORS`].
const OTHERS: [&str; 10] =
    ["$and", "$cond", "$filter", "$ifNull", "$let", "$literal", "$map", "$or", "$reduce", "$switch"];

fn evaluated(expression: &Json) -> common::Result<Option<Json>> {
    let Json::Object(document) = json!({
        "n": 5, "nothing": null, "at": {"$date": "2014-01-01T08:15:39.736Z"}, "price": 10, "tax": 0.5,
    }) else {
        unreachable!()
    };
    Expression::parse(expression, &Place::root("expression"))?.evaluate(&Scope::of_document(&document))
}

fn date(text: &str) -> Json {
    json!({ "$date": text })
}

fn numbers() -> Vec<(Json, Json)> {
    vec![
        (json!({"$abs": -1}), json!(1)),
        (json!({"$abs": "$nothing"}), json!(null)),
        (json!({"$add": ["$price", 2, 0.5]}), json!(12.5)),
        (json!({"$add": ["$at", 3 * 60 * 60 * 1000]}), date("2014-01-01T11:15:39.736Z")),
        (json!({"$add": [1, "$missing"]}), json!(null)),
        (json!({"$avg": [1, 2, 6, "no number"]}), json!(3)),
        (json!({"$avg": []}), json!(null)),
        (json!({"$ceil": 7.8}), json!(8)),
        (json!({"$ceil": -2.8}), json!(-2)),
        (json!({"$divide": [80, 8]}), json!(10)),
        (json!({"$divide": [5, 2]}), json!(2.5)),
        (json!({"$exp": 0}), json!(1)),
        (json!({"$floor": 7.8}), json!(7)),
        (json!({"$floor": -2.8}), json!(-3)),
        (json!({"$ln": 1}), json!(0)),
        (json!({"$log": [100, 10]}), json!(2)),
        (json!({"$log10": 1000}), json!(3)),
        (json!({"$mod": [80, 7]}), json!(3)),
        (json!({"$mod": [-5, 3]}), json!(-2)),
        (json!({"$multiply": [5, 10, 0.5]}), json!(25)),
        (json!({"$pow": [5, 2]}), json!(25)),
        (json!({"$pow": [5, -2]}), json!(0.04)),
        (json!({"$round": 10.5}), json!(10)),
        (json!({"$round": 11.5}), json!(12)),
        (json!({"$round": [28.73, 1]}), json!(28.7)),
        (json!({"$round": [-45.39, -1]}), json!(-50)),
        (json!({"$sqrt": 25}), json!(5)),
        (json!({"$stdDevPop": [85, 90, 71]}), json!(8.041_558_721_209_88)),
        (json!({"$stdDevPop": "$missing"}), json!(null)),
        (json!({"$stdDevSamp": [2, "no number", 4]}), json!(2.0_f64.sqrt())),
        (json!({"$stdDevSamp": [[5]]}), json!(null)),
        (json!({"$subtract": ["$price", 1]}), json!(9)),
        (json!({"$subtract": ["$at", date("2014-01-01T08:15:38Z")]}), json!(1736)),
        (json!({"$subtract": ["$at", 736]}), date("2014-01-01T08:15:39Z")),
        (json!({"$sum": [1, 2, "no number"]}), json!(3)),
        (json!({"$sum": "$missing"}), json!(0)),
        (json!({"$trunc": 7.8}), json!(7)),
        (json!({"$trunc": [-2.39, 1]}), json!(-2.3)),
    ]
}

fn angles() -> Vec<(Json, Json)> {
    vec![
        (json!({"$acos": 1}), json!(0)),
        (json!({"$asin": 0}), json!(0)),
        (json!({"$atan": 0}), json!(0)),
        (json!({"$atan2": [0, 1]}), json!(0)),
        (json!({"$cos": 0}), json!(1)),
        (json!({"$degreesToRadians": 180}), json!(std::f64::consts::PI)),
        (json!({"$radiansToDegrees": std::f64::consts::PI}), json!(180)),
        (json!({"$sin": 0}), json!(0)),
        (json!({"$tan": "$nothing"}), json!(null)),
    ]
}

fn comparisons() -> Vec<(Json, Json)> {
    vec![
        (json!({"$cmp": [300, 250]}), json!(1)),
        (json!({"$cmp": ["a", 250]}), json!(1)),
        (json!({"$eq": [250, 250.0]}), json!(true)),
        (json!({"$gt": [300, 250]}), json!(true)),
        (json!({"$gte": [250, 250]}), json!(true)),
        (json!({"$lt": [300, 250]}), json!(false)),
        (json!({"$lte": ["$missing", null]}), json!(true)),
        (json!({"$max": [1, 5, null]}), json!(5)),
        (json!({"$min": [3, 1, null]}), json!(1)),
        (json!({"$ne": [250, "250"]}), json!(true)),
        (json!({"$not": [true]}), json!(false)),
        (json!({"$not": [[false]]}), json!(false)),
        (json!({"$not": [null]}), json!(true)),
    ]
}

fn strings() -> Vec<(Json, Json)> {
    vec![
        (json!({"$concat": ["abc", " - ", "def"]}), json!("abc - def")),
        (json!({"$concat": ["abc", null]}), json!(null)),
        (json!({"$indexOfBytes": ["cafeteria", "e"]}), json!(3)),
        (json!({"$indexOfBytes": ["cafétéria", "t"]}), json!(5)),
        (json!({"$indexOfBytes": ["vanilla", "nilla", 3]}), json!(-1)),
        (json!({"$indexOfBytes": ["vanilla", "ll", 12]}), json!(-1)),
        (json!({"$indexOfCP": ["cafétéria", "é"]}), json!(3)),
        (json!({"$indexOfCP": ["foo.bar.fi", ".", 5]}), json!(7)),
        (json!({"$indexOfCP": ["vanilla", "ll", 0, 2]}), json!(-1)),
        (json!({"$ltrim": {"input": "  \n good  bye \t  "}}), json!("good  bye \t  ")),
        (json!({"$ltrim": {"input": " ggggoodbyeeeee", "chars": " gd"}}), json!("oodbyeeeee")),
        (
            json!({"$regexFind": {"input": "Café Resume", "regex": "(e)(s)(u)?(x)?"}}),
            json!({"match": "esu", "idx": 6, "captures": ["e", "s", "u", null]}),
        ),
        (json!({"$regexFind": {"input": "First lines", "regex": "LINE"}}), json!(null)),
        (
            json!({"$regexFindAll": {"input": "cafétéria", "regex": "É", "options": "i"}}),
            json!([{"match": "é", "idx": 3, "captures": []}, {"match": "é", "idx": 5, "captures": []}]),
        ),
        (json!({"$regexFindAll": {"input": "$nothing", "regex": "a"}}), json!([])),
        (json!({"$regexMatch": {"input": "Single LINE description.", "regex": "line"}}), json!(false)),
        (
            json!({"$regexMatch": {"input": "Single LINE description.", "regex": "line", "options": "i"}}),
            json!(true),
        ),
        (
            json!({"$replaceAll": {"input": "blue paint, blue paint", "find": "blue", "replacement": "red"}}),
            json!("red paint, red paint"),
        ),
        (
            json!({"$replaceOne": {"input": "blue paint, blue paint", "find": "blue", "replacement": "red"}}),
            json!("red paint, blue paint"),
        ),
        (json!({"$rtrim": {"input": "  good  bye \t  "}}), json!("  good  bye")),
        (json!({"$split": ["banana split", "a"]}), json!(["b", "n", "n", " split"])),
        (json!({"$split": ["astronomical", "astro"]}), json!(["", "nomical"])),
        (json!({"$strLenBytes": {"$literal": "$€λA"}}), json!(7)),
        (json!({"$strLenCP": "cafétéria"}), json!(9)),
        (json!({"$strcasecmp": ["13Q1", "13q4"]}), json!(-1)),
        (json!({"$substr": ["1401", 0, 2]}), json!("14")),
        (json!({"$substrBytes": ["cafétéria", 0, 5]}), json!("café")),
        (json!({"$substrCP": ["cafétéria", 0, 5]}), json!("cafét")),
        (json!({"$toLower": "PRODUCT 1"}), json!("product 1")),
        (json!({"$toUpper": null}), json!("")),
        (json!({"$trim": {"input": " ggggoodbyeeeee", "chars": "e"}}), json!(" ggggoodby")),
    ]
}

fn conversions() -> Vec<(Json, Json)> {
    vec![
        (json!({"$convert": {"input": "5.5", "to": "double"}}), json!(5.5)),
        (json!({"$convert": {"input": "x", "to": "int", "onError": "none"}}), json!("none")),
        (json!({"$convert": {"input": null, "to": "int", "onNull": 0}}), json!(0)),
        (json!({"$isNumber": 8}), json!(true)),
        (json!({"$isNumber": "8"}), json!(false)),
        (json!({"$toBool": 1.99}), json!(true)),
        (json!({"$toBool": "false"}), json!(true)),
        (json!({"$toBool": null}), json!(null)),
        (json!({"$toDate": 120_000_000_000_i64}), date("1973-10-20T21:20:00Z")),
        (json!({"$toDate": "2018-03-20"}), date("2018-03-20T00:00:00Z")),
        (json!({"$toDouble": true}), json!(1)),
        (json!({"$toDouble": "-5.5"}), json!(-5.5)),
        (json!({"$toInt": 1.99999}), json!(1)),
        (json!({"$toInt": "-2"}), json!(-2)),
        (json!({"$toLong": date("2018-03-26T04:38:28.044Z")}), json!(1_522_039_108_044_i64)),
        (json!({"$toString": 2.5}), json!("2.5")),
        (json!({"$toString": date("2018-03-27T16:58:51.538Z")}), json!("2018-03-27T16:58:51.538Z")),
        (json!({"$type": "$missing"}), json!("missing")),
        (json!({"$type": "$at"}), json!("date")),
        (json!({"$type": 1.5}), json!("double")),
    ]
}

fn dates() -> Vec<(Json, Json)> {
    let start = |text: &str, unit: &str, amount: i64| json!({"startDate": date(text), "unit": unit, "amount": amount});
    let between = |from: &str, to: &str, unit: &str| json!({"$dateDiff": {"startDate": date(from), "endDate": date(to), "unit": unit}});
    vec![
        (json!({"$dateAdd": start("2020-10-31T12:10:05Z", "month", 1)}), date("2020-11-30T12:10:05Z")),
        (json!({"$dateAdd": start("2020-12-31T12:10:05Z", "hour", 24)}), date("2021-01-01T12:10:05Z")),
        (between("2019-12-31T23:59:59Z", "2020-01-01T00:00:00Z", "year"), json!(1)),
        (between("2021-01-31T00:00:00Z", "2021-03-01T00:00:00Z", "month"), json!(2)),
        (between("2021-02-01T00:00:00Z", "2021-01-31T23:00:00Z", "day"), json!(-1)),
        (
            json!({"$dateFromParts": {"year": 2017, "month": 2, "day": 8, "hour": 12}}),
            date("2017-02-08T12:00:00Z"),
        ),
        (
            json!({"$dateFromParts": {"isoWeekYear": 2017, "isoWeek": 6, "isoDayOfWeek": 3, "hour": 12}}),
            date("2017-02-08T12:00:00Z"),
        ),
        (
            json!({"$dateFromParts": {"year": 2016, "month": 12, "day": 31, "hour": 23, "minute": 46, "second": 12,
                "timezone": "-05:00"}}),
            date("2017-01-01T04:46:12Z"),
        ),
        (json!({"$dateFromParts": {"year": 2017, "month": 14, "day": 1}}), date("2018-02-01T00:00:00Z")),
        (json!({"$dateFromParts": {"year": 2017, "month": 0, "day": 1}}), date("2016-12-01T00:00:00Z")),
        (json!({"$dateFromParts": {"year": "$nothing"}}), json!(null)),
        (
            json!({"$dateFromString": {"dateString": "2017-02-08T12:10:40.787"}}),
            date("2017-02-08T12:10:40.787Z"),
        ),
        (json!({"$dateFromString": {"dateString": "x", "onError": "none"}}), json!("none")),
        (json!({"$dateSubtract": start("2020-12-31T12:10:05Z", "month", 1)}), date("2020-11-30T12:10:05Z")),
        (
            json!({"$dateToParts": {"date": date("2017-01-01T01:29:09.123Z")}}),
            json!({"year": 2017, "month": 1, "day": 1, "hour": 1, "minute": 29, "second": 9, "millisecond": 123}),
        ),
        (
            json!({"$dateToParts": {"date": date("2017-01-01T01:29:09.123Z"), "iso8601": true}}),
            json!({"isoWeekYear": 2016, "isoWeek": 52, "isoDayOfWeek": 7, "hour": 1, "minute": 29, "second": 9,
                "millisecond": 123}),
        ),
        (json!({"$dateToString": {"date": "$at", "format": "%Y-%m-%d"}}), json!("2014-01-01")),
        (
            json!({"$dateToString": {"date": "$at", "format": "%H:%M:%S:%L%z", "timezone": "+01:00"}}),
            json!("09:15:39:736+0100"),
        ),
        (json!({"$dateToString": {"date": "$nothing", "onNull": "never"}}), json!("never")),
        (
            json!({"$dateTrunc": {"date": date("2021-03-20T11:30:05Z"), "unit": "hour"}}),
            date("2021-03-20T11:00:00Z"),
        ),
        (
            json!({"$dateTrunc": {"date": date("2021-03-20T11:30:05Z"), "unit": "week"}}),
            date("2021-03-14T00:00:00Z"),
        ),
        (json!({"$dayOfMonth": "$at"}), json!(1)),
        (json!({"$dayOfWeek": "$at"}), json!(4)),
        (json!({"$dayOfYear": "$at"}), json!(1)),
        (json!({"$hour": "$at"}), json!(8)),
        (json!({"$hour": {"date": "$at", "timezone": "-05:00"}}), json!(3)),
        (json!({"$isoDayOfWeek": "$at"}), json!(3)),
        (json!({"$isoWeek": date("2009-01-04T01:00:00Z")}), json!(1)),
        (json!({"$isoWeek": {"date": date("2009-12-31T00:00:00Z")}}), json!(53)),
        (json!({"$isoWeekYear": date("2015-05-26T00:00:00Z")}), json!(2015)),
        (json!({"$isoWeekYear": date("2010-01-02T00:00:00Z")}), json!(2009)),
        (json!({"$millisecond": "$at"}), json!(736)),
        (json!({"$minute": "$at"}), json!(15)),
        (json!({"$month": "$at"}), json!(1)),
        (json!({"$second": "$at"}), json!(39)),
        (json!({"$week": "$at"}), json!(0)),
        (json!({"$year": "$at"}), json!(2014)),
        (json!({"$year": "$nothing"}), json!(null)),
    ]
}

fn arrays_and_objects() -> Vec<(Json, Json)> {
    vec![
        (json!({"$arrayElemAt": [[1, 2, 3], 0]}), json!(1)),
        (json!({"$arrayElemAt": [[1, 2, 3], -2]}), json!(2)),
        (
            json!({"$arrayToObject": [[{"k": "item", "v": "a"}, {"k": "qty", "v": 25}]]}),
            json!({"item": "a", "qty": 25}),
        ),
        (json!({"$arrayToObject": [[["item", "a"], ["qty", 25]]]}), json!({"item": "a", "qty": 25})),
        (json!({"$concatArrays": [["hello", " "], ["world"]]}), json!(["hello", " ", "world"])),
        (json!({"$concatArrays": [["hello"], "$nothing"]}), json!(null)),
        (json!({"$first": [[1, 2, 3]]}), json!(1)),
        (json!({"$firstN": {"n": 3, "input": [10, 20, 30, 40]}}), json!([10, 20, 30])),
        (json!({"$firstN": {"n": 9, "input": [null, 20]}}), json!([null, 20])),
        (json!({"$getField": {"field": "a.b", "input": {"$literal": {"a.b": 7}}}}), json!(7)),
        (json!({"$in": ["abc", ["xyz", "abc"]]}), json!(true)),
        (json!({"$indexOfArray": [["a", "abc", ["de"]], ["de"]]}), json!(2)),
        (json!({"$indexOfArray": [[10, 9, 9, 8, 9], 9, 3]}), json!(4)),
        (json!({"$indexOfArray": [[1, 2], 5]}), json!(-1)),
        (json!({"$isArray": ["hello"]}), json!(false)),
        (json!({"$isArray": [["hello"]]}), json!(true)),
        (json!({"$last": [[1, 2, 3]]}), json!(3)),
        (json!({"$lastN": {"n": 3, "input": [10, 20, 30, 40]}}), json!([20, 30, 40])),
        (json!({"$maxN": {"n": 2, "input": [10, null, 20, 30, 40]}}), json!([40, 30])),
        (json!({"$minN": {"n": 2, "input": [10, null, 20, 30, 40]}}), json!([10, 20])),
        (json!({"$mergeObjects": [{"a": 1, "b": 1}, null, {"b": 2}]}), json!({"a": 1, "b": 2})),
        (
            json!({"$objectToArray": {"item": "foo", "qty": 25}}),
            json!([{"k": "item", "v": "foo"}, {"k": "qty", "v": 25}]),
        ),
        (json!({"$range": [0, 10, 2]}), json!([0, 2, 4, 6, 8])),
        (json!({"$range": [10, 0, -5]}), json!([10, 5])),
        (json!({"$range": [0, 10, -2]}), json!([])),
        (json!({"$reverseArray": [[1, [2, 3]]]}), json!([[2, 3], 1])),
        (json!({"$setField": {"field": "b", "input": {"a": 1}, "value": 5}}), json!({"a": 1, "b": 5})),
        (json!({"$size": [[1, 2]]}), json!(2)),
        (json!({"$slice": [[1, 2, 3], 1, 1]}), json!([2])),
        (json!({"$slice": [[1, 2, 3], -2]}), json!([2, 3])),
        (json!({"$slice": [[1, 2, 3], -15, 2]}), json!([1, 2])),
        (json!({"$slice": [[1, 2, 3], 15, 2]}), json!([])),
        (json!({"$sortArray": {"input": [1, 4, 1, 12, 5], "sortBy": 1}}), json!([1, 1, 4, 5, 12])),
        (
            json!({"$sortArray": {"input": [{"a": 1}, {"a": 2}], "sortBy": {"a": -1}}}),
            json!([{"a": 2}, {"a": 1}]),
        ),
        (json!({"$unsetField": {"field": "b", "input": {"a": 1, "b": 5}}}), json!({"a": 1})),
        (json!({"$zip": {"inputs": [["a"], ["b"], ["c"]]}}), json!([["a", "b", "c"]])),
        (json!({"$zip": {"inputs": [[1, 2, 3], ["a"]]}}), json!([[1, "a"]])),
        (
            json!({"$zip": {"inputs": [[1], [2, 3]], "useLongestLength": true, "defaults": ["a", "b"]}}),
            json!([[1, 2], ["a", 3]]),
        ),
        (json!({"$zip": {"inputs": [[1], "$nothing"]}}), json!(null)),
        (json!({"$allElementsTrue": [[true, 1, "some"]]}), json!(true)),
        (json!({"$allElementsTrue": [[null, 1]]}), json!(false)),
        (json!({"$allElementsTrue": [[]]}), json!(true)),
        (json!({"$anyElementTrue": [[[false]]]}), json!(true)),
        (json!({"$anyElementTrue": [[null, false, 0]]}), json!(false)),
        (json!({"$setDifference": [["a", "b"], [["a", "b"]]]}), json!(["a", "b"])),
        (json!({"$setEquals": [["a", "b", "a"], ["b", "a"]]}), json!(true)),
        (json!({"$setIntersection": [["a", "b", "a"], ["b", "c"]]}), json!(["b"])),
        (json!({"$setIsSubset": [["a", "b"], [["a", "b"]]]}), json!(false)),
        (json!({"$setUnion": [["a", "b", "a"], ["b", "a"]]}), json!(["a", "b"])),
    ]
}

fn forms() -> Vec<(Json, Json)> {
    vec![
        (json!({"$and": [1, "green"]}), json!(true)),
        (json!({"$and": []}), json!(true)),
        (json!({"$and": [[null], [false], [0]]}), json!(true)),
        (json!({"$and": [null, true]}), json!(false)),
        (json!({"$or": []}), json!(false)),
        (json!({"$or": [{"$gt": ["$n", 9]}, {"$lt": ["$n", 6]}]}), json!(true)),
        (json!({"$cond": [{"$gte": ["$n", 250]}, 30, 20]}), json!(20)),
        (json!({"$cond": {"if": {"$gte": ["$n", 5]}, "then": 30, "else": 20}}), json!(30)),
        (json!({"$ifNull": ["$missing", "$nothing", "unspecified"]}), json!("unspecified")),
        (
            json!({"$switch": {"branches": [{"case": {"$eq": ["$n", 0]}, "then": "0"}, {"case": {"$gt": ["$n", 0]}, "then": "+"}], "default": "-"}}),
            json!("+"),
        ),
        (
            json!({"$let": {"vars": {"total": {"$add": ["$price", "$tax"]}, "rate": 0.5}, "in": {"$multiply": ["$$total", "$$rate"]}}}),
            json!(5.25),
        ),
        (
            json!({"$filter": {"input": [1, "a", 2, null, 3.1], "as": "num", "cond": {"$isNumber": "$$num"}, "limit": 2}}),
            json!([1, 2]),
        ),
        (
            json!({"$map": {"input": [5, 6, 7], "as": "grade", "in": {"$add": ["$$grade", 2]}}}),
            json!([7, 8, 9]),
        ),
        (
            json!({"$reduce": {"input": ["a", "b", "c"], "initialValue": "", "in": {"$concat": ["$$value", "$$this"]}}}),
            json!("abc"),
        ),
        (json!({"$literal": "$1"}), json!("$1")),
        (json!("$$REMOVE"), json!(null)),
    ]
}

fn examples() -> Vec<(Json, Json)> {
    [numbers(), angles(), comparisons(), strings(), conversions(), dates(), arrays_and_objects(), forms()]
        .concat()
}

#[test]
fn every_operator_answers_what_the_manual_says() {
    for (expression, wanted) in examples() {
        let found = evaluated(&expression).unwrap_or_else(|error| panic!("{expression}: {error:?}"));
        assert!(equal(&found.clone().unwrap_or_default(), &wanted), "{expression}: {found:?}, not {wanted}");
    }
}

#[test]
fn no_operator_lacks_an_example() {
    let names = |(expression, _): (Json, Json)| {
        expression.as_object().and_then(|fields| fields.keys().next().cloned())
    };
    let shown: Vec<String> = examples().into_iter().filter_map(names).collect();
    let all = OPERATORS.iter().map(|operator| operator.name).chain(OTHERS);
    let missing: Vec<&str> = all.filter(|name| !shown.iter().any(|shown| shown == name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn places_beyond_an_array_hold_nothing() {
    for expression in [
        json!({"$arrayElemAt": [[1, 2, 3], 15]}),
        json!({"$first": [[]]}),
        json!({"$last": [[]]}),
        json!({"$getField": {"field": "x", "input": Map::new()}}),
        json!("$missing.deeper"),
    ] {
        assert_eq!(evaluated(&expression), Ok(None), "{expression}");
    }
}

#[test]
fn what_an_operator_cannot_do_is_refused() {
    for expression in [
        json!({"$add": [1, "a"]}),
        json!({"$divide": [1, 0]}),
        json!({"$mod": [1, 0]}),
        json!({"$sqrt": -1}),
        json!({"$ln": 0}),
        json!({"$concat": ["a", 1]}),
        json!({"$toInt": "2.5"}),
        json!({"$toDate": "no date"}),
        json!({"$size": "a"}),
        json!({"$in": [1, 2]}),
        json!({"$arrayElemAt": ["a", 0]}),
        json!({"$range": [0, 10, 0]}),
        json!({"$switch": {"branches": [{"case": false, "then": 1}]}}),
        json!({"$allElementsTrue": [1]}),
        json!({"$year": "a"}),
        json!({"$acos": 2}),
        json!({"$dateFromParts": {"month": 2}}),
        json!({"$dateFromParts": {"year": 2017, "isoWeek": 2}}),
        json!({"$dateFromParts": {"year": 0}}),
        json!({"$dateFromParts": {"year": 2017, "day": 40_000}}),
        json!({"$firstN": {"n": 0, "input": [1]}}),
        json!({"$maxN": {"n": 1, "input": 5}}),
        json!({"$regexFind": {"input": "a", "regex": "("}}),
        json!({"$zip": {"inputs": [[1], [2]], "defaults": [1, 2]}}),
        json!({"$zip": {"inputs": [1]}}),
        json!({"$subtract": [1]}),
        json!({"$cond": [true, 1]}),
        json!({"$noSuch": 1}),
    ] {
        let refused = evaluated(&expression);
        assert_eq!(refused.map_err(|error| error.code), Err(ErrorCode::BadRequest), "{expression}");
    }
}
