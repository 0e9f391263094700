//! Names of transactions: `<coordinator>-<32 hexadecimal digits>`. Twelve digits are the time of its beginning in
//! milliseconds, four stand for its database, and the others are drawn.

use std::time::{SystemTime, UNIX_EPOCH};

use common::ReplicaId;
use common::idempotency::request_digest;

const DIGITS: usize = 32;

/// A name for a transaction that begins now.
pub(super) fn new_name(coordinator: ReplicaId, database: &str, began: SystemTime, drawn: u64) -> String {
    let began = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let began = u64::try_from(began).unwrap_or_default() & ((1 << 48) - 1);
    format!("{}-{began:012x}{:04x}{drawn:016x}", coordinator.0, of_database(database))
}

fn of_database(database: &str) -> u16 {
    (request_digest([database.as_bytes()]) & 0xffff) as u16
}

fn digits(name: &str) -> Option<&str> {
    let (coordinator, digits) = name.split_once('-')?;
    let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_name =
        coordinator.parse::<u64>().is_ok() && digits.len() == DIGITS && digits.bytes().all(is_hexadecimal);
    is_name.then_some(digits)
}

/// Whether a text has the form of a transaction's name.
#[must_use]
pub fn is_transaction_name(text: &str) -> bool {
    digits(text).is_some()
}

/// When a transaction began, in milliseconds since the Unix epoch.
pub(super) fn began_ms(name: &str) -> Option<u64> {
    u64::from_str_radix(&digits(name)?[..12], 16).ok()
}

/// Whether a transaction can be one of this database.
pub(super) fn may_belong_to(name: &str, database: &str) -> bool {
    digits(name).is_some_and(|digits| u16::from_str_radix(&digits[12..16], 16) == Ok(of_database(database)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_tells_when_its_transaction_began_and_where() {
        let began = UNIX_EPOCH + Duration::from_millis(1_763_771_000_123);
        let name = new_name(ReplicaId(7), "bank", began, 5);
        assert!(name.starts_with("7-") && is_transaction_name(&name), "{name}");
        assert_eq!(began_ms(&name), Some(1_763_771_000_123));
        assert!(may_belong_to(&name, "bank") && !may_belong_to(&name, "shop"));
        for other in
            ["", "7", "7-", "x-0123456789abcdef0123456789abcdef", "7-0123456789ABCDEF0123456789abcdef"]
        {
            assert!(!is_transaction_name(other), "{other}");
        }
    }
}
