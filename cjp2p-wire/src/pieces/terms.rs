//! What a [`Picker`](super::Picker) is told of the content and of one source, and what it answers.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::extent::Space;
use super::parts::Parts;
use crate::range_set::RangeSet;

/// An answer may come so much later than its path says.
const LATENESS: Duration = Duration::from_millis(5);
/// No source is expected to take longer for an extent, in seconds.
const MAX_TIME: f64 = 60.0;

/// How some content is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the content.
    pub length: u64,
    /// The least that can be verified, in bytes: a leaf of a tree, a piece of a torrent.
    pub unit: u64,
    /// The shortest extent, in bytes: some units.
    pub least_extent: u64,
    /// The content is verified only as a whole, and so one extent.
    pub is_one: bool,
}

/// How to ask one source.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// Its address.
    pub source: SocketAddr,
    /// Bytes of content that an answer holds.
    pub block: u64,
    /// Bytes of the tree that an answer holds.
    pub tree_block: u64,
    /// How many blocks may be asked for at once.
    pub blocks: u64,
    /// How long an extent is, in bytes: a divisor or a multiple of whatever [`Proofs`](super::Proofs) verify as a whole.
    pub extent: u64,
    /// What comes before all else.
    pub first: Option<Range<u64>>,
    /// Nothing but `first` is begun.
    pub only_first: bool,
    /// It answers with whole units only, and so is asked for one at a time.
    pub aligned: bool,
    /// What it did not have lately.
    pub refused: Option<&'a RangeSet>,
    /// What it says that it has, where it does not have everything.
    pub has: Option<&'a dyn Parts>,
    /// Rare parts come first.
    pub rarest_first: bool,
    /// The round trip of its path.
    pub round_trip: Duration,
    /// The rate of its path in bytes per second; zero while unknown.
    pub rate: f64,
    /// How much of what is wanted the destination takes, counted from the beginning of the goal.
    pub room: u64,
    /// It has the tree.
    pub has_tree: bool,
}

impl Terms<'_> {
    /// A source that is asked for one block at a time and may have everything, but for the tree.
    pub fn new(source: SocketAddr, block: u64, extent: u64) -> Terms<'static> {
        Terms {
            source,
            block,
            tree_block: block,
            blocks: 1,
            extent,
            first: None,
            only_first: false,
            aligned: false,
            refused: None,
            has: None,
            rarest_first: false,
            round_trip: Duration::ZERO,
            rate: 0.0,
            room: u64::MAX,
            has_tree: false,
        }
    }

    /// How long the source should take for so many bytes, from the request to the last of them.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        let sending = if self.rate > 0.0 { bytes as f64 / self.rate } else { 0.0 };
        self.round_trip + LATENESS + Duration::from_secs_f64(sending.min(MAX_TIME))
    }
}

/// A range to ask one source for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In the content or in its tree.
    pub space: Space,
    /// Which bytes.
    pub range: Range<u64>,
    /// In blocks of so many bytes.
    pub block: u64,
    /// It was asked for before.
    pub again: bool,
}
