//! What the README tells people to type is typed by a test.

use std::io;
use std::path::Path;

use super::Breach;

/// Finds blocks of commands that say neither which test runs them (`sh test=<name>`) nor why none does
/// (`sh untested=<reason>`).
pub fn check(root: &Path) -> io::Result<Vec<Breach>> {
    Ok(check_text(&std::fs::read_to_string(root.join("README.md"))?))
}

fn check_text(text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let Some(tag) = line.trim_start().strip_prefix("```") else { continue };
        if !inside && tag.starts_with("sh") && !tag.contains(" test=") && !tag.contains(" untested=") {
            let reason = "a block of commands that no test runs: tag it `sh test=<name>`";
            breaches.push(Breach::new(format!("README.md:{}", index + 1), reason));
        }
        inside = !inside;
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untested_block_is_found() {
        assert_eq!(check_text("```sh test=tour\nls\n```\n```json\n{}\n```\n").len(), 0);
        assert_eq!(check_text("```sh\nls\n```\n").len(), 1);
    }
}
