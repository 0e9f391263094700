//! Tables and documents in one database: `cargo run -p polylite-client --example quickstart -- URL`.

use polylite_client::{Client, Column, CreateDatabase, ErrorCode, Table};
use serde::Deserialize;
use serde_json::json;

#[derive(Debug, Deserialize)]
struct User {
    id: i64,
    name: String,
    age: Option<i64>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:5000".to_owned());
    let client = Client::new([url])?;

    // A database that is left over from the last run is dropped first.
    match client.drop_database("quickstart").await {
        Err(error) if !error.is(ErrorCode::DatabaseNotFound) => return Err(error.into()),
        _ => {}
    }
    let users = Table::new("users")
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("age", "INTEGER"))
        .index("name");
    let database = client.create_database(&CreateDatabase::sql("quickstart").table(users)).await?;

    let insert = "INSERT INTO users (name, age) VALUES (?, ?)";
    database
        .batch()
        .sql(insert)
        .bind("Ada")
        .bind(36)
        .sql(insert)
        .bind("Grace")
        .bind(None::<i64>)
        .run()
        .await?;

    let users: Vec<User> = database.sql("SELECT * FROM users ORDER BY id").query_as().await?;
    for User { id, name, age } in &users {
        println!("{id}: {name}, {}", age.map_or("of unknown age".to_owned(), |age| format!("{age} years")));
    }

    let events = database.collection("events");
    let id = events.insert(&json!({"kind": "login", "user": users[0].id})).await?;
    events.patch(id, &json!({"from": "quickstart"})).await?;
    println!("{} logins", events.count(json!({"kind": "login"})).await?);

    for partition in client.partitions(Some("quickstart")).await? {
        println!("partition {} on {}", partition.id, partition.storage_nodes.join(", "));
    }
    Ok(())
}
