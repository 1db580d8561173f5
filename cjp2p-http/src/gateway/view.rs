//! `View`: a stream that is viewed for one or several clients, and how far each of them is.

use std::collections::BTreeMap;

use cjp2p_wire::stream::{SignedStatement, StreamId};
use cjp2p_wire::time::Time;

use super::client::Token;

/// A client that is sent a stream.
pub(super) struct Viewer {
    /// The byte that comes next; `None` until it is known where to begin.
    pub(super) position: Option<u64>,
    /// Fields for the answer, until that is begun.
    pub(super) fields: Option<Vec<(&'static str, String)>>,
    /// Nothing could be passed on since.
    pub(super) waits_since: Time,
}

/// See the [module](self).
pub(super) struct View {
    pub(super) id: StreamId,
    // Invariant: never empty.
    pub(super) viewers: BTreeMap<Token, Viewer>,
    pub(super) statement: Option<SignedStatement>,
    /// Where it began.
    pub(super) started: Option<u64>,
    /// How far the node was told that it was read.
    pub(super) told: Option<u64>,
    /// A peer said something of it, the last time then; or when it was begun.
    pub(super) is_heard: bool,
    pub(super) news_at: Time,
    /// There is something new to look at.
    pub(super) is_new: bool,
}

impl View {
    /// Of this stream, for nobody yet.
    pub(super) fn new(now: Time, id: StreamId) -> View {
        View {
            id,
            viewers: BTreeMap::new(),
            statement: None,
            started: None,
            told: None,
            is_heard: false,
            news_at: now,
            is_new: true,
        }
    }
}
