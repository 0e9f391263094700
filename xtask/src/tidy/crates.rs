//! Which crate may use which: the arrows of `docs/architecture.md`.

use std::io;
use std::path::Path;

use super::Breach;

/// Each crate with the crates of this workspace that it may depend on. Tests may use anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("sqlite", &["common"]),
    ("consensus", &["common"]),
    ("consensus-runtime", &["consensus", "common"]),
    ("query", &["sqlite", "common"]),
    ("differential", &["sqlite", "common"]),
    ("client", &["common"]),
    ("storage-node", &["sqlite", "consensus-runtime", "consensus", "polylite-client", "common"]),
    ("coordinator", &["query", "sqlite", "consensus-runtime", "consensus", "polylite-client", "common"]),
    ("cli", &["common", "query", "sqlite", "polylite-client", "storage-node", "coordinator"]),
    ("xtask", &[]),
];

const MEMBERS: &[&str] = &[
    "common",
    "sqlite",
    "consensus",
    "consensus-runtime",
    "query",
    "differential",
    "polylite-client",
    "storage-node",
    "coordinator",
    "polylite-cli",
    "tests",
    "xtask",
];

/// Finds dependencies that point the wrong way, and crates that do not take the workspace's lints.
pub fn check(root: &Path) -> io::Result<Vec<Breach>> {
    let mut breaches = Vec::new();
    for (folder, allowed) in ARROWS {
        let manifest = std::fs::read_to_string(root.join(folder).join("Cargo.toml"))?;
        breaches.extend(check_manifest(folder, allowed, &manifest));
    }
    Ok(breaches)
}

fn check_manifest(folder: &str, allowed: &[&str], manifest: &str) -> Vec<Breach> {
    let place = format!("{folder}/Cargo.toml");
    let mut breaches = Vec::new();
    for name in dependencies(manifest) {
        if MEMBERS.contains(&name) && !allowed.contains(&name) {
            breaches.push(Breach::new(&*place, format!("`{folder}` may not depend on `{name}`")));
        }
    }
    if !manifest.contains("[lints]\nworkspace = true") {
        breaches.push(Breach::new(&*place, "takes no lints from the workspace"));
    }
    breaches
}

/// Names under `[dependencies]`.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    section.filter_map(|line| line.split(['.', '=', ' ']).next()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_the_wrong_way_is_found() {
        let manifest = "[lints]\nworkspace = true\n[dependencies]\ncommon.workspace = true\nquery = \"1\"\n[dev-dependencies]\ncli = \"1\"\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["common", "query"]);
        assert_eq!(check_manifest("sqlite", &["common"], manifest).len(), 1);
        assert_eq!(check_manifest("sqlite", &["common", "query"], "[dependencies]\n").len(), 1);
    }
}
