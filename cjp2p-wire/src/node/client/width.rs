//! How long a datagram crosses a path whole, where longer ones vanish without a word.
//!
//! Silences are taken for such a path, and shorter datagrams are tried step by step. From time to time one of the step before is
//! tried: silence may have had another reason, and routes change.

use std::time::Duration;

use crate::time::Time;

/// Bytes of the longest datagrams of each step: what IPv6 promises of every path, 1,280 less headers; the same through a tunnel or
/// two; and what every IPv4 host takes, 576 less headers.
pub(crate) const STEPS: [usize; 3] = [1232, 1024, LEAST_DATAGRAM];
/// See [`STEPS`].
pub(crate) const LEAST_DATAGRAM: usize = 528;
/// How often a longer datagram is tried on such a path.
pub(crate) const WIDEN_INTERVAL: Duration = Duration::from_secs(5);
/// So many waits in vain, one after another, take the path a step further.
pub(crate) const PTOS_UNTIL_NARROW: u32 = 2;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Width {
    /// What crosses the path whole as far as the route says.
    route: usize,
    // Invariant: at most the number of `STEPS`.
    step: usize,
    /// Waits in vain in a row, when the step was last taken.
    pto_count: u32,
    /// When a longer one is tried.
    widen_at: Time,
}

impl Width {
    pub(super) fn new(route: usize) -> Width {
        Width { route, step: 0, pto_count: 0, widen_at: Time::ZERO }
    }

    /// What the route says.
    pub(super) fn set_route(&mut self, route: usize) {
        self.route = route;
    }

    pub(super) fn route(&self) -> usize {
        self.route
    }

    fn at_step(&self, step: usize) -> usize {
        step.checked_sub(1).map_or(self.route, |nth| STEPS[nth].min(self.route))
    }

    /// Bytes of a datagram to ask for now.
    pub(super) fn room(&self, now: Time) -> usize {
        let tries = usize::from(self.step > 0 && now >= self.widen_at);
        self.at_step(self.step - tries)
    }

    /// Bytes of a datagram to send. While it is not known what crosses the path, what every path carries: a request that vanishes costs a
    /// whole wait.
    pub(super) fn sends(&self) -> usize {
        if self.step == 0 { self.route } else { LEAST_DATAGRAM.min(self.route) }
    }

    /// So many waits in a row were in vain: none after each answer.
    pub(super) fn on_pto_count(&mut self, now: Time, pto_count: u32) {
        // An answer in between begins the count anew, also one without content: short datagrams cross any path.
        self.pto_count = self.pto_count.min(pto_count);
        if pto_count < self.pto_count + PTOS_UNTIL_NARROW {
            return;
        }
        self.pto_count = pto_count;
        let narrower =
            (self.step + 1..=STEPS.len()).find(|&step| self.at_step(step) < self.at_step(self.step));
        if let Some(step) = narrower {
            self.step = step;
            self.widen_at = now + WIDEN_INTERVAL;
        }
    }

    /// Content is asked for that takes a datagram of so many bytes at least.
    pub(super) fn on_asked(&mut self, now: Time, shortest: usize) {
        if self.is_longer(shortest) {
            self.widen_at = now + WIDEN_INTERVAL;
        }
    }

    /// Content came in a datagram of so many bytes at least.
    pub(super) fn on_answer(&mut self, shortest: usize) {
        while self.is_longer(shortest) {
            self.step -= 1;
        }
    }

    /// Whether such a datagram does not fit the step.
    fn is_longer(&self, shortest: usize) -> bool {
        self.step > 0 && shortest > self.at_step(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn each_two_silences_make_it_shorter_down_to_what_every_path_carries() {
        let mut width = Width::new(1452);
        let mut rooms = Vec::new();
        for pto_count in 0..10 {
            width.on_pto_count(at(1), pto_count);
            rooms.push(width.room(at(1)));
        }
        assert_eq!(rooms, [1452, 1452, 1232, 1232, 1024, 1024, 528, 528, 528, 528]);
        let mut narrow = Width::new(1212);
        narrow.on_pto_count(at(1), 2);
        assert_eq!(narrow.room(at(1)), 1024, "a step that is none is left out");
    }

    #[test]
    fn silences_after_an_answer_without_content_are_counted_from_the_first() {
        let mut width = Width::new(1452);
        for pto_count in [1, 2, 0, 1, 2] {
            width.on_pto_count(at(1), pto_count);
        }
        assert_eq!(width.room(at(1)), 1024);
    }

    #[test]
    fn a_longer_one_is_tried_now_and_then_and_believed_when_it_came() {
        let mut width = Width::new(1452);
        width.on_pto_count(at(1), 2);
        width.on_answer(1000);
        width.on_pto_count(at(2), 0);
        width.on_pto_count(at(2), 2);
        assert_eq!((width.room(at(6)), width.room(at(7))), (1024, 1232));
        width.on_asked(at(7), 1200);
        assert_eq!((width.room(at(7)), width.sends()), (1024, LEAST_DATAGRAM), "only one is tried");
        width.on_answer(1200);
        assert_eq!(width.room(at(8)), 1232);
        width.on_answer(1400);
        assert_eq!(width.room(at(8)), 1452);
    }
}
