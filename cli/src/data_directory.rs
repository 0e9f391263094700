//! Where data lies when nothing else is said: the user's data directory, never the working directory.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;

/// The folder of all of a user's Polylite data.
pub fn user_folder() -> Result<PathBuf, Failure> {
    let folder = user_data_folder(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    folder.map(|folder| folder.join("polylite")).ok_or_else(|| {
        Failure::refused("no home directory is known").with_hint("name a directory with --data-dir")
    })
}

/// A server's default directory: `<role>-<port>`, and for port 0 a folder of a name of its own.
pub fn default_for(role: &str, port: u16, name: Option<&str>) -> Result<PathBuf, Failure> {
    let name = match (name, port) {
        (Some(name), 0) => format!("{role}-{name}"),
        (None, 0) => format!("{role}-{}", fresh_name()),
        (_, port) => format!("{role}-{port}"),
    };
    Ok(user_folder()?.join(name))
}

/// A name that no other server of this user takes: the time in nanoseconds, and the process.
fn fresh_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{}", now.as_nanos(), std::process::id())
}

/// The place that the system has for such data
/// (<https://specifications.freedesktop.org/basedir-spec/latest/> and its counterparts).
fn user_data_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if cfg!(windows) {
        return variable("LOCALAPPDATA").map(PathBuf::from);
    }
    if let Some(folder) = variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Some(folder);
    }
    let home = PathBuf::from(variable("HOME")?);
    let below = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
    Some(home.join(below))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_base_directory_specification_is_followed() {
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/ann"));
        assert_eq!(user_data_folder(home), Some(PathBuf::from("/home/ann/.local/share")));
        let both = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/ann")),
            "XDG_DATA_HOME" => Some(OsString::from("/data")),
            _ => None,
        };
        assert_eq!(user_data_folder(both), Some(PathBuf::from("/data")));
        assert_eq!(user_data_folder(|_| None), None);
    }
}
