//! What a coordinator takes for a slow transaction.

use std::time::Duration;

use clap::Args;

/// Flag of the servers that run transactions.
#[derive(Clone, Debug, Args)]
pub struct SlowTransactionArguments {
    /// Log transactions over several partitions that take at least so many milliseconds.
    #[arg(long, value_name = "MS", env = "POLYLITE_SLOW_TRANSACTION_MS", default_value_t = 1_000)]
    pub slow_transaction_ms: u32,
}

impl SlowTransactionArguments {
    /// The same as a duration.
    pub fn slow_transaction(&self) -> Duration {
        Duration::from_millis(u64::from(self.slow_transaction_ms))
    }
}
