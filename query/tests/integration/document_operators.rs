//! Each operator of the query language once, with the answer that MongoDB's documentation gives, on documents that lie
//! whole and on documents whose attributes lie in several column groups.

use crate::support::{Cluster, VERTICAL, listed, moment};
use common::ErrorCode;
use query::documents;
use serde_json::{Value as Json, json};

fn clusters() -> [Cluster; 2] {
    [Cluster::hashed(3, None), Cluster::layout(VERTICAL, None)]
}

async fn fill(cluster: &Cluster, documents: Json) {
    let Json::Array(documents) = documents else { panic!("a list is wanted") };
    documents::insert(&cluster.planner(), cluster, "c", documents, moment(1)).await.unwrap();
}

async fn empty(cluster: &Cluster) {
    documents::delete_many(&cluster.planner(), cluster, "c", &json!({"filter": {}})).await.unwrap();
}

fn ids(documents: &[Json]) -> Json {
    documents.iter().map(|document| document["_id"].clone()).collect()
}

async fn find(cluster: &Cluster, request: &Json) -> Vec<Json> {
    let found = documents::find(&cluster.planner(), cluster, "c", request).await;
    listed(&found.unwrap_or_else(|error| panic!("{request}: {error:?}")))
}

#[tokio::test]
async fn every_operator_of_filters() {
    let all = json!([
        {"_id": 1, "n": 5, "s": "Ann", "a": [1, 2, 3], "o": {"x": 1, "y": [{"z": 7}, {"z": 8, "w": 1}]}},
        {"_id": 2, "n": 10.5, "s": "bob", "a": [], "o": {"x": null}},
        {"_id": 3, "n": "5", "a": [[4], 5], "b": true, "d": {"$date": "2024-01-31T12:00:00Z"}},
        {"_id": 4, "n": null, "s": "a.c\nx", "a": 2, "b": false},
        {"_id": 5, "l": 9_007_199_254_740_993_i64, "m": {"$numberDecimal": "1.50"}, "i": {"$oid": "0123456789abcdef01234567"}},
    ]);
    for cluster in clusters() {
        fill(&cluster, all.clone()).await;
        for (filter, wanted) in [
            (json!({"n": {"$eq": 5}}), json!([1])),
            (json!({"n": {"$ne": 5}}), json!([2, 3, 4, 5])),
            (json!({"n": {"$gt": 5}}), json!([2])),
            (json!({"n": {"$gte": 5}}), json!([1, 2])),
            (json!({"n": {"$lt": 10.5}}), json!([1])),
            (json!({"n": {"$lte": "5"}}), json!([3])),
            (json!({"n": {"$in": [5, "5", null]}}), json!([1, 3, 4, 5])),
            (json!({"n": {"$nin": [5, "5", null]}}), json!([2])),
            (json!({"$and": [{"n": {"$gt": 1}}, {"s": "bob"}]}), json!([2])),
            (json!({"$or": [{"b": true}, {"s": "Ann"}]}), json!([1, 3])),
            (json!({"$nor": [{"b": true}, {"s": "Ann"}]}), json!([2, 4, 5])),
            (json!({"n": {"$not": {"$gte": 5}}}), json!([3, 4, 5])),
            (json!({"n": {"$exists": true}, "s": {"$exists": false}}), json!([3])),
            (json!({"n": {"$type": "string"}}), json!([3])),
            (json!({"n": {"$type": ["double", 10]}}), json!([2, 4])),
            (json!({"l": {"$type": "long"}}), json!([5])),
            (json!({"m": {"$type": "decimal"}, "i": {"$type": "objectId"}}), json!([5])),
            (json!({"d": {"$type": "date"}}), json!([3])),
            (json!({"s": {"$regex": "^a", "$options": "i"}}), json!([1, 4])),
            (json!({"s": {"$regex": "a.c.x", "$options": "s"}}), json!([4])),
            (json!({"s": {"$regex": "^x$", "$options": "m"}}), json!([4])),
            (json!({"s": {"$regex": "b o b # so", "$options": "x"}}), json!([2])),
            (json!({"o.y": {"$elemMatch": {"z": 8, "w": 1}}}), json!([1])),
            (json!({"a": {"$elemMatch": {"$gt": 2, "$lt": 4}}}), json!([1])),
            (json!({"a": {"$all": [3, 1]}}), json!([1])),
            (json!({"a": {"$size": 0}}), json!([2])),
            (json!({"n": {"$mod": [5, 0]}}), json!([1, 2])),
            (
                json!({"$expr": {"$lt": [{"$size": {"$cond": [{"$isArray": "$a"}, "$a", []]}}, 2]}, "s": {"$exists": true}}),
                json!([2, 4]),
            ),
            (json!({"o.y.z": 8}), json!([1])),
            (json!({"o.y.1.w": 1}), json!([1])),
            (json!({"a.0": 1}), json!([1])),
            (json!({"a.0": [4]}), json!([3])),
            // An index ends at the element: the elements of an array there are not looked at.
            (json!({"a.0": 4}), json!([])),
            (json!({"a.0.0": 4}), json!([3])),
            (json!({"a": 2}), json!([1, 4])),
            (json!({"a": [1, 2, 3]}), json!([1])),
            (json!({"o.x": null}), json!([2, 3, 4, 5])),
            (json!({"l": 9_007_199_254_740_993_i64}), json!([5])),
            (json!({"l": 9_007_199_254_740_992_i64}), json!([])),
            (json!({"m": 1.5}), json!([5])),
            (json!({"d": {"$gte": {"$date": "2024-01-31T12:00:00Z"}}}), json!([3])),
            (json!({"$comment": "why", "_id": {"$gt": 4}}), json!([5])),
        ] {
            let found = find(&cluster, &json!({ "filter": filter })).await;
            assert_eq!(ids(&found), wanted, "{filter}");
        }
        for (request, wanted) in [
            (json!({"sort": {"n": 1, "_id": -1}}), json!([5, 4, 1, 2, 3])),
            (json!({"sort": {"n": -1}, "skip": 1, "limit": 2}), json!([2, 1])),
            (json!({"sort": {"a": -1}}), json!([3, 1, 4, 5, 2])),
        ] {
            assert_eq!(ids(&find(&cluster, &request).await), wanted, "{request}");
        }
        for (projection, wanted) in [
            (json!({"s": 1, "o.x": 1}), json!({"_id": 1, "s": "Ann", "o": {"x": 1}})),
            (json!({"a": {"$slice": [1, 1]}, "n": 1, "_id": 0}), json!({"n": 5, "a": [2]})),
            (json!({"o.y": {"$elemMatch": {"z": 8}}}), json!({"_id": 1, "o": {"y": [{"z": 8, "w": 1}]}})),
            (json!({"a.$": 1}), json!({"_id": 1, "a": [2]})),
        ] {
            let request = json!({"filter": {"_id": 1, "a": {"$gt": 1}}, "projection": projection});
            assert_eq!(find(&cluster, &request).await, [wanted], "{projection}");
        }
    }
}

#[tokio::test]
async fn every_operator_of_updates() {
    for cluster in clusters() {
        fill(&cluster, json!([{}])).await;
        for (before, update, filters, after) in [
            (json!({"a": 1}), json!({"$set": {"b.c": 2}}), Json::Null, json!({"a": 1, "b": {"c": 2}})),
            (json!({"a": 1, "b": 2}), json!({"$unset": {"a": ""}}), Json::Null, json!({"b": 2})),
            (
                json!({"n": 9_007_199_254_740_993_i64}),
                json!({"$inc": {"n": 2, "m": 1}}),
                Json::Null,
                json!({"n": 9_007_199_254_740_995_i64, "m": 1}),
            ),
            (json!({"n": 3}), json!({"$mul": {"n": 1.5, "m": 2}}), Json::Null, json!({"n": 4.5, "m": 0})),
            (json!({"n": 3}), json!({"$min": {"n": 2, "m": 5}}), Json::Null, json!({"n": 2, "m": 5})),
            (json!({"n": 3}), json!({"$max": {"n": "a"}}), Json::Null, json!({"n": "a"})),
            // Only a greater value takes the place of another.
            (
                json!({"n": 3}),
                json!({"$max": {"n": 3.0}, "$set": {"m": 1}}),
                Json::Null,
                json!({"n": 3, "m": 1}),
            ),
            (
                json!({"a": 1, "b": 2}),
                json!({"$rename": {"a": "c.d"}}),
                Json::Null,
                json!({"b": 2, "c": {"d": 1}}),
            ),
            (
                json!({"a": 1}),
                json!({"$setOnInsert": {"b": 1}, "$set": {"a": 2}}),
                Json::Null,
                json!({"a": 2}),
            ),
            (
                json!({"a": 1}),
                json!({"$currentDate": {"d": true}}),
                Json::Null,
                json!({"a": 1, "d": {"$date": "1970-01-01T00:00:00.009Z"}}),
            ),
            (json!({"a": [1]}), json!({"$push": {"a": [2]}}), Json::Null, json!({"a": [1, [2]]})),
            (
                json!({"a": [5, 1]}),
                json!({"$push": {"a": {"$each": [3, 4], "$sort": -1, "$slice": 3}}}),
                Json::Null,
                json!({"a": [5, 4, 3]}),
            ),
            (
                json!({"a": [1, 2]}),
                json!({"$push": {"a": {"$each": [9], "$position": 1}}}),
                Json::Null,
                json!({"a": [1, 9, 2]}),
            ),
            (
                json!({"a": [1]}),
                json!({"$addToSet": {"a": {"$each": [1, 2, 2]}}}),
                Json::Null,
                json!({"a": [1, 2]}),
            ),
            (
                json!({"a": [1, 5, {"b": 1}]}),
                json!({"$pull": {"a": {"$gte": 5}}}),
                Json::Null,
                json!({"a": [1, {"b": 1}]}),
            ),
            (json!({"a": [1, 5, 1]}), json!({"$pullAll": {"a": [1]}}), Json::Null, json!({"a": [5]})),
            (json!({"a": [1, 2, 3]}), json!({"$pop": {"a": -1}}), Json::Null, json!({"a": [2, 3]})),
            (json!({"k": [1, 2, 3]}), json!({"$set": {"k.$": 9}}), Json::Null, json!({"k": [1, 9, 3]})),
            (
                json!({"a": [{"b": 1}, {"b": 2}]}),
                json!({"$inc": {"a.$[].b": 1}}),
                Json::Null,
                json!({"a": [{"b": 2}, {"b": 3}]}),
            ),
            (
                json!({"a": [1, 5]}),
                json!({"$set": {"a.$[x]": 0}}),
                json!([{"x": {"$gt": 3}}]),
                json!({"a": [1, 0]}),
            ),
            (json!({"a": 1, "b": 2}), json!({"c": 3}), Json::Null, json!({"c": 3})),
        ] {
            empty(&cluster).await;
            let mut document = before.clone();
            document["_id"] = json!(1);
            fill(&cluster, json!([document])).await;
            let filter = if before.get("k").is_some() { json!({"k": 2}) } else { json!({}) };
            let many = update.as_object().unwrap().keys().all(|name| name.starts_with('$'));
            let request = json!({"filter": filter, "update": update, "arrayFilters": filters, "multi": many});
            let done = documents::update(&cluster.planner(), &cluster, "c", &request, moment(9)).await;
            assert_eq!(done.unwrap_or_else(|error| panic!("{update}: {error:?}")).modified, 1, "{update}");
            let mut found = find(&cluster, &json!({})).await.remove(0);
            let fields = found.as_object_mut().unwrap();
            fields.retain(|name, _| {
                !["_id", "_version", "_created_at", "_updated_at"].contains(&name.as_str())
            });
            assert_eq!(found, after, "{update}");
        }
        let upsert = json!({"filter": {"_id": "new", "a": 1}, "update": {"$setOnInsert": {"b": 2}, "$inc": {"c": 3}}, "upsert": true});
        let done = documents::update(&cluster.planner(), &cluster, "c", &upsert, moment(9)).await.unwrap();
        assert_eq!(done.upserted_id, Some(json!("new")));
        let made = find(&cluster, &json!({"filter": {"_id": "new"}, "projection": ["a", "b", "c"]})).await;
        assert_eq!(made, [json!({"_id": "new", "a": 1, "b": 2, "c": 3})]);
    }
}

#[tokio::test]
async fn every_stage_and_accumulator() {
    for cluster in clusters() {
        fill(
            &cluster,
            json!([
                {"_id": 1, "g": "x", "n": 1, "t": ["a", "b"], "o": {"p": 1}},
                {"_id": 2, "g": "y", "n": 2, "t": [], "o": {"q": 2}},
                {"_id": 3, "g": "x", "n": 4, "t": ["b"], "o": {"p": 3}},
            ]),
        )
        .await;
        for (pipeline, wanted) in [
            (
                json!([{"$match": {"n": {"$gt": 1}}}, {"$project": {"n": 1}}]),
                json!([{"_id": 2, "n": 2}, {"_id": 3, "n": 4}]),
            ),
            (
                json!([{"$addFields": {"m": {"$add": ["$n", 1]}}}, {"$set": {"k": "$m"}}, {"$unset": ["m", "t", "o", "g"]}, {"$limit": 1}, {"$project": {"k": 1}}]),
                json!([{"_id": 1, "k": 2}]),
            ),
            (
                json!([{"$group": {"_id": "$g", "sum": {"$sum": "$n"}, "avg": {"$avg": "$n"}, "min": {"$min": "$n"}, "max": {"$max": "$n"},
                    "first": {"$first": "$n"}, "last": {"$last": "$n"}, "push": {"$push": "$n"}, "set": {"$addToSet": "$g"}, "count": {"$count": {}}}}]),
                json!([
                    {"_id": "x", "sum": 5, "avg": 2.5, "min": 1, "max": 4, "first": 1, "last": 4, "push": [1, 4], "set": ["x"], "count": 2},
                    {"_id": "y", "sum": 2, "avg": 2.0, "min": 2, "max": 2, "first": 2, "last": 2, "push": [2], "set": ["y"], "count": 1},
                ]),
            ),
            (
                json!([{"$sort": {"n": -1}}, {"$skip": 1}, {"$limit": 1}, {"$project": {"n": 1}}]),
                json!([{"_id": 2, "n": 2}]),
            ),
            (
                json!([{"$unwind": {"path": "$t", "includeArrayIndex": "i"}}, {"$project": {"t": 1, "i": 1}}]),
                json!([{"_id": 1, "t": "a", "i": 0}, {"_id": 1, "t": "b", "i": 1}, {"_id": 3, "t": "b", "i": 0}]),
            ),
            (
                json!([{"$match": {"_id": 2}}, {"$lookup": {"from": "c", "localField": "n", "foreignField": "_id", "as": "l"}}, {"$project": {"l.n": 1}}]),
                json!([{"_id": 2, "l": [{"n": 2}]}]),
            ),
            (json!([{"$count": "all"}]), json!([{"all": 3}])),
            (
                json!([{"$facet": {"a": [{"$count": "n"}], "b": [{"$match": {"g": "y"}}, {"$project": {"_id": 1}}]}}]),
                json!([{"a": [{"n": 3}], "b": [{"_id": 2}]}]),
            ),
            (
                json!([{"$bucket": {"groupBy": "$n", "boundaries": [0, 2, 5]}}]),
                json!([{"_id": 0, "count": 1}, {"_id": 2, "count": 2}]),
            ),
            (json!([{"$sortByCount": "$g"}]), json!([{"_id": "x", "count": 2}, {"_id": "y", "count": 1}])),
            (json!([{"$match": {"_id": 1}}, {"$replaceRoot": {"newRoot": "$o"}}]), json!([{"p": 1}])),
            (json!([{"$replaceWith": {"v": "$n"}}, {"$match": {"v": 4}}]), json!([{"v": 4}])),
            (json!([{"$sample": {"size": 9}}, {"$count": "n"}]), json!([{"n": 3}])),
            (
                json!([{"$match": {"_id": 1}}, {"$unionWith": {"coll": "c", "pipeline": [{"$match": {"_id": 2}}]}}, {"$project": {"_id": 1}}]),
                json!([{"_id": 1}, {"_id": 2}]),
            ),
        ] {
            let request = json!({ "pipeline": pipeline });
            let made = documents::aggregate(&cluster.planner(), &cluster, "c", &request, moment(0)).await;
            let made = made.unwrap_or_else(|error| panic!("{pipeline}: {error:?}"));
            assert_eq!(Json::Array(listed(&made)), wanted, "{pipeline}");
        }
    }
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_its_place() {
    let cluster = Cluster::hashed(1, None);
    fill(&cluster, json!([{"_id": 1, "a": [1]}])).await;
    let planner = cluster.planner();
    for (filter, place) in [
        (json!({"a": {"$near": 1}}), "/filter/a/$near"),
        (json!({"$bad": 1}), "/filter/$bad"),
        (json!({"a": {"$in": 1}}), "/filter/a/$in"),
        (json!({"a": {"$regex": "("}}), "/filter/a/$regex"),
        (json!({"$or": []}), "/filter/$or"),
        (json!({"a": {"$size": -1}}), "/filter/a/$size"),
        (json!({"a": {"$mod": [0, 1]}}), "/filter/a/$mod/0"),
        (json!({"a": {"$type": "text"}}), "/filter/a/$type"),
        (json!({"d": {"$date": "soon"}}), "/filter/d/$date"),
        (json!({"$expr": {"$pluss": [1, 2]}}), "/filter/$expr/$pluss"),
    ] {
        let request = json!({ "filter": filter });
        let refused = documents::find(&planner, &cluster, "c", &request).await.unwrap_err();
        assert!(
            matches!(refused.code, ErrorCode::BadRequest | ErrorCode::NotSupported),
            "{filter}: {refused:?}"
        );
        assert!(refused.message.contains(&format!("(at {place})")), "{filter}: {}", refused.message);
    }
    for (update, place) in [
        (json!({"$sett": {"a": 1}}), "/update"),
        (json!({"$set": {"a": 1}, "$inc": {"a.b": 1}}), "/update"),
        (json!({"$set": {"_version": 1}}), "/update"),
        (json!({"$push": {"a": {"$each": 1}}}), "/update"),
        (json!({"$set": {"a.$[x]": 1}}), "/update"),
    ] {
        let request = json!({"filter": {}, "update": update});
        let refused = documents::update(&planner, &cluster, "c", &request, moment(0)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest, "{update}: {refused:?}");
        assert!(refused.message.contains(&format!("(at {place}")), "{update}: {}", refused.message);
    }
    let large = json!({"a": "x".repeat(16 << 20)});
    let refused = documents::insert(&planner, &cluster, "c", vec![large], moment(0)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ValueTooBig);
    let kept = json!([{"_id": 2, "i": i64::MAX, "l": {"$numberLong": "9007199254740993"}, "d": {"$date": {"$numberLong": "-1"}},
        "m": {"$numberDecimal": "0.10"}, "o": {"$oid": "0123456789ABCDEF01234567"}, "b": {"$binary": {"base64": "AQI=", "subType": "0"}}}]);
    fill(&cluster, kept).await;
    let found =
        find(&cluster, &json!({"filter": {"_id": 2}, "projection": ["i", "l", "d", "m", "o", "b"]})).await;
    assert_eq!(
        found[0].to_string(),
        r#"{"_id":2,"i":9223372036854775807,"l":9007199254740993,"d":{"$date":"1969-12-31T23:59:59.999Z"},"m":{"$numberDecimal":"0.10"},"o":{"$oid":"0123456789abcdef01234567"},"b":{"$binary":{"base64":"AQI=","subType":"00"}}}"#
    );
}
