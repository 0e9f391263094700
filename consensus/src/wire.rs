//! A look at encoded messages before the protobuf library decodes them.
//!
//! That library (protobuf 2.28, CVE-2025-53605) skips unknown *groups* by recursion without a limit, so a few
//! hundred kilobytes of nested group tags overflow the stack. No message of ours has groups: they are refused
//! on every level that the decoder descends into.

/// Fields that hold a message: field number, and the fields of that message in turn.
struct Nested(&'static [(u64, Nested)]);

/// `Message.entries` (7) and `Message.snapshot` (9) → `metadata` (2) → `conf_state` (1).
static MESSAGE: Nested = Nested(&[(7, Nested(&[])), (9, Nested(&[(2, Nested(&[(1, Nested(&[]))]))]))]);

/// Whether the bytes are a sequence of well-formed fields without groups.
pub(crate) fn is_message(bytes: &[u8]) -> Result<(), &'static str> {
    scan(bytes, &MESSAGE)
}

fn scan(mut bytes: &[u8], nested: &Nested) -> Result<(), &'static str> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => {
                take(&mut bytes, 8)?;
            }
            2 => {
                let length = varint(&mut bytes)?;
                let field = take(&mut bytes, length)?;
                if let Some((_, inner)) = nested.0.iter().find(|(number, _)| *number == tag >> 3) {
                    scan(field, inner)?;
                }
            }
            5 => {
                take(&mut bytes, 4)?;
            }
            _ => return Err("a group or an unknown wire type"),
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("a field is cut off")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long")
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).map_err(|_| "a field is too long")?;
    let (field, rest) = bytes.split_at_checked(length).ok_or("a field is cut off")?;
    *bytes = rest;
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_refused_on_every_level() {
        // Field 20, wire type 3: the start of a group.
        let group = [0xa3, 0x01];
        assert!(is_message(&group).is_err());
        for path in [&[7u8][..], &[9], &[9, 2], &[9, 2, 1]] {
            let mut bytes = group.to_vec();
            for number in path.iter().rev() {
                let length = u8::try_from(bytes.len()).expect("short");
                bytes.splice(0..0, [number << 3 | 2, length]);
            }
            assert!(is_message(&bytes).is_err(), "{path:?}");
        }
        // The same bytes are fine where they are not decoded: as the content of an entry.
        assert_eq!(is_message(&[7 << 3 | 2, 4, 4 << 3 | 2, 2, 0xa3, 0x01]), Ok(()));
    }

    #[test]
    fn truncated_fields_are_refused() {
        for bytes in [&[0x08][..], &[0x12, 5, 1], &[0x09, 1, 2], &[0x80; 12]] {
            assert!(is_message(bytes).is_err(), "{bytes:?}");
        }
    }
}
