//! `tidy` checks the rules of the architecture that neither the compiler nor clippy knows. The rules are
//! told in `docs/architecture.md`; each is one module here.

mod crates;
mod length;
mod libraries;
mod purity;
mod readme;
mod source;

use std::path::Path;

use source::SourceFile;

/// One breach of a rule.
pub struct Breach {
    /// `file` or `file:line`, relative to the workspace.
    pub place: String,
    /// What is wrong, and why it matters.
    pub reason: String,
}

impl Breach {
    fn new(place: impl Into<String>, reason: impl Into<String>) -> Breach {
        Breach { place: place.into(), reason: reason.into() }
    }
}

/// Checks the whole workspace.
pub fn run(root: &Path) -> Result<(), String> {
    println!(">>> tidy");
    let files = SourceFile::read_all(root).map_err(|error| format!("reading the sources: {error}"))?;
    let mut breaches = Vec::new();
    breaches.extend(libraries::check(&files));
    breaches.extend(purity::check(&files));
    breaches.extend(length::check(&files));
    breaches.extend(crates::check(root).map_err(|error| format!("reading the manifests: {error}"))?);
    breaches.extend(readme::check(root).map_err(|error| format!("reading README.md: {error}"))?);
    for breach in &breaches {
        eprintln!("{}: {}", breach.place, breach.reason);
    }
    println!("<<< tidy: {} source files, {} breaches", files.len(), breaches.len());
    if breaches.is_empty() { Ok(()) } else { Err(format!("tidy found {} breaches", breaches.len())) }
}
