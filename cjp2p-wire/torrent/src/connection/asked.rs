//! `Asked`: the blocks that a peer was asked for, and how many it is asked for at a time.
//!
//! Blocks are asked for ahead, as many as the way there and back holds: at the rate of the peer they last for twice the round trip
//! and a bit. The rate shows in every block that comes: it and those that were expected before it took so long.

use std::collections::VecDeque;
use std::time::Duration;

use cjp2p_wire::time::Time;

use crate::pieces::Block;

/// So many at first.
const FIRST: usize = 16;
/// So many at the least.
const LEAST: usize = 4;
/// So many at the most, whatever the peer says that it takes.
const MOST: usize = 1024;
/// So many where the peer does not say how many it takes.
const UNSAID: usize = 250;
/// A block may come so much later than after twice the shortest wait.
const SLACK: Duration = Duration::from_millis(150);
/// A peer that sends nothing of what it was asked for, for so long, is snubbing us.
const SNUB: Duration = Duration::from_secs(30);

/// A block that is expected.
#[derive(Clone, Copy, Debug)]
struct Pending {
    block: Block,
    asked_at: Time,
    /// How many were expected then, itself included.
    depth: usize,
}

/// The blocks that a peer was asked for and has not sent.
#[derive(Clone, Debug)]
pub struct Asked {
    // Invariant: at most `MOST`, in the order in which they were asked for, none twice.
    pending: VecDeque<Pending>,
    depth: usize,
    most: usize,
    /// The shortest time from a request to its block.
    shortest: Option<Duration>,
    /// When it last sent a block, or was asked for one while it owed none.
    moved_at: Time,
    is_snubbing: bool,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked::new()
    }
}

impl Asked {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Asked {
        Asked {
            pending: VecDeque::new(),
            depth: FIRST,
            most: UNSAID,
            shortest: None,
            moved_at: Time::ZERO,
            is_snubbing: false,
        }
    }

    /// The peer takes so many requests at a time.
    pub fn set_most(&mut self, requests: Option<u32>) {
        self.most = requests.map_or(UNSAID, |most| (most as usize).clamp(1, MOST));
    }

    /// Whether nothing is expected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many blocks are expected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many it may be asked for now. There are none until several are to be asked for, so that they go together.
    #[must_use]
    pub fn free(&self) -> usize {
        let depth = if self.is_snubbing { 1 } else { self.depth.min(self.most) };
        let free = depth.saturating_sub(self.pending.len());
        if free * 8 >= depth { free } else { 0 }
    }

    /// The time from a request to its block when little is asked for.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.shortest.unwrap_or(SLACK)
    }

    /// Whether this block is expected.
    #[must_use]
    pub fn contains(&self, block: Block) -> bool {
        self.pending.iter().any(|pending| pending.block == block)
    }

    pub(super) fn push(&mut self, now: Time, block: Block) {
        if self.pending.is_empty() {
            self.moved_at = now;
        }
        self.pending.push_back(Pending { block, asked_at: now, depth: self.pending.len() + 1 });
    }

    /// A block came. Returns whether it was expected.
    pub(super) fn on_block(&mut self, now: Time, block: Block) -> bool {
        let nth = self.pending.iter().position(|pending| pending.block == block);
        let Some(pending) = nth.and_then(|nth| self.pending.remove(nth)) else { return false };
        let took = now.since(pending.asked_at);
        let shortest = self.shortest.map_or(took, |shortest| shortest.min(took));
        self.shortest = Some(shortest);
        self.moved_at = now;
        self.is_snubbing = false;
        let may_take = (shortest * 2 + SLACK).as_secs_f64();
        let enough = pending.depth as f64 * may_take / took.as_secs_f64().max(1e-6);
        self.depth = if enough > self.depth as f64 { self.depth + 1 } else { self.depth - 1 };
        self.depth = self.depth.clamp(LEAST, MOST);
        true
    }

    /// Expects this block no more. Returns whether it was expected.
    pub fn remove(&mut self, block: Block) -> bool {
        let nth = self.pending.iter().position(|pending| pending.block == block);
        nth.is_some_and(|nth| self.pending.remove(nth).is_some())
    }

    /// Expects nothing any more. Returns what was expected.
    pub fn take_all(&mut self) -> Vec<Block> {
        self.pending.drain(..).map(|pending| pending.block).collect()
    }

    /// Whether it sent nothing of what it was asked for, for too long.
    pub fn is_overdue(&mut self, now: Time) -> bool {
        let is_overdue = !self.pending.is_empty() && now.since(self.moved_at) >= SNUB;
        self.is_snubbing |= is_overdue;
        is_overdue
    }

    /// Whether it last left its requests unanswered.
    #[must_use]
    pub fn is_snubbing(&self) -> bool {
        self.is_snubbing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(n: u32) -> Block {
        Block { piece: n, begin: 0, len: 16384 }
    }

    /// How many blocks are on their way after so many seconds of a peer that sends a block each `interval`, each a `round_trip` after
    /// its request at the soonest.
    fn settled(interval: Duration, round_trip: Duration) -> usize {
        let mut asked = Asked::new();
        asked.set_most(Some(2000));
        let (mut now, mut next, mut sent_at) = (Time::ZERO, 0, VecDeque::new());
        let mut link_free = Time::ZERO;
        while now < Time::from_millis(60_000) {
            for _ in 0..asked.free() {
                asked.push(now, block(next));
                link_free = link_free.max(now + round_trip) + interval;
                sent_at.push_back((block(next), link_free));
                next += 1;
            }
            let (block, at) = sent_at.pop_front().unwrap();
            now = at;
            assert!(asked.on_block(now, block));
        }
        asked.depth
    }

    #[test]
    fn as_much_is_asked_for_ahead_as_the_way_holds() {
        let ms = Duration::from_millis;
        let slow = settled(ms(1000), ms(50));
        assert!(slow <= 5, "16 KiB/s: {slow}");
        let medium = settled(ms(10), ms(100));
        assert!((15..80).contains(&medium), "1.6 MB/s over 100 ms: {medium}");
        let fast = settled(Duration::from_micros(160), ms(20));
        assert!(fast > 250, "100 MB/s over 20 ms: {fast}");
    }

    #[test]
    fn one_that_sends_nothing_for_long_is_asked_for_one_block_at_a_time() {
        let mut asked = Asked::new();
        asked.push(Time::ZERO, block(0));
        assert!(!asked.is_overdue(Time::from_millis(29_000)));
        assert!(asked.is_overdue(Time::from_millis(30_000)));
        assert_eq!(asked.take_all(), [block(0)]);
        assert_eq!(asked.free(), 1);
        asked.push(Time::from_millis(40_000), block(1));
        assert!(!asked.on_block(Time::from_millis(41_000), block(0)), "it was given up");
        assert!(asked.on_block(Time::from_millis(41_000), block(1)));
        assert!(asked.free() > 1);
    }
}
