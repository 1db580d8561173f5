//! A shared file as it was found, the number that it is known by, and the ids of its content.

use cjp2p_io::identity::Identity;
use cjp2p_wire::content_id::Hash;

use crate::place::Place;

/// One state of one file. A file that changed gets another number, and none is given twice, so whatever was
/// remembered by number about the old state cannot be taken for the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNo {
    /// Where it is among the entries; used again once the file is gone.
    pub(crate) slot: u32,
    /// How often that was used before.
    pub(crate) generation: u32,
}

/// The ids of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Its BLAKE3 hash, which also names its tree.
    pub blake3: Hash,
    /// Its SHA-256 hash.
    pub sha256: Hash,
}

/// A file as it was found.
#[derive(Clone, Debug)]
pub struct FileState {
    /// Where it is.
    pub place: Place,
    /// What it was when it was found; what it must still be when it is hashed and read.
    pub identity: Identity,
}
