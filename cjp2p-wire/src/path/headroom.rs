//! How much more than a path holds may be in flight, since both ends need time to wake up, read and answer.
//!
//! Headroom matters only where the round trip is shorter than that time. Where many getters share a machine with the server,
//! each waits many milliseconds for its turn, and what it asked for must last that long. On a short path to another machine the
//! same amount would overflow its queue. So headroom grows only as long as nothing is lost; and so it is with what the ends are
//! measured to take: what peers say of themselves may be wrong.

use std::time::Duration;

use crate::time::Time;

/// The least headroom. Many times the round trip of loopback, and little beside that of a path which leaves the building.
pub const MIN_HEADROOM: Duration = Duration::from_millis(2);
/// Headroom grows up to this: less than the queueing delay that a fetch may cause.
pub const MAX_HEADROOM: Duration = Duration::from_millis(50);
/// It grows up to this many bytes too, or to what comes in [`MIN_HEADROOM`].
pub const MAX_HEADROOM_BYTES: f64 = (256 << 10) as f64;
/// The same on a local path, where only the receiver's queue can overflow.
pub const MAX_HEADROOM_LOCAL: f64 = (512 << 10) as f64;
/// Headroom is this many times what the ends were measured to take: as the window is a multiple of what the path holds.
pub const ENDS_FACTOR: u32 = 2;
/// Up to so many bytes, which wait at the ends and not on the way.
pub const MAX_HEADROOM_ENDS: f64 = MAX_HEADROOM_LOCAL;
/// Headroom doubles after this many rounds that lost no more than [`MUCH_LOSS`].
pub const ROUNDS_WITHOUT_LOSS: u32 = 2;
/// A smaller share of a round is no sign of a full queue: datagrams that two processors send overtake each other.
pub const MUCH_LOSS: f64 = 0.02;
/// After a loss headroom does not grow for this time.
pub const PAUSE_AFTER_LOSS: Duration = Duration::from_secs(1);
/// A burst is this much time's worth of requests while headroom is at its least: more would overflow the short queues of some
/// paths.
pub const LEAST_BURST: Duration = Duration::from_micros(250);
/// A burst is the headroom divided by this where there is more.
pub const BURSTS: u32 = 4;

/// The headroom of one path.
#[derive(Clone, Debug)]
pub struct Headroom {
    // Invariant: between the least and the most.
    span: Duration,
    // What both ends need as far as measured, while nothing is lost.
    ends: Duration,
    most_bytes: f64,
    rounds: u32,
    grows_at: Time,
}

impl Headroom {
    /// The least headroom, on a path that is local or is not.
    pub fn new(is_local: bool) -> Headroom {
        let most_bytes = if is_local { MAX_HEADROOM_LOCAL } else { MAX_HEADROOM_BYTES };
        Headroom { span: MIN_HEADROOM, ends: Duration::ZERO, most_bytes, rounds: 0, grows_at: Time::ZERO }
    }

    /// Bytes in flight beyond what the path holds, at `rate` bytes per second.
    pub fn bytes(&self, rate: f64) -> f64 {
        let least = rate * MIN_HEADROOM.as_secs_f64();
        let grown = (rate * self.span.as_secs_f64()).min(self.most_bytes);
        let measured = (rate * (self.ends * ENDS_FACTOR).as_secs_f64()).min(MAX_HEADROOM_ENDS);
        grown.max(measured).max(least)
    }

    /// Whether nothing was lost for a while.
    pub fn is_clean(&self, now: Time) -> bool {
        now >= self.grows_at
    }

    /// How much time's worth of requests leaves at once, at `rate` bytes per second.
    pub fn burst(&self, rate: f64) -> Duration {
        let most = Duration::from_secs_f64(self.most_bytes / f64::from(BURSTS) / rate.max(1.0));
        LEAST_BURST.max(((self.span - MIN_HEADROOM) / BURSTS).min(most))
    }

    /// Takes the share that a round lost, on a path that is [short](crate::path::rtt::SHORT_PATH) or is not, and what its ends were
    /// measured to take beside the path itself. Headroom grows by itself only on a short one.
    pub fn on_round(&mut self, now: Time, loss: f64, is_short: bool, ends: Duration) {
        if loss > MUCH_LOSS {
            self.grows_at = now + PAUSE_AFTER_LOSS;
            self.ends = Duration::ZERO;
        } else if self.is_clean(now) {
            self.ends = ends;
        }
        if loss > MUCH_LOSS || !is_short {
            self.span = MIN_HEADROOM.max(self.span / 2);
            self.rounds = 0;
        } else if self.is_clean(now) {
            self.rounds += 1;
            if self.rounds >= ROUNDS_WITHOUT_LOSS {
                self.span = MAX_HEADROOM.min(self.span * 2);
                self.rounds = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_grows_on_a_short_path_until_something_is_lost() {
        let mut headroom = Headroom::new(false);
        assert_eq!((headroom.burst(1e6), headroom.bytes(1e6)), (MS / 4, 2_000.0));
        for n in 0..100 {
            headroom.on_round(Time::from_millis(n), 0.01, true, Duration::ZERO);
        }
        assert_eq!((headroom.burst(1e6), headroom.bytes(1e6)), (MS * 12, 50_000.0));
        headroom.on_round(Time::from_millis(100), 0.1, true, Duration::ZERO);
        assert_eq!(headroom.bytes(1e6), 25_000.0);
        for n in 100..1100 {
            headroom.on_round(Time::from_millis(n), 0.01, true, Duration::ZERO);
        }
        assert_eq!(headroom.bytes(1e6), 25_000.0);
    }

    #[test]
    fn what_the_ends_take_is_added_twice_while_nothing_is_lost() {
        let mut headroom = Headroom::new(false);
        headroom.on_round(Time::from_millis(1), 0.0, false, MS * 100);
        assert_eq!(headroom.bytes(1e6), 200_000.0);
        assert_eq!(headroom.bytes(1e7), MAX_HEADROOM_ENDS);
        headroom.on_round(Time::from_millis(2), 0.1, false, MS * 100);
        assert!(headroom.bytes(1e6) == 2_000.0 && !headroom.is_clean(Time::from_millis(1001)));
        headroom.on_round(Time::from_millis(1001), 0.0, false, MS * 100);
        assert_eq!(headroom.bytes(1e6), 2_000.0);
        headroom.on_round(Time::from_millis(1002), 0.0, false, MS * 100);
        assert_eq!(headroom.bytes(1e6), 200_000.0);
    }

    #[test]
    fn it_does_not_grow_on_a_long_path_nor_beyond_what_buffers_take() {
        let mut long = Headroom::new(false);
        let mut short = Headroom::new(false);
        let mut local = Headroom::new(true);
        for n in 0..100 {
            long.on_round(Time::from_millis(n * 20), 0.0, false, Duration::ZERO);
            short.on_round(Time::from_millis(n * 20), 0.0, true, Duration::ZERO);
            local.on_round(Time::from_millis(n * 20), 0.0, true, Duration::ZERO);
        }
        assert_eq!(long.bytes(1e7), 20_000.0);
        assert_eq!((short.bytes(1e8), local.bytes(1e8)), (MAX_HEADROOM_BYTES, MAX_HEADROOM_LOCAL));
        assert_eq!(short.bytes(1e9), 2e6);
        assert_eq!(short.burst(1e9), MS / 4);
    }
}
