//! Ids of streams: `stream/KEY/NAME`.

use std::fmt;

use crate::signed::PublicKey;

/// What people write before the key.
const PREFIX: &str = "stream/";
/// The longest name in bytes: with what stands before it, an id is 255 bytes long at the most, as any id in a message.
pub const MAX_STREAM_NAME_LEN: usize = 255 - PREFIX.len() - 64 - 1;
/// The longest part of a name that is given, between slashes, in bytes: other nodes make file names of them.
const MAX_GIVEN_PART: usize = 180;

/// A name under a key by which a stream is asked for. Its spelling is part of what is signed, so there is one: the key in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    key: PublicKey,
    name: Box<str>,
}

/// Why a text is no id of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamIdError {
    /// It does not begin with `stream/`.
    Prefix,
    /// There are no 64 hex digits after that.
    Key,
    /// The name, or a part of it, is empty.
    Empty,
    /// The name, or a part of it, begins with a dot.
    Dot,
    /// A character that no name may have, or none that is given.
    Character,
    /// It is too long.
    TooLong,
}

impl fmt::Display for StreamIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamIdError::Prefix => "no id of a stream: it does not begin with stream/",
            StreamIdError::Key => "no key of 64 hex digits",
            StreamIdError::Empty => "an empty name, or an empty part of it",
            StreamIdError::Dot => "a part of the name begins with a dot",
            StreamIdError::Character => "a character that the name of a stream may not have",
            StreamIdError::TooLong => "the name of the stream is too long",
        })
    }
}

impl std::error::Error for StreamIdError {}

impl StreamId {
    /// The stream of this name under this key, as it can be asked for: no part of the name is empty or begins with a dot, and there is
    /// neither `\` nor NUL in it; [`MAX_STREAM_NAME_LEN`] bytes at the most.
    ///
    /// # Errors
    ///
    /// Says which of the rules the name breaks.
    pub fn new(key: PublicKey, name: &str) -> Result<StreamId, StreamIdError> {
        if name.len() > MAX_STREAM_NAME_LEN {
            return Err(StreamIdError::TooLong);
        }
        if name.contains(['\\', '\0']) {
            return Err(StreamIdError::Character);
        }
        for part in name.split('/') {
            match part.bytes().next() {
                None => return Err(StreamIdError::Empty),
                Some(b'.') => return Err(StreamIdError::Dot),
                Some(_) => {}
            }
        }
        Ok(StreamId { key, name: name.into() })
    }

    /// The same for a stream that begins here: only a name that every node can be asked for, and a browser asks for unchanged. Letters,
    /// digits and `._~-/+@=`, 180 bytes at the most between slashes.
    ///
    /// # Errors
    ///
    /// Says which of the rules the name breaks.
    pub fn to_give(key: PublicKey, name: &str) -> Result<StreamId, StreamIdError> {
        if name.split('/').any(|part| part.len() > MAX_GIVEN_PART) {
            return Err(StreamIdError::TooLong);
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-/+@=".contains(&byte)) {
            return Err(StreamIdError::Character);
        }
        StreamId::new(key, name)
    }

    /// Reads `stream/KEY/NAME`. The key may be in either case.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a text that is none.
    pub fn parse(text: &str) -> Result<StreamId, StreamIdError> {
        let rest = text.strip_prefix(PREFIX).ok_or(StreamIdError::Prefix)?;
        let (key, name) = rest.split_once('/').ok_or(StreamIdError::Empty)?;
        StreamId::new(PublicKey::parse(key).ok_or(StreamIdError::Key)?, name)
    }

    /// Reads an id as it must be on the wire: in the one spelling that is signed.
    pub fn on_wire(text: &str) -> Option<StreamId> {
        let id = StreamId::parse(text).ok()?;
        // Only digits can be spelled otherwise.
        let key = text.get(PREFIX.len()..PREFIX.len() + 65)?;
        (!key.bytes().any(|byte| byte.is_ascii_uppercase()) && key.ends_with('/')).then_some(id)
    }

    /// Whether people mean a stream by this text.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Who signs it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.key, self.name)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MAX_ID_LEN;
    use proptest::prelude::*;

    fn key() -> PublicKey {
        PublicKey::from_bytes([0xab; 32])
    }

    #[test]
    fn an_id_that_is_wrong_says_where() {
        for (text, error) in [
            ("latest/x", StreamIdError::Prefix),
            ("stream/x", StreamIdError::Empty),
            ("stream/x/y", StreamIdError::Key),
            (&format!("stream/{}", key()), StreamIdError::Empty),
            (&format!("stream/{}/", key()), StreamIdError::Empty),
            (&format!("stream/{}/a//b", key()), StreamIdError::Empty),
            (&format!("stream/{}/a/", key()), StreamIdError::Empty),
            (&format!("stream/{}/a/.b", key()), StreamIdError::Dot),
            (&format!("stream/{}/a\\b", key()), StreamIdError::Character),
            (&format!("stream/{}/a\0", key()), StreamIdError::Character),
            (&format!("stream/{}/{}", key(), "x".repeat(MAX_STREAM_NAME_LEN + 1)), StreamIdError::TooLong),
        ] {
            assert_eq!(StreamId::parse(text), Err(error), "{text:?}");
        }
        let longest = StreamId::new(key(), &"x".repeat(MAX_STREAM_NAME_LEN)).unwrap();
        assert_eq!(longest.to_string().len(), MAX_ID_LEN);
    }

    #[test]
    fn what_is_given_is_what_every_node_can_be_asked_for() {
        assert!(StreamId::to_give(key(), "cam/v1.0/a_b~c-d+e@f=g").is_ok());
        for (name, error) in [
            ("a b", StreamIdError::Character),
            ("é", StreamIdError::Character),
            ("a/../b", StreamIdError::Dot),
            (&"x".repeat(MAX_GIVEN_PART + 1), StreamIdError::TooLong),
        ] {
            assert_eq!(StreamId::to_give(key(), name), Err(error), "{name}");
        }
    }

    #[test]
    fn on_the_wire_there_is_one_spelling() {
        let id = StreamId::new(key(), "Cam").unwrap();
        let text = id.to_string();
        assert_eq!(StreamId::on_wire(&text), Some(id.clone()));
        let digits = key().to_string();
        for other in [digits.to_uppercase(), format!("0x{digits}")] {
            let text = text.replace(&digits, &other);
            assert_eq!((StreamId::parse(&text), StreamId::on_wire(&text)), (Ok(id.clone()), None));
        }
    }

    proptest! {
        #[test]
        fn every_id_reads_back_and_none_is_a_path_out(name in "\\PC{0,20}|[./a\\\\]{0,8}") {
            if let Ok(id) = StreamId::new(key(), &name) {
                prop_assert!(!name.split('/').any(|part| part == ".." || part.is_empty()));
                prop_assert_eq!(StreamId::on_wire(&id.to_string()), Some(id));
            }
        }
    }
}
