//! `Message`: the messages of BEP 3, of the fast extension (BEP 6), and the envelope of extensions (BEP 10).

use std::fmt;

use crate::pieces::Block;

/// Bytes of a message with a block before the block: its length, its kind, the piece and where the block begins.
pub const BLOCK_HEADER: usize = 13;

/// One message. What has numbers of pieces may name some that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Nothing, but the connection lives.
    KeepAlive,
    /// You are not sent blocks.
    Choke,
    /// You are sent the blocks that you ask for.
    Unchoke,
    /// I would ask for blocks.
    Interested,
    /// I would not.
    NotInterested,
    /// I have this piece now.
    Have(u32),
    /// I have these pieces: as [`PieceSet`](crate::piece_set::PieceSet) reads them.
    Bitfield(&'a [u8]),
    /// Send me this block.
    Request(Block),
    /// A block: its piece, where it begins, its bytes.
    Piece(u32, u32, &'a [u8]),
    /// Do not send me this block.
    Cancel(Block),
    /// I am a node of the DHT at this port.
    Port(u16),
    /// This piece would be cheap for me.
    Suggest(u32),
    /// I have all pieces.
    HaveAll,
    /// I have no piece.
    HaveNone,
    /// I do not send you this block.
    Reject(Block),
    /// You may ask for this piece though you are choked.
    AllowedFast(u32),
    /// A message of an extension, by the number that the receiver gave it; 0 is the handshake.
    Extended(u8, &'a [u8]),
    /// A message of a kind that is not known here.
    Unknown(u8),
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It begins with something else than the handshake of this protocol.
    NotBitTorrent,
    /// Longer than any message.
    TooLong(u32),
    /// Of another length than messages of its kind have.
    WrongLength {
        /// Which kind.
        kind: u8,
        /// Bytes behind the kind.
        length: usize,
    },
    /// The message of an extension is not what it must be.
    WrongExtension,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::NotBitTorrent => write!(f, "not a BitTorrent handshake"),
            WireError::TooLong(length) => write!(f, "a message of {length} bytes"),
            WireError::WrongLength { kind, length } => write!(f, "a message {kind} of {length} bytes"),
            WireError::WrongExtension => write!(f, "a broken message of an extension"),
        }
    }
}

impl std::error::Error for WireError {}

impl<'a> Message<'a> {
    /// Reads what is behind the length of a message.
    ///
    /// # Errors
    ///
    /// Where it has not the length that its kind has.
    pub fn read(payload: &'a [u8]) -> Result<Message<'a>, WireError> {
        let Some((&kind, body)) = payload.split_first() else { return Ok(Message::KeepAlive) };
        let wrong = WireError::WrongLength { kind, length: body.len() };
        let plain = |message| if body.is_empty() { Ok(message) } else { Err(wrong) };
        let number = || body.try_into().map(u32::from_be_bytes).map_err(|_| wrong);
        let block = || {
            let numbers: [u8; 12] = body.try_into().map_err(|_| wrong)?;
            let at =
                |n: usize| u32::from_be_bytes([numbers[n], numbers[n + 1], numbers[n + 2], numbers[n + 3]]);
            Ok(Block { piece: at(0), begin: at(4), len: at(8) })
        };
        match kind {
            0 => plain(Message::Choke),
            1 => plain(Message::Unchoke),
            2 => plain(Message::Interested),
            3 => plain(Message::NotInterested),
            4 => number().map(Message::Have),
            5 => Ok(Message::Bitfield(body)),
            6 => block().map(Message::Request),
            7 => {
                let (piece, rest) = body.split_first_chunk().ok_or(wrong)?;
                let (begin, data) = rest.split_first_chunk().ok_or(wrong)?;
                Ok(Message::Piece(u32::from_be_bytes(*piece), u32::from_be_bytes(*begin), data))
            }
            8 => block().map(Message::Cancel),
            9 => body.try_into().map(|port| Message::Port(u16::from_be_bytes(port))).map_err(|_| wrong),
            13 => number().map(Message::Suggest),
            14 => plain(Message::HaveAll),
            15 => plain(Message::HaveNone),
            16 => block().map(Message::Reject),
            17 => number().map(Message::AllowedFast),
            20 => {
                let (&id, rest) = body.split_first().ok_or(wrong)?;
                Ok(Message::Extended(id, rest))
            }
            kind => Ok(Message::Unknown(kind)),
        }
    }

    /// Writes it to the end of `out`, its length first.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, parts: &[&[u8]]| {
            let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
            out.extend_from_slice(&(length as u32).to_be_bytes());
            out.push(kind);
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        let block = |block: &Block| {
            let mut numbers = [0; 12];
            numbers[..4].copy_from_slice(&block.piece.to_be_bytes());
            numbers[4..8].copy_from_slice(&block.begin.to_be_bytes());
            numbers[8..].copy_from_slice(&block.len.to_be_bytes());
            numbers
        };
        match self {
            Message::KeepAlive => out.extend_from_slice(&[0; 4]),
            Message::Choke => put(0, &[]),
            Message::Unchoke => put(1, &[]),
            Message::Interested => put(2, &[]),
            Message::NotInterested => put(3, &[]),
            Message::Have(piece) => put(4, &[&piece.to_be_bytes()]),
            Message::Bitfield(bits) => put(5, &[bits]),
            Message::Request(asked) => put(6, &[&block(asked)]),
            Message::Piece(piece, begin, data) => {
                put(7, &[&piece.to_be_bytes(), &begin.to_be_bytes(), data]);
            }
            Message::Cancel(asked) => put(8, &[&block(asked)]),
            Message::Port(port) => put(9, &[&port.to_be_bytes()]),
            Message::Suggest(piece) => put(13, &[&piece.to_be_bytes()]),
            Message::HaveAll => put(14, &[]),
            Message::HaveNone => put(15, &[]),
            Message::Reject(asked) => put(16, &[&block(asked)]),
            Message::AllowedFast(piece) => put(17, &[&piece.to_be_bytes()]),
            Message::Extended(id, body) => put(20, &[&[*id], body]),
            Message::Unknown(kind) => put(*kind, &[]),
        }
    }
}

/// What comes before the bytes of a block in its message, so that they can be read right behind it.
#[must_use]
pub fn block_header(block: Block) -> [u8; BLOCK_HEADER] {
    let mut header = [0; BLOCK_HEADER];
    header[..4].copy_from_slice(&(block.len + 9).to_be_bytes());
    header[4] = 7;
    header[5..9].copy_from_slice(&block.piece.to_be_bytes());
    header[9..].copy_from_slice(&block.begin.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let block = Block { piece: 1, begin: 0x0203, len: 0xdead_beef };
        let messages = [
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(7),
            Message::Bitfield(b"bits"),
            Message::Request(block),
            Message::Piece(1, 2, b"data"),
            Message::Cancel(block),
            Message::Port(6881),
            Message::Suggest(9),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(block),
            Message::AllowedFast(u32::MAX),
            Message::Extended(0, b"de"),
            Message::Unknown(21),
        ];
        for message in messages {
            let mut out = Vec::new();
            message.write(&mut out);
            let (length, payload) = out.split_first_chunk().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, payload.len(), "{message:?}");
            assert_eq!(Message::read(payload), Ok(message));
        }
    }

    #[test]
    fn the_header_of_a_block_and_its_bytes_are_a_message() {
        let mut whole = block_header(Block { piece: 5, begin: 16384, len: 3 }).to_vec();
        whole.extend_from_slice(b"abc");
        let mut written = Vec::new();
        Message::Piece(5, 16384, b"abc").write(&mut written);
        assert_eq!(whole, written);
    }

    #[test]
    fn a_message_of_another_length_than_its_kind_has_is_refused() {
        for (kind, right) in [
            (0, 0),
            (1, 0),
            (2, 0),
            (3, 0),
            (4, 4),
            (6, 12),
            (8, 12),
            (9, 2),
            (13, 4),
            (14, 0),
            (15, 0),
            (16, 12),
            (17, 4),
        ] {
            for length in (0..20).filter(|&length| length != right) {
                let mut payload = vec![kind];
                payload.resize(1 + length, 0);
                assert_eq!(Message::read(&payload), Err(WireError::WrongLength { kind, length }));
            }
        }
        assert!(Message::read(&[7, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(Message::read(&[20]).is_err());
    }
}
