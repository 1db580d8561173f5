//! How much more than a path holds may be on its way, since both ends need time to wake up, read and answer.
//!
//! It matters only where the round trip is shorter than that. Where many getters share a machine with the server, each has
//! its turn after many milliseconds, and what was asked for must last so long; on a short path to another machine so much
//! would overflow its queue. So it grows as long as nothing is lost.

use std::time::Duration;

use crate::time::Time;

/// What there always is. Many times the round trip of loopback, and little beside that of a path which leaves the building.
pub const LEAST_SLACK: Duration = Duration::from_millis(2);
/// It grows up to this: less than the queueing delay that a fetch may cause.
pub const MOST_SLACK: Duration = Duration::from_millis(16);
/// And up to so many bytes, or what comes in [`LEAST_SLACK`].
pub const MOST_SLACK_BYTES: f64 = (256 << 10) as f64;
/// It grows only where the round trip is no longer than this.
pub const SHORT_PATH: Duration = Duration::from_millis(2);
/// It doubles after so many rounds without loss.
pub const ROUNDS_WITHOUT_LOSS: u32 = 8;
/// After a loss it does not grow for so long.
pub const PAUSE_AFTER_LOSS: Duration = Duration::from_secs(1);
/// Requests leave in bursts of so large a part of it.
pub const BURSTS: u32 = 8;

/// The slack of one path.
#[derive(Clone, Debug)]
pub struct Slack {
    // Invariant: between the least and the most.
    span: Duration,
    rounds: u32,
    grows_at: Time,
}

impl Default for Slack {
    fn default() -> Slack {
        Slack { span: LEAST_SLACK, rounds: 0, grows_at: Time::ZERO }
    }
}

impl Slack {
    /// Bytes on their way beyond what the path holds, at `rate` bytes per second.
    pub fn bytes(&self, rate: f64) -> f64 {
        let least = rate * LEAST_SLACK.as_secs_f64();
        (rate * self.span.as_secs_f64()).min(least.max(MOST_SLACK_BYTES))
    }

    /// How much time's worth of requests leaves at once.
    pub fn burst(&self) -> Duration {
        self.span / BURSTS
    }

    /// A round of a path with this shortest round trip ended, in which something was lost or not.
    pub fn on_round(&mut self, now: Time, lost: bool, min_rtt: Duration) {
        if lost || min_rtt > SHORT_PATH {
            self.span = LEAST_SLACK.max(self.span / 2);
            self.grows_at = now + PAUSE_AFTER_LOSS;
            self.rounds = 0;
        } else if now >= self.grows_at {
            self.rounds += 1;
            if self.rounds >= ROUNDS_WITHOUT_LOSS {
                self.span = MOST_SLACK.min(self.span * 2);
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
        let mut slack = Slack::default();
        assert_eq!((slack.burst(), slack.bytes(1e6)), (MS / 4, 2_000.0));
        for n in 0..100 {
            slack.on_round(Time::from_millis(n), false, MS);
        }
        assert_eq!((slack.burst(), slack.bytes(1e6)), (MS * 2, 16_000.0));
        slack.on_round(Time::from_millis(100), true, MS);
        assert_eq!(slack.bytes(1e6), 8_000.0);
        for n in 100..1100 {
            slack.on_round(Time::from_millis(n), false, MS);
        }
        assert_eq!(slack.bytes(1e6), 8_000.0);
    }

    #[test]
    fn it_does_not_grow_on_a_long_path_nor_beyond_what_buffers_take() {
        let mut long = Slack::default();
        let mut short = Slack::default();
        for n in 0..100 {
            long.on_round(Time::from_millis(n * 20), false, MS * 20);
            short.on_round(Time::from_millis(n * 20), false, MS / 10);
        }
        assert_eq!(long.bytes(1e7), 20_000.0);
        assert_eq!(short.bytes(1e8), MOST_SLACK_BYTES);
        assert_eq!(short.bytes(1e9), 2e6);
    }
}
