//! `polylite sql`: statements from the command line, a file or stdin, or the shell on a terminal.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Args;

use crate::arguments::ClientArguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::shell::{self, Session};

/// Flags of `sql`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The database; the shell can choose one with .use.
    #[arg(long, value_name = "N", env = "POLYLITE_DB_NAME")]
    db_name: Option<String>,
    /// A file of statements and shell commands.
    #[arg(long, value_name = "F", env = "POLYLITE_FILE", conflicts_with = "statement")]
    file: Option<PathBuf>,
    /// The statement, or several separated by semicolons; left out, the shell, or a script from stdin.
    #[arg(value_name = "SQL")]
    statement: Option<String>,
}

/// Runs what was given; the first failure of a script ends it.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(&arguments.client)?;
    let mut session = Session::new(connection, arguments.db_name, arguments.client.rows_form());
    if let Some(statements) = arguments.statement {
        return session.run_statements(&statements).await;
    }
    let script = match &arguments.file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Failure::refused(format!("{}: {error}", path.display())))?,
        None if std::io::stdin().is_terminal() => return shell::run(session).await,
        None => {
            let mut script = String::new();
            std::io::stdin().lock().read_to_string(&mut script)?;
            script
        }
    };
    session.run_script(&script).await
}
