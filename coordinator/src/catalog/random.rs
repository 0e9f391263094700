//! Names that nobody else draws, from the operating system's random source.

use common::RequestId;
use rand::TryRngCore;
use rand::rngs::OsRng;

fn bits() -> u128 {
    let mut bytes = [0; 16];
    // Without randomness names would collide and votes would be confused: the process must not go on.
    OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    u128::from_le_bytes(bytes)
}

/// A name for a proposal.
pub(crate) fn request_id() -> RequestId {
    RequestId(bits())
}

/// A seed that differs between processes.
pub(crate) fn seed() -> u64 {
    // One half of the bits is as random as the other.
    #[allow(clippy::cast_possible_truncation)]
    let seed = bits() as u64;
    seed
}

/// A random (version 4) UUID in its usual form.
pub(crate) fn uuid() -> String {
    let bits = bits() & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_say_that_they_are_random() {
        let uuid = super::uuid();
        let parts: Vec<&str> = uuid.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(
            parts[2].starts_with('4') && ['8', '9', 'a', 'b'].contains(&parts[3].chars().next().unwrap())
        );
        assert_ne!(uuid, super::uuid());
    }
}
