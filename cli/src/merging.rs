//! What a coordinator may take of memory and disk to put the rows of several partitions together.

use std::path::PathBuf;

use clap::Args;
use coordinator::WorkspaceLimits;

/// Flags of the servers that merge rows. Sizes are in MiB.
#[derive(Clone, Debug, Args)]
pub struct MergingArguments {
    /// Memory of one statement that is merged here, in MiB; more rows go to disk.
    #[arg(long, value_name = "MIB", env = "POLYLITE_QUERY_MEMORY", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub query_memory: u32,
    /// Memory of all such statements together, in MiB.
    #[arg(long, value_name = "MIB", env = "POLYLITE_QUERY_MEMORY_OF_ALL", default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub query_memory_of_all: u32,
    /// Temporary disk space of one such statement, in MiB.
    #[arg(long, value_name = "MIB", env = "POLYLITE_QUERY_DISK", default_value_t = 16 << 10)]
    pub query_disk: u32,
    /// Temporary disk space of all such statements together, in MiB.
    #[arg(long, value_name = "MIB", env = "POLYLITE_QUERY_DISK_OF_ALL", default_value_t = 64 << 10)]
    pub query_disk_of_all: u32,
    /// Folder of temporary files [default: the data directory].
    #[arg(long, value_name = "DIR", env = "POLYLITE_TEMPORARY_DIR")]
    pub temporary_dir: Option<PathBuf>,
}

impl MergingArguments {
    /// The limits in bytes.
    pub fn limits(&self) -> WorkspaceLimits {
        let bytes = |mib: u32| u64::from(mib) << 20;
        let memory = |mib: u32| usize::try_from(bytes(mib)).unwrap_or(usize::MAX);
        WorkspaceLimits {
            memory: memory(self.query_memory),
            memory_of_all: memory(self.query_memory_of_all),
            disk: bytes(self.query_disk),
            disk_of_all: bytes(self.query_disk_of_all),
            folder: self.temporary_dir.clone(),
        }
    }
}
