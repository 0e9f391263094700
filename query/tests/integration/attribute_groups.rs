//! Collections whose attributes lie in several column groups.

use crate::support::{Cluster, MIXED, VERTICAL, listed, moment, parsed};
use common::{ErrorCode, Value};
use query::documents::{self, Precondition};
use query::schema::columns_of_groups;
use serde_json::{Value as Json, json};

/// Attributes that are said to lie in a group; others join the first one.
const GROUPS: [&[&str]; 2] = [&["name", "home"], &["age", "score"]];

async fn insert(cluster: &Cluster, documents: Vec<Json>) {
    documents::insert(&cluster.planner(), cluster, "people", documents, moment(1)).await.unwrap();
}

async fn find(cluster: &Cluster, request: Json) -> Vec<Json> {
    listed(&documents::find(&cluster.planner(), cluster, "people", &request).await.unwrap())
}

async fn update(cluster: &Cluster, request: Json) -> u64 {
    documents::update(&cluster.planner(), cluster, "people", &request, moment(2)).await.unwrap().modified
}

fn person(id: i64) -> Json {
    json!({
        "_id": id, "age": 20 + id % 5, "name": format!("n{id}"), "score": 1.5, "tags": ["a", {"b": null}],
        "home": {"city": if id % 2 == 0 { "Rom" } else { "Ulm" }}, "é\n\"'": 9_007_199_254_740_993_i64,
    })
}

async fn clusters() -> Vec<Cluster> {
    let clusters =
        vec![Cluster::with_attributes(VERTICAL, &GROUPS), Cluster::with_attributes(MIXED, &GROUPS)];
    for cluster in &clusters {
        insert(cluster, (1..=20).map(person).collect()).await;
    }
    clusters
}

/// The document without what the store adds, in the order of its fields.
fn text(document: &Json) -> String {
    let mut fields = document.as_object().unwrap().clone();
    ["_version", "_created_at", "_updated_at"].iter().for_each(|name| drop(fields.shift_remove(*name)));
    Json::Object(fields).to_string()
}

#[tokio::test]
async fn a_document_comes_back_whole_in_the_order_of_its_fields() {
    for cluster in clusters().await {
        let found = find(&cluster, json!({})).await;
        assert_eq!(
            found.iter().map(text).collect::<Vec<_>>(),
            (1..=20).map(|id| person(id).to_string()).collect::<Vec<_>>()
        );
        let one = documents::get(&cluster.planner(), &cluster, "people", "7").await.unwrap();
        assert_eq!((text(&parsed(&one)), one.version), (person(7).to_string(), 1));
        let put = json!({"zip": 1, "name": 5, "age": null, "a": {}});
        let planner = cluster.planner();
        let put =
            documents::put(&planner, &cluster, "people", "7", put, Precondition::Version(vec![1]), moment(3));
        let (put, created) = put.await.unwrap();
        assert!(!created && put.version == 2);
        assert_eq!(text(&parsed(&put)), r#"{"_id":7,"zip":1,"name":5,"age":null,"a":{}}"#);
        assert_eq!(documents::get(&cluster.planner(), &cluster, "people", "7").await.unwrap(), put);
        for gone in
            [json!({"$unset": {"zip": 1, "name": 1, "age": 1, "a": 1}}), json!({"$set": {"b": 1, "name": 2}})]
        {
            update(&cluster, json!({"filter": {"_id": 7}, "update": gone})).await;
        }
        let one = documents::get(&cluster.planner(), &cluster, "people", "7").await.unwrap();
        assert_eq!((text(&parsed(&one)), one.version), (r#"{"_id":7,"b":1,"name":2}"#.to_owned(), 4));
    }
}

#[tokio::test]
async fn a_request_that_touches_one_group_reads_that_one() {
    for cluster in clusters().await {
        let touching = [
            (json!({"find": {"filter": {"home.city": "Rom"}, "projection": {"name": 1}}}), 0),
            (json!({"find": {"filter": {"age": {"$gte": 22}}, "projection": ["score"]}}), 1),
            (json!({"find": {"filter": {"age": 22, "_id": 2}, "projection": ["score"]}}), 1),
            (json!({"find": {"sort": {"age": -1}, "limit": 3, "projection": {"age": 1, "_id": 0}}}), 1),
            (json!({"aggregate": {"pipeline": [{"$match": {"age": 22}}, {"$count": "n"}]}}), 1),
            (json!({"aggregate": {"pipeline": [{"$group": {"_id": "$age", "sum": {"$sum": "$score"}}}]}}), 1),
            (json!({"aggregate": {"pipeline": [{"$unwind": "$home"}, {"$project": {"name": 1}}]}}), 0),
            (
                json!({"aggregate": {"pipeline": [{"$group": {"_id": "$age", "all": {"$push": "$score"}}}]}}),
                1,
            ),
            (
                json!({"aggregate": {"pipeline": [{"$match": {"$expr": {"$gt": ["$age", 22]}}}, {"$count": "n"}]}}),
                1,
            ),
        ];
        let buckets = cluster.database().buckets.len();
        for (request, group) in touching {
            let plan = documents::explain(&cluster.planner(), &cluster, "people", &request).await.unwrap();
            let lines = plan.lines().join("\n");
            assert!(groups_of(&plan, buckets).iter().all(|asked| *asked == group), "{request}\n{lines}");
            cluster.groups_in(&cluster.read);
            match (request.get("find"), request.get("aggregate")) {
                (Some(request), _) => assert!(!find(&cluster, request.clone()).await.is_empty()),
                (_, Some(request)) => {
                    let planner = cluster.planner();
                    let made = documents::aggregate(&planner, &cluster, "people", request, moment(0));
                    assert!(!listed(&made.await.unwrap()).is_empty());
                }
                _ => unreachable!(),
            }
            assert_eq!(cluster.groups_in(&cluster.read), [group], "{request}");
        }
        let whole = json!({"find": {"filter": {"age": 22}}});
        let plan = documents::explain(&cluster.planner(), &cluster, "people", &whole).await.unwrap();
        let all: Vec<usize> = (0..cluster.database().column_groups.len()).collect();
        assert_eq!(groups_of(&plan, buckets), all);
        assert!(plan.lines().iter().any(|line| line.contains("REJOIN")));
        documents::distinct(&cluster.planner(), &cluster, "people", &json!({"field": "age"})).await.unwrap();
        cluster.groups_in(&cluster.read);
        let ages =
            documents::distinct(&cluster.planner(), &cluster, "people", &json!({"field": "age"})).await;
        assert_eq!(ages.unwrap(), [json!(20), json!(21), json!(22), json!(23), json!(24)]);
        assert_eq!(cluster.groups_in(&cluster.read), [1]);
    }
}

#[tokio::test]
async fn the_first_documents_alone_are_put_together() {
    for cluster in clusters().await {
        // Each document's key, and its row in each group.
        let all_rows = 20 * (1 + cluster.database().column_groups.len() as u64);
        for mut request in [
            json!({}),
            json!({"filter": {"home.city": "Rom"}}),
            json!({"filter": {"age": {"$gt": 21}}, "sort": {"age": -1}, "skip": 2}),
            json!({"sort": {"name": 1, "_id": -1}, "projection": {"score": 0}}),
            json!({"filter": {"tags": "a"}, "sort": {"tags": 1}}),
        ] {
            let all: Vec<String> = find(&cluster, request.clone()).await.iter().map(text).collect();
            request["limit"] = json!(3);
            *cluster.rows_streamed.lock().unwrap() = 0;
            let first: Vec<String> = find(&cluster, request.clone()).await.iter().map(text).collect();
            assert_eq!(first, all[..3], "{request}");
            let read = *cluster.rows_streamed.lock().unwrap();
            assert!(read < all_rows, "{request}: {read} rows");
        }
        let none = json!({"filter": {"age": 99}, "limit": 3});
        assert!(find(&cluster, none).await.is_empty());
    }
}

/// The column groups whose partitions a plan asks.
fn groups_of(plan: &query::PlanNode, buckets: usize) -> Vec<usize> {
    let own =
        plan.partitions.iter().flat_map(|partitions| partitions.asked.iter().map(|index| index / buckets));
    let mut groups: Vec<usize> =
        own.chain(plan.children.iter().flat_map(|child| groups_of(child, buckets))).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[tokio::test]
async fn an_update_writes_the_groups_that_change_and_the_version() {
    for cluster in clusters().await {
        for (change, groups) in [
            (json!({"$set": {"name": "x"}}), vec![0]),
            (json!({"$inc": {"age": 1}}), vec![0, 1]),
            (json!({"$set": {"tags": 1, "nick": "z"}}), vec![0]),
            (json!({"$set": {"home.city": "Bonn"}, "$unset": {"score": 1}}), vec![0, 1]),
        ] {
            cluster.groups_in(&cluster.written);
            assert_eq!(update(&cluster, json!({"filter": {"_id": 3}, "update": change})).await, 1);
            assert_eq!(cluster.groups_in(&cluster.written), groups, "{change}");
        }
        let planner = cluster.planner();
        let patch = |version: i64| {
            let (patch, precondition) =
                (json!({"age": 1, "name": "y"}), Precondition::Version(vec![version]));
            documents::patch(&planner, &cluster, "people", "3", patch, precondition, moment(9))
        };
        assert_eq!(patch(4).await.unwrap_err().code, ErrorCode::PreconditionFailed);
        assert_eq!(patch(5).await.unwrap().version, 6);
    }
}

#[tokio::test]
async fn changes_of_documents_in_several_groups_lose_nothing_to_each_other() {
    for layout in [VERTICAL, MIXED] {
        let mut cluster = Cluster::with_attributes(layout, &GROUPS);
        cluster.interleaves = true;
        insert(&cluster, (1..=3).map(|id| json!({"_id": id, "name": 0, "age": 0})).collect()).await;
        let both = json!({"filter": {"_id": {"$in": [1, 2, 3]}}, "update": {"$inc": {"name": 1, "age": 1}}});
        let bulk = json!({"atomic": true, "operations": [
            {"updateOne": {"filter": {"_id": 1}, "update": {"$inc": {"name": 1, "age": 1}}}},
            {"updateMany": {"filter": {"age": {"$gte": 0}, "_id": {"$in": [2, 3]}}, "update": {"$inc": {"name": 1, "age": 1}}}},
        ]});
        let work = (0..8).map(|turn| {
            let (cluster, both, bulk) = (&cluster, &both, &bulk);
            async move {
                if turn % 2 == 0 {
                    update(cluster, both.clone()).await;
                } else {
                    documents::bulk(&cluster.planner(), cluster, "people", bulk, moment(4)).await.unwrap();
                }
            }
        });
        futures_util::future::join_all(work).await;
        let counts: Vec<(Json, Json)> = find(&cluster, json!({}))
            .await
            .iter()
            .map(|found| (found["name"].clone(), found["age"].clone()))
            .collect();
        assert_eq!(counts, vec![(json!(8), json!(8)); 3]);
    }
}

#[tokio::test]
async fn an_index_lies_in_the_group_of_its_paths() {
    for cluster in clusters().await {
        let make = |request: Json| {
            let cluster = &cluster;
            async move { documents::create_index(&cluster.planner(), cluster, "people", &request).await }
        };
        make(json!({"name": "by_city", "fields": ["home.city", "name"]})).await.unwrap();
        make(json!({"name": "by_age", "fields": ["age"]})).await.unwrap();
        make(json!({"name": "one", "fields": ["name", "age"], "unique": true})).await.unwrap();
        let refused = make(json!({"fields": ["name", "age"]})).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::NotSupported);
        for (filter, index) in
            [(json!({"home.city": "Ulm"}), "by_city"), (json!({"age": {"$gt": 22}}), "by_age")]
        {
            let projection: Vec<&String> = filter.as_object().unwrap().keys().collect();
            let request = json!({"find": {"filter": filter, "projection": projection}});
            let plan = documents::explain(&cluster.planner(), &cluster, "people", &request).await.unwrap();
            let lines = plan.lines().join("\n");
            assert!(lines.contains(index), "{request}\n{lines}");
        }
        let listed = documents::list_indexes(&cluster.planner(), "people").unwrap();
        assert_eq!(listed[1], json!({"name": "by_city", "fields": ["home.city", "name"], "unique": false}));
        let (planner, equal) = (cluster.planner(), json!({"name": "n1", "age": 21}));
        let twice = documents::insert(&planner, &cluster, "people", vec![equal], moment(5));
        assert_eq!(twice.await.unwrap_err().code, ErrorCode::UniqueViolation);
        insert(&cluster, vec![json!({"name": "n1", "age": 22})]).await;
        documents::drop_index(&cluster.planner(), &cluster, "people", "one").await.unwrap();
        documents::drop_index(&cluster.planner(), &cluster, "people", "by_age").await.unwrap();
        assert_eq!(find(&cluster, json!({"filter": {"age": 22}})).await.len(), 5);
    }
}

#[tokio::test]
async fn sql_sees_whole_documents_and_the_groups_are_told() {
    for cluster in clusters().await {
        assert_eq!(
            cluster.rows("SELECT _id, doc ->> '$.name', doc ->> '$.age', json_type(doc, '$.tags') FROM people WHERE doc ->> '$.home.city' = 'Rom' AND _id < 5 ORDER BY _id").await,
            [
                vec![Value::Integer(2), Value::from("n2"), Value::Integer(22), Value::from("array")],
                vec![Value::Integer(4), Value::from("n4"), Value::Integer(24), Value::from("array")],
            ]
        );
        assert_eq!(
            cluster.rows("SELECT json(doc) FROM people WHERE _id = 1").await,
            [[Value::from(text(&person(1)).replacen("\"_id\":1,", "", 1))]]
        );
        cluster.sql("CREATE TABLE cities (city TEXT PRIMARY KEY, land TEXT)").await.unwrap();
        cluster.sql("INSERT INTO cities VALUES ('Rom', 'it'), ('Ulm', 'de')").await.unwrap();
        assert_eq!(
            cluster.rows("SELECT land, count(*), sum(doc ->> '$.age') FROM people JOIN cities ON doc ->> '$.home.city' = city GROUP BY land ORDER BY land").await,
            [
                vec![Value::from("de"), Value::Integer(10), Value::Integer(220)],
                vec![Value::from("it"), Value::Integer(10), Value::Integer(220)],
            ]
        );
        let columns = columns_of_groups(&cluster.database()).unwrap();
        assert!(
            columns[0].contains(&"people.name".to_owned())
                && columns[0].contains(&"people._version".to_owned())
        );
        assert!(
            columns[1].contains(&"people.age".to_owned()) && columns[1].contains(&"people._id".to_owned())
        );
        assert!(!columns[1].contains(&"people.name".to_owned()));
        assert!(columns.iter().flatten().all(|column| column != "people.doc"));
        cluster.sql("DELETE FROM people WHERE doc ->> '$.age' > 20").await.unwrap();
        assert_eq!(documents::count(&cluster.planner(), &cluster, "people", &json!({})).await.unwrap(), 4);
    }
}
