//! Short content that stays in memory until all of it is here: a file of a folder, or a part of the folder's list. It needs no lock, no
//! record, and no file of its own.

use std::io;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_wire::tree::Verified;

use super::destination::{Destination, Publication};

/// See the [module](self).
pub(crate) struct Memory {
    bytes: Vec<u8>,
    most: usize,
}

impl Memory {
    /// For content of at most `most` bytes.
    pub(crate) fn new(most: usize) -> Memory {
        Memory { bytes: Vec::new(), most }
    }
}

impl Destination for Memory {
    fn write(&mut self, block: Verified<'_>) -> io::Result<()> {
        let start = usize::try_from(block.offset()).unwrap_or(usize::MAX);
        let end = start.saturating_add(block.bytes().len());
        // Under a false length that somebody claims it may lie anywhere. What is too long fails once its length is proven.
        if end <= self.most {
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            self.bytes[start..end].copy_from_slice(block.bytes());
        }
        Ok(())
    }

    fn take_bytes(&mut self, length: u64) -> Option<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(usize::try_from(length).ok()?);
        (bytes.len() as u64 == length).then_some(bytes)
    }

    fn publish(&mut self, _: u64) -> Publication {
        Box::new(|| Ok(()))
    }

    fn failure(&self, error: io::Error) -> ToolError {
        ToolError::new(Exit::Failure, error.to_string())
    }
}
