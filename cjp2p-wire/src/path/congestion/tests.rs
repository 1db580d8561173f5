//! The controller on paths with a rate, a delay and a queue.

use std::collections::VecDeque;

use super::*;
use crate::path::rtt::{Rtt, SHORT_PATH};

const BLOCK: u64 = 1500;
const STEP: Duration = Duration::from_micros(100);

/// A flow that always has something to ask for, over a path with a queue that never overflows.
struct Model {
    congestion: Congestion,
    rtt: Rtt,
    bytes_per_step: f64,
    delay: Duration,
    now: Time,
    idle_at: Time,
    coming: VecDeque<(Time, Time, Stamp)>,
    delivered: u64,
}

impl Model {
    /// A path that has answered one block, as a first query. That answer was short, so that no later one is as quick.
    fn new(megabits: f64, rtt_ms: u64) -> Model {
        let mut model = Model {
            congestion: Congestion::new(BLOCK),
            rtt: Rtt::default(),
            bytes_per_step: megabits * 125_000.0 * STEP.as_secs_f64(),
            delay: Duration::from_millis(rtt_ms),
            now: Time::from_millis(1),
            idle_at: Time::ZERO,
            coming: VecDeque::new(),
            delivered: 0,
        };
        let stamp = model.congestion.on_sent(model.now, BLOCK);
        model.coming.push_back((model.now + model.delay, model.now, stamp));
        model.run(model.delay + Duration::from_millis(5), 1);
        model
    }

    fn ask(&mut self) {
        let stamp = self.congestion.on_sent(self.now, BLOCK);
        let sending = STEP.mul_f64(BLOCK as f64 / self.bytes_per_step);
        self.idle_at = self.idle_at.max(self.now + self.delay) + sending;
        self.coming.push_back((self.idle_at, self.now, stamp));
    }

    /// Asks for `most` blocks and takes what comes, during `time`. Returns the longest time that one waited in the queue.
    fn run(&mut self, time: Duration, most: u64) -> Duration {
        let (end, mut asked, mut queueing) = (self.now + time, u64::from(most == 1), Duration::ZERO);
        while self.now < end {
            self.now += STEP;
            while let Some(&(at, sent_at, stamp)) = self.coming.front()
                && at <= self.now
            {
                self.coming.pop_front();
                self.rtt.sample(self.now, self.now.since(sent_at));
                queueing = queueing.max(self.rtt.latest_wait().saturating_sub(self.delay));
                let times = self.rtt.times(self.now, self.delay <= SHORT_PATH);
                self.delivered += BLOCK;
                self.congestion.on_arrived(self.now, stamp, BLOCK, times);
            }
            let mut first = true;
            while asked < most
                && self.congestion.allowance(self.now, self.rtt.min(), std::mem::take(&mut first)) > 0
            {
                self.ask();
                asked += 1;
            }
        }
        queueing
    }

    /// The share of the path's rate that arrives during `time`.
    fn utilisation(&mut self, time: Duration) -> f64 {
        let before = self.delivered;
        self.run(time, u64::MAX);
        (self.delivered - before) as f64 / (self.bytes_per_step * (time.as_nanos() / STEP.as_nanos()) as f64)
    }
}

#[test]
fn a_long_fast_path_is_full_six_round_trips_after_the_first_query() {
    let mut model = Model::new(100.0, 100);
    model.run(Duration::from_millis(600), u64::MAX);
    let used = model.utilisation(Duration::from_secs(1));
    assert!(used > 0.9, "{used}");
}

#[test]
fn a_slow_path_is_not_flooded_at_the_start() {
    let mut model = Model::new(2.0, 50);
    // The first window takes this long to send. Nothing may be added to it before.
    let first = Duration::from_secs_f64(INITIAL_BLOCKS as f64 * BLOCK as f64 / 250_000.0);
    let queueing = model.run(Duration::from_secs(1), u64::MAX);
    assert!(queueing < first, "{queueing:?}");
}

#[test]
fn a_path_stays_full_and_its_queue_short_for_half_a_minute() {
    for (megabits, rtt_ms) in [(20.0, 20), (50.0, 40), (5.0, 100), (100.0, 5)] {
        let mut model = Model::new(megabits, rtt_ms);
        model.run(Duration::from_secs(1), u64::MAX);
        for second in 1..30 {
            let used = model.utilisation(Duration::from_secs(1));
            assert!(used > 0.85, "{megabits} Mbit/s, {rtt_ms} ms, second {second}: {used}");
        }
        let queueing = model.run(Duration::from_secs(2), u64::MAX);
        let product = Duration::from_millis(rtt_ms);
        assert!(queueing < product + Duration::from_millis(10), "{megabits} Mbit/s: {queueing:?}");
    }
}

#[test]
fn a_path_that_became_three_times_as_long_is_full_again_within_three_seconds() {
    let mut model = Model::new(50.0, 40);
    model.run(Duration::from_secs(4), u64::MAX);
    model.delay *= 3;
    model.run(Duration::from_secs(3), u64::MAX);
    let used = model.utilisation(Duration::from_secs(1));
    assert!(used > 0.85, "{used}");
}

#[test]
fn on_a_local_path_half_a_window_is_asked_for_at_once_and_without_a_timer() {
    const LARGE: u64 = 32 << 10;
    let mut congestion = Congestion::new(LARGE);
    congestion.set_local(true);
    let (mut now, rtt) = (Time::from_millis(1), Duration::from_micros(50));
    let mut sent: VecDeque<Stamp> = VecDeque::new();
    let mut least_burst = u64::MAX;
    for _ in 0..100 {
        let mut burst = 0;
        while congestion.allowance(now, rtt, burst == 0) > 0 {
            sent.push_back(congestion.on_sent(now, LARGE));
            burst += LARGE;
        }
        if burst > 0 {
            least_burst = least_burst.min(burst * BURSTS_UNPACED / congestion.in_flight());
            assert!(congestion.in_flight() <= congestion.window(rtt) + LARGE);
        }
        assert!(congestion.next_send_at() <= now);
        now += rtt;
        let stamp =
            sent.pop_front().expect("something is on its way: half a window is free before all has come");
        congestion.on_arrived(
            now,
            stamp,
            LARGE,
            PathTimes { min: rtt, latest: rtt, min_is_old: false, ends: Duration::ZERO, is_short: true },
        );
    }
    assert_eq!(least_burst, 1, "no burst is less than half of the window");
}

#[test]
fn a_round_that_lost_much_while_the_delay_rose_cuts_the_rate() {
    let mut model = Model::new(20.0, 40);
    model.run(Duration::from_secs(3), u64::MAX);
    let (rate, min) = (model.congestion.rate(), model.rtt.min());
    let mut lowest = rate;
    for _ in 0..10 {
        let sent_at = model.now;
        let stamps: Vec<Stamp> = (0..4).map(|_| model.congestion.on_sent(sent_at, BLOCK)).collect();
        model.now += min * 2;
        // Half is lost, and the first answer of the next round is late. But one of this round is as quick as ever. So no queue
        // stands all through it, and fairness does not cut the rate.
        (0..2).for_each(|_| model.congestion.on_lost(sent_at, BLOCK));
        for (stamp, latest) in stamps.into_iter().zip([min * 2, min]) {
            let times = PathTimes { min, latest, min_is_old: false, ends: Duration::ZERO, is_short: false };
            model.congestion.on_arrived(model.now, stamp, BLOCK, times);
        }
        lowest = lowest.min(model.congestion.rate());
    }
    assert!(!model.congestion.fairness.holds_back(), "fairness is not the reason");
    assert!(lowest <= rate * HEAVY_LOSS_CUT * 1.01, "{lowest} of {rate} bytes a second");
}

#[test]
fn bursts_on_a_short_path_grow_with_its_headroom() {
    let mut model = Model::new(100.0, 1);
    model.run(Duration::from_secs(1), u64::MAX);
    let burst = model.congestion.pacer.burst_bytes();
    assert!(burst > 16 * BLOCK, "{burst} bytes");
}

#[test]
fn a_near_path_whose_ends_take_long_is_asked_in_halves_of_the_window_until_something_is_lost() {
    let mut congestion = Congestion::new(BLOCK);
    let (min, ends) = (Duration::from_micros(50), Duration::from_millis(20));
    let times = |ends| PathTimes { min, latest: min, min_is_old: false, ends, is_short: true };
    let mut now = Time::from_millis(1);
    let mut answer = |congestion: &mut Congestion, ends, lost: u64| -> Time {
        let stamps: Vec<Stamp> = (0..64).map(|_| congestion.on_sent(now, BLOCK)).collect();
        congestion.on_lost(now, lost * BLOCK);
        now += min + ends;
        for stamp in stamps.into_iter().skip(lost as usize) {
            congestion.on_arrived(now, stamp, BLOCK, times(ends));
        }
        now
    };
    for _ in 0..3 {
        answer(&mut congestion, min * NEAR_ENDS, 0);
    }
    assert!(congestion.is_paced(), "the ends do not take longer than a timer");
    let now = (0..10).map(|_| answer(&mut congestion, ends, 0)).last().unwrap();
    assert!(congestion.next_send_at() <= now);
    let window = congestion.window(min);
    assert!(window > 20 * MIN_BLOCKS * BLOCK, "{window} bytes last as long as the ends take");
    assert_eq!(congestion.allowance(now, min, true), window);
    congestion.on_sent(now, window * 3 / 5);
    assert_eq!(congestion.allowance(now, min, true), 0, "half of it is not free yet");
    congestion.on_withdrawn(window * 3 / 5);
    for _ in 0..2 {
        answer(&mut congestion, ends, 8);
    }
    assert!(congestion.is_paced());
}
