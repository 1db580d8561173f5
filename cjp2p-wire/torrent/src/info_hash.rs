//! The SHA-1 of a torrent's `info`, by which peers and trackers know it.

use std::fmt;

use data_encoding::{BASE32_NOPAD_NOCASE, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha1::{Digest, Sha1};

/// The SHA-1 of the encoded dictionary `info`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash([u8; InfoHash::LEN]);

impl InfoHash {
    /// Bytes of an info hash.
    pub const LEN: usize = 20;

    /// The hash of an encoded `info`.
    #[must_use]
    pub fn of(info: &[u8]) -> Self {
        Self(Sha1::digest(info).into())
    }

    /// The hash that has these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Reads the spellings that magnets have: 40 hexadecimal digits, or 32 of base32, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = match text.len() {
            40 => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?,
            32 => BASE32_NOPAD_NOCASE.decode(text.as_bytes()).ok()?,
            _ => return None,
        };
        bytes.try_into().ok().map(Self)
    }
}

/// 40 lower-case hexadecimal digits.
impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base32_in_any_case_name_the_same_torrent() {
        let hash = InfoHash::of(b"d4:name1:ae");
        let hex = hash.to_string();
        let base32 = data_encoding::BASE32_NOPAD.encode(hash.as_bytes());
        for text in [hex.clone(), hex.to_uppercase(), base32.to_lowercase(), base32] {
            assert_eq!(InfoHash::parse(&text), Some(hash), "{text}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in
            ["", "0", &"0".repeat(39), &"0".repeat(41), &"g".repeat(40), &"1".repeat(32), &"ü".repeat(20)]
        {
            assert_eq!(InfoHash::parse(text), None, "{text}");
        }
    }
}
