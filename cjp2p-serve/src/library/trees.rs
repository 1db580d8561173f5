//! Reading the trees of shared files: the blocks that were computed, and which to have computed.

use std::iter;
use std::ops::Range;

use cjp2p_io::identity::Identity;
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::store::Asker;
use cjp2p_wire::tree::Geometry;

use super::{Refusal, SharedLibrary, TREE_AT_ONCE, TREE_RETRY};
use crate::file::FileNo;
use crate::readers::{Job, tree_block};

impl SharedLibrary {
    pub(super) fn read_tree(
        &mut self,
        asker: Asker,
        no: FileNo,
        identity: &Identity,
        root: Hash,
        wanted: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<u64, Refusal> {
        if matches!(asker, Asker::Unvalidated) {
            return self.glance_at_tree(no, identity, wanted, out);
        }
        let geometry = Geometry::new(identity.size).map_err(|_| Refusal::Gone)?;
        let size = geometry.tree_length();
        let offset = wanted.start;
        let end = wanted.end.min(offset.saturating_add(TREE_AT_ONCE)).min(size);
        if offset >= end {
            return Ok(size);
        }
        let next = |at: &Range<u64>| (at.end < end).then(|| tree_block(&geometry, at.end));
        let blocks = iter::successors(Some(tree_block(&geometry, offset)), next);
        let blocks: Vec<Range<u64>> = blocks.collect();
        let lost = self.lost_trees.get(&no).is_some_and(|at| at.elapsed() < TREE_RETRY);
        let mut missing = false;
        for block in &blocks {
            if self.tree_blocks.get(&(no, block.start)).is_none() {
                if lost {
                    return Err(Refusal::NoTree);
                }
                let state = self.state(no)?;
                self.ask(asker, Job::Tree(no, state, root, block.start));
                missing = true;
            }
        }
        if missing {
            return Err(Refusal::Later);
        }
        for block in blocks {
            let bytes = self.tree_blocks.get(&(no, block.start)).ok_or(Refusal::Later)?;
            let from = offset.saturating_sub(block.start) as usize;
            let to = (end.min(block.end) - block.start) as usize;
            out.extend_from_slice(bytes.get(from..to).ok_or(Refusal::Gone)?);
        }
        Ok(size)
    }
}

impl SharedLibrary {
    /// Gives of a tree what is in memory, of one block.
    fn glance_at_tree(
        &mut self,
        no: FileNo,
        identity: &Identity,
        wanted: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<u64, Refusal> {
        let geometry = Geometry::new(identity.size).map_err(|_| Refusal::Gone)?;
        let size = geometry.tree_length();
        if wanted.start >= size {
            return Ok(size);
        }
        let block = tree_block(&geometry, wanted.start);
        let bytes = self.tree_blocks.peek(&(no, block.start)).ok_or(Refusal::Later)?;
        let from = (wanted.start - block.start) as usize;
        let to = bytes.len().min((wanted.end - block.start) as usize);
        out.extend_from_slice(bytes.get(from..to).ok_or(Refusal::Gone)?);
        Ok(size)
    }
}
