//! `polylite import`.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::column_types;
use crate::arguments::{DatabaseArguments, TargetArguments};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::print_done;
use crate::transfer::{self, Format};

/// Flags of `import`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    #[command(flatten)]
    target: TargetArguments,
    /// Create the table first: columns from the header, types from all values.
    #[arg(long, env = "POLYLITE_CREATE", requires = "table")]
    create: bool,
    /// Form of the file; left out, its name tells.
    #[arg(long, value_enum, env = "POLYLITE_FORMAT")]
    format: Option<Format>,
    /// The text in CSV that means NULL; left out, an empty cell without quotes does.
    #[arg(long, value_name = "TEXT", env = "POLYLITE_NULL", allow_hyphen_values = true)]
    null: Option<String>,
    /// The file, or - for stdin.
    file: PathBuf,
}

/// Loads the file and tells how many rows there were, and how fast.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let format = format_of(&arguments.file, arguments.format)?;
    let connection = Connection::open(&arguments.database.client)?;
    let database = connection.database(&arguments.database.db_name);
    let target = transfer::target_of(&arguments.target);
    let null = arguments.null.as_deref();
    let started = std::time::Instant::now();
    let rows = if arguments.file == Path::new("-") && !arguments.create {
        transfer::import(&database, &target, format, null, tokio::io::stdin(), None).await?
    } else {
        let mut file = open(&arguments.file)?;
        if let (true, Some(table)) = (arguments.create, &arguments.target.table) {
            let statement = column_types::create_table(table, &mut file, format, null)?;
            file.rewind()?;
            connection.sql(&arguments.database.db_name, &statement).await?;
        }
        let size = file.metadata()?.len();
        let source = tokio::fs::File::from_std(file);
        transfer::import(&database, &target, format, null, source, Some(size)).await?
    };
    let seconds = started.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let rate = rows as f64 / seconds.max(0.001);
    let noun = if rows == 1 { "row" } else { "rows" };
    let message = format!("{rows} {noun} imported in {seconds:.2} s ({rate:.0} rows/s).");
    Ok(print_done(arguments.database.client.output, &message, &[("rows", rows.into())])?)
}

/// The form that was asked for, or that the name tells; stdin is CSV.
pub fn format_of(file: &Path, asked: Option<Format>) -> Result<Format, Failure> {
    let standard = (file == Path::new("-")).then_some(Format::Csv);
    asked.or_else(|| Format::of_name(file)).or(standard).ok_or_else(|| {
        Failure::usage(format!("the name {} does not tell the form of the file", file.display()))
            .with_hint("add --format csv or --format ndjson")
    })
}

/// Opens the file. Stdin, which can be read only once, is kept in a temporary file.
fn open(path: &Path) -> Result<std::fs::File, Failure> {
    if path != Path::new("-") {
        return std::fs::File::open(path)
            .map_err(|error| Failure::refused(format!("{}: {error}", path.display())));
    }
    let mut copy = tempfile::tempfile()?;
    std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut copy)?;
    copy.flush()?;
    copy.rewind()?;
    Ok(copy)
}
