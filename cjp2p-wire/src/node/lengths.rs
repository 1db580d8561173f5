//! How long datagrams are: what we send, what we ask for, and what stands around content.

use crate::path::in_flight;

/// An unvalidated source is sent this many times the bytes that it sent, at most (draft-pearson-lcdp-04).
pub const AMPLIFICATION: usize = 2;
/// The longest datagram of ours that is not an answer to a request for a large block: 1,500 less IPv6 and UDP headers.
pub const ORDINARY_DATAGRAM: usize = 1452;

/// The most bytes of content in one answer. Longer requests are cut to it, as other nodes do.
pub(crate) const MAX_ANSWER: usize = 40_960;
/// The largest block asked for: what today's nodes cut an answer to.
pub(crate) const MAX_BLOCK: u64 = MAX_ANSWER as u64;
/// Blocks sent for one request that names their length.
pub(crate) const MAX_BLOCKS: u64 = in_flight::MAX_BLOCKS as u64;
/// A first question to a peer that the user named is padded to this size at most, so that the answer may be useful.
pub(crate) const MAX_PROBE: usize = 1200;
/// The longest first question to a peer that only another peer named.
pub(crate) const MAX_SUGGESTED_PROBE: usize = 256;
/// A block counts for this many bytes more than it holds: what a datagram with content holds beside the base64, at most.
pub const BLOCK_COST: usize = 260;

/// Bytes beside raw content in a datagram: what stands before it, and IP and UDP headers.
const RAW_COST: u64 = 120;

/// How content is written in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// In JSON, as base64.
    Json,
    /// As it is, after a JSON array.
    Raw,
}

impl Framing {
    /// About how long a datagram is that answers with `length` bytes of content, IP and UDP headers included.
    pub(super) fn answer_length(self, length: u64) -> u64 {
        match self {
            Framing::Json => self.written(length) + BLOCK_COST as u64,
            Framing::Raw => length + RAW_COST,
        }
    }

    /// A datagram with `length` bytes of content is this long at least.
    pub(super) fn shortest(self, length: u64) -> usize {
        let around = match self {
            Framing::Json => 100,
            Framing::Raw => 60,
        };
        self.written(length) as usize + around
    }

    /// How many bytes the content itself takes.
    fn written(self, length: u64) -> u64 {
        match self {
            Framing::Json => length.div_ceil(3) * 4,
            Framing::Raw => length,
        }
    }
}
