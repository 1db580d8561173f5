//! Two nodes of ours, one that serves and one that fetches, with nothing between them: no socket, no loss, and a clock
//! that is advanced by hand. The same calls cost the same instructions each time, so the machines can be measured alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::{DownloadEvent, Spec};
use cjp2p_wire::node::{Config, Event, Node, Output, Transmit};
use cjp2p_wire::store::{Asker, JobId, Library, Read, Sink, Store};
use cjp2p_wire::time::Time;
use cjp2p_wire::tree::{Run, Verified};

use crate::sim::memory::MemoryBlobs;
use crate::sim::peer::config;

/// How long everything is on its way.
const DELAY: Duration = Duration::from_micros(100);

/// A destination that counts what is written, and keeps none of it.
#[derive(Default)]
pub struct Forgets {
    /// Bytes written.
    pub bytes: u64,
}

impl Library for Forgets {
    fn read(&mut self, _: Asker, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }

    fn blake3_of(&mut self, _: &Hash) -> Option<Hash> {
        None
    }
}

impl Sink for Forgets {
    fn write(&mut self, _: JobId, block: Verified<'_>) -> io::Result<()> {
        self.bytes += block.bytes().len() as u64;
        Ok(())
    }

    fn keep_run(&mut self, _: JobId, _: u64, _: Run, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn room(&self, _: JobId) -> u64 {
        u64::MAX
    }
}

/// A node, what it reads and writes, and what it has not sent yet.
struct End<B> {
    node: Node,
    store: B,
    address: SocketAddr,
    /// What routes carry, as the node is told.
    mtu: usize,
    next: Time,
    sent: Vec<Transmit>,
    is_done: bool,
}

impl<B: Store> End<B> {
    fn new(store: B, number: u8, mtu: usize, raw: bool) -> End<B> {
        let address = ([10, 0, 0, number], 24254).into();
        let node = Node::new(Config { raw, ..config(number.into()) });
        End { node, store, address, mtu, next: Time::ZERO, sent: Vec::new(), is_done: false }
    }

    fn take_in(&mut self, now: Time, from: SocketAddr, arrived: &[Transmit]) {
        for bunch in arrived {
            self.node.handle_datagrams(now, from, &bunch.bytes, bunch.segment, &mut self.store);
            self.drain();
        }
        if self.next <= now {
            self.node.handle_timeout(now, &mut self.store);
            self.drain();
        }
    }

    fn drain(&mut self) {
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => self.sent.push(transmit),
                Output::Event(Event::PathOpened(address)) => self.node.set_path_mtu(address, self.mtu),
                Output::Event(Event::Download(_, DownloadEvent::Complete(_))) => self.is_done = true,
                Output::Event(_) => {}
                Output::Timeout(at) => {
                    self.next = at;
                    return;
                }
            }
        }
    }
}

/// A server with one content, and a getter that fetches it.
pub struct Pair {
    server: End<MemoryBlobs>,
    getter: End<Forgets>,
    length: u64,
    now: Time,
}

impl Pair {
    /// The getter has just been told of the server. Routes carry IP packets of `mtu` bytes. Content is `raw`, or JSON.
    pub fn new(content: Vec<u8>, mtu: usize, raw: bool) -> Pair {
        let length = content.len() as u64;
        let mut server = End::new(MemoryBlobs::default(), 1, mtu, raw);
        let mut getter = End::new(Forgets::default(), 2, mtu, raw);
        let now = Time::ZERO;
        let spec = Spec {
            id: server.store.share(content, None),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        let job = getter.node.start_fetch(now, spec);
        getter.drain();
        getter.node.add_source(now, job, server.address, false);
        getter.drain();
        getter.node.handle_room(now, &mut getter.store);
        getter.drain();
        Pair { server, getter, length, now }
    }

    /// Whether everything has been fetched.
    pub fn is_done(&self) -> bool {
        self.getter.is_done
    }

    /// What the getter sent arrives, and the server answers it.
    #[inline(never)]
    pub fn serve_all(&mut self) {
        let arrived = std::mem::take(&mut self.getter.sent);
        self.server.take_in(self.now, self.getter.address, &arrived);
    }

    /// What the server sent arrives, and the getter asks for more.
    #[inline(never)]
    pub fn take_all(&mut self) {
        let arrived = std::mem::take(&mut self.server.sent);
        self.getter.take_in(self.now, self.server.address, &arrived);
    }

    /// Time passes: one way of the path, or, where nothing is on its way, until one of both has something to do.
    pub fn pass(&mut self) {
        self.now += DELAY;
        if self.getter.sent.is_empty() && self.server.sent.is_empty() {
            self.now = self.now.max(self.getter.next.min(self.server.next));
        }
    }

    /// Fetches everything. Returns how many datagrams the server sent.
    ///
    /// # Panics
    ///
    /// Where other than the whole content was written.
    pub fn run(&mut self) -> u64 {
        while !self.is_done() {
            self.serve_all();
            self.pass();
            self.take_all();
            self.pass();
        }
        assert_eq!(self.getter.store.bytes, self.length, "bytes written");
        self.server.node.counters().datagrams_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content;

    #[test]
    fn a_pair_moves_everything_and_does_the_same_each_time() {
        let run = |mtu, raw| Pair::new(content::bytes(1, 3 << 20), mtu, raw).run();
        let [json, raw] = [false, true].map(|raw| run(1500, raw));
        assert_eq!([json, raw], [false, true].map(|raw| run(1500, raw)));
        assert!(raw * 4 < json * 3, "{raw} datagrams of raw content, {json} of JSON");
        let large = run(65_536, false);
        assert!(large < 200, "{large} datagrams of a large block each");
    }
}
