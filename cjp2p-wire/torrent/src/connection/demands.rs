//! `Demands`: the blocks that a peer asks us for.

use std::collections::VecDeque;
use std::time::Duration;

use cjp2p_wire::time::Time;

use crate::pieces::Block;

/// So many requests of one peer wait at the most.
pub const MAX_DEMANDS: usize = 512;

/// What waits to be sent.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    // Invariant: at most `MAX_DEMANDS`, none twice.
    waiting: VecDeque<(Block, Time)>,
}

impl Demands {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, now: Time, block: Block) -> bool {
        let is_there = self.waiting.iter().any(|&(waiting, _)| waiting == block);
        let fits = self.waiting.len() < MAX_DEMANDS && !is_there;
        if fits {
            self.waiting.push_back((block, now));
        }
        fits
    }

    /// This one is answered, or not wanted any more. Returns whether it was there.
    pub fn remove(&mut self, block: Block) -> bool {
        let nth = self.waiting.iter().position(|&(waiting, _)| waiting == block);
        nth.is_some_and(|nth| self.waiting.remove(nth).is_some())
    }

    /// What is next: the first of a piece that `comes_first`, unless one waits for `longest` already.
    pub fn next(&self, now: Time, comes_first: impl Fn(u32) -> bool, longest: Duration) -> Option<Block> {
        let is_next =
            |(block, since): &&(Block, Time)| comes_first(block.piece) || now.since(*since) >= longest;
        self.waiting.iter().find(is_next).map(|&(block, _)| block)
    }

    pub(super) fn take_all(&mut self) -> Vec<Block> {
        // Its memory goes too: most peers are choked.
        std::mem::take(&mut self.waiting).into_iter().map(|(block, _)| block).collect()
    }
}
