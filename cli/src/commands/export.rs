//! `polylite export`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::arguments::{DatabaseArguments, TargetArguments};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::print_done;
use crate::transfer::{self, Format};
use polylite_client::{Database, Target};

/// Flags of `export`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    #[command(flatten)]
    target: TargetArguments,
    /// Form of the file; left out, its name tells, else CSV for a table and NDJSON for a collection.
    #[arg(long, value_enum, env = "POLYLITE_FORMAT")]
    format: Option<Format>,
    /// The file; left out, or -, stdout.
    #[arg(long, value_name = "F", env = "POLYLITE_TO")]
    to: Option<PathBuf>,
}

/// Writes it.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let file = arguments.to.as_deref().filter(|path| *path != Path::new("-"));
    let by_name = file.and_then(Format::of_name);
    let standard = if arguments.target.collection.is_some() { Format::Ndjson } else { Format::Csv };
    let format = arguments.format.or(by_name).unwrap_or(standard);
    let database = Connection::open(&arguments.database.client)?.database(&arguments.database.db_name);
    let target = transfer::target_of(&arguments.target);
    match file {
        None => {
            transfer::export(&database, &target, format, &mut tokio::io::stdout()).await?;
        }
        Some(path) => {
            let bytes = to_file(&database, &target, format, path).await?;
            let message = format!("{bytes} bytes written to {}.", path.display());
            print_done(arguments.database.client.output, &message, &[("bytes", bytes.into())])?;
        }
    }
    Ok(())
}

/// Writes to a file that appears only when it is whole.
pub async fn to_file(
    database: &Database,
    target: &Target,
    format: Format,
    path: &Path,
) -> Result<u64, Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let named = |error: std::io::Error| Failure::refused(format!("{}: {error}", path.display()));
    let mut file = tokio::fs::File::create(&partial).await.map_err(named)?;
    let written = transfer::export(database, target, format, &mut file).await;
    let written = match written {
        Ok(bytes) => tokio::fs::rename(&partial, path).await.map(|()| bytes).map_err(named),
        Err(failure) => Err(failure),
    };
    if written.is_err() {
        // The failure that is told matters more than one of tidying up.
        let _ = tokio::fs::remove_file(&partial).await;
    }
    written
}
