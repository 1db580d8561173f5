//! Streams in memory: what peers of the simulation publish and view.

use std::collections::BTreeMap;
use std::ops::Range;

use cjp2p_wire::signed::SigningKey;
use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock, SignedStatement, Statement, StreamId};

use super::peer::Peer;
use cjp2p_wire::time::Time;

/// Blocks by stream, and what each view writes to.
#[derive(Default, Debug)]
pub struct MemoryStreams {
    /// The blocks.
    pub blocks: BTreeMap<StreamId, BTreeMap<u64, SignedBlock>>,
    /// What each job views.
    pub viewed: BTreeMap<JobId, StreamId>,
    /// Gives what was tampered with.
    pub lies: bool,
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
        let before = blocks.insert(block.index(), block.clone());
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

/// An origin: what it signs, and its newest block as far as it has come.
pub struct Origin {
    /// Its key.
    pub key: SigningKey,
    /// The stream.
    pub id: StreamId,
    /// All that was signed, in order.
    pub bytes: Vec<u8>,
    /// What it says of the whole.
    pub statement: Statement,
}

impl Origin {
    /// One that has signed nothing.
    pub fn new() -> Origin {
        let key = SigningKey::from_seed(&[9; 32]);
        let id = StreamId::to_give(key.public(), "cam").expect("a name");
        Origin { key, id, bytes: Vec::new(), statement: Statement::default() }
    }

    /// Signs more, and has the peer give it. Whole blocks only, unless it is to be flushed.
    pub fn append(&mut self, peer: &mut Peer, now: Time, bytes: &[u8], flush: bool) {
        let before = self.bytes.len() / BLOCK_LEN;
        self.bytes.extend_from_slice(bytes);
        let blocks = self.bytes.chunks(BLOCK_LEN).enumerate().skip(before);
        for (index, data) in blocks.filter(|(_, data)| flush || data.len() == BLOCK_LEN) {
            let block = SignedBlock::sign(&self.key, &self.id, index as u64, data).expect("a block");
            let all = peer.store.streams.blocks.entry(self.id.clone()).or_default();
            all.insert(index as u64, block);
            peer.node.on_stream_block(now, &self.id, index as u64, &mut peer.store);
            peer.settle(now);
        }
    }

    /// Says how far it has come.
    pub fn say(&mut self, peer: &mut Peer, now: Time, ended: bool) {
        self.statement.time = now.as_nanos() / 1_000_000;
        self.statement.end = self.bytes.len() as u64;
        self.statement.ended = ended;
        self.statement.parts =
            if self.bytes.is_empty() { Vec::new() } else { std::iter::once(0..self.statement.end).collect() };
        let said = SignedStatement::sign(&self.key, &self.id, self.statement.clone()).expect("in order");
        peer.node.set_stream_statement(now, &said);
        peer.settle(now);
    }
}

impl Default for Origin {
    fn default() -> Origin {
        Origin::new()
    }
}
