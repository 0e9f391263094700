//! `PRAGMA defer_foreign_keys`: whether all foreign keys wait for the end of a request, as those wait that are declared so.

use common::Value;
use common::protocol::StatementResult;
use common::row::RowBlock;

use crate::ast::{Expr, Literal, PragmaBody, Stmt};

/// SQLite's name of the setting.
const NAME: &str = "defer_foreign_keys";

/// Digits of which SQLite certainly makes the number that they are.
const DIGITS_MAX: usize = 9;

/// What a statement says of the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deferral {
    /// It asks for it.
    Asked,
    /// It sets it.
    Set(bool),
}

impl Deferral {
    /// What a statement says, if it is about the setting.
    pub(crate) fn of(statement: &Stmt) -> Option<Deferral> {
        let Stmt::Pragma { name, body } = statement else { return None };
        if !name.name.as_str().eq_ignore_ascii_case(NAME) {
            return None;
        }
        let Some(PragmaBody::Equals(value) | PragmaBody::Call(value)) = body else {
            return Some(Deferral::Asked);
        };
        match value.as_ref() {
            Expr::Name(name) => boolean(name.as_str()),
            Expr::Literal(Literal::Keyword(text) | Literal::Numeric(text)) => boolean(text),
            _ => None,
        }
        .map(Deferral::Set)
    }

    /// Whether the setting is on after the statement.
    pub(crate) fn after(self, before: bool) -> bool {
        match self {
            Deferral::Asked => before,
            Deferral::Set(on) => on,
        }
    }

    /// Names of the columns that the statement answers.
    pub(crate) fn columns(self) -> Vec<String> {
        match self {
            Deferral::Asked => vec![NAME.to_owned()],
            Deferral::Set(_) => Vec::new(),
        }
    }

    /// The answer, where the setting was so before.
    pub(crate) fn answer(self, before: bool) -> StatementResult {
        let rows = match self {
            Deferral::Asked => RowBlock::from_values(1, &[vec![Value::Integer(before.into())]]),
            Deferral::Set(_) => RowBlock::default(),
        };
        let columns = self.columns();
        let types = vec![String::new(); columns.len()];
        StatementResult { is_read: true, columns, types, rows, ..StatementResult::default() }
    }
}

/// What SQLite makes of a word or a number where it wants yes or no; `None` if that is not certain.
fn boolean(text: &str) -> Option<bool> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Some(["on", "yes", "true"].iter().any(|word| word.eq_ignore_ascii_case(text)));
    }
    let number: u32 = text.parse().ok().filter(|_| text.len() <= DIGITS_MAX)?;
    Some(!number.is_multiple_of(256))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::{self, Cmd};

    fn of(sql: &str) -> Option<Deferral> {
        match ast::parse(sql)? {
            Cmd::Stmt(statement) => Deferral::of(&statement),
            _ => None,
        }
    }

    #[test]
    fn settings_are_read_as_sqlite_reads_them() {
        for on in ["=ON", " = 1", "(yes)", "= TRUE", "='on'", "=2"] {
            assert_eq!(of(&format!("PRAGMA defer_foreign_keys{on}")), Some(Deferral::Set(true)), "{on}");
        }
        for off in ["=OFF", "=0", "(no)", "=FALSE", "=nonsense", "=256", "=full"] {
            assert_eq!(
                of(&format!("pragma main.Defer_Foreign_Keys {off}")),
                Some(Deferral::Set(false)),
                "{off}"
            );
        }
        assert_eq!(of("PRAGMA defer_foreign_keys"), Some(Deferral::Asked));
        assert_eq!(of("PRAGMA foreign_keys=ON"), None);
    }
}
