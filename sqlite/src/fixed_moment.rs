//! Moments that do not depend on the clock. SQLite's functions of time take `now` for a moment wherever a moment may
//! stand, in a row too, and each partition would have a now of its own.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::error::Result;

/// Name of the function that hands on a moment as it is, and fails where the clock would decide what it means.
pub const FIXED_MOMENT: &str = "_fixed_moment";

/// Words for the present moment, in any letter case (<https://sqlite.org/lang_datefunc.html>).
const PRESENT: [&[u8]; 3] = [b"now", b"subsec", b"subsecond"];

/// Makes the function known.
pub(crate) fn load(connection: &rusqlite::Connection) -> Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    Ok(connection.create_scalar_function(FIXED_MOMENT, 1, flags, |context| {
        let moment = context.get_raw(0);
        let is_present =
            |bytes: &[u8]| PRESENT.iter().any(|word| bytes.trim_ascii().eq_ignore_ascii_case(word));
        match moment {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) if is_present(bytes) => {
                Err(rusqlite::Error::UserFunctionError("a moment depends on the clock".into()))
            }
            _ => rusqlite::types::Value::try_from(moment)
                .map(ToSqlOutput::Owned)
                .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error))),
        }
    })?)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn moments_are_handed_on_unless_the_clock_decides() {
        let connection = Connection::open_in_memory().unwrap();
        load(&connection).unwrap();
        let answer = |moment: &str| -> rusqlite::Result<Option<String>> {
            connection.query_row(&format!("SELECT date(_fixed_moment({moment}))"), [], |row| row.get(0))
        };
        assert_eq!(answer("'2024-02-29 12:00'").unwrap().as_deref(), Some("2024-02-29"));
        assert_eq!(answer("2460369.5").unwrap().as_deref(), Some("2024-02-29"));
        assert_eq!(answer("NULL").unwrap(), None);
        assert_eq!(answer("'nowhere'").unwrap(), None);
        for present in ["'now'", "'NOW'", "x'6e6f77'", "'subsec'", "'SubSecond'"] {
            assert!(answer(present).is_err(), "{present}");
        }
    }
}
