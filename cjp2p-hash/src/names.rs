//! File names in lists: a name that would break its line is escaped, as sha256sum and b3sum do it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The name as it stands in a line, and whether the line has to begin with a backslash to say that it is escaped.
pub(crate) fn escape(name: &[u8]) -> (Cow<'_, [u8]>, bool) {
    if !name.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b'\\')) {
        return (Cow::Borrowed(name), false);
    }
    let mut escaped = Vec::with_capacity(name.len() + 8);
    for byte in name {
        match byte {
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            b'\\' => escaped.extend(b"\\\\"),
            _ => escaped.push(*byte),
        }
    }
    (Cow::Owned(escaped), true)
}

/// The name that `escaped` stands for. `None` where it is not what [`escape`] makes.
pub(crate) fn unescape(escaped: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            _ => *byte,
        });
    }
    Some(name)
}

/// The name for a message: on one line, and without anything that a terminal would act on.
pub(crate) fn shown(name: &OsStr) -> String {
    let mut shown = String::new();
    for c in String::from_utf8_lossy(name.as_bytes()).chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_from_its_escaped_form() {
        for name in [&b"plain"[..], b"", b"a b ", b"new\nline", b"\\", b"\\n", b"\r\n\\\\n", b"\xff\xfe\n"] {
            let (escaped, marked) = escape(name);
            assert!(!escaped.contains(&b'\n') && !escaped.contains(&b'\r'));
            let back = if marked { unescape(&escaped) } else { Some(escaped.to_vec()) };
            assert_eq!(back.as_deref(), Some(name));
        }
    }

    #[test]
    fn what_escaping_never_makes_is_refused() {
        for text in [&b"\\"[..], b"a\\", b"\\t", b"\\x41"] {
            assert_eq!(unescape(text), None);
        }
    }

    #[test]
    fn a_message_shows_no_control_characters() {
        assert_eq!(shown(OsStr::from_bytes(b"a\n\x1b[2J\xff\xc2\x9b")), "a\\n\\u{1b}[2J\u{fffd}\\u{9b}");
    }
}
