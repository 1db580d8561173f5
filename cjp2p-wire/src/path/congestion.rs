//! How much may be in flight from one peer, and at what pace: a model of the path, not a reaction to loss.
//!
//! After BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016). The largest recent delivery
//! rate is the bottleneck's rate. The smallest recent round trip is the path's length. The window is a small multiple of
//! their product. The getter asks, so it paces its requests, and counts each as the bytes that it will bring.

use std::time::Duration;

use crate::path::delivery_rate::{DeliveryRate, Stamp};
use crate::path::fairness::{Fairness, RECOVERY_INTERVAL, Reaction};
use crate::path::headroom::Headroom;
use crate::path::pacer::Pacer;
use crate::path::rate_filter::RateFilter;
use crate::path::rounds::{Round, Rounds};
use crate::path::rtt::PathTimes;
use crate::path::startup::{Startup, TRAIN_BLOCKS};
use crate::time::Time;

/// Growth per round during startup: 2/ln 2, the least that doubles the rate each round, rounded up (BBR, section "Startup").
pub const STARTUP_GAIN: f64 = 2.89;
/// The window in steady state, in products of rate and minimum round trip.
pub const CRUISE_WINDOW: f64 = 2.0;
/// The window of a stretched path (see [`STRETCHED_AFTER`](crate::path::rounds::STRETCHED_AFTER)), which may have become
/// longer. The pace stays that of the rate.
pub const STRETCHED_WINDOW: f64 = 3.0;
/// A probe for more rate paces one round by this factor above the estimate.
pub const PROBE_GAIN: f64 = 1.25;
/// A probe that finds the rate grown by this factor starts the search anew.
pub const PROBE_FOUND_MORE: f64 = 1.15;
/// Pace after a probe, to drain what it queued.
pub const DRAIN_GAIN: f64 = 0.75;
/// Time between probes for more rate.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(2_500);
/// The window before anything is known, in blocks. More than the ten of RFC 6928: doubling takes two rounds from those to
/// these, which a long path makes noticeable.
pub const INITIAL_BLOCKS: u64 = 32;
/// The window after a restart, in blocks: what was known of the path is worth nothing, and it may be full or slow.
pub const RESTART_BLOCKS: u64 = 8;
/// The first window never exceeds this many bytes, however long the blocks: many getters may start at once on one machine.
pub const MAX_INITIAL_BYTES: u64 = 256 << 10;
/// A path with a round trip no longer than this is near if its ends take much longer, and nothing is lost: not even a timer is as
/// short.
pub const NEAR: Duration = Duration::from_micros(500);
/// The ends of a near path take more than this many times its round trip.
pub const NEAR_ENDS: u32 = 4;
/// The window never falls below this many blocks.
pub const MIN_BLOCKS: u64 = 4;
/// A round that lost more than this share, while the delay rose too, met a full queue.
pub const HEAVY_LOSS: f64 = 0.2;
/// The delay rose if it is more than this many times the shortest round trip.
pub const HEAVY_LOSS_DELAY: f64 = 1.5;
/// What is left of the rate estimate after such a round.
pub const HEAVY_LOSS_CUT: f64 = 0.7;
/// On a local or near path the window leaves in this many bursts, each as soon as it has room: every burst wakes both ends up.
pub const BURSTS_UNPACED: u64 = 2;
/// How long the window stays small at least, to measure the path's true round trip.
pub const PROBE_RTT_TIME: Duration = Duration::from_millis(100);
/// How long the window is not made small again after that.
pub const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Startup,
    Drain,
    Cruise,
    ProbeUp { until_round: u64, rate_before: f64 },
    ProbeDown { until_round: u64 },
    ProbeRtt { until: Time },
}

/// The congestion controller of one path. All sizes are bytes of answers.
#[derive(Clone, Debug)]
pub struct Congestion {
    mode: Mode,
    // Bytes of an answer.
    block: u64,
    is_local: bool,
    // See `NEAR`.
    is_near: bool,
    delivery: DeliveryRate,
    rates: RateFilter,
    rounds: Rounds,
    startup: Startup,
    fairness: Fairness,
    headroom: Headroom,
    // Invariant: has the pace and the burst that follow from all other fields.
    pacer: Pacer,
    /// The first window per round trip, in bytes per second; zero once more is known of the path.
    initial_rate: f64,
    initial_blocks: u64,
    next_probe_at: Time,
    next_probe_rtt_at: Time,
}

impl Congestion {
    /// The state of a path of which nothing is known, for answers of `block` bytes.
    pub fn new(block: u64) -> Congestion {
        let mut congestion = Congestion {
            mode: Mode::Startup,
            block,
            is_local: false,
            is_near: false,
            delivery: DeliveryRate::default(),
            rates: RateFilter::default(),
            rounds: Rounds::starting_at(0),
            startup: Startup::default(),
            fairness: Fairness::default(),
            headroom: Headroom::new(false),
            pacer: Pacer::default(),
            initial_rate: 0.0,
            initial_blocks: INITIAL_BLOCKS,
            next_probe_at: Time::ZERO,
            next_probe_rtt_at: Time::ZERO,
        };
        congestion.set_pace();
        congestion
    }

    /// Sets the size of an answer, once the path's is known.
    pub fn set_block(&mut self, block: u64) {
        self.block = block;
        self.set_pace();
    }

    /// Says whether the path stays on this machine. It then shares no queue with others; what looks like a queue are processes
    /// that wait for their turn.
    pub fn set_local(&mut self, is_local: bool) {
        self.is_local = is_local;
        self.headroom = Headroom::new(is_local);
        self.set_pace();
    }

    /// Whether the path stays on this machine.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Bytes asked for that neither arrived nor were lost.
    pub fn in_flight(&self) -> u64 {
        self.delivery.in_flight()
    }

    /// Bytes that arrived, ever.
    pub fn delivered(&self) -> u64 {
        self.delivery.delivered()
    }

    /// The bottleneck's rate in bytes per second; zero while unknown.
    pub fn rate(&self) -> f64 {
        self.rates.largest().min(self.fairness.bound())
    }

    /// How many bytes may be in flight.
    pub fn window(&self, min_rtt: Duration) -> u64 {
        let rate = self.estimate();
        if rate == 0.0 {
            return self.first_window();
        }
        let product = rate * min_rtt.as_secs_f64();
        let gain = match self.mode {
            Mode::Startup => STARTUP_GAIN,
            Mode::ProbeRtt { .. } => 0.5,
            _ if self.rounds.is_stretched() => STRETCHED_WINDOW,
            _ => CRUISE_WINDOW,
        };
        let floor = if self.initial_rate > 0.0 { self.first_window() } else { MIN_BLOCKS * self.block };
        // Nothing but the path itself shows its length.
        let headroom =
            if matches!(self.mode, Mode::ProbeRtt { .. }) { 0.0 } else { self.headroom.bytes(rate) };
        let size = gain * product + headroom;
        (size as u64).max(floor)
    }

    fn first_window(&self) -> u64 {
        (self.initial_blocks * self.block).min(MAX_INITIAL_BYTES.max(MIN_BLOCKS * self.block))
    }

    /// The rate that sizes the window. Startup counts what a part of a round trip brought as well: a whole one shows only what
    /// was asked for in the one before.
    fn estimate(&self) -> f64 {
        if self.mode == Mode::Startup { self.rate().max(self.startup.rate()) } else { self.rate() }
    }

    /// When the pace allows the next burst of requests.
    pub fn next_send_at(&self) -> Time {
        if self.is_paced() { self.pacer.next_burst_at() } else { Time::ZERO }
    }

    /// A local path and a near one have no pace: a timer between an answer and the next request would only wake this process up
    /// once more.
    fn is_paced(&self) -> bool {
        !self.is_local && !self.is_near
    }

    /// The pace before any gain, in bytes per second; zero while nothing is known. The few requests of the start show nothing
    /// of the rate: until more is known, the first window goes out within a round trip.
    fn pace(&self) -> f64 {
        self.estimate().max(self.initial_rate)
    }

    /// Gives the pacer what follows from the present state.
    fn set_pace(&mut self) {
        let pace = self.pace();
        // Less than two blocks would need a datagram for each request. Much more would overflow the short queues of some paths.
        let two_blocks = if pace > 0.0 { 2.0 * self.block as f64 / pace } else { 0.0 };
        let burst = self.headroom.burst(pace).max(Duration::from_secs_f64(two_blocks));
        self.pacer.set(pace, self.pace_gain(), burst);
    }

    /// How many bytes may be asked for now; 0 where none may. The first of a burst waits until the pace allows the whole burst, so
    /// that requests share a datagram.
    pub fn allowance(&self, now: Time, min_rtt: Duration, is_first: bool) -> u64 {
        let size = self.window(min_rtt).max(self.block);
        let in_flight = self.in_flight();
        if !self.is_paced() {
            let left = size.saturating_sub(in_flight);
            let least = if is_first { (size / BURSTS_UNPACED).max(self.block) } else { 0 };
            return if left < least { 0 } else { left };
        }
        let burst = if is_first { self.pacer.burst_bytes() } else { 0 };
        let has_room = in_flight + burst.min(size / 4).max(self.block) <= size;
        if !has_room || !self.pacer.is_due(now, is_first) {
            return 0;
        }
        // Beside the next block, all that has become due since.
        let due = self.pacer.due_bytes(now).map_or(u64::MAX, |due| due + self.block);
        due.min(size - in_flight)
    }

    /// The factor on the pace.
    fn pace_gain(&self) -> f64 {
        match self.mode {
            Mode::Startup => STARTUP_GAIN,
            Mode::Drain => 1.0 / STARTUP_GAIN,
            Mode::ProbeUp { .. } => PROBE_GAIN,
            Mode::ProbeDown { .. } => DRAIN_GAIN,
            Mode::Cruise | Mode::ProbeRtt { .. } => 1.0,
        }
    }

    /// Says that the window has room but there is nothing to ask for. What is now in flight then measures no full path.
    pub fn on_nothing_to_ask(&mut self) {
        self.delivery.on_app_limited();
    }

    /// Notes a request that will bring `bytes`.
    pub fn on_sent(&mut self, now: Time, bytes: u64) -> Stamp {
        self.pacer.on_sent(now, bytes);
        self.delivery.on_sent(now, bytes)
    }

    /// Takes `bytes` out of flight without learning from it.
    pub fn on_withdrawn(&mut self, bytes: u64) {
        self.delivery.on_withdrawn(bytes);
    }

    /// Notes the loss of `bytes` that were asked for at `sent_at`. A loss from before a restart shows nothing of the path after it.
    pub fn on_lost(&mut self, sent_at: Time, bytes: u64) {
        self.delivery.on_withdrawn(bytes);
        if self.delivery.is_since_restart(sent_at) {
            self.rounds.on_lost(bytes);
        }
    }

    /// Notes an answer of which it is unclear which request it answers. It measures nothing.
    pub fn on_arrived_unclear(&mut self, now: Time, bytes: u64) {
        self.delivery.on_arrived(now, bytes);
        self.rounds.on_arrived(bytes);
        // The window after a restart grows all the same, as in slow start.
        self.initial_blocks = (self.initial_blocks + 1).min(INITIAL_BLOCKS);
    }

    /// Notes `bytes` that answer the request with this stamp, over a path with these round trips.
    pub fn on_arrived(&mut self, now: Time, stamp: Stamp, bytes: u64, times: PathTimes) {
        self.delivery.on_arrived(now, bytes);
        self.rounds.on_arrived(bytes);
        if self.rates.is_empty() {
            self.initial_rate = self.first_window() as f64 / times.min.as_secs_f64().max(1e-6);
        }
        let is_new_round = self.rounds.on_measured(times.latest, stamp.delivered(), self.delivered());
        // Where the ends take much longer than the path, answers come in bunches.
        let span = times.min.max(times.ends / 2);
        if let Some(rate) = self.delivery.sample(now, stamp, span)
            && (!stamp.is_app_limited() || rate > self.rate())
        {
            self.rates.note(now, self.rounds.number(), rate);
        }
        self.is_near = times.min <= NEAR && times.ends > times.min * NEAR_ENDS && self.headroom.is_clean(now);
        let before = self.mode;
        if self.mode == Mode::Startup {
            let most = self.pace() * STARTUP_GAIN;
            self.startup.on_arrived(now, self.delivered(), TRAIN_BLOCKS * self.block, most, times);
            if self.startup.queue_builds_up() {
                self.mode = Mode::Drain;
            }
        }
        if is_new_round {
            self.end_round(now, stamp.is_app_limited(), times);
        }
        self.change_mode(now, times);
        if self.mode != Mode::Startup {
            self.initial_rate = 0.0;
        }
        self.set_pace();
        if self.mode != before {
            let (rate, window) = (self.rate() / 1e6, self.window(times.min));
            log::trace!("{now:?} {:?}: {rate:.3} MB/s, window {window}, {times:?}", self.mode);
        }
    }

    /// Forgets the path's rate, as after several probe timeouts: it may be another path now. What is in flight measures that
    /// pause too, and so shows nothing of the path.
    pub fn restart(&mut self, now: Time) {
        let mut new = Congestion::new(self.block);
        new.set_local(self.is_local);
        new.delivery = std::mem::take(&mut self.delivery);
        new.delivery.restart(now);
        new.rounds = Rounds::starting_at(new.delivered());
        new.initial_blocks = RESTART_BLOCKS;
        *self = new;
    }

    fn end_round(&mut self, now: Time, is_app_limited: bool, times: PathTimes) {
        let round = self.rounds.finish(now, times.min);
        self.headroom.on_round(now, round.loss, times.is_short, times.ends);
        let is_heavy = round.loss > HEAVY_LOSS && times.latest > times.min.mul_f64(HEAVY_LOSS_DELAY);
        match self.mode {
            Mode::Startup if is_heavy => self.mode = Mode::Drain,
            Mode::Startup | Mode::Drain => {}
            _ => self.react_to_loss(now, round, times.min, is_heavy),
        }
        if self.mode == Mode::Startup && !is_app_limited && self.startup.on_round(self.rate()) {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Cruise && now >= self.next_probe_at {
            self.mode = Mode::ProbeUp { until_round: round.number + 1, rate_before: self.rate() };
        }
    }

    fn react_to_loss(&mut self, now: Time, round: Round, min_rtt: Duration, is_heavy: bool) {
        let rate = self.rate();
        // Without any measure of the path there is nothing to back off from.
        let reaction = if self.is_local || self.rates.is_empty() {
            Reaction::None
        } else {
            self.fairness.on_round(now, round, min_rtt, rate)
        };
        match reaction {
            Reaction::Slower => {
                log::trace!("{now:?} backs off from {rate:.0} bytes/s: the queue overflowed");
                self.cruise(now);
            }
            Reaction::Regain(rate) => {
                log::trace!("{now:?} back to {rate:.0} bytes/s: other flows do not back off");
                self.rates.note(now, round.number, rate);
                self.cruise(now);
            }
            Reaction::None if is_heavy && !self.fairness.holds_back() => self.rates.scale(HEAVY_LOSS_CUT),
            Reaction::None => {}
        }
    }

    fn change_mode(&mut self, now: Time, times: PathTimes) {
        let rate = self.rate();
        let product = (rate * times.min.as_secs_f64() + self.headroom.bytes(rate)) as u64;
        let round = self.rounds.number();
        match self.mode {
            Mode::Drain if self.in_flight() <= product.max(MIN_BLOCKS * self.block) => {
                self.cruise(now);
                // The startup may have ended early: see soon whether there is more.
                self.next_probe_at = now;
            }
            Mode::ProbeUp { until_round, .. } if round > until_round && self.fairness.holds_back() => {
                self.fairness.on_more_worked(PROBE_GAIN, self.rates.largest());
                self.mode = Mode::ProbeDown { until_round: round };
            }
            Mode::ProbeUp { until_round, rate_before } if round > until_round => {
                // More than one probe can show: search as at the start.
                if self.rate() > rate_before * PROBE_FOUND_MORE {
                    self.mode = Mode::Startup;
                    self.startup = Startup::above(self.rate());
                } else {
                    self.mode = Mode::ProbeDown { until_round: round };
                }
            }
            Mode::ProbeDown { until_round } if round > until_round => self.cruise(now),
            Mode::ProbeRtt { until } if now >= until => self.cruise(now),
            Mode::Cruise if times.min_is_old && now >= self.next_probe_rtt_at => {
                self.next_probe_rtt_at = now + PROBE_RTT_INTERVAL;
                self.mode = Mode::ProbeRtt { until: now + PROBE_RTT_TIME.max(times.min * 2) };
            }
            _ => {}
        }
    }

    fn cruise(&mut self, now: Time) {
        self.mode = Mode::Cruise;
        let is_behind = self.fairness.is_behind(now, self.rate());
        self.next_probe_at = now + if is_behind { RECOVERY_INTERVAL } else { PROBE_INTERVAL };
    }
}

#[cfg(test)]
mod tests;
