//! File names in lists and messages: whatever a file is called, it is one line and nothing that a terminal acts on.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use cjp2p_wire::folder::is_deceptive;

/// The name as it stands in a line of a list, and whether the line has to begin with a backslash to say that it is
/// escaped. As sha256sum and b3sum do it.
pub fn escape(name: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let needs_it = |byte: &u8| matches!(byte, b'\n' | b'\r' | b'\\');
    if !name.iter().any(needs_it) {
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
pub fn unescape(escaped: &[u8]) -> Option<Vec<u8>> {
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

/// The name for a message: nothing in it moves the cursor, ends the line or turns the direction of writing.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    let mut shown = String::new();
    for c in String::from_utf8_lossy(name.as_ref().as_bytes()).chars() {
        if c.is_control() || is_deceptive(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Lines of a list as they go to standard output. For a program they stay as they are; to a terminal no control characters
/// get through but the ends of lines, be they line feeds or NUL: a file's name shall not move the cursor or change what is typed.
pub fn lines_for(is_terminal: bool, lines: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(lines);
    let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\0');
    if !is_terminal || !text.contains(acts) {
        return Cow::Borrowed(lines);
    }
    let mut harmless = String::with_capacity(lines.len() + 16);
    for c in text.chars() {
        if acts(c) { harmless.extend(c.escape_default()) } else { harmless.push(c) }
    }
    Cow::Owned(harmless.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_each_name_on_one_line() {
        let escaped = |name: &'static [u8]| {
            let (name, marked) = escape(name);
            (String::from_utf8(name.into_owned()).unwrap(), marked)
        };
        assert_eq!(escaped(b"a b "), ("a b ".into(), false));
        assert_eq!(escaped(b"a\nb\\\r"), ("a\\nb\\\\\\r".into(), true));
    }

    #[test]
    fn lines_for_a_terminal_have_no_control_characters_and_others_stay_as_they_are() {
        let lines = b"id  plain\nid  \x1b[2J\x07\xc2\x9b\n";
        assert_eq!(lines_for(true, lines)[..], b"id  plain\nid  \\u{1b}[2J\\u{7}\\u{9b}\n"[..]);
        assert_eq!(lines_for(false, lines)[..], lines[..]);
        assert_eq!(lines_for(true, b"a\xff\0")[..], b"a\xff\0"[..]);
    }

    #[test]
    fn a_message_shows_no_control_characters() {
        let name = OsStr::from_bytes(b"a\n\x1b[2J\xff\xc2\x9b");
        assert_eq!(shown(name), "a\\n\\u{1b}[2J\u{fffd}\\u{9b}");
        assert_eq!(shown("gpj.\u{202e}exe"), "gpj.\\u{202e}exe", "nor what turns the direction of writing");
    }

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
}
