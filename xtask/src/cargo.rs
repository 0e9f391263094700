//! Runs programs and says which.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A call of cargo in the workspace, to be run by [`Call::run`].
pub struct Call {
    command: Command,
    shown: String,
}

impl Call {
    /// `cargo` with these arguments, separated by blanks.
    pub fn new(root: &Path, arguments: &str) -> Call {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(root).args(arguments.split_whitespace()).stdin(Stdio::null());
        // What cargo tells these tasks about themselves would have it build some dependencies anew, each time that
        // it is called in another way.
        for (name, _) in std::env::vars_os() {
            let about_the_tasks = ["CARGO_MANIFEST_", "CARGO_PKG_"];
            if about_the_tasks.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                command.env_remove(name);
            }
        }
        Call { command, shown: format!("cargo {arguments}") }
    }

    /// Sets an environment variable for the call.
    pub fn env(mut self, name: &str, value: &str) -> Call {
        self.command.env(name, value);
        self.shown = format!("{name}='{value}' {}", self.shown);
        self
    }

    /// Runs it with its output shown, and says how long it took.
    pub fn run(mut self) -> Result<(), String> {
        println!("\n>>> {}", self.shown);
        let started = Instant::now();
        let status = self.command.status().map_err(|error| format!("{}: {error}", self.shown))?;
        println!("<<< {:.1} s, {status}", started.elapsed().as_secs_f64());
        if status.success() { Ok(()) } else { Err(self.shown) }
    }

    /// Runs it and gives all that it writes to either output, in no order between the two; what it says to the second is
    /// in the error, too, if it ends badly.
    pub fn output(mut self) -> Result<String, String> {
        println!("\n>>> {}", self.shown);
        let output = self.command.output().map_err(|error| format!("{}: {error}", self.shown))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout) + &text(&output.stderr));
        }
        Err(format!("{}\n{}", self.shown, text(&output.stderr)))
    }

    /// Whether it ends well, with nothing shown.
    pub fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}
