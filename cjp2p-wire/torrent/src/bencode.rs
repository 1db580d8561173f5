//! Bencode as strangers send it: strict, bounded in depth, read in one walk without a copy.
//!
//! The reader is `bendy`'s: keys in order and no key twice, one spelling for each number, nothing after the end. What it
//! borrows is from the text, so a hostile text costs no more memory than its own length.

use std::fmt;

use bendy::decoding::{Decoder, DictDecoder, ListDecoder, Object};

/// Lists and dictionaries within each other at the most. Metainfo has five; what is deeper is refused, so no reader recurses far.
pub const MAX_DEPTH: usize = 16;

/// A reader of `text`, which may go on behind the first value; [`dictionary`] refuses that.
#[must_use]
pub fn decoder(text: &[u8]) -> Decoder<'_> {
    Decoder::new(text).with_max_depth(MAX_DEPTH)
}

/// Reads a text that is one dictionary: gives each key with its value to `take`, and refuses what is behind the end.
///
/// # Errors
///
/// Where the text is no such dictionary, and what `take` says.
pub fn dictionary<'a, E: From<BencodeError>>(
    text: &'a [u8],
    take: impl FnMut(&'a [u8], Object<'_, 'a>) -> Result<(), E>,
) -> Result<(), E> {
    if dictionary_at_start(text, take)? == text.len() {
        Ok(())
    } else {
        Err(BencodeError::new("bytes after the end").into())
    }
}

/// Reads the dictionary that a text begins with, and says how long it is; other bytes may follow.
///
/// # Errors
///
/// Where the text begins with no dictionary, and what `take` says.
pub fn dictionary_at_start<'a, E: From<BencodeError>>(
    text: &'a [u8],
    mut take: impl FnMut(&'a [u8], Object<'_, 'a>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut decoder = decoder(text);
    match decoder.next_object().map_err(BencodeError::from)? {
        Some(Object::Dict(mut pairs)) => {
            each_pair(&mut pairs, &mut take)?;
            Ok(pairs.into_raw().map_err(BencodeError::from)?.len())
        }
        _ => Err(BencodeError::new("no dictionary").into()),
    }
}

/// Gives each key of a dictionary with its value to `take`.
///
/// # Errors
///
/// Where the text is not strict bencode, and what `take` says.
pub fn each_pair<'a, E: From<BencodeError>>(
    pairs: &mut DictDecoder<'_, 'a>,
    mut take: impl FnMut(&'a [u8], Object<'_, 'a>) -> Result<(), E>,
) -> Result<(), E> {
    while let Some((key, value)) = pairs.next_pair().map_err(BencodeError::from)? {
        take(key, value)?;
    }
    Ok(())
}

/// Gives each element of a list to `take`.
///
/// # Errors
///
/// Where the text is not strict bencode, and what `take` says.
pub fn each_item<'a, E: From<BencodeError>>(
    items: &mut ListDecoder<'_, 'a>,
    mut take: impl FnMut(Object<'_, 'a>) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(value) = items.next_object().map_err(BencodeError::from)? {
        take(value)?;
    }
    Ok(())
}

/// The number, if a value is one from 0 to 2^64 - 1.
#[must_use]
pub fn number(value: Object<'_, '_>) -> Option<u64> {
    match value {
        Object::Integer(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// The bytes, if a value is a string.
#[must_use]
pub fn bytes<'a>(value: Object<'_, 'a>) -> Option<&'a [u8]> {
    match value {
        Object::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// The text, if a value is a string of UTF-8.
#[must_use]
pub fn text<'a>(value: Object<'_, 'a>) -> Option<&'a str> {
    bytes(value).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// Why a text is not bencode as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BencodeError(String);

impl BencodeError {
    fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl From<bendy::decoding::Error> for BencodeError {
    fn from(error: bendy::decoding::Error) -> Self {
        Self(error.to_string().replace(|letter: char| letter.is_control(), " "))
    }
}

impl fmt::Display for BencodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BencodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &[u8]) -> Result<Vec<Vec<u8>>, BencodeError> {
        let mut keys = Vec::new();
        dictionary(text, |key, _| {
            keys.push(key.to_vec());
            Ok::<_, BencodeError>(())
        })?;
        Ok(keys)
    }

    #[test]
    fn values_that_nobody_wants_are_passed_over_but_must_be_right() {
        assert_eq!(keys(b"d1:ai-7e1:bd1:xlee1:cl1:yi0eee").unwrap(), [b"a", b"b", b"c"]);
        assert!(keys(b"d1:ai-7e1:bd1:xee").is_err(), "a dictionary that ends early");
        assert!(keys(b"d1:bi1e1:ai1ee").is_err(), "keys out of order");
        assert!(keys(b"d1:ai1e1:ai1ee").is_err(), "a key twice");
    }

    #[test]
    fn only_one_spelling_and_only_one_dictionary_is_read() {
        for text in [
            &b""[..],
            b"d",
            b"le",
            b"i1e",
            b"dee",
            b"d1:ae",
            b"d1:a",
            b"d1:ai01ee",
            b"d1:ai-0ee",
            b"d1:ai+1ee",
            b"d1:aiee",
            b"di1e1:ae",
            b"d01:ai1ee",
            b"d1:a9:shorte",
            b"d1:a18446744073709551616:e",
            b"d1:a-1:e",
            b"d1:ai1ee ",
            b"d1:ai1eed1:ai1ee",
        ] {
            assert!(keys(text).is_err(), "{}", text.escape_ascii());
        }
        assert_eq!(dictionary_at_start(b"d1:ai1eerest", |_, _| Ok::<_, BencodeError>(())), Ok(8));
    }

    #[test]
    fn a_text_of_nothing_but_beginnings_is_refused_without_recursion() {
        for inner in [&b"l"[..], b"d1:a"] {
            let mut text = b"d1:a".to_vec();
            (0..100_000).for_each(|_| text.extend_from_slice(inner));
            assert!(keys(&text).is_err());
        }
    }

    #[test]
    fn numbers_of_any_size_are_read_or_refused() {
        let read = |text: &[u8]| {
            let mut found = None;
            dictionary(text, |_, value| {
                found = number(value);
                Ok::<_, BencodeError>(())
            })
            .unwrap();
            found
        };
        assert_eq!(read(b"d1:ai18446744073709551615ee"), Some(u64::MAX));
        assert_eq!(read(b"d1:ai18446744073709551616ee"), None);
        assert_eq!(read(b"d1:ai-1ee"), None);
        assert_eq!(read(b"d1:a1:1e"), None);
    }
}
