//! How long what is sent waits in queues on its way there.
//!
//! The receiver tells when something came, by a clock of its own. The difference to when it left has no meaning, but the difference
//! between two of these has: what the shortest is exceeded by was spent waiting, as in LEDBAT (RFC 6817, section 2.4.2). Unlike a round
//! trip this leaves out the way back, where reports wait behind what the receiver itself sends.

use std::time::Duration;

use crate::time::Time;

/// The shortest is looked for in the present and the last of such times: paths change, and two clocks drift apart.
const SPAN: Duration = Duration::from_secs(60);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Queueing {
    // The shortest difference of this span and of the one before, in microseconds.
    shortest: [Option<i128>; 2],
    span_ends: Option<Time>,
}

impl Queueing {
    /// What left at `sent_at` came when the other clock was at `came_at` microseconds. Returns how long it waited.
    pub(super) fn measure(&mut self, now: Time, sent_at: Time, came_at: u64) -> Duration {
        let difference = i128::from(came_at) - i128::from(sent_at.as_nanos() / 1000);
        if self.span_ends.is_none_or(|end| now >= end) {
            self.shortest = [None, self.shortest[0]];
            self.span_ends = Some(now + SPAN);
        }
        self.shortest[0] = Some(self.shortest[0].map_or(difference, |shortest| shortest.min(difference)));
        let shortest = self.shortest.into_iter().flatten().min().unwrap_or(difference);
        Duration::from_micros(u64::try_from(difference - shortest).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_what_exceeds_the_shortest_is_waiting_whatever_the_clocks_show() {
        for offset in [0, 5_000_000, 1 << 52] {
            let mut queueing = Queueing::default();
            let mut waited = |ms: u64, way_us: u64| {
                let sent = Time::from_millis(ms);
                queueing.measure(sent + MS * 100, sent, offset + ms * 1000 + way_us)
            };
            assert_eq!(waited(1000, 20_000), Duration::ZERO);
            assert_eq!(waited(1010, 27_000), MS * 7);
            assert_eq!(waited(1020, 15_000), Duration::ZERO);
            assert_eq!(waited(1030, 20_000), MS * 5);
        }
    }

    #[test]
    fn a_path_that_became_longer_is_no_queue_after_a_while() {
        let mut queueing = Queueing::default();
        let mut waited = |s: u64, way_us: u64| {
            let sent = Time::from_millis(s * 1000);
            queueing.measure(sent, sent, s * 1_000_000 + way_us)
        };
        assert_eq!(waited(0, 20_000), Duration::ZERO);
        let late: Vec<Duration> = (1..200).map(|s| waited(s, 80_000)).collect();
        assert_eq!((late[30], late[90]), (MS * 60, MS * 60));
        assert_eq!(late[150], Duration::ZERO);
    }
}
