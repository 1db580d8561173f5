//! What goes into a download, and what comes out of it.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::range_spec::RangeSpec;
use crate::content_id::ContentId;
use crate::pieces::Space;
use crate::range_set::RangeSet;
use crate::slices::Slices;
use crate::tree::TreeVerifier;

/// What to fetch.
#[derive(Debug)]
pub struct Spec {
    /// The content.
    pub id: ContentId,
    /// Which bytes are wanted, those first that matter most; if empty, all. Whole leaves are fetched, and the end of the
    /// content, which proves its length. Only content with a tree can be had in part; of any other all is fetched.
    pub ranges: Vec<RangeSpec>,
    /// A reader waits for the bytes in order. Otherwise those come first that are rare among leechers.
    pub in_order: bool,
    /// What is here already.
    pub resume: Option<Resume>,
    /// Give up when no peer has sent a byte for so long after the start.
    pub source_timeout: Duration,
    /// Give up when nothing new has come for so long.
    pub stall_timeout: Duration,
}

/// What an interrupted download had.
#[derive(Debug)]
pub struct Resume {
    /// The length it was fetched under.
    pub length: u64,
    /// Verified content, or what was staged of content that is verified as a whole. Ranges of whole leaves.
    pub done: RangeSet,
    /// What else is there and is still being verified by its tree, where `done` has the last leaf. No source is asked for it
    /// before [`Download::on_checked`](super::Download::on_checked) says that it is wrong.
    pub unchecked: RangeSet,
    /// The runs it had, where content is verified by its tree.
    pub verifier: Option<TreeVerifier>,
}

/// What a download reports.
#[derive(Debug)]
pub enum DownloadEvent {
    /// The length of the content is known; for content verified as a whole, the length now tried.
    Length(u64),
    /// Everything is staged: check it and call [`Download::on_verdict`](super::Download::on_verdict).
    Staged(u64),
    /// Everything that is wanted is verified and written, and this is the length of the content.
    Complete(u64),
    /// The source sent what is provably wrong, and is left alone from now on.
    Misbehaved(SocketAddr, &'static str),
    /// The download ended in vain.
    Failed(Failure),
}

/// Why a download ended in vain.
#[derive(Debug)]
pub enum Failure {
    /// No peer offered a byte before the limit.
    NoSource,
    /// A source was found, then nothing new came for the limit.
    Stalled,
    /// What came was wrong, and no other source is left to ask.
    Mismatch,
    /// The sources had it, and say that they no longer do.
    Withdrawn,
    /// The destination cannot be written.
    Destination(io::Error),
    /// A range that is wanted begins at the end of the content or beyond.
    PastTheEnd {
        /// Its place in [`Spec::ranges`].
        nth: usize,
        /// The length of the content, which is proven.
        length: u64,
    },
}

/// A range to ask a source for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// In the content or in its tree.
    pub space: Space,
    /// Which bytes.
    pub range: Range<u64>,
    /// In blocks of so many bytes, the last of which may be shorter.
    pub block: u64,
    /// It asks whether the source has the content at all.
    pub probe: bool,
    /// The same bytes were asked for before: the time of the answer shows nothing.
    pub again: bool,
}

impl Ask {
    /// How many blocks it asks for, one at least.
    pub fn blocks(&self) -> u32 {
        let length = self.range.end - self.range.start;
        u32::try_from(length.div_ceil(self.block.max(1))).unwrap_or(u32::MAX).max(1)
    }

    /// The bytes of its block `nth`.
    pub fn block_range(&self, nth: u32) -> Range<u64> {
        let start = self.range.start + u64::from(nth) * self.block;
        start.min(self.range.end)..(start + self.block).min(self.range.end)
    }

    /// The request for some of its blocks, at least one.
    pub fn part(&self, blocks: Range<u32>) -> Ask {
        let range = self.block_range(blocks.start).start..self.block_range(blocks.end - 1).end;
        Ask { range, ..self.clone() }
    }
}

/// What a download needs to know of the path to a source.
#[derive(Clone, Copy, Debug)]
pub struct PathTerms {
    /// Bytes of content that an answer can hold.
    pub block: u64,
    /// Bytes of the tree that an answer can hold: its id is longer.
    pub tree_block: u64,
    /// Bytes of content that an answer can hold which every path carries.
    pub least_block: u64,
    /// Bytes of content that the answer to a first question can hold: it names the length too.
    pub probe_block: u64,
    /// How many blocks may be asked for at once; at least 1.
    pub blocks: u64,
    /// The path's round trip.
    pub round_trip: Duration,
    /// Whether it is a short one: see [`SHORT_PATH`](crate::path::rtt::SHORT_PATH).
    pub is_short: bool,
    /// The path's rate in bytes per second; zero while unknown.
    pub rate: f64,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of what is wanted that are verified and written, or staged.
    pub done: u64,
    /// The length, where it is known.
    pub length: Option<u64>,
    /// Bytes that are wanted, where the length is known.
    pub wanted: Option<u64>,
    /// Sources that sent some of it and still do.
    pub sources: usize,
    /// Bytes of content and tree that came, duplicates included.
    pub received: u64,
    /// Bytes of them that were of no use: they were here already or turned out wrong.
    pub wasted: u64,
}

/// A block of content or tree that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Where it belongs.
    pub space: Space,
    /// Its first byte's place.
    pub offset: u64,
    /// The bytes.
    pub data: Slices<'a>,
    /// The length that the sender claims, of the content or of the tree.
    pub length: Option<u64>,
    /// It answers a request of ours and comes from a validated address.
    pub answers: bool,
}
