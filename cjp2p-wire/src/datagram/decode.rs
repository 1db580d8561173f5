//! Bytes to messages.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fast_path;
use crate::message::Message;

/// A datagram with more messages than this is dropped whole.
pub const MAX_MESSAGES: usize = 256;

/// Why nothing could be read from a datagram.
#[derive(Debug)]
pub enum DatagramError {
    /// It is not UTF-8.
    NotText(std::str::Utf8Error),
    /// It is not a JSON array.
    NotArray(serde_json::Error),
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatagramError::NotText(e) => write!(f, "not text: {e}"),
            DatagramError::NotArray(e) => write!(f, "not a JSON array: {e}"),
        }
    }
}

impl std::error::Error for DatagramError {}

/// Reads the messages of a datagram, in order.
///
/// An element that is unknown or not well formed is left out; the others are read all the same.
///
/// # Errors
///
/// If the datagram as a whole is not a JSON array in UTF-8.
pub fn decode(bytes: &[u8]) -> Result<Vec<Message<'_>>, DatagramError> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<Message<'de>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of messages")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut messages = Vec::new();
            let mut elements = 0;
            while let Some(element) = seq.next_element::<&RawValue>()? {
                elements += 1;
                if elements > MAX_MESSAGES {
                    return Err(A::Error::custom(format_args!("more than {MAX_MESSAGES} messages")));
                }
                messages.extend(Message::from_element(element));
            }
            Ok(messages)
        }
    }
    let text = std::str::from_utf8(bytes).map_err(DatagramError::NotText)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let messages = reader.deserialize_seq(Elements).map_err(DatagramError::NotArray)?;
    reader.end().map_err(DatagramError::NotArray)?;
    Ok(messages)
}

/// Reads like [`decode`], by the fast path if the datagram is content as our own nodes write it. Its bytes go to `room`.
///
/// # Errors
///
/// As for [`decode`].
pub fn decode_into<'a>(bytes: &'a [u8], room: &'a mut Vec<u8>) -> Result<Vec<Message<'a>>, DatagramError> {
    match fast_path::decode(bytes, room) {
        Some(messages) => Ok(messages),
        None => decode(bytes),
    }
}
