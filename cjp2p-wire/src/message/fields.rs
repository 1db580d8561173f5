//! What messages are made of: texts, ids, numbers and lists, each read within its limit.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::limits::{MAX_ID_LEN, MAX_IDS, MAX_NUMBER, MAX_PEERS, MAX_STREAM_PLACES};
use crate::peers::address;

/// Appends the bytes that `text` holds in base64, padded or not. Returns whether it is base64.
pub(crate) fn append_base64(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    base64_simd::STANDARD_NO_PAD.decode_append(&text[..text.len() - padding], bytes).is_ok()
}

/// A string, borrowed if the JSON has no escapes in it.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// The text of an id, within [`MAX_ID_LEN`].
pub(super) struct IdText<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for IdText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        if text.len() > MAX_ID_LEN {
            return Err(D::Error::custom("id too long"));
        }
        Ok(IdText(text))
    }
}

/// A number within [`MAX_NUMBER`].
#[derive(Default)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = u64::deserialize(deserializer)?;
        if n > MAX_NUMBER {
            return Err(D::Error::custom("number too large"));
        }
        Ok(Number(n))
    }
}

/// A list that keeps what `read` makes of an element and skips the rest. It reads at most `limit` elements.
pub(super) fn tolerant_list<'de, D, T>(
    deserializer: D,
    limit: usize,
    read: impl Fn(&'de RawValue) -> Option<T>,
) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Tolerant<F> {
        limit: usize,
        read: F,
    }
    impl<'de, T, F: Fn(&'de RawValue) -> Option<T>> Visitor<'de> for Tolerant<F> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            for _ in 0..self.limit {
                match seq.next_element::<&RawValue>()? {
                    Some(raw) => kept.extend((self.read)(raw)),
                    None => return Ok(kept),
                }
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_seq(Tolerant { limit, read })
}

pub(super) struct AddressList(pub(super) Vec<SocketAddr>);

impl<'de> Deserialize<'de> for AddressList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tolerant_list(deserializer, MAX_PEERS, |raw| {
            let Text(text) = serde_json::from_str(raw.get()).ok()?;
            address::parse(&text).ok()
        })
        .map(AddressList)
    }
}

/// Addresses, each with a number.
pub(super) struct PlaceList(pub(super) Vec<(SocketAddr, u64)>);

impl<'de> Deserialize<'de> for PlaceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tolerant_list(deserializer, MAX_STREAM_PLACES, |raw| {
            let (Text(text), Number(depth)) = serde_json::from_str(raw.get()).ok()?;
            Some((address::parse(&text).ok()?, depth))
        })
        .map(PlaceList)
    }
}

pub(super) struct IdList<'a>(pub(super) Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for IdList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tolerant_list(deserializer, MAX_IDS, |raw| {
            let IdText(id) = serde_json::from_str(raw.get()).ok()?;
            Some(id)
        })
        .map(IdList)
    }
}
