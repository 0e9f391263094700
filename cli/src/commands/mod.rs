//! The commands, one file each: its flags, and `run`.

pub mod bench;
pub mod cache;
pub mod completions;
pub mod coordinator;
pub mod create_database;
pub mod describe_database;
pub mod dev;
pub mod docs;
pub mod drain_node;
pub mod drop_database;
pub mod export;
pub mod import;
pub mod leave_cluster;
pub mod list_databases;
pub mod merge_partitions;
pub mod nodes;
pub mod partitioning;
pub mod partitions;
pub mod query;
pub mod rebalance;
pub mod remove_node;
pub mod split_partition;
pub mod sql;
pub mod status;
pub mod storage_node;

mod column_types;
mod operation;

use crate::arguments::Command;
use crate::failure::Failure;

/// Runs a command to its end.
pub async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Coordinator(arguments) => coordinator::run(arguments).await,
        Command::StorageNode(arguments) => storage_node::run(arguments).await,
        Command::CreateDatabase(arguments) => create_database::run(arguments).await,
        Command::ListDatabases(arguments) => list_databases::run(arguments).await,
        Command::DescribeDatabase(arguments) => describe_database::run(arguments).await,
        Command::DropDatabase(arguments) => drop_database::run(arguments).await,
        Command::Query(arguments) => query::run(arguments).await,
        Command::Docs(arguments) => docs::run(arguments).await,
        Command::Sql(arguments) => sql::run(arguments).await,
        Command::Import(arguments) => import::run(arguments).await,
        Command::Export(arguments) => export::run(arguments).await,
        Command::Nodes(arguments) => nodes::run(arguments).await,
        Command::DrainNode(arguments) => drain_node::run(arguments).await,
        Command::RemoveNode(arguments) => remove_node::run(arguments).await,
        Command::LeaveCluster(arguments) => leave_cluster::run(arguments).await,
        Command::Rebalance(arguments) => rebalance::run(arguments).await,
        Command::SplitPartition(arguments) => split_partition::run(arguments).await,
        Command::MergePartitions(arguments) => merge_partitions::run(arguments).await,
        Command::Partitioning(arguments) => partitioning::run(arguments).await,
        Command::Partitions(arguments) => partitions::run(arguments).await,
        Command::Status(arguments) => status::run(arguments).await,
        Command::Cache(arguments) => cache::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::BaselineServer => crate::http::baseline_server::run().await,
        Command::Completions(arguments) => completions::run(&arguments),
    }
}
