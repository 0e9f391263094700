//! Documents: by id, by filter, with versions.

use crate::support::{Cluster, listed, moment, parsed};
use common::{ErrorCode, Value};
use query::documents::{self, Precondition};
use serde_json::{Value as Json, json};

const NOW: u64 = 1_700_000_000_000;

async fn insert(cluster: &Cluster, documents: Vec<Json>) -> Vec<Json> {
    documents::insert(&cluster.planner(), cluster, "people", documents, moment(NOW)).await.unwrap()
}

async fn find(cluster: &Cluster, request: Json) -> Vec<Json> {
    listed(&documents::find(&cluster.planner(), cluster, "people", &request).await.unwrap())
}

async fn people(buckets: u32) -> Cluster {
    let cluster = Cluster::hashed(buckets, None);
    let documents = (1..=30)
        .map(|id| json!({"_id": id, "name": format!("n{id}"), "age": 20 + id % 5, "home": {"city": if id % 2 == 0 { "Rom" } else { "Ulm" }}}))
        .collect();
    insert(&cluster, documents).await;
    cluster
}

#[tokio::test]
async fn a_document_lives_under_its_id() {
    for buckets in [1, 4] {
        let cluster = Cluster::hashed(buckets, None);
        let ids =
            insert(&cluster, vec![json!({"z": 1, "a": 9_007_199_254_740_993_i64}), json!({"_id": "x"})])
                .await;
        assert_eq!(ids[0].as_str().unwrap().len(), 26);
        assert_eq!(ids[1], "x");
        let planner = cluster.planner();
        let found = documents::get(&planner, &cluster, "people", ids[0].as_str().unwrap()).await.unwrap();
        assert_eq!(found.version, 1);
        assert_eq!(
            found.text,
            format!(
                "{{\"_id\":{},\"z\":1,\"a\":9007199254740993,\"_version\":1,\
                 \"_created_at\":\"2023-11-14T22:13:20.000Z\",\"_updated_at\":\"2023-11-14T22:13:20.000Z\"}}",
                ids[0]
            )
        );
        let error = documents::get(&planner, &cluster, "people", "nobody").await.unwrap_err();
        assert_eq!(error.code, ErrorCode::DocumentNotFound);
        let error = documents::get(&planner, &cluster, "nowhere", "1").await.unwrap_err();
        assert_eq!(error.code, ErrorCode::CollectionNotFound);
        let again = documents::insert(
            &planner,
            &cluster,
            "people",
            vec![json!({}), json!({"_id": "x"})],
            moment(NOW + 1),
        );
        assert_eq!(again.await.unwrap_err().code, ErrorCode::UniqueViolation);
        assert_eq!(documents::count(&planner, &cluster, "people", &json!({})).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn put_patch_and_delete_check_versions() {
    let cluster = people(4).await;
    let planner = cluster.planner();
    let put = |id: &'static str, document: Json, precondition: Precondition| {
        documents::put(&planner, &cluster, "people", id, document, precondition, moment(NOW + 5))
    };
    let (document, created) = put("100", json!({"a": 1}), Precondition::None).await.unwrap();
    assert!(created && document.version == 1);
    let (document, created) = put("100", json!({"a": 2}), Precondition::Version(vec![1])).await.unwrap();
    assert!(!created && document.version == 2);
    for refused in [Precondition::Version(vec![1]), Precondition::Absent] {
        let error = put("100", json!({"a": 3}), refused).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PreconditionFailed);
    }
    assert_eq!(
        put("101", json!({}), Precondition::Exists).await.unwrap_err().code,
        ErrorCode::PreconditionFailed
    );
    let (document, created) = put("100", json!({"a": {"b": 1, "c": 2}}), Precondition::None).await.unwrap();
    assert!(!created && document.version == 3);
    let patch = |patch: Json| {
        documents::patch(&planner, &cluster, "people", "100", patch, Precondition::None, moment(NOW + 6))
    };
    let patched = patch(json!({"a": {"b": null, "d": 3}})).await.unwrap();
    assert_eq!(parsed(&patched)["a"], json!({"c": 2, "d": 3}));
    let patched = patch(json!({"$inc": {"a.c": 5}, "$unset": {"a.d": 1}})).await.unwrap();
    assert_eq!(parsed(&patched)["a"], json!({"c": 7}));
    assert_eq!(patched.version, 5);
    let delete =
        |precondition: Precondition| documents::delete(&planner, &cluster, "people", "100", precondition);
    assert_eq!(delete(Precondition::Version(vec![4])).await.unwrap_err().code, ErrorCode::PreconditionFailed);
    delete(Precondition::Version(vec![5])).await.unwrap();
    assert_eq!(delete(Precondition::None).await.unwrap_err().code, ErrorCode::DocumentNotFound);
}

#[tokio::test]
async fn filters_sort_and_project() {
    for buckets in [1, 3] {
        let cluster = people(buckets).await;
        let ids =
            |documents: Vec<Json>| documents.iter().map(|d| d["_id"].as_i64().unwrap()).collect::<Vec<_>>();
        assert_eq!(
            ids(find(&cluster, json!({"filter": {"age": {"$gte": 23}, "home.city": "Rom"}, "sort": [["age", -1], ["_id", 1]], "limit": 3, "skip": 1})).await),
            [14, 24, 8]
        );
        assert_eq!(ids(find(&cluster, json!({"filter": {"_id": {"$in": [3, 5, "x"]}}})).await), [3, 5]);
        assert_eq!(
            ids(find(&cluster, json!({"filter": {"$or": [{"name": "n1"}, {"_id": 2}]}})).await),
            [1, 2]
        );
        assert_eq!(find(&cluster, json!({"filter": {"age": {"$nin": [20, 21, 22]}}})).await.len(), 12);
        assert_eq!(find(&cluster, json!({"filter": {"age": "23"}})).await.len(), 0);
        assert_eq!(
            find(&cluster, json!({"filter": {"gone": {"$exists": false}, "age": {"$ne": 20}}})).await.len(),
            24
        );
        assert_eq!(
            find(&cluster, json!({"filter": {"_id": 4}, "projection": {"home.city": 1}})).await,
            [json!({"_id": 4, "home": {"city": "Rom"}})]
        );
        let planner = cluster.planner();
        let bad = documents::find(&planner, &cluster, "people", &json!({"filter": {"$where": "x"}})).await;
        assert_eq!(bad.unwrap_err().code, ErrorCode::NotSupported);
        let text = json!({"filter": "name == 'n7' and age > 20"});
        assert_eq!(ids(find(&cluster, text).await), [7]);
        assert_eq!(
            cluster.rows("SELECT doc ->> '$.name' FROM people WHERE _id = 7").await,
            [[Value::from("n7")]]
        );
    }
}

#[tokio::test]
async fn updates_and_deletes_follow_filters() {
    let cluster = people(4).await;
    let planner = cluster.planner();
    let update = |request: Json| {
        let (planner, cluster) = (&planner, &cluster);
        async move { documents::update(planner, cluster, "people", &request, moment(NOW + 9)).await }
    };
    let done = update(json!({"filter": {"age": 21}, "update": {"$inc": {"age": 100}}})).await.unwrap();
    assert_eq!((done.matched, done.modified), (6, 6));
    let done = update(json!({"filter": {"age": 121}, "update": {"$set": {"age": 121}}})).await.unwrap();
    assert_eq!((done.matched, done.modified), (6, 0));
    let done =
        update(json!({"filter": {"age": 121}, "update": {"$set": {"x": 1}}, "multi": false})).await.unwrap();
    assert_eq!((done.matched, done.modified), (1, 1));
    let done =
        update(json!({"filter": {"_id": "new", "k": 2}, "update": {"$set": {"x": 1}}, "upsert": true}))
            .await
            .unwrap();
    assert_eq!(done.upserted_id, Some(json!("new")));
    assert_eq!(
        find(&cluster, json!({"filter": {"k": 2}, "projection": ["x"]})).await,
        [json!({"_id": "new", "x": 1})]
    );
    let delete = |request: Json| {
        let (planner, cluster) = (&planner, &cluster);
        async move { documents::delete_many(planner, cluster, "people", &request).await.unwrap() }
    };
    assert_eq!(delete(json!({"filter": {"age": 121}, "multi": false})).await, 1);
    assert_eq!(delete(json!({"filter": {"age": 121}})).await, 5);
    for forgotten in [json!({}), json!({"filter": null, "multi": true})] {
        let refused = documents::delete_many(&planner, &cluster, "people", &forgotten).await.unwrap_err();
        assert!(refused.message.contains("'filter'") && refused.hint.is_some(), "{refused:?}");
    }
    assert_eq!(delete(json!({"filter": {}})).await, 25);
}

#[tokio::test]
async fn simple_changes_of_one_document_need_no_reading() {
    let cluster = people(4).await;
    let planner = cluster.planner();
    let update = |update: Json| {
        let request = json!({"filter": {"_id": 7, "home.city": "Ulm"}, "update": update});
        let (planner, cluster) = (&planner, &cluster);
        async move {
            cluster.read.lock().unwrap().clear();
            let done =
                documents::update(planner, cluster, "people", &request, moment(NOW + 9)).await.unwrap();
            (done.matched, done.modified, cluster.read.lock().unwrap().len())
        }
    };
    assert_eq!(
        update(json!({"$set": {"name": "seven", "new": null}, "$inc": {"age": 100}})).await,
        (1, 1, 0)
    );
    assert_eq!(
        update(json!({"$set": {"name": "seven"}})).await,
        (1, 0, 1),
        "nothing changes: it is looked at"
    );
    assert_eq!(update(json!({"$inc": {"visits": 1}})).await, (1, 1, 1), "there is nothing to count up yet");
    assert_eq!(update(json!({"$inc": {"visits": 1}})).await, (1, 1, 0));
    let wanted =
        json!({"_id": 7, "name": "seven", "age": 122, "home": {"city": "Ulm"}, "new": null, "visits": 2});
    let found = documents::get(&planner, &cluster, "people", "7").await.unwrap();
    let Json::Object(mut fields) = parsed(&found) else { panic!() };
    fields.retain(|name, _| name == "_id" || !name.starts_with('_'));
    assert_eq!((Json::Object(fields).to_string(), found.version), (wanted.to_string(), 4));
}

#[tokio::test]
async fn a_unique_index_holds_over_all_partitions() {
    for buckets in [1, 4] {
        let cluster = people(buckets).await;
        let make = |request: Json| {
            let cluster = &cluster;
            async move { documents::create_index(&cluster.planner(), cluster, "people", &request).await }
        };
        let refused = make(json!({"name": "by_age", "fields": ["age"], "unique": true})).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::UniqueViolation);
        assert_eq!(
            documents::list_indexes(&cluster.planner(), "people").unwrap().len(),
            1,
            "it failed whole"
        );
        make(json!({"name": "by_name", "fields": ["name", "home.city"], "unique": true})).await.unwrap();
        let listed = documents::list_indexes(&cluster.planner(), "people").unwrap();
        assert_eq!(listed[1], json!({"name": "by_name", "fields": ["name", "home.city"], "unique": true}));

        let insert = |document: Json| {
            let cluster = &cluster;
            async move {
                documents::insert(&cluster.planner(), cluster, "people", vec![document], moment(NOW + 1))
                    .await
            }
        };
        insert(json!({"_id": 31, "name": "n31"})).await.unwrap();
        for equal in [json!({"name": "n31", "home": {}}), json!({"name": "n5", "home": {"city": "Ulm"}})] {
            let refused = insert(equal).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::UniqueViolation);
            assert_eq!(refused.message, "UNIQUE constraint failed: people.name, people.home.city");
        }
        insert(json!({"_id": 32, "name": "n5", "home": {"city": "Rom"}})).await.unwrap();
        let update = |request: Json| {
            let cluster = &cluster;
            async move {
                documents::update(&cluster.planner(), cluster, "people", &request, moment(NOW + 2)).await
            }
        };
        let to_equal = json!({"filter": {"_id": 32}, "update": {"$set": {"home.city": "Ulm"}}});
        assert_eq!(update(to_equal.clone()).await.unwrap_err().code, ErrorCode::UniqueViolation);
        update(json!({"filter": {"_id": 5}, "update": {"$set": {"name": "other"}}})).await.unwrap();
        assert_eq!(update(to_equal).await.unwrap().modified, 1);
        let swap = json!({"atomic": true, "operations": [
            {"deleteOne": {"filter": {"_id": 32}}},
            {"insertOne": {"document": {"_id": 33, "name": "n5", "home": {"city": "Ulm"}}}},
        ]});
        documents::bulk(&cluster.planner(), &cluster, "people", &swap, moment(NOW + 3)).await.unwrap();
        let planner = cluster.planner();
        for precondition in [Precondition::None, Precondition::Absent] {
            let equal = json!({"name": "n5", "home": {"city": "Ulm"}});
            let put =
                documents::put(&planner, &cluster, "people", "34", equal, precondition, moment(NOW + 4));
            let refused = put.await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::UniqueViolation);
            assert_eq!(refused.message, "UNIQUE constraint failed: people.name, people.home.city");
        }

        documents::drop_index(&cluster.planner(), &cluster, "people", "by_name").await.unwrap();
        insert(json!({"name": "n31"})).await.unwrap();
        assert_eq!(find(&cluster, json!({"filter": {"name": "n31"}})).await.len(), 2);
    }
}

#[tokio::test]
async fn atomic_bulk_writes_lose_nothing_to_each_other() {
    let mut cluster = Cluster::hashed(3, None);
    cluster.interleaves = true;
    insert(&cluster, vec![json!({"_id": 1, "n": 0}), json!({"_id": 2, "n": 0}), json!({"_id": 3, "n": 0})])
        .await;
    let add = json!({"atomic": true, "operations": [
        {"updateOne": {"filter": {"_id": 1}, "update": {"$inc": {"n": 1}}}},
        {"updateMany": {"filter": {"n": {"$gte": 0}, "_id": {"$in": [2, 3]}}, "update": {"$inc": {"n": 1}}}},
    ]});
    let single = json!({"filter": {"_id": {"$gte": 1}}, "update": {"$inc": {"n": 1}}});
    let work = (0..12).map(|turn| {
        let (cluster, add, single) = (&cluster, &add, &single);
        async move {
            if turn % 2 == 0 {
                documents::bulk(&cluster.planner(), cluster, "people", add, moment(NOW)).await.unwrap();
            } else {
                documents::update(&cluster.planner(), cluster, "people", single, moment(NOW)).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(work).await;
    let counts: Vec<Json> =
        find(&cluster, json!({})).await.iter().map(|document| document["n"].clone()).collect();
    assert_eq!(counts, [json!(12), json!(12), json!(12)]);
}

#[tokio::test]
async fn variables_must_be_defined_where_they_are_named() {
    let cluster = people(1).await;
    for (pipeline, place) in [
        (json!([{"$project": {"a": {"$add": [1, "$$x"]}}}]), "/pipeline/0/$project/a/$add/1"),
        (json!([{"$match": {"$expr": {"$eq": ["$$this", 1]}}}]), "/pipeline/0/$match/$expr/$eq/0"),
        (
            json!([{"$project": {"a": {"$map": {"input": "$$e", "as": "e", "in": "$$e"}}}}]),
            "/pipeline/0/$project/a/$map/input",
        ),
        (
            json!([{"$project": {"a": {"$let": {"vars": {"y": 1, "z": "$$y"}, "in": "$$y"}}}}]),
            "/pipeline/0/$project/a/$let/vars/z",
        ),
        (
            json!([{"$lookup": {"from": "people", "let": {"n": "$name"}, "pipeline": [{"$match": {"$expr": "$$m"}}], "as": "b"}}]),
            "/pipeline/0/$lookup/pipeline/0/$match/$expr",
        ),
    ] {
        let request = json!({ "pipeline": pipeline });
        let planner = cluster.planner();
        let refused = documents::aggregate(&planner, &cluster, "people", &request, moment(NOW)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
        assert!(refused.message.ends_with(&format!("(at {place})")), "{}", refused.message);
    }
    let known = json!({"pipeline": [
        {"$match": {"_id": 1}},
        {"$project": {"a": {"$let": {"vars": {"x": 2}, "in": {"$reduce": {
            "input": {"$filter": {"input": {"$map": {"input": [1, 2, 3], "in": {"$add": ["$$this", "$$x"]}}}, "as": "f", "cond": {"$gt": ["$$f", 3]}}},
            "initialValue": "$$x", "in": {"$add": ["$$value", "$$this"]}}}}}}},
        {"$lookup": {"from": "people", "let": {"n": "$a"}, "pipeline": [{"$match": {"$expr": {"$eq": ["$_id", "$$n"]}}}, {"$project": {"name": 1}}], "as": "b"}},
    ]});
    let made =
        documents::aggregate(&cluster.planner(), &cluster, "people", &known, moment(NOW)).await.unwrap();
    assert_eq!(listed(&made), [json!({"_id": 1, "a": 11, "b": [{"_id": 11, "name": "n11"}]})]);
}

#[tokio::test]
async fn a_position_in_a_projection_answers_the_element_that_was_found() {
    for cluster in [Cluster::hashed(3, None), Cluster::layout(crate::support::VERTICAL, None)] {
        insert(
            &cluster,
            vec![
                json!({"_id": 1, "a": [5, 7, 9], "b": {"c": [{"d": 1}, {"d": 2}]}, "e": 1}),
                json!({"_id": 2, "a": 7}),
            ],
        )
        .await;
        for (filter, projection, wanted) in [
            (json!({"a": {"$gt": 6}, "_id": 1}), json!({"a.$": 1}), json!([{"_id": 1, "a": [7]}])),
            (json!({"a": 7}), json!({"a.$": 1, "_id": 0}), json!([{"a": [7]}, {"a": 7}])),
            (
                json!({"b.c.d": 2}),
                json!({"b.c.$": 1, "e": 1}),
                json!([{"_id": 1, "b": {"c": [{"d": 2}]}, "e": 1}]),
            ),
            (
                json!({"a": {"$elemMatch": {"$gt": 7}}}),
                json!({"a": {"$slice": 1}, "e": 1}),
                json!([{"_id": 1, "a": [5], "e": 1}]),
            ),
        ] {
            let request = json!({"filter": filter, "projection": projection});
            assert_eq!(Json::Array(find(&cluster, request.clone()).await), wanted, "{request}");
        }
        let planner = cluster.planner();
        let request = json!({"filter": {"e": 1}, "projection": {"a.$": 1}});
        let refused = documents::find(&planner, &cluster, "people", &request).await.unwrap_err();
        assert!(refused.message.ends_with("(at /projection/a.$)"), "{}", refused.message);
    }
}

#[tokio::test]
async fn sql_does_not_write_documents_of_which_other_columns_follow() {
    for cluster in [people(1).await, people(4).await] {
        let insert = "INSERT INTO people (_id, doc, _version, _created_at, _updated_at) VALUES ('sql', jsonb('{\"name\":\"n1\"}'), 1, 0, 0)";
        cluster.ok(insert).await;
        cluster.ok("DELETE FROM people WHERE _id = 'sql'").await;
        let unique = json!({"name": "by_name", "fields": ["name"], "unique": true});
        documents::create_index(&cluster.planner(), &cluster, "people", &unique).await.unwrap();
        cluster.ok("CREATE TABLE t (a INTEGER)").await;
        cluster.ok(&format!("CREATE TRIGGER g AFTER INSERT ON t BEGIN {insert}; END")).await;
        for refused in [
            insert,
            "UPDATE people SET doc = jsonb_set(doc, '$.name', 'n2') WHERE _id = 1",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO people SELECT * FROM people WHERE _id = 1 ON CONFLICT DO UPDATE SET doc = excluded.doc",
        ] {
            assert_eq!(cluster.error(refused).await.code, ErrorCode::NotSupported, "{refused}");
            let together = cluster.batch(&["DELETE FROM t", refused]).await;
            assert_eq!(together.unwrap_err().code, ErrorCode::NotSupported, "{refused}");
        }
        cluster.ok("DROP TRIGGER g").await;
        assert_eq!(cluster.error(insert).await.code, ErrorCode::NotSupported);
        cluster.ok("DELETE FROM people WHERE doc ->> '$.name' = 'n1'").await;
        documents::insert(&cluster.planner(), &cluster, "people", vec![json!({"name": "n1"})], moment(NOW))
            .await
            .unwrap();
    }
}

/// Whether partitions compute what is asked: the only one all of it, or each its part.
fn is_pushed(plan: &str) -> bool {
    plan.starts_with("SINGLE") || plan.contains("FRAGMENT p0,p1,p2,p3") && !plan.contains("gathered rows")
}

/// Whether a text is in what partitions are asked; a plan does not show the text that goes to the only one.
fn sends(plan: &str, text: &str) -> bool {
    plan.starts_with("SINGLE") || plan.replace(" (", "(").contains(text)
}

#[tokio::test]
async fn groups_are_made_by_the_partitions_where_they_can_tell() {
    for cluster in [people(1).await, people(4).await] {
        let ask = |pipeline: Json| {
            let cluster = &cluster;
            async move {
                let request = json!({ "pipeline": pipeline });
                let explain = json!({ "aggregate": request });
                let plan = documents::explain(&cluster.planner(), cluster, "people", &explain).await.unwrap();
                let planner = cluster.planner();
                let made = documents::aggregate(&planner, cluster, "people", &request, moment(NOW)).await;
                (Json::Array(listed(&made.unwrap())), plan.lines().join("\n"))
            }
        };
        let (made, plan) = ask(json!([
            {"$match": {"_id": {"$gt": 10}}},
            {"$group": {"_id": "$home.city", "n": {"$sum": 1}, "ages": {"$sum": "$age"}, "mean": {"$avg": "$age"},
                "first": {"$min": "$name"}, "last": {"$max": "$name"}, "none": {"$max": "$gone"}}},
            {"$sort": {"_id": -1}}, {"$limit": 1},
        ]))
        .await;
        assert_eq!(
            made,
            json!([{"_id": "Ulm", "n": 10, "ages": 220, "mean": 22.0, "first": "n11", "last": "n29", "none": null}])
        );
        assert!(is_pushed(&plan), "{plan}");
        let (made, plan) =
            ask(json!([{"$group": {"_id": {"c": "$home.city", "g": "$gone"}, "n": {"$sum": 2}}}])).await;
        assert_eq!(made, json!([{"_id": {"c": "Rom"}, "n": 30}, {"_id": {"c": "Ulm"}, "n": 30}]));
        assert!(is_pushed(&plan), "{plan}");
        let (made, plan) = ask(json!([{"$group": {"_id": null, "oldest": {"$max": "$age"}}}])).await;
        assert_eq!(made, json!([{"_id": null, "oldest": 24}]));
        assert!(is_pushed(&plan), "{plan}");
        // What partitions cannot put together they send, and nothing else of the documents.
        let (made, plan) = ask(json!([{"$group": {"_id": "$home.city", "all": {"$push": "$age"}}}, {"$project": {"n": {"$size": "$all"}}}])).await;
        assert_eq!(made, json!([{"_id": "Rom", "n": 15}, {"_id": "Ulm", "n": 15}]));
        assert!(sends(&plan, "_fields(\"doc\", 'age', 'home')"), "{plan}");
        let (_, plan) = ask(json!([{"$project": {"age": 1, "older": {"$add": ["$age", 1]}}}])).await;
        assert!(sends(&plan, "_fields(\"doc\", 'age', 'older')"), "{plan}");
        let (made, plan) = ask(
            json!([{"$sort": {"age": -1, "name": 1}}, {"$limit": 2}, {"$project": {"name": 1, "_id": 0}}]),
        )
        .await;
        assert_eq!(made, json!([{"name": "n14"}, {"name": "n19"}]));
        assert!(sends(&plan, "LIMIT ") && sends(&plan, "_fields(\"doc\", 'age', 'name')"), "{plan}");

        // Values that SQL would group or compare by other rules are met by reading the documents.
        insert(
            &cluster,
            vec![
                json!({"_id": 101, "home": {"city": ["Rom"]}, "age": 1}),
                json!({"_id": 102, "home": {"city": 1}, "age": 1.5}),
                json!({"_id": 103, "home": {"city": 1.0}, "age": {"$date": "2024-01-01T00:00:00Z"}}),
                json!({"_id": 104, "home": {"city": null}, "age": i64::MAX}),
                json!({"_id": 105, "home": {"city": null}, "age": 1}),
            ],
        )
        .await;
        let (made, _) = ask(json!([{"$match": {"_id": {"$gt": 100}}}, {"$group": {"_id": "$home.city", "n": {"$sum": "$age"}, "most": {"$max": "$age"}}}])).await;
        assert_eq!(
            made,
            json!([
                {"_id": null, "n": 9_223_372_036_854_775_808.0, "most": i64::MAX},
                {"_id": 1, "n": 1.5, "most": {"$date": "2024-01-01T00:00:00.000Z"}},
                {"_id": ["Rom"], "n": 1, "most": 1},
            ])
        );
    }
}
