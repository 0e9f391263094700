//! Tests of the whole product: real processes, the simulation, the documents that people type from. One program, because linking one for each file would take longer than running them.

mod cache;
mod client_library;
mod column_groups;
mod commands;
mod coordinators_join;
mod demos;
mod dev_server;
mod differential;
mod error_codes;
mod faults_coordinators;
mod faults_exactly_once;
mod faults_joining_nodes;
mod faults_lost_nodes;
mod faults_only_coordinator;
mod faults_paused_leader;
mod faults_random_kills;
mod graded;
mod operations;
mod peer_workload;
mod python_client;
mod readme;
mod real_data;
mod reference_interface;
mod shell;
mod simulation;
