//! How much may be in flight to one that is sent a stream.
//!
//! Most of the time a stream sends less than the path takes, and nothing of its rate can be learned. What counts is that nothing
//! queues: others are sent the same over the same link, and reports come back over theirs. So the window follows the delay: it grows
//! while nothing waits long on its way, and shrinks when a queue builds up. Loss alone shows no queue.

use std::time::Duration;

use crate::time::Time;

/// The window before anything is known, in bytes: 32 datagrams.
const FIRST: u64 = 46 << 10;
/// The smallest.
const LEAST: u64 = 12 << 10;
/// The greatest.
const MOST: u64 = 32 << 20;
/// So long a datagram waits where there is a queue.
const QUEUE: Duration = Duration::from_millis(50);
/// Where something is lost, so much is a queue.
const QUEUE_WITH_LOSS: Duration = Duration::from_millis(25);
/// What is left of the window when there is a queue, and when something was lost in it.
const LESS: f64 = 0.85;
const LESS_AFTER_LOSS: f64 = 0.7;
/// A round that lost more than this share met a queue too short to be seen.
const HEAVY_LOSS: f64 = 0.25;
/// Bytes by which the window grows in a round trip once it has met a queue.
const STEP: u64 = 6000;

/// What a report shows of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Bytes that came.
    pub(super) came: u64,
    /// Bytes that were lost.
    pub(super) lost: u64,
    /// The round trip, as measured now.
    pub(super) round_trip: Duration,
    /// How long a datagram waits on its way, as measured now.
    pub(super) queue: Duration,
    /// More would have been sent if the window had let it.
    pub(super) was_full: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SendWindow {
    bytes: u64,
    /// No queue was met yet: it doubles each round trip.
    searches: bool,
    // This round trip: what came and was lost in it, and when it is over.
    came: u64,
    lost: u64,
    round_ends: Time,
}

impl SendWindow {
    pub(super) fn new() -> SendWindow {
        SendWindow { bytes: FIRST, searches: true, came: 0, lost: 0, round_ends: Time::ZERO }
    }

    /// How many bytes may be in flight.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes what a report shows.
    pub(super) fn on_report(&mut self, now: Time, shown: Shown) {
        self.came += shown.came;
        self.lost += shown.lost;
        let queue = shown.queue;
        if shown.was_full && queue <= QUEUE_WITH_LOSS {
            let more = if self.searches { shown.came } else { shown.came * STEP / self.bytes.max(1) };
            self.bytes = (self.bytes + more).min(MOST);
        }
        if now < self.round_ends {
            return;
        }
        let share = self.lost as f64 / (self.came + self.lost).max(1) as f64;
        let has_loss = self.lost > 0 && (queue > QUEUE_WITH_LOSS || share > HEAVY_LOSS);
        let factor = match (has_loss, queue > QUEUE) {
            (true, _) => LESS_AFTER_LOSS,
            (false, true) => LESS,
            (false, false) => 1.0,
        };
        if factor < 1.0 {
            self.searches = false;
            self.bytes = ((self.bytes as f64 * factor) as u64).max(LEAST);
        }
        (self.came, self.lost) = (0, 0);
        self.round_ends = now + shown.round_trip;
    }

    /// Nothing was reported for several waits: it may be another path now.
    pub(super) fn restart(&mut self) {
        *self = SendWindow { bytes: FIRST / 2, ..SendWindow::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A path of this rate and length with a queue, that is kept full: the window and the queue in the end.
    fn run(rate: f64, length: Duration, loss: f64, seconds: u64) -> (u64, Duration) {
        let mut window = SendWindow::new();
        let mut now = Time::ZERO;
        let mut queue = Duration::ZERO;
        while now < Time::from_millis(seconds * 1000) {
            let product = rate * length.as_secs_f64();
            queue = Duration::from_secs_f64(((window.bytes() as f64 - product) / rate).max(0.0));
            let round_trip = length + queue;
            let each = window.bytes() / 4;
            let lost = (each as f64 * loss) as u64;
            let shown = Shown { came: each - lost, lost, round_trip, queue, was_full: true };
            window.on_report(now, shown);
            now += round_trip / 4;
        }
        (window.bytes(), queue)
    }

    #[test]
    fn a_path_is_filled_and_its_queue_stays_short_with_loss_or_without() {
        for (rate, length) in [(0.6e6, 20), (12e6, 100), (100e6, 2)] {
            for loss in [0.0, 0.05] {
                let (window, queue) = run(rate, MS * length, loss, 30);
                let product = rate * (MS * length).as_secs_f64();
                assert!(window as f64 >= product.min(LEAST as f64), "{rate} {length} {loss}: {window}");
                assert!(window as f64 >= product * 0.6, "{rate} {length} {loss}: {window} of {product}");
                assert!(queue <= MS * 120, "{rate} {length} {loss}: {queue:?}");
            }
        }
    }

    #[test]
    fn what_is_not_used_does_not_grow_and_silence_makes_it_small() {
        let mut window = SendWindow::new();
        for n in 0..1000 {
            let shown =
                Shown { came: 4000, lost: 0, round_trip: MS * 20, queue: Duration::ZERO, was_full: false };
            window.on_report(Time::from_millis(20 * n), shown);
        }
        assert_eq!(window.bytes(), FIRST);
        window.restart();
        assert_eq!(window.bytes(), FIRST / 2);
    }
}
