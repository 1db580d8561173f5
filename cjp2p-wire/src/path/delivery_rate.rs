//! Samples the rate at which a path delivers (draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Each request carries a [`Stamp`] of what had arrived when it left. When its answer arrives, the bytes delivered in between
//! and the time they took give one sample.

use std::time::Duration;

use crate::time::Time;

/// What was known when a request left. It comes back when the answer arrives or is lost.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    sent_at: Time,
    delivered: u64,
    delivered_at: Time,
    first_sent_at: Time,
    is_app_limited: bool,
}

impl Stamp {
    /// Bytes that had arrived by then.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether there was too little to ask for: a sample may then be less than the path carries.
    pub fn is_app_limited(&self) -> bool {
        self.is_app_limited
    }
}

/// Counts the bytes of answers in flight and delivered on one path.
#[derive(Clone, Debug, Default)]
pub struct DeliveryRate {
    in_flight: u64,
    delivered: u64,
    delivered_at: Time,
    // When the request left whose answer arrived last.
    first_sent_at: Time,
    restarted_at: Time,
    // Samples are app-limited until so many bytes are delivered.
    app_limited_until: u64,
}

impl DeliveryRate {
    /// Bytes asked for that neither arrived nor were lost.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes that arrived, ever.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Notes that there is nothing to ask for. Samples are app-limited until everything now in flight has arrived.
    pub fn on_app_limited(&mut self) {
        self.app_limited_until = self.delivered + self.in_flight.max(1);
    }

    /// Notes a request for `bytes`.
    pub fn on_sent(&mut self, now: Time, bytes: u64) -> Stamp {
        if self.in_flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        self.in_flight += bytes;
        Stamp {
            sent_at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            is_app_limited: self.delivered < self.app_limited_until,
        }
    }

    /// Takes back `bytes` that are in flight no more: they were lost, or nobody waits for them.
    pub fn on_withdrawn(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Notes `bytes` that arrived.
    pub fn on_arrived(&mut self, now: Time, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.delivered += bytes;
        self.delivered_at = now;
    }

    /// The rate in bytes per second that an answer shows, after [`DeliveryRate::on_arrived`] noted it. `None` where it shows
    /// nothing.
    pub fn sample(&mut self, now: Time, stamp: Stamp, min_rtt: Duration) -> Option<f64> {
        self.first_sent_at = stamp.sent_at;
        // The sending side may have been the slower one: take the longer of the two spans.
        let span = now.since(stamp.delivered_at).max(stamp.sent_at.since(stamp.first_sent_at));
        // A span shorter than the round trip is an artefact of batching.
        let counts = span >= min_rtt && !span.is_zero() && self.is_since_restart(stamp.sent_at);
        counts.then(|| (self.delivered - stamp.delivered) as f64 / span.as_secs_f64())
    }

    /// Whether a request that left at `sent_at` shows anything of the path as it is after the last restart.
    pub fn is_since_restart(&self, sent_at: Time) -> bool {
        sent_at >= self.restarted_at
    }

    /// Forgets the past, but neither the bytes in flight nor those delivered.
    pub fn restart(&mut self, now: Time) {
        *self = DeliveryRate {
            in_flight: self.in_flight,
            delivered: self.delivered,
            delivered_at: now,
            first_sent_at: now,
            restarted_at: now,
            app_limited_until: 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_round_trip_of_answers_shows_the_rate() {
        let mut rate = DeliveryRate::default();
        let stamps: Vec<Stamp> = (0..4).map(|_| rate.on_sent(at(100), 1000)).collect();
        for (n, stamp) in (0..).zip(stamps) {
            rate.on_arrived(at(140 + n), 1000);
            let sample = rate.sample(at(140 + n), stamp, RTT).unwrap();
            assert_eq!(sample.round(), (1e6 * (n + 1) as f64 / (40 + n) as f64).round());
        }
        assert_eq!((rate.in_flight(), rate.delivered()), (0, 4000));
    }

    #[test]
    fn answers_that_come_sooner_than_a_round_trip_show_nothing() {
        let mut rate = DeliveryRate::default();
        let stamp = rate.on_sent(at(100), 1000);
        rate.on_arrived(at(139), 1000);
        assert_eq!(rate.sample(at(139), stamp, RTT), None);
    }

    #[test]
    fn an_answer_to_a_request_from_before_a_restart_shows_nothing() {
        let mut rate = DeliveryRate::default();
        let stamp = rate.on_sent(at(100), 1000);
        rate.restart(at(120));
        rate.on_arrived(at(200), 1000);
        assert_eq!(rate.sample(at(200), stamp, RTT), None);
    }

    #[test]
    fn requests_are_app_limited_until_all_that_was_in_flight_has_arrived() {
        let mut rate = DeliveryRate::default();
        rate.on_sent(at(100), 2000);
        rate.on_app_limited();
        rate.on_arrived(at(140), 1000);
        assert!(rate.on_sent(at(140), 1000).is_app_limited());
        rate.on_arrived(at(141), 1000);
        assert!(!rate.on_sent(at(141), 1000).is_app_limited());
    }
}
