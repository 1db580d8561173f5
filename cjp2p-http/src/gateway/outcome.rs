//! `Outcome`: what a thread did for the loop.

use std::io;

use cjp2p_io::partial::recheck::Checked;
use cjp2p_io::partial::running_hash::Piece;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::store::JobId;
use cjp2p_wire::tree::GroupIndex;

use super::client::Token;
use crate::cache::{Entry, Slot};
use crate::upload::{Refused, Uploaded};

/// What a thread brought to an end.
pub(super) enum Outcome {
    /// An entry is open, or cannot be.
    Opened(ContentId, io::Result<Box<Entry>>),
    /// A piece of what another process left is verified.
    Checked(Slot, Checked),
    /// A piece of what is staged is hashed.
    Hashed(Slot, io::Result<Piece>),
    /// The leaves of a group, for peers; the entry is named by a number in the place of a job's.
    Leaves(JobId, GroupIndex, Option<Vec<Hash>>),
    /// This window of it is in memory, for peers.
    Warmed(JobId, u64, bool),
    /// A file that this client sent is there, or cannot be.
    Uploaded(Token, Result<Uploaded, Refused>),
    /// What comes next for this client is in memory.
    WarmedFor(Token),
}
