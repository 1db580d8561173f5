//! Spaces requests in time, so that their answers do not overflow a queue at once.
//!
//! Knows nothing but a rate, the length of a burst, and when the next request is due.

use std::time::Duration;

use crate::time::Time;

/// Lets requests leave at a rate, in bursts. Without a rate it holds nothing back.
#[derive(Clone, Debug, Default)]
pub struct Pacer {
    // In bytes of answers per second; zero: none yet.
    rate: f64,
    gain: f64,
    burst: Duration,
    next: Time,
}

impl Pacer {
    /// Sets the rate in bytes per second, the factor by which requests leave faster or slower, and how much time's worth of the
    /// rate leaves at once.
    pub fn set(&mut self, rate: f64, gain: f64, burst: Duration) {
        self.rate = rate;
        self.gain = gain;
        self.burst = burst;
    }

    /// How many bytes the rate brings in the time of a burst.
    pub fn burst_bytes(&self) -> u64 {
        (self.rate * self.burst.as_secs_f64()) as u64
    }

    /// When a whole burst may leave.
    pub fn next_burst_at(&self) -> Time {
        self.next + self.burst
    }

    /// Whether a request may leave now. The first of a burst waits until the whole burst may leave, so that requests share a
    /// datagram.
    pub fn is_due(&self, now: Time, is_first: bool) -> bool {
        now >= if is_first { self.next_burst_at() } else { self.next }
    }

    /// How many bytes are due by now beside the next request; `None` without a rate.
    pub fn due_bytes(&self, now: Time) -> Option<u64> {
        let rate = self.rate * self.gain;
        (rate != 0.0).then(|| (rate * now.since(self.counted_from(now)).as_secs_f64()) as u64)
    }

    /// Notes a request for `bytes`.
    pub fn on_sent(&mut self, now: Time, bytes: u64) {
        if self.rate > 0.0 {
            self.next =
                self.counted_from(now) + Duration::from_secs_f64(bytes as f64 / (self.rate * self.gain));
        }
    }

    /// A late sender catches up on one burst and a half; the time before that is lost.
    fn counted_from(&self, now: Time) -> Time {
        self.next.max(now - self.burst * 3 / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Half a megabyte per second, twice as fast, in bursts of 4 ms, whose next request is due at 100 ms.
    fn pacer() -> Pacer {
        let mut pacer = Pacer::default();
        pacer.set(0.5e6, 2.0, MS * 4);
        pacer.on_sent(at(99), 1000 + 6000);
        assert_eq!(pacer.next, at(100));
        pacer
    }

    #[test]
    fn without_a_rate_everything_may_leave() {
        let mut pacer = Pacer::default();
        pacer.on_sent(at(5), 1 << 40);
        assert!(pacer.is_due(at(0), true));
        assert_eq!(pacer.due_bytes(at(5)), None);
    }

    #[test]
    fn the_first_of_a_burst_waits_for_the_whole_burst() {
        let pacer = pacer();
        assert!(pacer.is_due(at(100), false) && !pacer.is_due(at(100), true));
        assert_eq!(pacer.next_burst_at(), at(104));
        assert!(pacer.is_due(at(104), true));
        assert_eq!((pacer.due_bytes(at(104)), pacer.burst_bytes()), (Some(4000), 2000));
    }

    #[test]
    fn each_request_delays_the_next_by_its_share_of_the_rate() {
        let mut pacer = pacer();
        pacer.on_sent(at(104), 3000);
        assert_eq!(pacer.due_bytes(at(104)), Some(1000));
        pacer.on_sent(at(104), 3000);
        assert!(!pacer.is_due(at(105), false) && pacer.is_due(at(106), false));
    }

    #[test]
    fn a_late_sender_catches_up_on_a_burst_and_a_half_only() {
        assert_eq!(pacer().due_bytes(at(10_000)), Some(6000));
    }
}
