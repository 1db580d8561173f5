//! What the extension protocol (BEP 10) says first, and the exchange of metadata (BEP 9).

use bendy::decoding::Object;
use bendy::encoding::{AsString, Encoder};

use super::message::WireError;
use crate::bencode::{self, BencodeError};

/// An encoded `info` has so many bytes at the most.
pub const MAX_METADATA: u32 = 16 << 20;
/// It goes over in pieces of so many bytes.
pub const METADATA_PIECE: u32 = 16 << 10;
/// So much is kept of what a client calls itself, in bytes.
const MAX_CLIENT: usize = 64;
/// Dictionaries that we write lie so deep in each other.
const DEPTH: usize = 3;

impl From<BencodeError> for WireError {
    fn from(_: BencodeError) -> WireError {
        WireError::WrongExtension
    }
}

/// What each side says of itself once the handshakes went over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedHandshake {
    /// By which number it wants messages with metadata; 0 for not at all.
    pub metadata: u8,
    /// The same of messages with peers (BEP 11).
    pub peers: u8,
    /// Bytes of the encoded `info`, where it has it.
    pub metadata_size: Option<u32>,
    /// Where it accepts connections.
    pub port: Option<u16>,
    /// How many requests it takes without answering one.
    pub requests: Option<u32>,
    /// Which client it is.
    pub client: String,
}

impl ExtendedHandshake {
    /// Reads the payload. What is unknown is passed over.
    ///
    /// # Errors
    ///
    /// Where it is no dictionary in strict bencode.
    pub fn read(payload: &[u8]) -> Result<ExtendedHandshake, WireError> {
        let mut read = ExtendedHandshake::default();
        bencode::dictionary(payload, |key, value| {
            match key {
                b"m" => read.take_numbers(value)?,
                b"metadata_size" => {
                    read.metadata_size = small(value).filter(|size| (1..=MAX_METADATA).contains(size));
                }
                b"p" => {
                    read.port = small(value).and_then(|port| port.try_into().ok()).filter(|&port| port != 0)
                }
                b"reqq" => read.requests = small(value),
                b"v" => {
                    let name = bencode::bytes(value).unwrap_or_default();
                    let name = String::from_utf8_lossy(&name[..name.len().min(MAX_CLIENT)]);
                    read.client = name.chars().filter(|letter| !letter.is_control()).collect();
                }
                _ => {}
            }
            Ok::<_, WireError>(())
        })?;
        Ok(read)
    }

    fn take_numbers(&mut self, value: Object<'_, '_>) -> Result<(), WireError> {
        let Object::Dict(mut pairs) = value else { return Ok(()) };
        bencode::each_pair(&mut pairs, |key, value| {
            let id = small(value).and_then(|id| id.try_into().ok()).unwrap_or(0);
            match key {
                b"ut_metadata" => self.metadata = id,
                b"ut_pex" => self.peers = id,
                _ => {}
            }
            Ok(())
        })
    }

    /// Its payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        dictionary(|pairs| {
            pairs.emit_pair_with(b"m", |numbers| {
                numbers.emit_dict(|mut numbers| {
                    for (name, id) in [(&b"ut_metadata"[..], self.metadata), (b"ut_pex", self.peers)] {
                        if id != 0 {
                            numbers.emit_pair(name, id)?;
                        }
                    }
                    Ok(())
                })
            })?;
            if let Some(size) = self.metadata_size {
                pairs.emit_pair(b"metadata_size", size)?;
            }
            if let Some(port) = self.port {
                pairs.emit_pair(b"p", port)?;
            }
            if let Some(requests) = self.requests {
                pairs.emit_pair(b"reqq", requests)?;
            }
            pairs.emit_pair(b"v", &self.client)
        })
    }
}

/// A message about metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMessage<'a> {
    /// Send me this piece of it.
    Request(u32),
    /// A piece: its number, the bytes of the whole, its bytes.
    Data(u32, u32, &'a [u8]),
    /// I do not send you this piece.
    Reject(u32),
}

impl<'a> MetadataMessage<'a> {
    /// Reads the payload; `None` for a kind that is not known here.
    ///
    /// # Errors
    ///
    /// Where it begins with no dictionary in strict bencode, or has not what belongs into it.
    pub fn read(payload: &'a [u8]) -> Result<Option<MetadataMessage<'a>>, WireError> {
        let (mut kind, mut piece, mut total) = (None, None, None);
        let length = bencode::dictionary_at_start(payload, |key, value| {
            match key {
                b"msg_type" => kind = small(value),
                b"piece" => piece = small(value),
                b"total_size" => total = small(value),
                _ => {}
            }
            Ok::<_, WireError>(())
        })?;
        let (Some(kind), Some(piece)) = (kind, piece) else { return Err(WireError::WrongExtension) };
        let message = match kind {
            0 => MetadataMessage::Request(piece),
            1 => {
                let total = total.ok_or(WireError::WrongExtension)?;
                MetadataMessage::Data(piece, total, &payload[length..])
            }
            2 => MetadataMessage::Reject(piece),
            _ => return Ok(None),
        };
        Ok(Some(message))
    }

    /// Its payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, piece, total, data): (u8, u32, Option<u32>, &[u8]) = match *self {
            MetadataMessage::Request(piece) => (0, piece, None, &[]),
            MetadataMessage::Data(piece, total, data) => (1, piece, Some(total), data),
            MetadataMessage::Reject(piece) => (2, piece, None, &[]),
        };
        let mut payload = dictionary(|pairs| {
            pairs.emit_pair(b"msg_type", kind)?;
            pairs.emit_pair(b"piece", piece)?;
            match total {
                Some(total) => pairs.emit_pair(b"total_size", total),
                None => Ok(()),
            }
        });
        payload.extend_from_slice(data);
        payload
    }
}

fn small(value: Object<'_, '_>) -> Option<u32> {
    bencode::number(value)?.try_into().ok()
}

/// Writes a dictionary.
pub(super) fn dictionary(
    write: impl FnOnce(&mut bendy::encoding::SortedDictEncoder<'_>) -> Result<(), bendy::encoding::Error>,
) -> Vec<u8> {
    let mut encoder = Encoder::new().with_max_depth(DEPTH);
    let written = encoder.emit_dict(|mut pairs| write(&mut pairs)).and_then(|()| encoder.get_output());
    written.expect("keys are written in order, and not deep")
}

/// Bytes as the encoder takes them.
pub(super) fn string(bytes: &[u8]) -> AsString<&[u8]> {
    AsString(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let handshake = ExtendedHandshake {
            metadata: 2,
            peers: 1,
            metadata_size: Some(31_235),
            port: Some(6881),
            requests: Some(500),
            client: "cjp2p/0.1".to_string(),
        };
        assert_eq!(
            handshake.to_bytes(),
            b"d1:md11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei31235e1:pi6881e4:reqqi500e1:v9:cjp2p/0.1e"
        );
        assert_eq!(ExtendedHandshake::read(&handshake.to_bytes()), Ok(handshake));
        for message in [
            MetadataMessage::Request(3),
            MetadataMessage::Reject(0),
            MetadataMessage::Data(1, 20_000, b"d1:xe"),
        ] {
            assert_eq!(MetadataMessage::read(&message.to_bytes()), Ok(Some(message)));
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_passed_over() {
        let read = |text: &[u8]| ExtendedHandshake::read(text).unwrap();
        let nothing = ExtendedHandshake::default();
        assert_eq!(read(b"d1:md11:ut_metadatai256e6:ut_pexi-1eee"), nothing);
        assert_eq!(read(b"d13:metadata_sizei0e1:pi65536ee"), nothing);
        assert_eq!(read(b"d13:metadata_sizei16777217ee").metadata_size, None);
        assert_eq!(read(b"d1:v3:a\nbe").client, "ab");
        assert_eq!(read(b"d1:mi1e1:vi1ee"), nothing);
    }

    #[test]
    fn broken_dictionaries_are_refused() {
        for text in [&b""[..], b"le", b"d", b"d1:vi1e1:mi1ee", b"dex"] {
            assert_eq!(ExtendedHandshake::read(text), Err(WireError::WrongExtension));
        }
        for text in [&b"de"[..], b"d8:msg_typei1ee", b"d8:msg_typei1e5:piecei0ee", b"d5:piecei0ee"] {
            assert_eq!(MetadataMessage::read(text), Err(WireError::WrongExtension));
        }
        assert_eq!(MetadataMessage::read(b"d8:msg_typei7e5:piecei0ee"), Ok(None));
    }
}
