//! The `polylite` binary: the servers, the commands that talk to them, and the SQL shell.
//!
//! It is thin. A command turns what was typed into options or a request, hands it to the `coordinator`,
//! `storage-node` or client library, and shows the answer. One file per command lies in [`commands`].

mod arguments;
mod commands;
mod connection;
mod data_directory;
mod failure;
mod http;
mod logging;
mod merging;
mod output;
mod progress;
mod server;
mod shell;
mod slow_transactions;
mod statements;
mod transfer;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use arguments::CommandLine;
use common::limits::SQL_STACK;
use failure::Failure;

/// Many small allocations cross threads here, which is what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let Some(command) = line.command else {
        return match CommandLine::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => Failure::from(error).report(),
        };
    };
    let done = runtime().map_err(Failure::from).and_then(|runtime| {
        let done = runtime.block_on(commands::run(command));
        // Whatever still runs belongs to requests that nobody waits for any more.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().thread_stack_size(SQL_STACK).enable_all().build()
}
