//! What is fetched for a folder: lists, and contents of files.

use std::path::PathBuf;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::folder::MAX_LIST;

/// Files up to this length are fetched to memory, many at a time; longer ones each to a file of their own, which can be resumed.
pub(crate) const SHORT: u64 = 1 << 20;

/// One content to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) what: What,
    pub(crate) root: Hash,
    /// As the list says, which may be wrong. Nobody said it of the first list.
    pub(crate) length: Option<u64>,
    pub(crate) keep: Keep,
    /// Where it is in the folder, for messages; of a list, nothing.
    pub(crate) path: Vec<u8>,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The lists themselves.
    List,
    /// Files: the number by which their content was asked for.
    Content(u32),
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It is given when all of it is here.
    Memory,
    /// It becomes this file.
    File(PathBuf),
    /// It is written to the output as it comes.
    Output,
}

impl Piece {
    /// A list of a folder.
    pub(crate) fn list(root: Hash, length: Option<u64>) -> Piece {
        Piece { what: What::List, root, length, keep: Keep::Memory, path: Vec::new() }
    }

    pub(crate) fn id(&self) -> ContentId {
        ContentId::Blake3(self.root)
    }

    /// Whether it is fetched to memory.
    pub(crate) fn is_short(&self) -> bool {
        self.keep == Keep::Memory
    }

    /// Bytes that it may have.
    pub(crate) fn most(&self) -> u64 {
        self.length.unwrap_or(MAX_LIST as u64)
    }

    /// Whether the content can be what was said of it, now that its length is proven.
    pub(crate) fn fits(&self, length: u64) -> bool {
        self.length.map_or(length <= MAX_LIST as u64, |said| said == length)
    }
}

/// How much more may be fetched now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Files to memory.
    pub(crate) short: bool,
    /// Files to files.
    pub(crate) long: bool,
}
