//! What can be typed: the commands, and the flags that several of them share. Every flag can also be given
//! as an environment variable, `POLYLITE_` and its name.

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::output::OutputFormat;

/// Many SQLite files that act as one database: SQL tables and JSON documents, partitioned and replicated.
#[derive(Debug, Parser)]
#[command(name = "polylite", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 refused, 2 usage, 3 server not reachable.")]
pub struct CommandLine {
    /// What to do; the help text when nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands, in the order in which they are told about.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a coordinator and storage nodes in one process.
    Dev(commands::dev::Arguments),
    /// Run a coordinator.
    Coordinator(commands::coordinator::Arguments),
    /// Run a storage node.
    StorageNode(commands::storage_node::Arguments),
    /// Create a database.
    CreateDatabase(commands::create_database::Arguments),
    /// List the databases.
    ListDatabases(commands::list_databases::Arguments),
    /// Show a database's tables and how it is partitioned.
    DescribeDatabase(commands::describe_database::Arguments),
    /// Drop a database with everything in it.
    DropDatabase(commands::drop_database::Arguments),
    /// Run a query object, from a file or prompted for.
    Query(commands::query::Arguments),
    /// Run SQL: a statement, a file, or a shell.
    Sql(commands::sql::Arguments),
    /// Find, insert, change and delete documents of a collection.
    Docs(commands::docs::Arguments),
    /// Load a CSV or NDJSON file into a table or a collection.
    Import(commands::import::Arguments),
    /// Write a table or a collection to a CSV or NDJSON file.
    Export(commands::export::Arguments),
    /// List the storage nodes.
    Nodes(commands::nodes::Arguments),
    /// Have a storage node give all its replicas away, so that it can be removed.
    DrainNode(commands::drain_node::Arguments),
    /// Remove a storage node from the cluster.
    RemoveNode(commands::remove_node::Arguments),
    /// Spread replicas and leaders evenly over the storage nodes.
    Rebalance(commands::rebalance::Arguments),
    /// Split a partition in two.
    SplitPartition(commands::split_partition::Arguments),
    /// Merge two neighbouring partitions.
    MergePartitions(commands::merge_partitions::Arguments),
    /// Show or set when partitions are split and merged by themselves.
    Partitioning(commands::partitioning::Arguments),
    /// Take a coordinator out of the cluster for good.
    LeaveCluster(commands::leave_cluster::Arguments),
    /// List the partitions, their leaders, rows and bytes.
    Partitions(commands::partitions::Arguments),
    /// Show the state of the cluster.
    Status(commands::status::Arguments),
    /// Show what the coordinator's cache has done, or empty it.
    Cache(commands::cache::Arguments),
    /// Measure throughput and latency against a baseline.
    Bench(commands::bench::Arguments),
    /// Answer every request alike, as something to measure beside.
    #[command(hide = true)]
    BaselineServer,
    /// Print a completion script for a shell.
    Completions(commands::completions::Arguments),
}

/// Flags of the commands that talk to a server.
#[derive(Clone, Debug, Args)]
pub struct ClientArguments {
    /// Address of a coordinator; repeat it to name several.
    #[arg(
        long = "coordinator",
        value_name = "URL",
        env = "POLYLITE_COORDINATOR",
        default_value = "http://localhost:5000",
        value_delimiter = ',',
        global = true
    )]
    pub coordinators: Vec<String>,
    /// How the answer is written; left out, as text for people.
    #[arg(long, value_enum, env = "POLYLITE_OUTPUT", global = true)]
    pub output: Option<OutputFormat>,
}

impl ClientArguments {
    /// The form of rows: a table, unless another one is asked for.
    pub fn rows_form(&self) -> OutputFormat {
        self.output.unwrap_or_default()
    }
}

/// A command that works on a database.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArguments {
    #[command(flatten)]
    pub client: ClientArguments,
    /// The database.
    #[arg(long, value_name = "N", env = "POLYLITE_DB_NAME")]
    pub db_name: String,
}

/// How servers answer SQL.
#[derive(Clone, Debug, Args)]
pub struct SqlRulesArguments {
    /// Shortcuts of SELECT to turn off, as `-top-k,-distinct`; `-all` gathers everything, `verify` checks every
    /// answer against gathering.
    #[arg(
        long,
        value_name = "RULES",
        env = "POLYLITE_SQL_RULES",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub sql_rules: coordinator::Rules,
}

/// What a command works on: a table, or a collection.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TargetArguments {
    /// The table.
    #[arg(long, value_name = "T", env = "POLYLITE_TABLE")]
    pub table: Option<String>,
    /// The collection.
    #[arg(long, value_name = "C", env = "POLYLITE_COLLECTION")]
    pub collection: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::error::ErrorKind> {
        let words = std::iter::once("polylite").chain(line.split_whitespace());
        match CommandLine::try_parse_from(words) {
            Ok(line) => Ok(line.command.expect("a command was given")),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn the_definitions_are_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        for command in CommandLine::command().get_subcommands() {
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long() else { continue };
                if matches!(long, "help" | "version") {
                    continue;
                }
                let expected = format!("POLYLITE_{}", long.to_uppercase().replace('-', "_"));
                let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
                assert_eq!(variable.as_deref(), Some(expected.as_str()), "{} --{long}", command.get_name());
            }
        }
    }

    #[test]
    fn every_client_command_takes_coordinators_and_a_form() {
        for line in [
            "create-database --name n",
            "list-databases",
            "describe-database --name n",
            "drop-database --name n",
            "query --db-name n --operation sql",
            "sql --db-name n",
            "import --db-name n --table t f.csv",
            "export --db-name n --table t",
            "nodes",
            "drain-node --node-id n",
            "remove-node --node-id n",
            "rebalance",
            "split-partition --partition-id p --at 5",
            "merge-partitions --left p --right q",
            "partitioning",
            "partitioning --automatic false --split-bytes 5",
            "leave-cluster --address h:1",
            "partitions",
            "status",
            "cache",
            "cache clear",
        ] {
            for form in ["table", "json", "csv"] {
                let flags =
                    format!("{line} --coordinator http://a:1 --coordinator http://b:2 --output {form}");
                assert!(parse(&flags).is_ok(), "{flags}");
            }
        }
    }

    #[test]
    fn flags_of_documents_stand_before_the_operation_or_after_it() {
        let flags = "--db-name d --collection c --coordinator http://a:1 --output json";
        for line in [
            format!("docs {flags} find {{}}"),
            format!("docs find {{}} {flags} --limit 1"),
            format!("docs --db-name d find {flags}"),
        ] {
            let Ok(Command::Docs(docs)) = parse(&line) else { panic!("{line}") };
            assert_eq!(docs.place(), Ok(("d", "c")), "{line}");
            assert_eq!(docs.client.coordinators, ["http://a:1"], "{line}");
            assert_eq!(docs.client.output, Some(OutputFormat::Json), "{line}");
        }
        let Ok(Command::Docs(docs)) = parse("docs find --db-name d") else { panic!("docs") };
        assert_eq!(docs.place(), Err("--collection"));
    }

    #[test]
    fn servers_have_the_ports_of_old() {
        let Ok(Command::Coordinator(coordinator)) = parse("coordinator") else { panic!("coordinator") };
        assert_eq!((coordinator.listen.host.as_str(), coordinator.port), ("localhost", 5000));
        assert_eq!(coordinator.replication_factor, 3);
        let Ok(Command::StorageNode(node)) =
            parse("storage-node --coordinator http://a:1 --coordinator http://b:2 --node-id n1")
        else {
            panic!("storage-node")
        };
        assert_eq!(node.port, 5100);
        assert_eq!(node.coordinators, ["http://a:1", "http://b:2"]);
        assert_eq!(node.node_id.as_deref(), Some("n1"));
        let Ok(Command::Dev(dev)) = parse("dev") else { panic!("dev") };
        assert_eq!((dev.host.as_str(), dev.port, dev.nodes), ("127.0.0.1", 5000, 3));
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        use clap::error::ErrorKind;
        assert_eq!(parse("dev --data-dir d --ephemeral").unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("import --db-name d file.csv").unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(
            parse("export --db-name d --table t --collection c").unwrap_err(),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(parse("sql --db-name d --file f SELECT").unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("frobnicate").unwrap_err(), ErrorKind::InvalidSubcommand);
    }
}
