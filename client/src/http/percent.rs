//! Text as a part of a URL.

use std::fmt::Write as _;

/// Text as one segment of a path, or as a value of the query: everything but letters, digits and `-._~` is
/// escaped (RFC 3986, section 2.3).
#[must_use]
pub fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_in_a_segment_is_taken_for_syntax() {
        assert_eq!(super::segment("a/b?c=d&é \"42\""), "a%2Fb%3Fc%3Dd%26%C3%A9%20%2242%22");
    }
}
