//! Blocks of streams in memory: what peers of the simulation give and write.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock, StreamId};

/// Blocks by stream, and what each view writes to.
#[derive(Default, Debug)]
pub struct MemoryStreams {
    /// The blocks.
    pub blocks: BTreeMap<StreamId, BTreeMap<u64, SignedBlock>>,
    /// What each job views.
    pub viewed: BTreeMap<JobId, StreamId>,
    /// Gives what was tampered with.
    pub lies: bool,
    /// What the origin signed, to keep each block once for all peers.
    pub shared: Option<Rc<RefCell<BTreeMap<u64, SignedBlock>>>>,
}

impl MemoryStreams {
    /// A block.
    pub fn block(&self, id: &StreamId, index: u64) -> Option<SignedBlock> {
        let block = self.blocks.get(id)?.get(&index)?;
        if !self.lies {
            return Some(block.clone());
        }
        let mut data = block.data().to_vec();
        data[0] ^= 1;
        SignedBlock::stored(index, &data, *block.signature())
    }

    /// From the oldest to the newest byte.
    pub fn extent(&self, id: &StreamId) -> Option<Range<u64>> {
        let blocks = self.blocks.get(id)?;
        Some(blocks.first_key_value()?.1.offset()..blocks.last_key_value()?.1.end())
    }

    /// Takes a block of a view.
    pub fn write(&mut self, job: JobId, block: &SignedBlock) {
        let id = self.viewed[&job].clone();
        let blocks = self.blocks.entry(id).or_default();
        let same = self.shared.as_ref().and_then(|all| all.borrow().get(&block.index()).cloned());
        let kept = same.filter(|same| same == block).unwrap_or_else(|| block.clone());
        let before = blocks.insert(block.index(), kept);
        assert!(before.is_none_or(|before| block.data().starts_with(before.data())), "a block changed");
    }

    /// The bytes that are here from this one on, as far as nothing is missing.
    pub fn read(&self, id: &StreamId, from: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(blocks) = self.blocks.get(id) else { return bytes };
        loop {
            let at = from + bytes.len() as u64;
            let Some(block) = blocks.get(&(at / BLOCK_LEN as u64)).filter(|block| block.end() > at) else {
                return bytes;
            };
            bytes.extend_from_slice(&block.data()[(at - block.offset()) as usize..]);
        }
    }
}
