//! How much may be on its way from one peer: a model of the path, not a reaction to loss.
//!
//! After BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016; the delivery rate is
//! sampled as in draft-cheng-iccrg-delivery-rate-estimation): the bottleneck's rate is the largest delivery rate seen
//! lately, the path's length is the smallest round trip seen lately, and the window is a small multiple of their
//! product. Since the getter asks, it is the requests that are paced, each counted as the bytes it will bring.

use std::time::Duration;

use crate::path::fairness::{Fairness, RECOVERY_INTERVAL, Reaction, Round};
use crate::path::headroom::Headroom;
use crate::path::rate_filter::RateFilter;
use crate::path::startup::{Startup, TRAIN_BLOCKS};
use crate::time::Time;

/// Growth per round while the path's rate is still being found: 2/ln 2, the least that doubles the rate each round,
/// rounded up (BBR, section "Startup").
pub const STARTUP_GAIN: f64 = 2.89;
/// The window in steady state, in products of rate and minimum round trip.
pub const CRUISE_WINDOW: f64 = 2.0;
/// The same where the path seems to have become longer: every answer of [`STRETCHED_AFTER`] took much longer than the
/// shortest round trip remembered, and none was lost. Requests are paced by the rate all the same.
pub const STRETCHED_WINDOW: f64 = 3.0;
/// See [`STRETCHED_WINDOW`]: longer than this many times the shortest. Our own window makes up to [`CRUISE_WINDOW`] times.
pub const STRETCHED_DELAY: f64 = 2.5;
/// See [`STRETCHED_WINDOW`].
pub const STRETCHED_AFTER: Duration = Duration::from_secs(1);
/// How much faster than the estimate the path is probed, for one round.
pub const PROBE_GAIN: f64 = 1.25;
/// A probe that finds the rate grown by this factor is followed by more.
pub const PROBE_FOUND_MORE: f64 = 1.15;
/// Pace after a probe, to drain what it queued.
pub const DRAIN_GAIN: f64 = 0.75;
/// Time between probes for more rate.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(2_500);
/// Startup ends after this many rounds without 25 % more rate.
pub const FULL_ROUNDS: u32 = 3;
/// The window before anything is known, in blocks. More than the ten of RFC 6928: doubling gets from those to these in two
/// rounds, and on a long path each is felt.
pub const INITIAL_BLOCKS: u64 = 32;
/// The same after a silence: what was known of the path is of no use any more, and it may be full or slow.
pub const RESTART_BLOCKS: u64 = 8;
/// And in bytes, where blocks are long. Many getters may begin at once on one machine.
pub const MOST_INITIAL: u64 = 256 << 10;
/// The window never falls below this many blocks.
pub const MIN_BLOCKS: u64 = 4;
/// A round that lost more than this share, while the delay rose too, met a full queue.
pub const HEAVY_LOSS: f64 = 0.2;
/// Risen to so many times the shortest round trip.
pub const HEAVY_LOSS_DELAY: f64 = 1.5;
/// What is left of the rate estimate after such a round.
pub const HEAVY_LOSS_CUT: f64 = 0.7;
/// Within the machine the window is asked for in so many bursts, each as soon as there is room for it: each wakes both ends up.
pub const BURSTS_INSIDE: u64 = 2;
/// How long the window stays small to see the path's true round trip, at least.
pub const PROBE_RTT_TIME: Duration = Duration::from_millis(100);
/// How long it then is not made small again, whatever was seen.
pub const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);

/// What is noted when something is asked for, and handed back when it arrives or is lost.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    sent_at: Time,
    delivered: u64,
    delivered_at: Time,
    first_sent_at: Time,
    app_limited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Startup,
    Drain,
    Cruise,
    ProbeUp { until_round: u64, rate_before: f64 },
    ProbeDown { until_round: u64 },
    ProbeRtt { until: Time },
}

/// The window of one path. All sizes in bytes of answers.
#[derive(Clone, Debug)]
pub struct Window {
    mode: Mode,
    block: u64,
    is_inside: bool,
    in_flight: u64,
    delivered: u64,
    delivered_at: Time,
    first_sent_at: Time,
    restarted_at: Time,
    app_limited_until: u64,
    rates: RateFilter,
    round: u64,
    round_ends_at: u64,
    round_lost: u64,
    round_delivered: u64,
    round_min_rtt: Duration,
    long_since: Option<Time>,
    is_stretched: bool,
    fairness: Fairness,
    startup: Startup,
    headroom: Headroom,
    /// The first window in a round trip, in bytes per second; zero once the path is known better.
    initial_rate: f64,
    initial_blocks: u64,
    full_rate: f64,
    full_rounds: u32,
    next_probe_at: Time,
    next_probe_rtt_at: Time,
    next_send_at: Time,
}

impl Window {
    /// The window of a path about which nothing is known, for answers of `block` bytes.
    pub fn new(block: u64) -> Window {
        Window {
            mode: Mode::Startup,
            block,
            is_inside: false,
            in_flight: 0,
            delivered: 0,
            delivered_at: Time::ZERO,
            first_sent_at: Time::ZERO,
            restarted_at: Time::ZERO,
            app_limited_until: 0,
            rates: RateFilter::default(),
            round: 0,
            round_ends_at: 0,
            round_lost: 0,
            round_delivered: 0,
            round_min_rtt: Duration::MAX,
            long_since: None,
            is_stretched: false,
            fairness: Fairness::default(),
            startup: Startup::default(),
            headroom: Headroom::new(false),
            initial_rate: 0.0,
            initial_blocks: INITIAL_BLOCKS,
            full_rate: 0.0,
            full_rounds: 0,
            next_probe_at: Time::ZERO,
            next_probe_rtt_at: Time::ZERO,
            next_send_at: Time::ZERO,
        }
    }

    /// Sets the size of an answer, when the path's is found out.
    pub fn set_block(&mut self, block: u64) {
        self.block = block;
    }

    /// Says whether the path stays within the machine. There is no queue then to be shared with others, and what seems to be
    /// one are processes that wait for their turn.
    pub fn set_inside(&mut self, is_inside: bool) {
        self.is_inside = is_inside;
        self.headroom = Headroom::new(is_inside);
    }

    /// See [`Window::set_inside`].
    pub fn is_inside(&self) -> bool {
        self.is_inside
    }

    /// Bytes asked for and neither arrived nor lost.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes that arrived, ever.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The bottleneck's rate in bytes per second; zero while unknown.
    pub fn rate(&self) -> f64 {
        self.largest_rate().min(self.fairness.bound())
    }

    fn largest_rate(&self) -> f64 {
        self.rates.largest()
    }

    /// How many bytes may be in flight.
    pub fn size(&self, min_rtt: Duration) -> u64 {
        let rate = self.estimate();
        if rate == 0.0 {
            return self.first_window();
        }
        let product = rate * min_rtt.as_secs_f64();
        let gain = match self.mode {
            Mode::Startup => STARTUP_GAIN,
            Mode::ProbeRtt { .. } => 0.5,
            _ if self.is_stretched => STRETCHED_WINDOW,
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
        (self.initial_blocks * self.block).min(MOST_INITIAL.max(MIN_BLOCKS * self.block))
    }

    /// The rate by which the window is sized. While it is still being found, what a part of a round trip brought counts
    /// as well: a whole one shows only what was asked for in the last.
    fn estimate(&self) -> f64 {
        if self.mode == Mode::Startup { self.rate().max(self.startup.rate()) } else { self.rate() }
    }

    /// When the pace allows the next burst of requests. Within the machine there is none: a timer between an answer and the next
    /// request would only wake this process up once more.
    pub fn next_send_at(&self) -> Time {
        if self.is_inside {
            return Time::ZERO;
        }
        self.next_send_at + self.burst()
    }

    /// How much time's worth may leave at once, two blocks at least: less would need a datagram for each request, and much
    /// more would not fit the short queues of some paths.
    fn burst(&self) -> Duration {
        let pace = self.pace();
        let two_blocks = if pace > 0.0 { 2.0 * self.block as f64 / pace } else { 0.0 };
        self.headroom.burst(pace).max(Duration::from_secs_f64(two_blocks))
    }

    /// What requests are paced by, before any gain, in bytes per second; zero while nothing is known. What little was
    /// asked for at first says nothing of the rate: until more is known, the first window goes out within a round trip.
    fn pace(&self) -> f64 {
        self.estimate().max(self.initial_rate)
    }

    /// How many bytes may be asked for now; 0 where none may. The first of a burst only when the pace has earned the whole
    /// of it, so that requests can share a datagram.
    pub fn allowance(&self, now: Time, min_rtt: Duration, first: bool) -> u64 {
        let size = self.size(min_rtt).max(self.block);
        if self.is_inside {
            let window = size.saturating_sub(self.in_flight);
            let least = if first { (size / BURSTS_INSIDE).max(self.block) } else { 0 };
            return if window < least { 0 } else { window };
        }
        let burst = if first { (self.pace() * self.burst().as_secs_f64()) as u64 } else { 0 };
        let in_pace = now >= if first { self.next_send_at() } else { self.next_send_at };
        if !in_pace || self.in_flight + burst.min(size / 4).max(self.block) > size {
            return 0;
        }
        let window = size - self.in_flight;
        let rate = self.pace() * self.pace_gain();
        if rate == 0.0 {
            return window;
        }
        // The pace lets a block leave at its time, and those whose time has come since.
        let earned = rate * now.since(self.next_send_at.max(now - self.burst() * 3 / 2)).as_secs_f64();
        window.min(earned as u64 + self.block)
    }

    /// By what the pace is multiplied.
    fn pace_gain(&self) -> f64 {
        match self.mode {
            Mode::Startup => STARTUP_GAIN,
            Mode::Drain => 1.0 / STARTUP_GAIN,
            Mode::ProbeUp { .. } => PROBE_GAIN,
            Mode::ProbeDown { .. } => DRAIN_GAIN,
            Mode::Cruise | Mode::ProbeRtt { .. } => 1.0,
        }
    }

    /// Says that the window has room but there was nothing to ask for: what is measured until all of the present flight
    /// has arrived is no measure of the path.
    pub fn on_nothing_to_ask(&mut self) {
        self.app_limited_until = self.delivered + self.in_flight.max(1);
    }

    /// Notes a request that will bring `bytes`.
    pub fn on_sent(&mut self, now: Time, bytes: u64) -> Stamp {
        if self.in_flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        self.in_flight += bytes;
        let pace = self.pace();
        if pace > 0.0 {
            let spacing = Duration::from_secs_f64(bytes as f64 / (pace * self.pace_gain()));
            // Who comes late catches up, within half a burst more.
            self.next_send_at = self.next_send_at.max(now - self.burst() * 3 / 2) + spacing;
        }
        Stamp {
            sent_at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            app_limited: self.delivered < self.app_limited_until,
        }
    }

    /// Takes back what was counted as in flight without learning from it.
    pub fn on_withdrawn(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Notes that `bytes` asked for at `sent_at` are lost. What was lost in a silence shows nothing of the path that was found
    /// after it.
    pub fn on_lost(&mut self, sent_at: Time, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if sent_at >= self.restarted_at {
            self.round_lost += bytes;
        }
    }

    /// Notes that something arrived of which nobody knows which request it answers: it tells nothing of the path.
    pub fn on_arrived_unclear(&mut self, now: Time, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.delivered += bytes;
        self.delivered_at = now;
        self.round_delivered += bytes;
        // What is asked for anew after a silence grows all the same, as in slow start.
        self.initial_blocks = (self.initial_blocks + 1).min(INITIAL_BLOCKS);
    }

    /// Notes that what was asked for at `stamp` arrived, `bytes` of it, over a path with these round trips.
    pub fn on_arrived(&mut self, now: Time, stamp: Stamp, bytes: u64, path: PathTimes) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.delivered += bytes;
        self.delivered_at = now;
        self.first_sent_at = stamp.sent_at;
        self.round_delivered += bytes;
        self.round_min_rtt = self.round_min_rtt.min(path.latest);
        if self.rates.is_empty() {
            self.initial_rate = self.first_window() as f64 / path.min.as_secs_f64().max(1e-6);
        }

        let new_round = stamp.delivered >= self.round_ends_at;
        if new_round {
            self.round += 1;
            self.round_ends_at = self.delivered;
        }
        // The sending side may have been the slower one: take the longer of the two spans.
        let span = now.since(stamp.delivered_at).max(stamp.sent_at.since(stamp.first_sent_at));
        // A span shorter than the round trip is an artefact of batching.
        if span >= path.min && !span.is_zero() && stamp.sent_at >= self.restarted_at {
            let rate = (self.delivered - stamp.delivered) as f64 / span.as_secs_f64();
            if !stamp.app_limited || rate > self.rate() {
                self.rates.note(now, self.round, rate);
            }
        }
        let before = self.mode;
        if self.mode == Mode::Startup {
            let most = self.pace() * STARTUP_GAIN;
            self.startup.on_arrived(now, self.delivered, TRAIN_BLOCKS * self.block, most, path);
            if self.startup.queue_builds_up() {
                self.mode = Mode::Drain;
            }
        }
        if new_round {
            self.end_round(now, stamp.app_limited, path);
        }
        self.change_mode(now, path);
        if self.mode != Mode::Startup {
            self.initial_rate = 0.0;
        }
        if self.mode != before {
            let (rate, window) = (self.rate() / 1e6, self.size(path.min));
            log::trace!("{now:?} {:?}: {rate:.3} MB/s, window {window}, {path:?}", self.mode);
        }
    }

    /// Forgets the path's rate, as after silence: it may be another path now. What is on its way measures the silence too, and
    /// so nothing of the path.
    pub fn restart(&mut self, now: Time) {
        *self = Window {
            is_inside: self.is_inside,
            headroom: Headroom::new(self.is_inside),
            in_flight: self.in_flight,
            delivered: self.delivered,
            delivered_at: now,
            first_sent_at: now,
            restarted_at: now,
            round_ends_at: self.delivered,
            initial_blocks: RESTART_BLOCKS,
            ..Window::new(self.block)
        };
    }

    /// Looks for the rate anew.
    fn enter_startup(&mut self) {
        self.mode = Mode::Startup;
        self.full_rate = self.rate();
        self.full_rounds = 0;
        self.startup = Startup::default();
    }

    fn end_round(&mut self, now: Time, app_limited: bool, path: PathTimes) {
        let sent = self.round_lost + self.round_delivered;
        let loss = self.round_lost as f64 / sent.max(1) as f64;
        let quickest = std::mem::replace(&mut self.round_min_rtt, Duration::MAX);
        let round = Round { number: self.round, lost: self.round_lost > 0, quickest };
        if !round.lost && quickest != Duration::MAX && quickest > path.min.mul_f64(STRETCHED_DELAY) {
            let since = *self.long_since.get_or_insert(now);
            self.is_stretched = now.since(since) >= STRETCHED_AFTER;
        } else {
            self.long_since = None;
            self.is_stretched = false;
        }
        self.headroom.on_round(now, loss, path.is_short);
        self.round_lost = 0;
        self.round_delivered = 0;
        let is_heavy = loss > HEAVY_LOSS && path.latest > path.min.mul_f64(HEAVY_LOSS_DELAY);
        match self.mode {
            Mode::Startup if is_heavy => self.mode = Mode::Drain,
            Mode::Startup | Mode::Drain => {}
            _ => {
                let rate = self.rate();
                // Of a path of which nothing is known yet, nothing can be conceded.
                let reaction = match self.is_inside || self.rates.is_empty() {
                    true => Reaction::None,
                    false => self.fairness.on_round(now, round, path.min, rate),
                };
                match reaction {
                    Reaction::Slower => {
                        log::trace!("{now:?} cut from {rate:.0} bytes/s: the queue ran over");
                        self.cruise(now);
                    }
                    Reaction::Regain(rate) => {
                        log::trace!("{now:?} back to {rate:.0} bytes/s: others do not give way");
                        self.rates.note(now, self.round, rate);
                        self.cruise(now);
                    }
                    Reaction::None if is_heavy && !self.fairness.holds_back() => {
                        self.rates.scale(HEAVY_LOSS_CUT);
                    }
                    Reaction::None => {}
                }
            }
        }
        if self.mode == Mode::Startup && !app_limited {
            if self.rate() >= self.full_rate * 1.25 {
                self.full_rate = self.rate();
                self.full_rounds = 0;
            } else {
                self.full_rounds += 1;
                if self.full_rounds >= FULL_ROUNDS {
                    self.mode = Mode::Drain;
                }
            }
        }
        if self.mode == Mode::Cruise && now >= self.next_probe_at {
            self.mode = Mode::ProbeUp { until_round: self.round + 1, rate_before: self.rate() };
        }
    }

    fn change_mode(&mut self, now: Time, path: PathTimes) {
        let rate = self.rate();
        let product = (rate * path.min.as_secs_f64() + self.headroom.bytes(rate)) as u64;
        match self.mode {
            Mode::Drain if self.in_flight <= product.max(MIN_BLOCKS * self.block) => {
                self.cruise(now);
                // The startup may have ended early: see soon whether there is more.
                self.next_probe_at = now;
            }
            Mode::ProbeUp { until_round, .. } if self.round > until_round && self.fairness.holds_back() => {
                self.fairness.on_more_worked(PROBE_GAIN, self.largest_rate());
                self.mode = Mode::ProbeDown { until_round: self.round };
            }
            Mode::ProbeUp { until_round, rate_before } if self.round > until_round => {
                // There is more than one probe's worth: find out as at the start.
                if self.rate() > rate_before * PROBE_FOUND_MORE {
                    self.enter_startup();
                } else {
                    self.mode = Mode::ProbeDown { until_round: self.round };
                }
            }
            Mode::ProbeDown { until_round } if self.round > until_round => self.cruise(now),
            Mode::ProbeRtt { until } if now >= until => self.cruise(now),
            Mode::Cruise if path.min_is_old && now >= self.next_probe_rtt_at => {
                self.next_probe_rtt_at = now + PROBE_RTT_INTERVAL;
                self.mode = Mode::ProbeRtt { until: now + PROBE_RTT_TIME.max(path.min * 2) };
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

/// What [`Window::on_arrived`] needs to know of the path's round trips.
#[derive(Clone, Copy, Debug)]
pub struct PathTimes {
    /// The smallest of late.
    pub min: Duration,
    /// The last one.
    pub latest: Duration,
    /// Whether the smallest was measured so long ago that it should be measured anew.
    pub min_is_old: bool,
    /// Whether the path is a short one: see [`SHORT_PATH`](crate::path::headroom::SHORT_PATH).
    pub is_short: bool,
}

#[cfg(test)]
mod tests;
