//! What the machines read from and write to. The types carry the promise: only what was verified can be written.

use crate::content_id::ContentId;

/// The answer to a [`Library::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The bytes were appended, as many as there are up to the length asked for; none at or past the end.
    Found {
        /// The length of the whole content in bytes, where it is known.
        eof: Option<u64>,
    },
    /// Nothing of this id, or nothing in that range, is here.
    Absent,
    /// It is here but not in memory yet: ask again when the library says so.
    Later,
}

/// What a node can answer from.
pub trait Library {
    /// Appends to `out` up to `length` bytes of the content `id`, from byte `offset` on.
    ///
    /// Gives only verified bytes of content, or bytes of finished files; a plain name gives what the file holds.
    fn read(&mut self, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read;

    /// At most `limit` of the ids shared, each with its length in bytes.
    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)>;
}
