//! Requests that were sent, and which of their blocks are still to come.

use crate::path::delivery_rate::Stamp;
use crate::time::Time;

/// The most blocks of one request.
pub const MAX_BLOCKS: u32 = u64::BITS;

/// The number of a block that was asked for on its path; later ones are larger.
pub type Sequence = u64;

/// One block of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestedBlock {
    /// The sequence number of the request's first block.
    pub request: Sequence,
    /// Which of the request's blocks.
    pub nth: u32,
}

impl RequestedBlock {
    pub(super) fn sequence(self) -> Sequence {
        self.request + u64::from(self.nth)
    }

    pub(super) fn bit(self) -> u64 {
        1 << self.nth
    }
}

/// What a request will bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// How many blocks, at most [`MAX_BLOCKS`].
    pub blocks: u32,
    /// Bytes of the answer with each of them but the last.
    pub bytes: u64,
    /// Bytes of the answer with the last of them.
    pub last: u64,
}

impl Answers {
    /// A single block.
    pub fn one(bytes: u64) -> Answers {
        Answers { blocks: 1, bytes, last: bytes }
    }

    pub(super) fn total(&self) -> u64 {
        u64::from(self.blocks - 1) * self.bytes + self.last
    }

    pub(super) fn of(&self, nth: u32) -> u64 {
        if nth + 1 == self.blocks { self.last } else { self.bytes }
    }
}

/// Whether some of the same bytes were asked of the same peer before. If so, it is unclear which request an answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// They were not.
    No,
    /// They were, so long ago that the time is forgotten.
    Yes,
    /// They were, at this time first.
    Since(Time),
}

impl Again {
    /// What holds for a request that repeats two earlier ones.
    pub fn or(self, other: Again) -> Again {
        match (self, other) {
            (Again::Since(one), Again::Since(other)) => Again::Since(one.min(other)),
            (Again::Since(time), _) | (_, Again::Since(time)) => Again::Since(time),
            (Again::Yes, _) | (_, Again::Yes) => Again::Yes,
            (Again::No, Again::No) => Again::No,
        }
    }
}

/// A request that is remembered, with a `T` that says what it asks for.
#[derive(Clone, Debug)]
pub(super) struct SentRequest<T> {
    pub(super) what: T,
    pub(super) stamp: Stamp,
    pub(super) sent_at: Time,
    pub(super) answers: Answers,
    pub(super) again: Again,
    // A bit for each block that neither came nor was asked for anew. Invariant: not zero.
    pub(super) open: u64,
    // A bit for each block that is lost. Invariant: only open ones.
    pub(super) lost: u64,
}

impl<T> SentRequest<T> {
    pub(super) fn live(&self) -> u64 {
        self.open & !self.lost
    }

    pub(super) fn has_open(&self, block: RequestedBlock) -> bool {
        block.nth < self.answers.blocks && self.open & block.bit() != 0
    }

    /// Closes an open block. Returns whether it was live.
    pub(super) fn close(&mut self, block: RequestedBlock) -> bool {
        let was_live = self.live() & block.bit() != 0;
        self.open &= !block.bit();
        self.lost &= !block.bit();
        was_live
    }

    /// Bytes of the answers to these blocks.
    pub(super) fn bytes_of(&self, blocks: u64) -> u64 {
        let last = blocks >> (self.answers.blocks - 1) & 1;
        let others = u64::from(blocks.count_ones()) - last;
        others * self.answers.bytes + last * self.answers.last
    }
}

/// A bit for each of the first `count` blocks.
pub(super) fn first_bits(count: u64) -> u64 {
    if count >= u64::from(u64::BITS) { u64::MAX } else { (1 << count) - 1 }
}
