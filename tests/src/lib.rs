//! What tests of the whole product stand on: processes of the real binary, a simulated cluster in one
//! thread, and checkers of histories.

pub mod acknowledged_rows;
pub mod binary;
pub mod counting_clients;
pub mod drawn_faults;
pub mod graded;
pub mod histories;
pub mod http_engine;
pub mod isolation_clients;
pub mod linearizability;
pub mod metrics;
pub mod process_cluster;
pub mod proxy;
pub mod raised_clock;
pub mod raw_http;
pub mod recorded_writers;
pub mod replica_files;
pub mod seeds;
pub mod simulated_cluster;
pub mod simulated_leases;
pub mod simulated_moments;
pub mod simulated_placement;
pub mod simulated_power_cuts;
pub mod simulated_transactions;
pub mod terminal;
