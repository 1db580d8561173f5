//! Origins of streams in the simulation.

use cjp2p_wire::signed::SigningKey;
use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock, SignedStatement, Statement, StreamId};

use cjp2p_wire::time::Time;

use super::peer::Peer;

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
