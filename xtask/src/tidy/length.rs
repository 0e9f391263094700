//! A file is about one subject, and a person reads it in one go.

use super::Breach;
use super::source::SourceFile;

/// Longest file in lines, its unit tests not counted.
const LINES_MAX: usize = 700;

/// Finds files that should be split by subject.
pub fn check(files: &[SourceFile]) -> Vec<Breach> {
    let long = files.iter().filter(|file| !file.is_test).filter_map(|file| {
        let lines = file.code_without_tests().lines().count();
        let reason = format!("{lines} lines; split it by subject ({LINES_MAX} at most)");
        (lines > LINES_MAX).then(|| Breach::new(file.path.clone(), reason))
    });
    long.collect()
}
