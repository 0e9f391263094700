//! Rows spread by the values of a key, and in the mixed form by columns too.

use polylite_client::{Column, CreateDatabase, PartitionType, Table};
use serde_json::{Value as Json, json};

use super::schema_and_crud::assert_described;
use super::stage::{Stage, eventually};
use super::{Category, tests};

const HORIZONTAL: &str = "test_horizontal";
const MIXED: &str = "test_mixed";

pub(super) fn category() -> Category {
    Category {
        name: "horizontal_partitioning",
        title: "Horizontal Partitioning and Routing",
        points: 30,
        nodes: 1,
        tests: tests![
            "Test defining a table schema suitable for horizontal partitioning." => defining_a_horizontal_schema,
            "Test creating a database with horizontal partitioning." => creating_a_horizontal_database,
            "Test verifying the database exists after creation." => the_horizontal_database_exists,
            "Test verifying the partition type and key for horizontal database." => horizontal_type_and_key,
            "Test getting partition information for horizontal database." => horizontal_partitions,
            "Test inserting data into the north region partition." => inserting_north,
            "Test inserting data into the south region partition." => inserting_south,
            "Test inserting data into the east region partition." => inserting_east,
            "Test inserting data into the west region partition." => inserting_west,
            "Test querying all data across all horizontal partitions." => querying_all_regions,
            "Test querying data from a specific partition (north region)." => querying_north,
            "Test querying data from a specific partition (south region)." => querying_south,
            "Test defining a table schema for mixed partitioning." => defining_a_mixed_schema,
            "Test creating a database with mixed partitioning." => creating_a_mixed_database,
            "Test verifying the mixed partitioned database exists." => the_mixed_database_exists,
            "Test verifying the partition type and key for mixed database." => mixed_type_and_key,
            "Test getting partition information for mixed database." => mixed_partitions,
            "Test comparing partition counts between horizontal and mixed databases." => partition_counts,
            "Test verifying metadata for horizontal partitions." => horizontal_metadata,
            "Test verifying metadata for mixed partitions." => mixed_metadata,
        ],
    }
}

/// Hash slots of a key, over which partitions are spread.
const SLOTS: u64 = 16_384;
/// Horizontal partitions where nothing else is said.
const PARTITIONS: usize = 4;

fn users() -> Table {
    Table::new("users")
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("name", "TEXT").not_null())
        .column(Column::new("region", "TEXT").not_null())
        .index("region")
}

fn orders() -> Table {
    Table::new("orders")
        .column(Column::new("id", "INTEGER").primary_key())
        .column(Column::new("customer_id", "INTEGER").not_null())
        .column(Column::new("product_id", "INTEGER").not_null())
        .column(Column::new("quantity", "INTEGER").not_null())
        .column(Column::new("price", "REAL").not_null())
        .column(Column::new("order_date", "TIMESTAMP").default("CURRENT_TIMESTAMP"))
        .column(Column::new("status", "TEXT").default("'pending'"))
        .column(Column::new("notes", "TEXT"))
        .index("customer_id")
}

/// The columns of `orders` that are read together lie together.
fn mixed(name: &str) -> CreateDatabase {
    CreateDatabase::sql(name)
        .table(orders())
        .partition_type(PartitionType::Mixed)
        .partition_key("customer_id")
        .column_group("trade", ["product_id", "quantity", "price"])
        .column_group("state", ["order_date", "status", "notes"])
}

fn user(id: i64) -> Json {
    let (name, region) = [("Ann", "north"), ("Bob", "south"), ("Cleo", "east"), ("Dan", "west")]
        [usize::try_from(id - 1).expect("1 to 4")];
    json!({"id": id, "name": name, "region": region})
}

async fn defining_a_horizontal_schema(stage: &mut Stage) {
    let name = "test_horizontal_schema";
    let table = users();
    assert_eq!(table.columns.len(), 3);
    stage.create(&CreateDatabase::sql(name).table(table.clone()).partition_key("region")).await;
    assert_described(stage, name, &[table]).await;
    let spread = stage.describe(name).await["tables"][0]["partition_key"].take();
    assert_eq!(spread, json!(["region"]), "the table is spread by the key");
}

async fn creating_a_horizontal_database(stage: &mut Stage) {
    let declared = CreateDatabase::sql(HORIZONTAL)
        .table(users())
        .partition_type(PartitionType::Horizontal)
        .partition_key("region");
    stage.create(&declared).await;
    assert_described(stage, HORIZONTAL, &[users()]).await;
}

async fn the_horizontal_database_exists(stage: &mut Stage) {
    assert!(stage.lists(HORIZONTAL).await);
}

async fn horizontal_type_and_key(stage: &mut Stage) {
    let described = stage.describe(HORIZONTAL).await;
    assert_eq!(
        (&described["partition_type"], &described["partition_key"]),
        (&json!("HORIZONTAL"), &json!("region"))
    );
}

async fn horizontal_partitions(stage: &mut Stage) {
    let partitions = stage.partitions(HORIZONTAL).await;
    assert_eq!(partitions.len(), PARTITIONS);
    assert_slots_covered_once(&partitions, 1);
    for partition in &partitions {
        assert_eq!(
            (&partition["storage_nodes"], &partition["leader"]),
            (&json!(["node-0"]), &json!("node-0"))
        );
        assert_eq!(partition["rows"], 0);
    }
}

/// Asserts that every hash slot belongs to `groups` partitions, one for each column group.
fn assert_slots_covered_once(partitions: &[Json], groups: usize) {
    let bound =
        |partition: &Json, end: usize| partition["partition_value"]["slots"][end].as_u64().expect("a slot");
    let mut ranges: Vec<(u64, u64)> =
        partitions.iter().map(|partition| (bound(partition, 0), bound(partition, 1))).collect();
    ranges.sort_unstable();
    let ranges: Vec<(u64, u64)> = ranges
        .chunks(groups)
        .map(|same| {
            assert!(same.iter().all(|range| *range == same[0]) && same.len() == groups, "{ranges:?}");
            same[0]
        })
        .collect();
    assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, SLOTS - 1), "{ranges:?}");
    assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{ranges:?}");
}

/// Inserts a user, and shows that it lies in one partition only.
async fn insert_user(stage: &mut Stage, id: i64) {
    stage.insert(HORIZONTAL, "users", user(id)).await;
    assert_eq!(stage.rows(HORIZONTAL, "users", json!({"id": id})).await, json!([user(id)]));
    let query = json!({"operation": "query", "table": "users", "where": {"id": id}});
    assert_eq!(
        stage.node_query(0, HORIZONTAL, &query).await,
        json!([user(id)]),
        "exactly one replica has it"
    );
}

async fn inserting_north(stage: &mut Stage) {
    insert_user(stage, 1).await;
}

async fn inserting_south(stage: &mut Stage) {
    insert_user(stage, 2).await;
}

async fn inserting_east(stage: &mut Stage) {
    insert_user(stage, 3).await;
}

async fn inserting_west(stage: &mut Stage) {
    insert_user(stage, 4).await;
}

async fn querying_all_regions(stage: &mut Stage) {
    let all: Vec<Json> = (1..=4).map(user).collect();
    assert_eq!(stage.rows(HORIZONTAL, "users", json!({})).await, json!(all));
    let regions = "SELECT region, count(*) AS users FROM users GROUP BY region ORDER BY region";
    let expected = json!([{"region": "east", "users": 1}, {"region": "north", "users": 1},
        {"region": "south", "users": 1}, {"region": "west", "users": 1}]);
    assert_eq!(stage.sql(HORIZONTAL, regions).await, expected);
}

/// Reads the users of a region, which is the business of one partition.
async fn query_region(stage: &mut Stage, region: &str, expected: Json) {
    assert_eq!(stage.rows(HORIZONTAL, "users", json!({"region": region})).await, expected);
    let text = format!("SELECT * FROM users WHERE region = '{region}'");
    let plan = stage.database(HORIZONTAL).explain(&text).await.expect("the plan is told");
    assert_eq!(plan["partitions"].as_array().map(Vec::len), Some(1), "{plan}");
}

async fn querying_north(stage: &mut Stage) {
    query_region(stage, "north", json!([user(1)])).await;
}

async fn querying_south(stage: &mut Stage) {
    query_region(stage, "south", json!([user(2)])).await;
}

async fn defining_a_mixed_schema(stage: &mut Stage) {
    let name = "test_mixed_schema";
    assert_eq!(orders().columns.len(), 8);
    stage.create(&mixed(name)).await;
    assert_described(stage, name, &[orders()]).await;
}

async fn creating_a_mixed_database(stage: &mut Stage) {
    stage.create(&mixed(MIXED)).await;
    assert_described(stage, MIXED, &[orders()]).await;
    let order = |id: i64| {
        json!({"id": id, "customer_id": id % 3, "product_id": 7, "quantity": id, "price": 2.5,
            "order_date": "2024-05-01", "status": "sent", "notes": null})
    };
    let orders: Vec<Json> = (1..=8).map(order).collect();
    for order in &orders {
        stage.insert(MIXED, "orders", order.clone()).await;
    }
    // Every row comes back once and whole, with its columns out of all groups.
    assert_eq!(stage.rows(MIXED, "orders", json!({})).await, json!(orders));
    let of_customer: Vec<&Json> = orders.iter().filter(|order| order["customer_id"] == 1).collect();
    assert_eq!(stage.rows(MIXED, "orders", json!({"customer_id": 1})).await, json!(of_customer));
}

async fn the_mixed_database_exists(stage: &mut Stage) {
    assert!(stage.lists(MIXED).await);
}

async fn mixed_type_and_key(stage: &mut Stage) {
    let described = stage.describe(MIXED).await;
    assert_eq!(
        (&described["partition_type"], &described["partition_key"]),
        (&json!("MIXED"), &json!("customer_id"))
    );
}

async fn mixed_partitions(stage: &mut Stage) {
    let partitions = stage.partitions(MIXED).await;
    assert_eq!(partitions.len(), PARTITIONS * 2, "each bucket has a partition for each column group");
    assert_slots_covered_once(&partitions, 2);
}

async fn partition_counts(stage: &mut Stage) {
    let counts = [stage.partitions(HORIZONTAL).await.len(), stage.partitions(MIXED).await.len()];
    assert_eq!(counts, [PARTITIONS, PARTITIONS * 2]);
    let all = stage.get("/partitions").await;
    let of = |database: &str| {
        let all = all["partitions"].as_object().expect("an object by id");
        all.values().filter(|partition| partition["database_name"] == database).count()
    };
    assert_eq!([of(HORIZONTAL), of(MIXED)], counts);
}

async fn horizontal_metadata(stage: &mut Stage) {
    stage.assert_divided(HORIZONTAL, PartitionType::Horizontal, Some("region")).await;
    // Four rows in all: none is in two partitions, none is missing.
    await_rows(stage, HORIZONTAL, 4).await;
}

async fn mixed_metadata(stage: &mut Stage) {
    let partitions = stage.assert_divided(MIXED, PartitionType::Mixed, Some("customer_id")).await;
    let columns = |group: &[&str]| -> Json {
        ["id", "customer_id"].iter().chain(group).map(|column| format!("orders.{column}")).collect()
    };
    for group in [columns(&["product_id", "quantity", "price"]), columns(&["order_date", "status", "notes"])]
    {
        let has_them = |partition: &&Json| is_same_set(&partition["columns"], &group);
        assert_eq!(partitions.iter().filter(has_them).count(), PARTITIONS, "{group} in {partitions:#?}");
    }
    await_rows(stage, MIXED, 8 * 2).await;
}

fn is_same_set(left: &Json, right: &Json) -> bool {
    let sorted = |list: &Json| {
        let mut names: Vec<String> = list.as_array().into_iter().flatten().map(Json::to_string).collect();
        names.sort();
        names
    };
    sorted(left) == sorted(right)
}

/// Waits until a database's partitions report so many rows together: nodes report them now and then.
async fn await_rows(stage: &Stage, database: &str, count: u64) {
    eventually("the rows are counted", async || {
        let partitions = stage.partitions(database).await;
        let rows: u64 = partitions.iter().filter_map(|partition| partition["rows"].as_u64()).sum();
        if rows == count { Ok(()) } else { Err(partitions) }
    })
    .await;
}
