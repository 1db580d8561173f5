//! What lies between a host and the middle of the network.

use std::time::Duration;

use cjp2p_wire::time::Time;

/// IP and UDP headers of one packet, in bytes.
const HEADERS: usize = 28;

/// The properties of a host's link, each for either direction.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Bytes per second; `None`: as fast as can be.
    pub rate: Option<u64>,
    /// The same outward, where that differs.
    pub up: Option<u64>,
    /// One way.
    pub delay: Duration,
    /// Up to so much is added to the delay of each datagram, at random: this reorders.
    pub jitter: Duration,
    /// The share of packets lost.
    pub loss: f64,
    /// The share of datagrams that arrive twice.
    pub duplication: f64,
    /// Bytes that wait at the most; more are dropped.
    pub queue: u64,
    /// The longest packet. Longer datagrams go in fragments, of which none may be lost.
    pub mtu: usize,
    /// Packets longer than this vanish, as behind a filter that tells nobody.
    pub swallows_above: usize,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            rate: None,
            up: None,
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            queue: 256 << 10,
            mtu: 1500,
            swallows_above: usize::MAX,
        }
    }
}

impl Link {
    /// A link of so many megabits per second and so many milliseconds one way, with a queue of `queue` bytes.
    pub fn rated(megabits: u64, delay_ms: u64, queue: u64) -> Link {
        Link {
            rate: Some(megabits * 125_000),
            delay: Duration::from_millis(delay_ms),
            queue,
            ..Link::default()
        }
    }

    /// The outward direction.
    pub(super) fn outward(&self) -> Link {
        Link { rate: self.up.or(self.rate), ..*self }
    }

    /// The packets that a datagram of `length` bytes is sent in, and their bytes in all.
    pub(super) fn packets(&self, length: usize) -> (usize, usize) {
        let packets = (length + 8).div_ceil(self.mtu - 20).max(1);
        (packets, length + 8 + packets * (HEADERS - 8))
    }

    /// Whether the link loses a datagram of `length` bytes.
    pub(super) fn loses(&self, length: usize, random: &mut fastrand::Rng) -> bool {
        let (packets, bytes) = self.packets(length);
        bytes.min(self.mtu) > self.swallows_above || (0..packets).any(|_| random.f64() < self.loss)
    }

    /// Whether the link loses a packet of `bytes` bytes, headers included.
    pub(crate) fn loses_packet(&self, bytes: usize, random: &mut fastrand::Rng) -> bool {
        bytes > self.swallows_above || random.f64() < self.loss
    }

    /// How long what has left the queue of this link is on its way to the other end.
    pub(crate) fn delay(&self, random: &mut fastrand::Rng) -> Duration {
        match self.jitter.is_zero() {
            true => self.delay,
            false => self.delay + Duration::from_secs_f64(self.jitter.as_secs_f64() * random.f64()),
        }
    }
}

/// One direction of a link: a queue before a wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wire {
    idle_at: Time,
}

impl Wire {
    /// Takes a datagram; returns when its last byte has left, or `None` where the queue is full.
    pub(super) fn send(&mut self, now: Time, length: usize, link: &Link) -> Option<Time> {
        self.send_bytes(now, link.packets(length).1, link)
    }

    /// Takes so many bytes, headers included, in one piece.
    pub(crate) fn send_bytes(&mut self, now: Time, bytes: usize, link: &Link) -> Option<Time> {
        let Some(rate) = link.rate else {
            return Some(now);
        };
        let waiting = self.idle_at.since(now).as_secs_f64() * rate as f64;
        if waiting as u64 + bytes as u64 > link.queue.max(bytes as u64) {
            return None;
        }
        self.idle_at = self.idle_at.max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        Some(self.idle_at)
    }
}
