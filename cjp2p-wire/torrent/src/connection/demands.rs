//! `Demands`: the blocks that a peer asks us for.

use std::collections::VecDeque;

use crate::pieces::Block;

/// So many requests of one peer wait at the most.
pub const MAX_DEMANDS: usize = 512;

/// What waits to be sent.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    // Invariant: at most `MAX_DEMANDS`, none twice.
    waiting: VecDeque<Block>,
}

impl Demands {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, block: Block) -> bool {
        let fits = self.waiting.len() < MAX_DEMANDS && !self.waiting.contains(&block);
        if fits {
            self.waiting.push_back(block);
        }
        fits
    }

    pub(super) fn remove(&mut self, block: Block) -> bool {
        let nth = self.waiting.iter().position(|&waiting| waiting == block);
        nth.is_some_and(|nth| self.waiting.remove(nth).is_some())
    }

    /// What is next.
    #[must_use]
    pub fn first(&self) -> Option<Block> {
        self.waiting.front().copied()
    }

    /// The next one is answered.
    pub fn pop(&mut self) {
        self.waiting.pop_front();
    }

    pub(super) fn take_all(&mut self) -> VecDeque<Block> {
        std::mem::take(&mut self.waiting)
    }
}
