//! What leaves a node and waits to be taken: datagrams and events, with counters of what came and left.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::event::Event;

/// Memory for datagrams that leave together. All pieces of it have the same size, so that none has to grow when it is used again:
/// otherwise each would grow to twice its size whenever a larger request comes than any before.
pub(super) const TOGETHER_ROOM: usize = 64 << 10;
/// Pieces of memory kept for answers: what is made of them before they are sent.
const MAX_SPARE: usize = 8;

/// A datagram to send, or several to the same destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The destination.
    pub to: SocketAddr,
    /// The payload of each datagram has this many bytes; the last may be shorter.
    pub segment: usize,
    /// The payloads, one after another.
    pub bytes: Vec<u8>,
}

impl Transmit {
    /// The payload of each datagram.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks(self.segment.max(1))
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Datagrams that were not JSON arrays.
    pub unreadable: u64,
    /// Requests for content answered with content.
    pub requests_served: u64,
    /// Bytes of content and trees sent.
    pub content_out: u64,
    /// Units of work that others caused beside content: see [`MAX_UNVALIDATED_WORK`](super::MAX_UNVALIDATED_WORK).
    pub work: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outbox {
    transmits: VecDeque<Transmit>,
    /// Memory for answers: to get it from the system each time costs as much as to fill it.
    // Invariant: at most `MAX_SPARE`.
    spare: Vec<Vec<u8>>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Outbox {
    /// Sends one datagram.
    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.send_all(Transmit { to, segment: bytes.len(), bytes });
    }

    /// Sends datagrams that leave together.
    pub(super) fn send_all(&mut self, transmit: Transmit) {
        self.transmits.push_back(transmit);
    }

    pub(super) fn report(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Takes the next datagrams to send, and counts them.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.transmits.pop_front()?;
        self.counters.datagrams_out += transmit.datagrams().len() as u64;
        self.counters.bytes_out += transmit.bytes.len() as u64;
        Some(transmit)
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Memory for datagrams that leave together, empty; a piece that was used before, where there is one.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes back the memory of datagrams that were sent.
    pub(super) fn reuse(&mut self, memory: Vec<u8>) {
        // A piece that had to grow after all is given up.
        let is_of_that_size = (TOGETHER_ROOM..2 * TOGETHER_ROOM).contains(&memory.capacity());
        if is_of_that_size && self.spare.len() < MAX_SPARE {
            self.spare.push(memory);
        }
    }

    pub(super) fn on_received(&mut self, bytes: usize) {
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += bytes as u64;
    }

    pub(super) fn on_unreadable(&mut self) {
        self.counters.unreadable += 1;
    }

    /// Counts an answer with content.
    pub(super) fn on_served(&mut self, bytes: usize) {
        self.counters.requests_served += 1;
        self.counters.content_out += bytes as u64;
    }

    /// All but [`Counters::work`], which the [`Budget`](super::budget::Budget) counts.
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }
}
