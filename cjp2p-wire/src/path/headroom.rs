//! How much more than a path holds may be on its way, since both ends need time to wake up, read and answer.
//!
//! It matters only where the round trip is shorter than that. Where many getters share a machine with the server, each has
//! its turn after many milliseconds, and what was asked for must last so long; on a short path to another machine so much
//! would overflow its queue. So it grows as long as nothing is lost.

use std::time::Duration;

use crate::time::Time;

/// What there always is. Many times the round trip of loopback, and little beside that of a path which leaves the building.
pub const MIN_HEADROOM: Duration = Duration::from_millis(2);
/// It grows up to this: less than the queueing delay that a fetch may cause.
pub const MAX_HEADROOM: Duration = Duration::from_millis(50);
/// And up to so many bytes, or what comes in [`MIN_HEADROOM`].
pub const MAX_HEADROOM_BYTES: f64 = (256 << 10) as f64;
/// The same within a machine, where no queue but the receiver's can overflow.
pub const MAX_HEADROOM_LOCAL: f64 = (512 << 10) as f64;
/// A path with a round trip no longer than this is a short one. It grows only there.
pub const SHORT_PATH: Duration = Duration::from_millis(2);
/// It doubles after so many rounds that lost no more than [`MUCH_LOSS`].
pub const ROUNDS_WITHOUT_LOSS: u32 = 2;
/// Less than this share of a round is no sign of a full queue: within a machine, what is sent by two processors overtakes.
pub const MUCH_LOSS: f64 = 0.02;
/// After a loss it does not grow for so long.
pub const PAUSE_AFTER_LOSS: Duration = Duration::from_secs(1);
/// So much time's worth of requests leaves at once where there is no more headroom than the least: more would not fit the short
/// queues of some paths.
pub const LEAST_BURST: Duration = Duration::from_micros(250);
/// Where there is more, so large a part of it.
pub const BURSTS: u32 = 4;

/// The headroom of one path.
#[derive(Clone, Debug)]
pub struct Headroom {
    // Invariant: between the least and the most.
    span: Duration,
    most_bytes: f64,
    rounds: u32,
    grows_at: Time,
}

impl Headroom {
    /// The least, on a path that stays within the machine or does not.
    pub fn new(is_inside: bool) -> Headroom {
        let most_bytes = if is_inside { MAX_HEADROOM_LOCAL } else { MAX_HEADROOM_BYTES };
        Headroom { span: MIN_HEADROOM, most_bytes, rounds: 0, grows_at: Time::ZERO }
    }

    /// Bytes on their way beyond what the path holds, at `rate` bytes per second.
    pub fn bytes(&self, rate: f64) -> f64 {
        let least = rate * MIN_HEADROOM.as_secs_f64();
        (rate * self.span.as_secs_f64()).min(least.max(self.most_bytes))
    }

    /// How much time's worth of requests leaves at once, at `rate` bytes per second.
    pub fn burst(&self, rate: f64) -> Duration {
        let most = Duration::from_secs_f64(self.most_bytes / f64::from(BURSTS) / rate.max(1.0));
        LEAST_BURST.max(((self.span - MIN_HEADROOM) / BURSTS).min(most))
    }

    /// A round ended, of which this share was lost, on a path that is short or is not.
    pub fn on_round(&mut self, now: Time, loss: f64, is_short: bool) {
        if loss > MUCH_LOSS || !is_short {
            self.span = MIN_HEADROOM.max(self.span / 2);
            self.grows_at = now + PAUSE_AFTER_LOSS;
            self.rounds = 0;
        } else if now >= self.grows_at {
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
            headroom.on_round(Time::from_millis(n), 0.01, true);
        }
        assert_eq!((headroom.burst(1e6), headroom.bytes(1e6)), (MS * 12, 50_000.0));
        headroom.on_round(Time::from_millis(100), 0.1, true);
        assert_eq!(headroom.bytes(1e6), 25_000.0);
        for n in 100..1100 {
            headroom.on_round(Time::from_millis(n), 0.01, true);
        }
        assert_eq!(headroom.bytes(1e6), 25_000.0);
    }

    #[test]
    fn it_does_not_grow_on_a_long_path_nor_beyond_what_buffers_take() {
        let mut long = Headroom::new(false);
        let mut short = Headroom::new(false);
        let mut inside = Headroom::new(true);
        for n in 0..100 {
            long.on_round(Time::from_millis(n * 20), 0.0, false);
            short.on_round(Time::from_millis(n * 20), 0.0, true);
            inside.on_round(Time::from_millis(n * 20), 0.0, true);
        }
        assert_eq!(long.bytes(1e7), 20_000.0);
        assert_eq!((short.bytes(1e8), inside.bytes(1e8)), (MAX_HEADROOM_BYTES, MAX_HEADROOM_LOCAL));
        assert_eq!(short.bytes(1e9), 2e6);
        assert_eq!(short.burst(1e9), MS / 4);
    }
}
