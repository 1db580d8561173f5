//! A part of content in a file that is to be read, or hashed, by another thread.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{LeafIndex, group_leaves};

use super::reading::read_through;
use crate::in_memory;

/// Bytes of content that are brought into memory at a time, and as many after them.
pub const WINDOW: u64 = 128 << 10;

/// A group of content, in a file.
#[derive(Debug)]
pub struct Group {
    /// The file.
    pub file: Arc<File>,
    /// Where it lies in the file.
    pub range: Range<u64>,
}

impl Group {
    /// A window of a file that holds content of this length.
    pub fn of_window(file: &Arc<File>, window: u64, length: u64) -> Group {
        let start = window.saturating_mul(WINDOW).min(length);
        // What begins in the window may end after it.
        let end = start.saturating_add(2 * WINDOW).min(length);
        Group { file: file.clone(), range: start..end }
    }

    /// Reads it, for the kernel to keep it in memory. Errors do not matter here: the next one to read it meets them too. Returns
    /// whether it can be known later if it is still there.
    pub fn warm(&self) -> bool {
        let _ = read_through(&self.file, self.range.clone(), |_| ());
        in_memory::can_tell(&self.file, self.range.start)
    }

    /// The values of its leaves.
    pub fn hash(&self) -> Option<Vec<Hash>> {
        let mut leaves = Vec::new();
        let mut at = self.range.start;
        read_through(&self.file, self.range.clone(), |bytes| {
            leaves.extend(group_leaves(LeafIndex::holding(at), bytes));
            at += bytes.len() as u64;
        })
        .ok()?;
        Some(leaves)
    }
}
