//! Bytes to messages.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fast_path;
use crate::message::{Message, RawBlock};

/// A datagram with more messages than this is dropped whole.
pub const MAX_MESSAGES: usize = 256;

/// Why nothing could be read from a datagram.
#[derive(Debug)]
pub enum DatagramError {
    /// It is not UTF-8.
    NotText(std::str::Utf8Error),
    /// It is not a JSON array.
    NotArray(serde_json::Error),
    /// The bytes after the array are not what it says, or it says nothing of any.
    WrongBytes,
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatagramError::NotText(e) => write!(f, "not text: {e}"),
            DatagramError::NotArray(e) => write!(f, "not a JSON array: {e}"),
            DatagramError::WrongBytes => f.write_str("other bytes follow the array than it says"),
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
/// If the datagram as a whole is neither a JSON array in UTF-8 nor one followed by the bytes that one of its messages announces.
pub fn decode(bytes: &[u8]) -> Result<Vec<Message<'_>>, DatagramError> {
    match decode_array(bytes) {
        Ok(messages) if !messages.iter().any(|message| matches!(message, Message::BytesFollow(_))) => {
            Ok(messages)
        }
        // Content may look like spaces after the array, and like anything else.
        Ok(_) => decode_with_bytes(bytes).unwrap_or(Err(DatagramError::WrongBytes)),
        Err(error) => decode_with_bytes(bytes).unwrap_or(Err(error)),
    }
}

/// Reads an array that bytes follow. `None` if there is no array.
fn decode_with_bytes(bytes: &[u8]) -> Option<Result<Vec<Message<'_>>, DatagramError>> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>();
    let array = values.next()?.ok().filter(|value| value.get().starts_with('['))?;
    let follows = bytes.get(values.byte_offset()..)?;
    let mut messages = match decode_array(array.get().as_bytes()) {
        Ok(messages) => messages,
        Err(error) => return Some(Err(error)),
    };
    let mut announced = messages.iter_mut().filter_map(|message| match message {
        Message::BytesFollow(block) => Some(block),
        _ => None,
    });
    match (announced.next(), announced.next()) {
        (Some(RawBlock { length, data, .. }), None) if *length == follows.len() as u64 => *data = follows,
        _ => return Some(Err(DatagramError::WrongBytes)),
    }
    Some(Ok(messages))
}

fn decode_array(bytes: &[u8]) -> Result<Vec<Message<'_>>, DatagramError> {
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
