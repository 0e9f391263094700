//! `/partitions`: where the data are.

use axum::extract::State;
use common::Result;
use common::catalog::{Catalog, Database, Partition};
use common::partition_map::{Bucket, BucketRange};
use common::schema::PartitionType;
use serde_json::{Map, Value as Json, json};

use super::answer::success_seen;
use super::app::App;
use super::column_groups;
use super::databases::seen_catalog;
use super::failure::Answer;
use super::request::Segments;
use crate::gateway::ready;
use crate::health::PartitionFacts;

/// Partitions of all databases by id.
#[utoipa::path(get, path = "/partitions", tag = "Partitions",
    responses((status = 200, description = "`{\"partitions\":{\"<id>\":{…}}}`")))]
pub async fn list(State(app): State<App>) -> Answer {
    let catalog = app.catalog.confirmed().await?;
    let databases = catalog.databases.values().filter(|database| ready(&catalog, &database.name).is_some());
    let partitions = describe(&app, &catalog, &databases.collect::<Vec<_>>()).await?;
    Ok(success_seen(json!({ "partitions": partitions }), &seen_catalog(&app)))
}

/// Partitions of a database by id.
#[utoipa::path(get, path = "/partitions/{db}", tag = "Partitions", params(("db" = String, Path)),
    responses((status = 200, description = "`{\"partitions\":{\"<id>\":{…}}}`"),
        (status = 404, description = "`database_not_found`")))]
pub async fn of_database(State(app): State<App>, Segments(name): Segments<String>) -> Answer {
    let (catalog, database) = app.database(&name).await?;
    let partitions = describe(&app, &catalog, &[&database]).await?;
    Ok(success_seen(json!({ "partitions": partitions }), &seen_catalog(&app)))
}

/// The partitions of some databases as the catalog and their replicas tell.
async fn describe(app: &App, catalog: &Catalog, databases: &[&Database]) -> Result<Map<String, Json>> {
    let mut ids = Vec::new();
    for database in databases {
        ids.extend(database.partitions().map(|(_, _, id)| id));
    }
    let facts = app.health.ask(&ids).await;
    let mut shown = Map::new();
    for database in databases {
        let columns = column_groups::columns(database).await?;
        for (group, bucket, id) in database.partitions() {
            if let Some(partition) = catalog.partitions.get(&id) {
                let facts = facts.get(&id).filter(|facts| !facts.replicas.is_empty());
                let mut described = describe_one(database, bucket, partition, facts);
                described["columns"] = json!(columns.as_ref().and_then(|columns| columns.get(group)));
                shown.insert(partition.uuid.clone(), described);
            }
        }
    }
    Ok(shown)
}

fn describe_one(
    database: &Database,
    bucket: &Bucket,
    partition: &Partition,
    facts: Option<&PartitionFacts>,
) -> Json {
    let value = match &bucket.range {
        BucketRange::Slots { first, last } => json!({ "slots": [first, last] }),
        BucketRange::Keys { from, to } => {
            let json = |value: &Option<common::Value>| value.as_ref().map(common::json::to_json);
            json!({ "from": json(from), "to": json(to) })
        }
    };
    let leader = facts.and_then(|facts| facts.leader);
    let leader = partition.replicas.iter().find(|replica| Some(replica.id) == leader);
    let nodes: Vec<&str> = partition.replicas.iter().map(|replica| replica.node.as_str()).collect();
    let mut shown = json!({
        "id": partition.uuid,
        "database_name": database.name,
        "partition_type": database.partition_type.as_str(),
        "partition_key": database.partition_key,
        "partition_value": value,
        "storage_nodes": nodes,
        // Unknown while no replica answers.
        "leader": leader.map(|replica| replica.node.as_str()),
        "rows": facts.map(|facts| facts.rows),
        "bytes": facts.map(|facts| facts.bytes),
    });
    if database.partition_type != PartitionType::Horizontal {
        // A partition holds rows of every table.
        shown["table_name"] = Json::Null;
    }
    shown
}
