//! `Meter`: how many bytes came or went, and how fast.

use std::time::Duration;

use cjp2p_wire::time::Time;

const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_millis(200);

/// Counts bytes, and knows the rate of the last two seconds.
#[derive(Clone, Debug)]
pub struct Meter {
    total: u64,
    /// Since the last [`take_round`](Meter::take_round).
    round: u64,
    began: Time,
    slots: [u64; SLOTS],
    /// The number of the slot of the present.
    slot: u64,
}

impl Meter {
    /// Nothing yet.
    #[must_use]
    pub fn new(now: Time) -> Meter {
        Meter { total: 0, round: 0, began: now, slots: [0; SLOTS], slot: slot_of(now) }
    }

    /// So many bytes.
    pub fn add(&mut self, now: Time, bytes: u64) {
        self.turn(now);
        self.total += bytes;
        self.round += bytes;
        self.slots[(self.slot % SLOTS as u64) as usize] += bytes;
    }

    fn turn(&mut self, now: Time) {
        let slot = slot_of(now);
        for passed in (self.slot + 1..=slot).take(SLOTS) {
            self.slots[(passed % SLOTS as u64) as usize] = 0;
        }
        if slot > self.slot + SLOTS as u64 {
            self.slots = [0; SLOTS];
        }
        self.slot = slot;
    }

    /// All bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes since this was last asked.
    pub fn take_round(&mut self) -> u64 {
        std::mem::take(&mut self.round)
    }

    /// Bytes per second, of the last two seconds, or since it began.
    #[must_use]
    pub fn rate(&self, now: Time) -> f64 {
        let mut copy = self.clone();
        copy.turn(now);
        let window = SLOT * SLOTS as u32;
        let span = now.since(self.began).clamp(SLOT, window);
        copy.slots.iter().sum::<u64>() as f64 / span.as_secs_f64()
    }
}

fn slot_of(now: Time) -> u64 {
    now.as_nanos() / SLOT.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let at = Time::from_millis;
        let mut meter = Meter::new(at(10_000));
        assert_eq!(meter.rate(at(10_000)), 0.0);
        for n in 0..50 {
            meter.add(at(10_000 + n * 100), 1000);
        }
        assert!((9_000.0..11_000.0).contains(&meter.rate(at(15_000))), "{}", meter.rate(at(15_000)));
        assert_eq!(meter.rate(at(17_100)), 0.0);
        assert_eq!((meter.total(), meter.take_round(), meter.take_round()), (50_000, 50_000, 0));
        meter.add(at(90_000), 1000);
        assert_eq!(meter.rate(at(90_000)), 500.0);
    }
}
