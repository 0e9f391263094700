//! `docs/errors.md` tells every error code, with the status and the advice that the code gives.

use common::ErrorCode;
use tests::binary::workspace;

#[test]
fn the_documentation_tells_every_code_truly() {
    let text = std::fs::read_to_string(workspace().join("docs/errors.md")).expect("docs/errors.md");
    let told: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 5)
        .map(|line| line.split('|').map(str::trim).skip(1).take(3).collect())
        .collect();
    let codes: Vec<Vec<String>> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let retryable = if code.retryable() { "yes" } else { "no" };
            vec![format!("`{code}`"), code.http_status().to_string(), retryable.to_owned()]
        })
        .collect();
    assert_eq!(told, codes);
}
