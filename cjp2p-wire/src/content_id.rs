//! Content ids.

use std::fmt;

/// A 32-byte hash: SHA-256, BLAKE3, or the value of an inner node of BLAKE3's tree.
pub type Hash = [u8; 32];

/// What a piece of content is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentId {
    /// `blake3/` and 64 hex digits: verified leaf by leaf.
    Blake3(Hash),
    /// 64 hex digits: SHA-256, verified only as a whole.
    Sha256(Hash),
    /// `blake3_tree_v2/` and 64 hex digits: the hash tree of that content.
    Tree(Hash),
    /// Any other name, a plain file name: nothing can be verified.
    Name(PlainName),
}

/// A name that cannot be a path: see [`ContentId::parse`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainName(Box<str>);

impl fmt::Debug for PlainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
