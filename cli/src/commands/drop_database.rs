//! `polylite drop-database`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use crate::arguments::ClientArguments;
use crate::connection::{Connection, segment};
use crate::failure::Failure;
use crate::output::print_done;

/// Flags of `drop-database`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The database.
    #[arg(long, value_name = "N", env = "POLYLITE_NAME")]
    name: String,
    /// Do not ask.
    #[arg(long, env = "POLYLITE_YES")]
    yes: bool,
}

/// Drops it, after the name was typed again where somebody is there to type.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    if !arguments.yes {
        confirm(&arguments.name)?;
    }
    let connection = Connection::open(&arguments.client)?;
    connection
        .delete(&format!("/databases/{}", segment(&arguments.name)))
        .await
        .map_err(|failure| failure.while_doing("Error dropping database"))?;
    let message = format!("Database '{}' dropped.", arguments.name);
    Ok(print_done(arguments.client.output, &message, &[("name", arguments.name.as_str().into())])?)
}

fn confirm(name: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("dropping a database removes all its data").with_hint("add --yes"));
    }
    print!("This removes all data of '{name}'. Type its name to go on: ");
    io::stdout().flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() == name { Ok(()) } else { Err(Failure::refused("Nothing was dropped.")) }
}
