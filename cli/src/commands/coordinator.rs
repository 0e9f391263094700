//! `polylite coordinator`.

use std::time::Duration;

use clap::Args;
use coordinator::{Coordinator, CoordinatorOptions};

use crate::arguments::SqlRulesArguments;
use crate::failure::Failure;
use crate::logging::{self, LogArguments};
use crate::merging::MergingArguments;
use crate::server::{self, ListenArguments, StopSignals};
use crate::slow_transactions::SlowTransactionArguments;

/// Flags of `coordinator`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub listen: ListenArguments,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, value_name = "PORT", env = "POLYLITE_PORT", default_value_t = 5000)]
    pub port: u16,
    /// Replicas of each partition of databases that do not say.
    #[arg(
        long,
        value_name = "COUNT",
        env = "POLYLITE_REPLICATION_FACTOR",
        default_value_t = common::limits::REPLICATION_FACTOR_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(common::limits::REPLICATION_FACTOR_MAX))
    )]
    pub replication_factor: u32,
    /// Seconds after which an inactive storage node's replicas are made anew on others.
    #[arg(long, value_name = "SECONDS", env = "POLYLITE_REPAIR_AFTER", default_value_t = 300)]
    pub repair_after: u64,
    /// Address of a coordinator whose cluster this one joins at its first start; may be repeated.
    #[arg(long, value_name = "URL", env = "POLYLITE_JOIN", value_delimiter = ',')]
    pub join: Vec<String>,
    /// A host name that requests may use beside this machine's own; may be repeated.
    #[arg(long, value_name = "HOST", env = "POLYLITE_ALLOWED_HOST", value_delimiter = ',')]
    pub allowed_host: Vec<String>,
    #[command(flatten)]
    sql: SqlRulesArguments,
    #[command(flatten)]
    merging: MergingArguments,
    #[command(flatten)]
    slow: SlowTransactionArguments,
    #[command(flatten)]
    log: LogArguments,
}

/// Runs the server until it is told to end.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    logging::start(&arguments.log)?;
    let listen = arguments.listen;
    let data_dir = listen.data_directory("coordinator", arguments.port, None)?;
    let options = CoordinatorOptions {
        host: listen.host.clone(),
        port: arguments.port,
        advertise: listen.advertise,
        data_dir,
        replication_factor: arguments.replication_factor,
        repair_after: Duration::from_secs(arguments.repair_after),
        join: arguments.join,
        allowed_hosts: arguments.allowed_host,
        sql_rules: arguments.sql.sql_rules,
        workspace: arguments.merging.limits(),
        slow_transaction: arguments.slow.slow_transaction(),
    };
    let coordinator = Coordinator::start(options)
        .await
        .map_err(|error| server::start_failure("coordinator", arguments.port, &error))?;
    let stop = StopSignals::listen()?;
    server::announce_ready("coordinator", &server::url(&listen.host, coordinator.port()))?;
    stop.requested().await?;
    coordinator.shutdown().await;
    Ok(())
}
