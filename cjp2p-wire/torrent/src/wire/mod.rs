//! What peers say to each other, as bytes: the handshake, messages, and what extensions put into them.
//!
//! Every number and length is bounded here, once. What is wrong is an error, and the connection ends.

mod extended;
mod frames;
mod handshake;
mod message;
mod pex;

pub use extended::{ExtendedHandshake, MAX_METADATA, METADATA_PIECE, MetadataMessage};
pub use frames::{Frames, most_bytes};
pub use handshake::Handshake;
pub use message::{BLOCK_HEADER, Message, WireError, block_header};
pub use pex::{MAX_PEX, PeerExchange};
pub(crate) use pex::{compact_v4, compact_v6};
