//! The bounds of every number, length and count in a message. They are checked where a message is read.

/// Numbers above this are refused: beyond it, JSON readers of other languages lose digits.
pub const MAX_NUMBER: u64 = 1 << 53;
/// Ids longer than this, in bytes, are refused.
pub const MAX_ID_LEN: usize = 255;
/// At most this many addresses of one message are read.
pub const MAX_PEERS: usize = 256;
/// At most this many entries of one content list are read.
pub const MAX_LISTED: usize = 4096;
/// At most this many ids of one message are read.
pub const MAX_IDS: usize = 16;
/// Values to be returned that are longer than this, in bytes, are ignored.
pub const MAX_RETURNED_LEN: usize = 1024;
/// JSON nested deeper than this inside one message is refused.
pub const MAX_DEPTH: usize = 16;
/// A message that names more parts than this is refused: one datagram that no packet cuts holds fewer.
pub const MAX_PARTS: usize = 512;
/// A request for a stream that names more ranges than this is refused: so many fit a datagram that no packet cuts.
pub const MAX_STREAM_RANGES: usize = 40;
/// At most this many free places of a request for a stream are read.
pub const MAX_STREAM_PLACES: usize = 6;
