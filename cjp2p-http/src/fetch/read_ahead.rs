//! How far ahead of a reader is fetched, by how fast it reads.

use std::time::Duration;

use cjp2p_wire::time::Time;

/// Nobody has less, in bytes: as much as is on its way over a fast path across an ocean.
pub(crate) const LEAST: u64 = 4 << 20;
/// Nor more.
pub(crate) const MOST: u64 = 64 << 20;
/// What a reader takes in so long is ahead of it.
const AHEAD: Duration = Duration::from_secs(5);
/// Over so long the rate is measured.
const INTERVAL: Duration = Duration::from_millis(500);

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAhead {
    since: Time,
    taken: u64,
    /// Bytes in a second.
    rate: f64,
}

impl ReadAhead {
    /// Of a reader that begins.
    pub(crate) fn new(now: Time) -> ReadAhead {
        ReadAhead { since: now, taken: 0, rate: 0.0 }
    }

    /// It took so many bytes.
    pub(crate) fn on_taken(&mut self, now: Time, bytes: u64) {
        self.taken += bytes;
        let passed = now.since(self.since);
        if passed >= INTERVAL {
            let rate = self.taken as f64 / passed.as_secs_f64();
            // Up at once: else a fast reader would wait. Down slowly: a player takes bursts.
            self.rate = rate.max(self.rate * 0.75);
            (self.since, self.taken) = (now, 0);
        }
    }

    /// How many bytes to have ahead of it.
    pub(crate) fn bytes(&self) -> u64 {
        ((self.rate * AHEAD.as_secs_f64()) as u64).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_reader_has_more_ahead_than_a_slow_one_and_none_more_than_the_most() {
        let after = |rate: u64| {
            let mut ahead = ReadAhead::new(Time::ZERO);
            for tenth in 1..=50 {
                ahead.on_taken(Time::from_millis(tenth * 100), rate / 10);
            }
            ahead.bytes()
        };
        assert_eq!(after(0), LEAST);
        assert_eq!(after(100_000), LEAST);
        assert!((35 << 20..50 << 20).contains(&after(8 << 20)));
        assert_eq!(after(1 << 30), MOST);
    }
}
