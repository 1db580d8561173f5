//! When to give a block that is not whole yet: when what comes pauses, unless the block is about to be whole anyway. Each version of a
//! block costs a signature and a datagram.

use std::time::{Duration, Instant};

/// Where a block is expected to be whole within so much time, that is waited for.
const SOON: Duration = Duration::from_millis(50);
/// The rate is that of so much time.
const OVER: Duration = Duration::from_millis(250);

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// When bytes came last.
    last: Instant,
    /// When the first of those came that were not given yet.
    first: Option<Instant>,
    /// Bytes in the window before this one, and in this one, which began then.
    before: usize,
    current: usize,
    began: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace { last: now, first: None, before: 0, current: 0, began: now }
    }

    /// So many bytes came.
    pub(super) fn on_bytes(&mut self, now: Instant, count: usize) {
        let windows = now.saturating_duration_since(self.began).as_millis() / OVER.as_millis();
        if windows > 0 {
            self.before = if windows == 1 { self.current } else { 0 };
            (self.current, self.began) = (0, now);
        }
        self.current += count;
        self.last = now;
        self.first.get_or_insert(now);
    }

    /// The block is whole, and was given. `has_more`: some of what came last is in the next one.
    pub(super) fn on_whole(&mut self, has_more: bool) {
        self.first = has_more.then_some(self.last);
    }

    /// When to give what there is, of a block that lacks so many bytes.
    fn due(&self, lacks: usize, flush: Duration) -> Instant {
        let pause = self.last + flush;
        let in_window = self.before.max(self.current);
        let is_soon = lacks as u128 * OVER.as_micros() <= in_window as u128 * SOON.as_micros();
        match (is_soon, self.first) {
            (true, Some(first)) => pause.max(first + SOON),
            _ => pause,
        }
    }

    /// Whether it is time to give a block that lacks so many bytes; if so it is taken for given.
    pub(super) fn should_give(&mut self, now: Instant, lacks: usize, flush: Duration) -> bool {
        let is_time = now >= self.due(lacks, flush);
        if is_time {
            self.first = None;
        }
        is_time
    }

    /// How long to wait for that.
    pub(super) fn wait(&self, now: Instant, lacks: usize, flush: Duration) -> Duration {
        self.due(lacks, flush).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_millis(2);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_line_now_and_then_is_given_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for n in 1..100 {
            let now = start + ms(50 * n);
            pace.on_bytes(now, 60);
            assert!(!pace.should_give(now, 4000, FLUSH));
            assert_eq!(pace.wait(now, 4000, FLUSH), FLUSH);
            assert!(pace.should_give(now + FLUSH, 4000, FLUSH));
        }
    }

    #[test]
    fn a_block_that_is_about_to_be_whole_is_waited_for_but_not_for_long() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        // 4 Mbit/s in pieces of 2 KB.
        for n in 0..200 {
            let now = start + ms(4 * n);
            pace.on_bytes(now, 2000);
            let is_given = pace.should_give(now + ms(3), 2096, FLUSH);
            assert!(!is_given || n < 13 * 4, "{n}");
            pace.first = None;
        }
        let now = start + ms(1000);
        pace.on_bytes(now, 100);
        assert!(!pace.should_give(now + ms(49), 2000, FLUSH));
        assert!(pace.should_give(now + ms(50), 2000, FLUSH), "it has come to a stop");
    }
}
