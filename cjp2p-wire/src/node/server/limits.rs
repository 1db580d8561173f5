//! How much one answer tells.

use crate::content_id::ContentId;

/// Addresses told in one answer at most, to a validated source.
pub const MAX_PEERS_TOLD: usize = 30;
/// Entries of the content list told at most in answer to one question.
pub const MAX_LIST: usize = 256;

/// Which list a source asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever fits.
    Some,
    /// The part that begins after this content, or at the beginning.
    After(Option<ContentId>),
}
