//! What a swarm must know of what a peer says, and why a connection ends.

use std::fmt;

use crate::piece_set::PieceSet;
use crate::pieces::Block;
use crate::wire::{MetadataMessage, PeerExchange, WireError};

/// Something that a peer said. The connection has taken it in already.
#[derive(Debug)]
pub enum PeerEvent<'a> {
    /// Nothing that anybody must know.
    Nothing,
    /// Both handshakes went over: tell it what we have.
    Ready,
    /// It said what it is and understands.
    Introduced,
    /// It said what it has; before it had these.
    Has(PieceSet),
    /// It has one piece more.
    Gained(u32),
    /// It answers no requests any more. These were still expected.
    Choked(Vec<Block>),
    /// It may be asked for blocks.
    Unchoked,
    /// Whether it would ask for blocks has changed.
    Interest,
    /// It asked for a block that can be answered.
    Demand,
    /// A block that was asked for.
    Block(Block, &'a [u8]),
    /// It does not send this block, which was asked for.
    Rejected(Block),
    /// Something about metadata.
    Metadata(MetadataMessage<'a>),
    /// It knows of these peers.
    Peers(PeerExchange),
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It sent what is no message.
    Wire(WireError),
    /// It is there for another torrent.
    OtherTorrent,
    /// It is we ourselves.
    Ourselves,
    /// It named a piece or a block that does not exist.
    NoSuchPiece,
    /// It said nothing for too long.
    Silent,
    /// It does not read what it is sent.
    ReadsNothing,
}

impl Broken {
    /// Whether only what is no client of BitTorrent does this.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(self, Broken::Wire(_))
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Broken {
        Broken::Wire(error)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Wire(error) => error.fmt(f),
            Broken::OtherTorrent => f.write_str("another torrent"),
            Broken::Ourselves => f.write_str("ourselves"),
            Broken::NoSuchPiece => f.write_str("a piece that does not exist"),
            Broken::Silent => f.write_str("silent for too long"),
            Broken::ReadsNothing => f.write_str("does not read what it is sent"),
        }
    }
}

impl std::error::Error for Broken {}
