//! `Pace`: whether what an attempt brings is worth waiting for.

use std::time::Duration;

use crate::time::Time;

/// So long an attempt is looked at before it is judged slow; then twice as long, and so on.
const PACE_TIME: Duration = Duration::from_secs(5);
/// An attempt that brings fewer bytes in a second makes way for another that is offered.
const LEAST_PACE: u64 = 1024;

/// How fast an attempt goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since: Time,
    new: u64,
    /// How often it was too slow.
    slow: u32,
}

impl Pace {
    pub(super) fn new(now: Time) -> Pace {
        Pace { since: now, new: 0, slow: 0 }
    }

    pub(super) fn on_new(&mut self, bytes: u64) {
        self.new += bytes;
    }

    fn time(&self) -> Duration {
        PACE_TIME * 2u32.pow(self.slow.min(6))
    }

    pub(super) fn ends_at(&self) -> Time {
        self.since + self.time()
    }

    /// Looks anew from now on.
    pub(super) fn start_anew(&mut self, now: Time) {
        self.since = now;
        self.new = 0;
    }

    /// Whether it was looked at for long enough, and is slow. A slow source may be all there is: it has more time when its turn
    /// comes again.
    pub(super) fn is_slow(&mut self, now: Time) -> bool {
        if now < self.ends_at() {
            return false;
        }
        let is_slow = self.new < LEAST_PACE * self.time().as_secs();
        self.slow += u32::from(is_slow);
        self.start_anew(now);
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_attempt_is_looked_at_twice_as_long_each_time() {
        let at = |seconds: u64| Time::from_millis(seconds * 1000);
        let mut pace = Pace::new(at(0));
        assert!(!pace.is_slow(at(4)), "it is too early");
        pace.on_new(LEAST_PACE * 5);
        assert!(!pace.is_slow(at(5)));
        assert!(pace.is_slow(at(10)));
        assert_eq!(pace.ends_at(), at(20));
        assert!(pace.is_slow(at(20)));
        assert_eq!(pace.ends_at(), at(40));
    }
}
