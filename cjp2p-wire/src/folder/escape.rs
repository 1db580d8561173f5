//! Bytes that need not be UTF-8, as text: `%` and all that is no part of valid UTF-8 is written as `%XX`.

use std::fmt::Write;

/// The text for `bytes`.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '%' => text.push_str("%25"),
                _ => text.push(letter),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes that `text` stands for. Several texts can stand for the same bytes; [`escape`] gives one of them.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_read_back(bytes: Vec<u8>, text in "(%|%[0-9A-F]{2}|é|a){0,8}") {
            prop_assert_eq!(unescape(&escape(&bytes)), Some(bytes));
            prop_assert_eq!(unescape(&escape(text.as_bytes())), Some(text.into_bytes()));
        }
    }

    #[test]
    fn only_what_is_no_utf8_and_the_percent_sign_are_escaped() {
        assert_eq!(escape(b"a%b\xff\xc3\xa9\xc3"), "a%25b%FF\u{e9}%C3");
        assert_eq!(escape(b"\xed\xa0\x80"), "%ED%A0%80", "half of a surrogate pair");
        for wrong in ["%", "%1", "%+1", "%g0", "%é"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }
}
