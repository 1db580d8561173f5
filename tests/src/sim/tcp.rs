//! A long TCP flow as a host: CUBIC (RFC 9438) over selective acknowledgements, without what does not matter here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;

use super::host::{HostBehaviour, Outbox};

/// Content of a segment, in bytes, and with headers as a UDP payload that takes as much of the link.
const SEGMENT: usize = 1448;
const DATAGRAM: usize = 1472;
/// CUBIC's constants: RFC 9438, sections 4.1 and 4.6.
const C: f64 = 0.4;
const BETA: f64 = 0.7;
const INITIAL_WINDOW: f64 = 10.0;
/// Acknowledged this far beyond a segment, it is lost (RFC 6675).
const REORDERING: u64 = 3;

/// Sends for ever.
pub struct TcpSender {
    to: SocketAddr,
    starts: Time,
    window: f64,
    threshold: f64,
    largest_window: f64,
    epoch: Option<Time>,
    in_flight: BTreeSet<u64>,
    next: u64,
    highest_acknowledged: u64,
    recovery_until: u64,
    round_trip: Duration,
    heard_at: Time,
    acknowledged: u64,
}

impl TcpSender {
    /// A flow to `to`, from this time on.
    pub fn new(to: SocketAddr, starts: Time) -> TcpSender {
        TcpSender {
            to,
            starts,
            window: INITIAL_WINDOW,
            threshold: f64::MAX,
            largest_window: 0.0,
            epoch: None,
            in_flight: BTreeSet::new(),
            next: 0,
            highest_acknowledged: 0,
            recovery_until: 0,
            round_trip: Duration::from_millis(200),
            heard_at: starts,
            acknowledged: 0,
        }
    }

    /// Bytes that arrived.
    pub fn delivered(&self) -> u64 {
        self.acknowledged * SEGMENT as u64
    }

    fn send(&mut self, now: Time, out: &mut Outbox) {
        while (self.in_flight.len() as f64) < self.window {
            let mut bytes = vec![0; DATAGRAM];
            bytes[..8].copy_from_slice(&self.next.to_le_bytes());
            bytes[8..16].copy_from_slice(&now.since(Time::ZERO).as_nanos().to_le_bytes()[..8]);
            self.in_flight.insert(self.next);
            self.next += 1;
            out.push((self.to, bytes));
        }
    }

    fn grow(&mut self, now: Time) {
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let epoch = *self.epoch.get_or_insert(now);
        let since = now.since(epoch).as_secs_f64() + self.round_trip.as_secs_f64();
        let turn = (self.largest_window * (1.0 - BETA) / C).cbrt();
        let target = C * (since - turn).powi(3) + self.largest_window;
        // As fast as Reno at least (section 4.3).
        let reno = 3.0 * (1.0 - BETA) / (1.0 + BETA) / self.window;
        self.window += ((target - self.window) / self.window).clamp(reno, 0.5);
    }

    fn cut(&mut self, timeout: bool) {
        self.largest_window = self.window;
        self.threshold = (self.window * BETA).max(2.0);
        self.window = if timeout { 1.0 } else { self.threshold };
        self.epoch = None;
        self.recovery_until = self.next;
    }
}

impl HostBehaviour for TcpSender {
    fn handle_datagram(&mut self, now: Time, _: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let (segment, sent_at) = (number(0), number(8));
        self.heard_at = now;
        let round_trip = now.since(Time::ZERO + Duration::from_nanos(sent_at));
        self.round_trip = (self.round_trip * 7 + round_trip) / 8;
        self.highest_acknowledged = self.highest_acknowledged.max(segment);
        if self.in_flight.remove(&segment) {
            self.acknowledged += 1;
            if segment >= self.recovery_until {
                self.grow(now);
            }
        }
        let lost_below = self.highest_acknowledged.saturating_sub(REORDERING);
        let kept = self.in_flight.split_off(&lost_below);
        let lost = std::mem::replace(&mut self.in_flight, kept);
        if lost.last().is_some_and(|&last| last >= self.recovery_until) {
            self.cut(false);
        }
        self.send(now, out);
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        if self.next > 0 {
            self.in_flight.clear();
            self.cut(true);
        }
        self.heard_at = now;
        self.send(now, out);
    }

    fn next_timeout(&self) -> Time {
        if self.next == 0 {
            self.starts
        } else {
            self.heard_at + self.round_trip * 3 + Duration::from_millis(200)
        }
    }
}

/// Acknowledges each segment.
pub struct TcpReceiver;

impl HostBehaviour for TcpReceiver {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        out.push((from, bytes[..40].to_vec()));
    }
}
