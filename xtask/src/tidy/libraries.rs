//! Each outside library that shapes the architecture has one home.

use super::Breach;
use super::source::SourceFile;

struct Home {
    words: &'static [&'static str],
    allowed: fn(&str) -> bool,
    reason: &'static str,
}

const HOMES: &[Home] = &[
    Home {
        words: &["axum::", "utoipa_axum::", "utoipa_swagger_ui::", "tower_http::"],
        allowed: |path| path.contains("/src/http/") || path.ends_with("/src/http.rs"),
        reason: "the HTTP server library belongs into src/http/ alone",
    },
    Home {
        words: &["raft::"],
        allowed: |path| path.starts_with("consensus/"),
        reason: "only `consensus` knows the raft library",
    },
    Home {
        words: &["raft_engine::"],
        allowed: |path| {
            path.starts_with("consensus-runtime/") || path.starts_with("tests/src/simulated_cluster/")
        },
        reason: "only `consensus-runtime` knows the log's library, and the simulation its file system",
    },
    Home {
        words: &["rusqlite::", "libsqlite3_sys::"],
        allowed: |path| path.starts_with("sqlite/"),
        reason: "only `sqlite` knows the bindings of SQLite",
    },
    Home {
        words: &["unsafe"],
        allowed: |path| path.starts_with("sqlite/"),
        reason: "unsafe code is kept to the bindings of SQLite",
    },
    Home {
        words: &["reqwest::", "hyper::client"],
        allowed: |path| path.starts_with("client/"),
        reason: "only `client` knows HTTP client libraries",
    },
    Home {
        words: &["turso_parser::"],
        allowed: |path| path.starts_with("query/"),
        reason: "only `query` knows the parser of SQL",
    },
];

/// Finds words of a library outside its home.
pub fn check(files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for home in HOMES {
        for file in files.iter().filter(|file| !(home.allowed)(&file.path)) {
            for word in home.words {
                let places = file.places_of(&file.code, word);
                breaches.extend(places.into_iter().map(|place| Breach::new(place, home.reason)));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_outside_its_home_is_found() {
        let file = |path: &str, code: &str| SourceFile::new(path, code);
        let files = [
            file("coordinator/src/http/mod.rs", "use axum::Router;"),
            file("coordinator/src/gateway.rs", "\nuse axum::Router;"),
            file("query/src/plan.rs", "unsafe { rusqlite::x() }"),
        ];
        let mut places: Vec<String> = check(&files).into_iter().map(|breach| breach.place).collect();
        places.sort();
        assert_eq!(places, ["coordinator/src/gateway.rs:2", "query/src/plan.rs:1", "query/src/plan.rs:1"]);
    }
}
