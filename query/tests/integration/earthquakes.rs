//! Real documents: nested, with arrays, nulls and numbers of all kinds. The answers were computed with a few lines of
//! Python over the same file.

use crate::support::{Cluster, MIXED, listed, moment};
use query::documents;
use serde_json::{Value as Json, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/data/earthquakes.ndjson");

async fn earthquakes(cluster: &Cluster) {
    let text = std::fs::read_to_string(FILE).unwrap();
    let all: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (number, some) in all.chunks(500).enumerate() {
        let now = moment(number as u64);
        documents::insert(&cluster.planner(), cluster, "quakes", some.to_vec(), now).await.unwrap();
    }
}

async fn count(cluster: &Cluster, filter: Json) -> u64 {
    let request = json!({ "filter": filter });
    documents::count(&cluster.planner(), cluster, "quakes", &request).await.unwrap()
}

async fn aggregate(cluster: &Cluster, pipeline: Json) -> Json {
    let request = json!({ "pipeline": pipeline });
    Json::Array(listed(
        &documents::aggregate(&cluster.planner(), cluster, "quakes", &request, moment(0)).await.unwrap(),
    ))
}

/// Filters with the number of earthquakes that they find.
fn filters() -> Vec<(Json, u64)> {
    vec![
        (json!({"properties.mag": {"$gte": 4.5}}), 85),
        (json!({"properties.felt": null}), 1_580),
        (json!({"properties.place": {"$regex": "Alaska$"}}), 313),
        (json!({"geometry.coordinates.2": {"$gt": 100}}), 64),
        (json!({"geometry.coordinates": {"$gt": 170}, "geometry.coordinates.2": {"$exists": true}}), 16),
        (json!({"properties.type": {"$ne": "earthquake"}}), 28),
        (json!({"properties.net": {"$in": ["us", "ak"]}, "properties.tsunami": 1}), 4),
        (json!({"properties.nst": {"$type": "number"}}), 1_242),
        (json!({"properties.sig": {"$mod": [100, 0]}}), 113),
        (
            json!({"$expr": {"$gt": [{"$subtract": ["$properties.updated", "$properties.time"]}, 86_400_000]}}),
            320,
        ),
        (json!({"$or": [{"properties.mag": null}, {"properties.mag": {"$lt": 0}}]}), 44),
        (json!({"geometry.coordinates": {"$elemMatch": {"$gte": 50, "$lt": 60}}}), 121),
        (
            json!(
                "properties.mag > 3 and not (properties.net in ['us']) and properties.place != null and properties.mag < 3.05"
            ),
            0,
        ),
        (json!({"geometry.coordinates": {"$size": 3}}), 1_707),
    ]
}

#[tokio::test]
async fn questions_about_earthquakes_have_known_answers() {
    let cluster = Cluster::layout(MIXED, None);
    earthquakes(&cluster).await;
    for (filter, wanted) in filters().into_iter().filter(|(filter, _)| !filter.is_string()) {
        assert_eq!(count(&cluster, filter.clone()).await, wanted, "{filter}");
    }
    let find = json!({"sort": {"properties.mag": -1}, "limit": 5, "projection": {"id": 1, "_id": 0}});
    let strongest = documents::find(&cluster.planner(), &cluster, "quakes", &find).await.unwrap();
    let strongest = listed(&strongest);
    let ids: Vec<&str> = strongest.iter().map(|quake| quake["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["us1000chhc", "us1000cfn6", "us2000crmu", "us1000ce9r", "us1000cdn0"]);
    let distinct = json!({"field": "properties.alert"});
    let alerts = documents::distinct(&cluster.planner(), &cluster, "quakes", &distinct).await.unwrap();
    assert_eq!(alerts, [json!(null), json!("green")]);

    assert_eq!(
        aggregate(&cluster, json!([{"$sortByCount": "$properties.magType"}, {"$limit": 4}])).await,
        json!([{"_id": "ml", "count": 1_063}, {"_id": "md", "count": 498}, {"_id": "mb", "count": 105}, {"_id": "mww", "count": 19}])
    );
    assert_eq!(
        aggregate(
            &cluster,
            json!([{"$bucket": {"groupBy": "$properties.mag", "boundaries": [0, 2, 4, 6, 8], "default": "other"}}])
        )
        .await,
        json!([{"_id": 0, "count": 1_217}, {"_id": 2, "count": 318}, {"_id": 4, "count": 123}, {"_id": 6, "count": 5},
            {"_id": "other", "count": 44}])
    );
    let by_net = json!([
        {"$group": {"_id": "$properties.net", "quakes": {"$sum": 1}, "strongest": {"$max": "$properties.mag"}}},
        {"$match": {"quakes": {"$gt": 250}}},
        {"$sort": {"_id": -1}},
    ]);
    assert_eq!(
        aggregate(&cluster, by_net).await,
        json!([{"_id": "nn", "quakes": 260, "strongest": 3.4}, {"_id": "nc", "quakes": 370, "strongest": 4.33},
            {"_id": "ci", "quakes": 386, "strongest": 2.96}, {"_id": "ak", "quakes": 297, "strongest": 4.8}])
    );
    let sources = json!([
        {"$project": {"source": {"$split": [{"$trim": {"input": "$properties.sources", "chars": ","}}, ","]}}},
        {"$unwind": "$source"},
        {"$group": {"_id": "$source", "quakes": {"$count": {}}}},
        {"$sort": {"quakes": -1}},
        {"$limit": 3},
    ]);
    assert_eq!(
        aggregate(&cluster, sources).await,
        json!([{"_id": "ci", "quakes": 386}, {"_id": "nc", "quakes": 372}, {"_id": "ak", "quakes": 307}])
    );
    let days = json!([
        {"$group": {"_id": {"$dateToString": {"date": {"$toDate": "$properties.time"}, "format": "%Y-%m-%d"}}, "quakes": {"$sum": 1}}},
        {"$match": {"quakes": {"$gte": 259}}},
    ]);
    assert_eq!(
        aggregate(&cluster, days).await,
        json!([{"_id": "2018-02-03", "quakes": 259}, {"_id": "2018-02-04", "quakes": 301}])
    );
    let depth = json!([
        {"$addFields": {"depth": {"$arrayElemAt": ["$geometry.coordinates", 2]}}},
        {"$sort": {"depth": -1}},
        {"$limit": 2},
        {"$project": {"_id": 0, "id": 1, "depth": 1}},
    ]);
    assert_eq!(
        aggregate(&cluster, depth).await,
        json!([{"id": "us1000cg2m", "depth": 573.76}, {"id": "us1000cep8", "depth": 547.18}])
    );
    let facets = json!([
        {"$facet": {
            "tsunamis": [{"$match": {"properties.tsunami": 1}}, {"$count": "n"}],
            "felt": [{"$match": {"properties.felt": {"$gte": 100}}}, {"$count": "n"}],
            "significance": [{"$group": {"_id": null, "sum": {"$sum": "$properties.sig"}, "mean": {"$avg": "$properties.sig"}}}],
        }},
    ]);
    assert_eq!(
        aggregate(&cluster, facets).await,
        json!([{"tsunamis": [{"n": 4}], "felt": [{"n": 5}],
            "significance": [{"_id": null, "sum": 104_666, "mean": 61.315_758_640_890_45}]}])
    );
}

#[tokio::test]
async fn an_index_is_used_and_changes_no_answer() {
    let cluster = Cluster::hashed(3, None);
    earthquakes(&cluster).await;
    let make = |request: Json| {
        let cluster = &cluster;
        async move { documents::create_index(&cluster.planner(), cluster, "quakes", &request).await }
    };
    make(json!({"name": "by_strength", "fields": ["properties.mag"]})).await.unwrap();
    make(json!({"fields": ["id"]})).await.unwrap();
    for (filter, index) in [
        (json!({"properties.mag": {"$gte": 4.5}}), Some("by_strength")),
        (json!({"properties.mag": 6.4}), Some("by_strength")),
        (json!({"id": "us1000chhc"}), Some("quakes.id")),
        (json!({"id": {"$in": ["us1000chhc", "us1000cfn6"]}}), Some("quakes.id")),
        (json!({"id": {"$regex": "^us1000ch"}, "properties.net": "us"}), Some("quakes.id")),
        (json!("id == 'us1000chhc'"), Some("quakes.id")),
        (json!({"properties.sig": 100}), None),
        (json!({"id": {"$ne": "x"}}), None),
    ] {
        let request = json!({"find": {"filter": filter}});
        let plan = documents::explain(&cluster.planner(), &cluster, "quakes", &request).await.unwrap();
        let lines = plan.lines().join("\n");
        match index {
            Some(index) => {
                assert!(lines.contains("USING INDEX") && lines.contains(index), "{filter}: {lines}")
            }
            None => assert!(!lines.contains("USING INDEX"), "{filter}: {lines}"),
        }
    }
    for (filter, wanted) in filters() {
        assert_eq!(count(&cluster, filter.clone()).await, wanted, "{filter}");
    }
    let listed = documents::list_indexes(&cluster.planner(), "quakes").unwrap();
    assert_eq!(
        listed,
        [
            json!({"name": "_id", "fields": ["_id"], "unique": true}),
            json!({"name": "by_strength", "fields": ["properties.mag"], "unique": false}),
            json!({"name": "id", "fields": ["id"], "unique": false}),
        ]
    );
    assert!(make(json!({"fields": ["id"]})).await.is_err());
    documents::drop_index(&cluster.planner(), &cluster, "quakes", "id").await.unwrap();
    assert_eq!(documents::list_indexes(&cluster.planner(), "quakes").unwrap().len(), 2);
    assert_eq!(count(&cluster, json!({"id": "us1000chhc"})).await, 1);
}
