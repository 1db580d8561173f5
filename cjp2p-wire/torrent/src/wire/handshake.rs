//! `Handshake`: the first 68 bytes each way.

use super::message::WireError;
use crate::info_hash::InfoHash;
use crate::peer_id::PeerId;

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// BEP 10.
const EXTENDED: u8 = 0x10;
/// BEP 6.
const FAST: u8 = 0x04;

/// What each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Which torrent it is about.
    pub info_hash: InfoHash,
    /// Who says so.
    pub peer_id: PeerId,
    /// Extensions are understood (BEP 10).
    pub extended: bool,
    /// The fast extension is understood (BEP 6).
    pub fast: bool,
}

impl Handshake {
    /// Its bytes.
    pub const LEN: usize = 68;

    /// Reads it from the first bytes that came. `None` while some are lacking.
    ///
    /// # Errors
    ///
    /// As soon as they are no such handshake.
    pub fn read(bytes: &[u8]) -> Result<Option<Handshake>, WireError> {
        let known = bytes.len().min(PROTOCOL.len());
        if bytes[..known] != PROTOCOL[..known] {
            return Err(WireError::NotBitTorrent);
        }
        let Some(bytes) = bytes.first_chunk::<{ Handshake::LEN }>() else { return Ok(None) };
        let (mut hash, mut peer) = ([0; InfoHash::LEN], [0; PeerId::LEN]);
        hash.copy_from_slice(&bytes[28..48]);
        peer.copy_from_slice(&bytes[48..]);
        Ok(Some(Handshake {
            info_hash: InfoHash::from_bytes(hash),
            peer_id: PeerId::from_bytes(peer),
            extended: bytes[25] & EXTENDED != 0,
            fast: bytes[27] & FAST != 0,
        }))
    }

    /// Which torrent the bytes that came first are about: known before the peer's name, which some send later.
    ///
    /// # Errors
    ///
    /// As soon as they are no such handshake.
    pub fn info_hash_in(bytes: &[u8]) -> Result<Option<InfoHash>, WireError> {
        let mut padded = [0; Handshake::LEN];
        if bytes.len() < 48 {
            return Handshake::read(bytes).map(|_| None);
        }
        padded[..48].copy_from_slice(&bytes[..48]);
        Ok(Handshake::read(&padded)?.map(|handshake| handshake.info_hash))
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Handshake::LEN] {
        let mut bytes = [0; Handshake::LEN];
        bytes[..20].copy_from_slice(PROTOCOL);
        bytes[25] = if self.extended { EXTENDED } else { 0 };
        bytes[27] = if self.fast { FAST } else { 0 };
        bytes[28..48].copy_from_slice(self.info_hash.as_bytes());
        bytes[48..].copy_from_slice(self.peer_id.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_torrent_is_known_early() {
        for (extended, fast) in [(false, false), (true, false), (false, true), (true, true)] {
            let handshake = Handshake {
                info_hash: InfoHash::of(b"x"),
                peer_id: PeerId::from_bytes([b'p'; 20]),
                extended,
                fast,
            };
            let bytes = handshake.to_bytes();
            assert_eq!(Handshake::read(&bytes), Ok(Some(handshake)));
            for n in 0..68 {
                assert_eq!(Handshake::read(&bytes[..n]), Ok(None));
                let known = (n >= 48).then_some(handshake.info_hash);
                assert_eq!(Handshake::info_hash_in(&bytes[..n]), Ok(known));
            }
        }
    }

    #[test]
    fn other_protocols_are_refused_at_the_first_byte_that_differs() {
        assert_eq!(Handshake::read(b"GET / HTTP/1.1"), Err(WireError::NotBitTorrent));
        assert_eq!(Handshake::info_hash_in(b"\x13BitTorrent protocoX"), Err(WireError::NotBitTorrent));
    }
}
