//! `Handle`: the short name under which a source sends raw content.

use std::fmt;

/// No handle has more characters.
pub const MAX_HANDLE_LEN: usize = 16;
/// How many characters ours have: 64 bits in base64.
pub const HANDLE_LEN: usize = 11;

/// A name that the asker chose for one id toward one peer: letters, digits, `-` and `_`.
///
/// A peer that answers under it has seen the request. So it stands for the id, and for the cookie too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle {
    // Invariant: the characters, and zeros after them.
    text: [u8; MAX_HANDLE_LEN],
    length: u8,
}

impl Handle {
    /// The handle with this text. `None` if it is empty, too long, or has other characters.
    pub fn parse(text: &[u8]) -> Option<Handle> {
        let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if text.is_empty() || text.len() > MAX_HANDLE_LEN || !text.iter().all(is_fit) {
            return None;
        }
        let mut padded = [0; MAX_HANDLE_LEN];
        padded[..text.len()].copy_from_slice(text);
        Some(Handle { text: padded, length: text.len() as u8 })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes of its text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_have_one_to_sixteen_characters_that_json_need_not_escape() {
        for text in ["a", "k3J9x0aQ7_Z", "-_-_-_-_-_-_-_-_"] {
            assert_eq!(Handle::parse(text.as_bytes()).unwrap().as_str(), text);
        }
        for text in ["", "aaaaaaaaaaaaaaaaa", "a b", "a\"", "a\\", "é", "a\0"] {
            assert_eq!(Handle::parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
