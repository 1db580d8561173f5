//! Whose turn it is to be sent content: round robin between sources, within a rate.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::content_id::ContentId;
use crate::time::Time;
use crate::transfer::ranges::RangeSet;

/// Requests of one source that may wait; more are dropped, which the source sees as loss.
pub const MAX_WAITING_PER_SOURCE: usize = 512;
/// Sources that may have requests waiting.
pub const MAX_WAITING_SOURCES: usize = 1024;
/// Requests that may wait in all.
pub const MAX_WAITING: usize = 16_384;
/// A source's turn lasts for so many bytes, where no rate is set: each turn wakes a getter up.
pub const QUANTUM: usize = 128 << 10;
/// A block counts for so many bytes more than it holds: about what is around it in its datagram.
pub const BLOCK_COST: usize = 260;
/// The rate limit lets so much time's worth go at once.
pub const BURST: Duration = Duration::from_millis(20);

/// A request for content from a source that has proved its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first byte wanted.
    pub offset: u64,
    /// How many bytes are wanted.
    pub length: usize,
    /// In blocks of so many bytes, the last of which may be shorter. At least 1.
    pub block: usize,
    /// The id.
    pub id: ContentId,
    /// The id as it was written.
    pub wire_id: String,
}

impl Request {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.length as u64)
    }

    /// Takes up what `next` asks for, where it goes on with whole blocks of this one's length.
    fn merge(&mut self, next: &Request) -> bool {
        let goes_on = self.offset + self.length as u64 == next.offset
            && self.length.is_multiple_of(self.block)
            && self.block == next.block
            && self.wire_id == next.wire_id;
        if goes_on {
            self.length += next.length;
        }
        goes_on
    }

    /// Leaves the first `blocks` blocks and returns the rest, if there is any.
    fn split_off(&mut self, blocks: usize) -> Option<Request> {
        let length = self.block.saturating_mul(blocks.max(1));
        if self.length <= length {
            return None;
        }
        let rest = self.length - length;
        self.length = length;
        Some(Request { offset: self.offset + length as u64, length: rest, ..self.clone() })
    }
}

/// The requests that wait to be answered.
#[derive(Debug, Default)]
pub struct Turns {
    // Invariant: the keys of `waiting`, each once, next first.
    order: VecDeque<SocketAddr>,
    // Invariant: no queue is empty.
    waiting: BTreeMap<SocketAddr, VecDeque<Request>>,
    // Invariant: no source is both here and in `waiting`, and no queue is empty.
    parked: BTreeMap<SocketAddr, VecDeque<Request>>,
    // Invariant: the sum of the lengths of the queues, and of what is parked.
    total: usize,
    /// Bytes that the source which is next in `order` was given in its present turn.
    given: usize,
    rate: Option<Rate>,
}

#[derive(Debug)]
struct Rate {
    bytes_per_second: u64,
    // The time up to which what was sent has used up the rate.
    paid_until: Time,
}

impl Turns {
    /// No requests; answers limited to `rate` bytes per second where given.
    pub fn new(rate: Option<u64>) -> Turns {
        let rate = rate.map(|n| Rate { bytes_per_second: n.max(1), paid_until: Time::ZERO });
        Turns { rate, ..Turns::default() }
    }

    /// Puts a request in its source's queue. Returns whether there was room.
    ///
    /// Who asks again for what waits already wants one answer, not two: only the rest of it is queued. A source that is slow
    /// would otherwise be ever more busy with what nobody waits for any more.
    pub fn push(&mut self, from: SocketAddr, request: Request) -> bool {
        let waiting = self.waiting.get(&from).or_else(|| self.parked.get(&from));
        if waiting.is_some_and(|queue| queue.len() >= MAX_WAITING_PER_SOURCE) {
            return false;
        }
        let same = waiting.into_iter().flatten().filter(|other| other.wire_id == request.wire_id);
        let known: RangeSet = same.map(Request::range).collect();
        if !known.overlaps(request.range()) {
            return self.push_new(from, request);
        }
        let rest: Vec<_> = known.gaps(request.range()).collect();
        rest.into_iter().all(|gap| {
            let length = (gap.end - gap.start) as usize;
            self.push_new(from, Request { offset: gap.start, length, ..request.clone() })
        })
    }

    fn push_new(&mut self, from: SocketAddr, request: Request) -> bool {
        if self.total >= MAX_WAITING {
            return false;
        }
        let sources = self.waiting.len() + self.parked.len();
        match self.waiting.get_mut(&from).or_else(|| self.parked.get_mut(&from)) {
            Some(queue) if queue.len() >= MAX_WAITING_PER_SOURCE => return false,
            Some(queue) => queue.push_back(request),
            None if sources >= MAX_WAITING_SOURCES => return false,
            None => {
                self.waiting.insert(from, VecDeque::from([request]));
                self.order.push_back(from);
            }
        }
        self.total += 1;
        true
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether no request waits for its turn.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// When the rate allows the next answer.
    pub fn ready_at(&self) -> Time {
        self.rate.as_ref().map_or(Time::ZERO, |rate| rate.paid_until - BURST)
    }

    /// Takes the next request whose turn it is, if the rate allows an answer now: as many blocks as `most` says of blocks of
    /// such a length, of requests that go on one after another. The rest keeps its place.
    pub fn pop(&mut self, now: Time, most: impl FnOnce(usize) -> usize) -> Option<(SocketAddr, Request)> {
        if self.ready_at() > now {
            return None;
        }
        let from = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&from)?;
        let mut request = queue.pop_front()?;
        self.total -= 1;
        let most = most(request.block);
        while request.length < request.block.saturating_mul(most)
            && queue.front().is_some_and(|next| request.merge(next))
        {
            queue.pop_front();
            self.total -= 1;
        }
        if let Some(rest) = request.split_off(most) {
            queue.push_front(rest);
            self.total += 1;
        }
        self.given += request.length + request.length.div_ceil(request.block).max(1) * BLOCK_COST;
        let ends = self.given >= QUANTUM || self.rate.is_some();
        if queue.is_empty() {
            self.waiting.remove(&from);
            self.given = 0;
        } else if ends {
            self.order.push_back(from);
            self.given = 0;
        } else {
            self.order.push_front(from);
        }
        Some((from, request))
    }

    /// Puts back a request that cannot be answered yet, and its source's later ones with it: answers out of order would
    /// look like loss. They count as waiting.
    pub fn park(&mut self, from: SocketAddr, request: Request) {
        self.total += 1;
        self.given = 0;
        self.order.retain(|other| *other != from);
        let mut queue = self.waiting.remove(&from).unwrap_or_default();
        queue.push_front(request);
        self.parked.insert(from, queue);
    }

    /// What was parked may be answered now.
    pub fn unpark(&mut self) {
        for (from, queue) in std::mem::take(&mut self.parked) {
            self.waiting.insert(from, queue);
            self.order.push_back(from);
        }
    }

    /// Notes that `bytes` were sent.
    pub fn on_sent(&mut self, now: Time, bytes: usize) {
        if let Some(rate) = &mut self.rate {
            let spent = Duration::from_secs_f64(bytes as f64 / rate.bytes_per_second as f64);
            rate.paid_until = rate.paid_until.max(now) + spent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(n: u64) -> Request {
        let id = ContentId::Sha256([1; 32]);
        Request { offset: n, length: 1000, block: 1000, wire_id: id.to_string(), id }
    }

    fn pop(turns: &mut Turns, now: Time) -> Option<(SocketAddr, Request)> {
        turns.pop(now, |_| 1)
    }

    fn source(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    #[test]
    fn a_source_with_many_requests_does_not_keep_others_waiting() {
        let mut turns = Turns::new(None);
        for n in 0..100 {
            assert!(turns.push(source(1), Request { length: QUANTUM / 2, ..request(n * QUANTUM as u64) }));
        }
        assert!(turns.push(source(2), request(0)));
        let order: Vec<u16> = (0..5).map(|_| turns.pop(Time::ZERO, |_| 1000).unwrap().0.port()).collect();
        assert_eq!(order, [1, 1, 2, 1, 1]);
    }

    #[test]
    fn a_request_that_waits_already_is_not_answered_twice() {
        let mut turns = Turns::new(None);
        assert!(turns.push(source(1), request(1)) && turns.push(source(1), request(1)));
        assert!(turns.push(source(2), request(1)));
        assert_eq!(turns.len(), 2);
    }

    #[test]
    fn of_a_request_that_waits_in_part_only_the_rest_is_queued() {
        let mut turns = Turns::new(None);
        let blocks = |offset, length| Request { length, block: 100, ..request(offset) };
        for asked in [blocks(0, 300), blocks(500, 100), blocks(100, 600), blocks(0, 700)] {
            assert!(turns.push(source(1), asked));
        }
        let taken: Vec<(u64, usize)> = std::iter::from_fn(|| turns.pop(Time::ZERO, |_| 9))
            .map(|(_, request)| (request.offset, request.length))
            .collect();
        assert_eq!(taken, [(0, 300), (500, 100), (300, 200), (600, 100)]);
    }

    #[test]
    fn requests_beyond_the_bounds_are_dropped() {
        let mut turns = Turns::new(None);
        let taken = (0..1000).filter(|&n| turns.push(source(1), request(n * 1000))).count();
        assert_eq!(taken, MAX_WAITING_PER_SOURCE);
        let sources = (2..5000).filter(|&n| turns.push(source(n), request(0))).count();
        assert_eq!(sources, MAX_WAITING_SOURCES - 1);
        assert_eq!(turns.len(), taken + sources);
    }

    #[test]
    fn the_rate_is_kept_over_time() {
        let mut turns = Turns::new(Some(100_000));
        let mut sent = 0;
        for ms in 0..10_000 {
            let now = Time::from_millis(ms);
            turns.push(source(1), request(ms * 1000));
            while pop(&mut turns, now).is_some() {
                turns.on_sent(now, 1_500);
                sent += 1_500;
                turns.push(source(1), request(ms * 1000));
            }
        }
        assert!((1_000_000..1_010_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_source_whose_request_is_put_back_waits_with_all_of_them_and_in_order() {
        let mut turns = Turns::new(None);
        for n in 0..3 {
            turns.push(source(1), request(n * 1000));
        }
        turns.push(source(2), request(7));
        let (from, first) = pop(&mut turns, Time::ZERO).unwrap();
        turns.park(from, first);
        turns.push(source(1), request(3000));
        assert_eq!(pop(&mut turns, Time::ZERO).unwrap().0, source(2));
        assert_eq!(pop(&mut turns, Time::ZERO), None);
        assert_eq!(turns.len(), 4);
        turns.unpark();
        let order: Vec<u64> =
            std::iter::from_fn(|| pop(&mut turns, Time::ZERO)).map(|(_, r)| r.offset).collect();
        assert_eq!(order, [0, 1000, 2000, 3000]);
        assert_eq!(turns.len(), 0);
    }

    #[test]
    fn blocks_that_go_on_one_after_another_leave_together_and_others_have_their_turn_between() {
        let mut turns = Turns::new(None);
        // Four of them are a turn's worth.
        const BLOCK: usize = QUANTUM / 4;
        let blocks = |offset, halves| {
            let offset = (offset * BLOCK / 2) as u64;
            Request { length: halves * BLOCK / 2, block: BLOCK, ..request(offset) }
        };
        for asked in [blocks(0, 6), blocks(6, 5), blocks(11, 6), blocks(100, 2)] {
            assert!(turns.push(source(1), asked));
        }
        turns.push(source(2), request(7));
        let halves = |bytes| bytes / (BLOCK / 2);
        let taken: Vec<(u16, usize, usize)> = std::iter::from_fn(|| turns.pop(Time::ZERO, |_| 4))
            .map(|(from, request)| (from.port(), halves(request.offset as usize), halves(request.length)))
            .collect();
        // The shorter block at the end of the second request ends a datagram of its own, so nothing goes on after it.
        let expected = [(1, 0, 8), (2, 0, 0), (1, 8, 3), (1, 11, 6), (1, 100, 2)];
        assert_eq!(taken, expected);
        assert_eq!(turns.len(), 0);
    }
}
