//! The deterministic core is handed its time, seeds and ids, so that a whole cluster can be replayed.

use super::Breach;
use super::source::SourceFile;

/// Folders whose code is deterministic.
const PURE: &[&str] = &["common/src/", "consensus/src/", "query/src/"];

/// What runs a plan rather than makes one: it waits for partitions, until a deadline.
const RUNS_PLANS: &[&str] =
    &["query/src/access.rs", "query/src/sql/", "query/src/documents/", "query/src/rows.rs"];

fn is_pure(path: &str) -> bool {
    let lies_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    lies_in(PURE) && !lies_in(RUNS_PLANS)
}

const BANNED: &[&str] = &[
    "Instant",
    "SystemTime",
    "std::thread",
    "thread::spawn",
    "tokio::",
    "rand::",
    "std::net",
    "std::fs",
    "std::env",
];

/// Finds clocks, threads, randomness and input or output in the deterministic core; its tests may use them.
pub fn check(files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let pure = files.iter().filter(|file| is_pure(&file.path));
    for file in pure.filter(|file| !file.is_test) {
        for word in BANNED {
            let places = file.places_of(file.code_without_tests(), word);
            let reason = format!("`{word}` in the deterministic core: hand the value in instead");
            breaches.extend(places.into_iter().map(|place| Breach::new(place, &*reason)));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_the_core_is_found_and_one_in_its_tests_is_not() {
        let code = "fn a() { Instant::now(); }\n#[cfg(test)]\nmod tests { fn b() { Instant::now(); } }";
        let files = [SourceFile::new("consensus/src/group.rs", code)];
        let places: Vec<String> = check(&files).into_iter().map(|breach| breach.place).collect();
        assert_eq!(places, ["consensus/src/group.rs:1"]);
    }
}
