//! What a view of a stream is asked for, and what it reports.

use std::net::SocketAddr;
use std::time::Duration;

use crate::stream::SignedStatement;

/// Where to begin with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the newest place where one may join, as its origin says; where it tells none, at the newest block.
    Edge,
    /// At this byte.
    Offset(u64),
    /// With the oldest that the peers have that are asked first.
    Oldest,
    /// At the last place to join that came so long before the newest byte; where none is so old, at the oldest that is told.
    Before(Duration),
}

/// How to view a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Where to begin.
    pub from: Start,
    /// How many bytes after the position may be here or on their way.
    pub window: u64,
    /// Whether to pass blocks on to others that ask.
    pub relay: bool,
}

/// What a view reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// It begins at this byte: nothing before it is asked for.
    Started {
        /// The byte.
        offset: u64,
    },
    /// The origin said something newer of the whole stream.
    Statement(Box<SignedStatement>),
    /// This block was verified and given to the sink: for the first time, or longer than before.
    Block {
        /// Which one.
        index: u64,
    },
    /// The origin signed two different contents of this block, and one does not begin with the other. The one that came first stays.
    Contradiction {
        /// Which one.
        index: u64,
    },
    /// No peer that is known gives any of it now. Others may still be added, and those are asked again.
    NoSource,
    /// This peer gave what the stream's key did not sign, and is left alone from now on.
    Misbehaved(SocketAddr),
    /// The sink does not take it, as this says: the view is over.
    Failed(String),
}

/// How a view is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamProgress {
    /// The peer that blocks come from now.
    pub parent: Option<SocketAddr>,
    /// Peers that are asked, or stand by.
    pub sources: usize,
    /// Peers that we send blocks to.
    pub viewers: usize,
    /// The oldest byte that any of them still has, as they say; `None` while nobody said anything.
    pub oldest: Option<u64>,
    /// The stream goes so far, in bytes, as anybody says.
    pub edge: u64,
    /// Bytes of blocks that were verified.
    pub verified: u64,
    /// How many hops away from the origin, where it is known: 1 for one that asks it itself.
    pub depth: Option<u64>,
}
