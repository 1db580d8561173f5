//! File names in lists: a name that would break its line is escaped, as sha256sum and b3sum do it.

pub(crate) use cjp2p_wire::tool::names::{escape, lines_for, shown};

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
}
