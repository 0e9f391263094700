//! Several statements as one request, all or none, in one text: between BEGIN and COMMIT, each on lines of its
//! own.

use crate::answer::{Answer, Answered, Refusal};

const BEGIN: &str = "BEGIN;\n";
const COMMIT: &str = ";\nCOMMIT";
const BETWEEN: &str = ";\n";

/// The text of a batch.
#[must_use]
pub fn text(statements: &[String]) -> String {
    format!("{BEGIN}{}{COMMIT}", statements.join(BETWEEN))
}

/// The statements, if a text is one of a batch.
#[must_use]
pub fn statements(text: &str) -> Option<Vec<&str>> {
    let inside = text.strip_prefix(BEGIN)?.strip_suffix(COMMIT)?;
    Some(inside.split(BETWEEN).collect())
}

/// One answer made of those of all statements: the rows of all, counts added up.
pub fn answered(results: Result<Vec<common::protocol::StatementResult>, common::Error>) -> Answered {
    let results = results.map_err(|error| {
        let place = error.statement.map_or_else(|| "at the end".to_owned(), |index| format!("at {index}"));
        let refusal = Refusal::from(error);
        Refusal { message: format!("{} ({place})", refusal.message), ..refusal }
    })?;
    let mut whole = Answer::default();
    for result in results {
        let answer = Answer::of(result)?;
        whole.columns.extend(answer.columns);
        whole.types.extend(answer.types);
        whole.rows.extend(answer.rows);
        whole.affected_rows += answer.affected_rows;
        whole.last_insert_rowid = answer.last_insert_rowid.or(whole.last_insert_rowid);
    }
    Ok(whole)
}
