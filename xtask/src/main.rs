//! The project's own tasks, reachable as `cargo xtask <task>` (see `.cargo/config.toml`). Only the standard
//! library is used, so that a task starts in a moment.

mod cargo;
mod fix;
mod nightly;
mod planted;
mod test;
mod tidy;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>

  verify   everything that must hold before a change is merged; changes no file
  fix      format, and apply clippy's suggestions
  tidy     the rules of the architecture alone
  test     all tests, the ones in the documentation included
  planted  runs the simulations with each planted bug, and shows which seed found it and how long that took
  nightly [HOURS]
           the long forms of everything that is random, with fresh seeds, again and again for some hours (8)
";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let root = workspace_root();
    let done = match task.as_str() {
        "verify" => verify::run(&root),
        "fix" => fix::run(&root),
        "tidy" => tidy::run(&root),
        "test" => test::run(&root),
        "planted" => planted::run(&root),
        "nightly" => nightly::run(&root, std::env::args().nth(2).as_deref()),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("\nxtask {task} failed: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace, whatever folder the task was called from.
fn workspace_root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_owned()
}
