//! The 22 queries of TPC-H on eight partitions answer as on one file, to the last bit.
//!
//! Orders and line items lie together by their order's key, the other tables are divided by their primary
//! keys. `POLYLITE_TPCH_SCALE=<thousandths>` sets the scale factor, 10 if not set (0.01). Each query's time is
//! printed beside the time that it takes when every table is gathered whole.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::support::Cluster;
use crate::support::engine::Partitions;
use differential::{Answered, Engine as _, Order, Reference, difference, seed};
use query::Rules;
use serde_json::json;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

/// Rows of one INSERT.
const ROWS_AT_ONCE: usize = 400;

/// The tables: columns with their types, those of the primary key marked, and the partition key.
const TABLES: [(&str, &str, Option<&str>); 8] = [
    ("region", "r_regionkey INTEGER KEY, r_name TEXT, r_comment TEXT", None),
    ("nation", "n_nationkey INTEGER KEY, n_name TEXT, n_regionkey INTEGER, n_comment TEXT", None),
    (
        "supplier",
        "s_suppkey INTEGER KEY, s_name TEXT, s_address TEXT, s_nationkey INTEGER, s_phone TEXT, s_acctbal NUMERIC, s_comment TEXT",
        None,
    ),
    (
        "customer",
        "c_custkey INTEGER KEY, c_name TEXT, c_address TEXT, c_nationkey INTEGER, c_phone TEXT, c_acctbal NUMERIC, c_mktsegment TEXT, c_comment TEXT",
        None,
    ),
    (
        "part",
        "p_partkey INTEGER KEY, p_name TEXT, p_mfgr TEXT, p_brand TEXT, p_type TEXT, p_size INTEGER, p_container TEXT, p_retailprice NUMERIC, p_comment TEXT",
        None,
    ),
    (
        "partsupp",
        "ps_partkey INTEGER KEY, ps_suppkey INTEGER KEY, ps_availqty INTEGER, ps_supplycost NUMERIC, ps_comment TEXT",
        None,
    ),
    (
        "orders",
        "o_orderkey INTEGER KEY, o_custkey INTEGER, o_orderstatus TEXT, o_totalprice NUMERIC, o_orderdate TEXT, o_orderpriority TEXT, o_clerk TEXT, o_shippriority INTEGER, o_comment TEXT",
        Some("o_orderkey"),
    ),
    (
        "lineitem",
        "l_orderkey INTEGER KEY, l_partkey INTEGER, l_suppkey INTEGER, l_linenumber INTEGER KEY, l_quantity NUMERIC, l_extendedprice NUMERIC, l_discount NUMERIC, l_tax NUMERIC, l_returnflag TEXT, l_linestatus TEXT, l_shipdate TEXT, l_commitdate TEXT, l_receiptdate TEXT, l_shipinstruct TEXT, l_shipmode TEXT, l_comment TEXT",
        Some("l_orderkey"),
    ),
];

/// The queries of the specification with its validation parameters, in SQLite's words for dates.
const QUERIES: &str = include_str!("../tpch/queries.sql");

/// Eight partitions and one file with the same rows.
struct Loaded {
    partitions: Partitions,
    reference: Reference,
}

impl Loaded {
    fn new() -> Loaded {
        let mut partitions = Partitions::new(Cluster::hashed(8, None));
        let tables: Vec<serde_json::Value> = TABLES
            .iter()
            .map(|(name, columns, partition_key)| {
                let columns: Vec<serde_json::Value> = columns
                    .split(", ")
                    .map(|column| {
                        let (name, data_type) = column.split_once(' ').unwrap();
                        let data_type = data_type.trim_end_matches(" KEY");
                        json!({"name": name, "data_type": data_type, "primary_key": column.ends_with(" KEY")})
                    })
                    .collect();
                json!({"name": name, "columns": columns, "partition_key": partition_key})
            })
            .collect();
        partitions.declare(&json!(tables));
        let mut reference = Reference::new();
        for sql in partitions.definitions() {
            reference.run(&sql).expect("SQLite takes the schema");
        }
        Loaded { partitions, reference }
    }

    fn load(&mut self, scale: f64) {
        self.insert("region", RegionGenerator::new(scale, 1, 1).iter());
        self.insert("nation", NationGenerator::new(scale, 1, 1).iter());
        self.insert("supplier", SupplierGenerator::new(scale, 1, 1).iter());
        self.insert("customer", CustomerGenerator::new(scale, 1, 1).iter());
        self.insert("part", PartGenerator::new(scale, 1, 1).iter());
        self.insert("partsupp", PartSuppGenerator::new(scale, 1, 1).iter());
        self.insert("orders", OrderGenerator::new(scale, 1, 1).iter());
        self.insert("lineitem", LineItemGenerator::new(scale, 1, 1).iter());
    }

    /// Inserts rows as the generator writes them: values with `|` behind each.
    fn insert(&mut self, table: &str, rows: impl Iterator<Item: Display>) {
        let rows: Vec<String> = rows
            .map(|row| {
                let text = row.to_string();
                let values = text.trim_end_matches('|').split('|');
                let quoted: Vec<String> =
                    values.map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
                format!("({})", quoted.join(", "))
            })
            .collect();
        for chunk in rows.chunks(ROWS_AT_ONCE) {
            let sql = format!("INSERT INTO {table} VALUES {}", chunk.join(", "));
            let (expected, found) = (self.reference.run(&sql), self.partitions.run(&sql));
            expected.unwrap_or_else(|refusal| panic!("{table}: {refusal:?}"));
            found.unwrap_or_else(|refusal| panic!("{table}: {refusal:?}"));
        }
    }

    /// The time of a query; and what differs from the answer of one file.
    fn compare(&mut self, sql: &str, expected: &Answered) -> (Duration, Option<String>) {
        let begun = Instant::now();
        let found = self.partitions.run(sql);
        let took = begun.elapsed();
        let order = if sql.contains("ORDER BY") { Order::Kept } else { Order::Any };
        (took, difference(expected, &found, order).map(|difference| difference.text))
    }
}

#[test]
fn the_queries_of_tpch_answer_as_one_file() {
    let thousandths = seed::setting("POLYLITE_TPCH_SCALE").unwrap_or(10);
    let scale = f64::from(u32::try_from(thousandths).unwrap()) / 1_000.0;
    let mut loaded = Loaded::new();
    let begun = Instant::now();
    loaded.load(scale);
    println!("loaded at scale {scale} in {:.1?}", begun.elapsed());
    let statistics = loaded.partitions.statistics();
    let queries: Vec<&str> = QUERIES.split(';').map(str::trim).filter(|query| !query.is_empty()).collect();
    assert_eq!(queries.len(), 22);
    let mut differences = Vec::new();
    let (mut pushed_sum, mut gathered_sum) = (Duration::ZERO, Duration::ZERO);
    for (number, sql) in (1..).zip(queries) {
        let begun = Instant::now();
        let expected = loaded.reference.run(sql);
        let one_file = begun.elapsed();
        loaded.partitions.set_rules_and_statistics(Rules::default(), &statistics);
        let (pushed, difference) = loaded.compare(sql, &expected);
        loaded.partitions.set_rules_and_statistics(Rules::none(), &statistics);
        let (gathered, gathered_difference) = loaded.compare(sql, &expected);
        println!(
            "Q{number:<2} {pushed:>9.1?} with all rules, {gathered:>9.1?} gathered, {one_file:>9.1?} one file"
        );
        (pushed_sum, gathered_sum) = (pushed_sum + pushed, gathered_sum + gathered);
        differences.extend(difference.map(|text| format!("Q{number}\n{text}")));
        differences.extend(gathered_difference.map(|text| format!("Q{number} gathered\n{text}")));
    }
    println!("all {pushed_sum:>9.1?} with all rules, {gathered_sum:>9.1?} gathered");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
