//! One thread, one loop: drives a node by its socket, the clock, signals, and what other threads say. A
//! [`Session`](crate::session::Session) owns it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cjp2p_wire::node::{Event, Node, Output, Transmit};
use cjp2p_wire::store::Store;
use cjp2p_wire::time::Time;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;

use super::lan::Lan;
use super::readiness::Readiness;
use super::signals::Signals;
use super::udp::{BATCH, Sent, UdpPort};

/// Bytes of datagrams kept while the system's send buffer is full; more are dropped, as a network would.
pub const MAX_BACKLOG: usize = 4 << 20;
/// With so many bytes of them no more answers are made.
const HOLD_BACKLOG: usize = 64 << 10;
/// Batches read before timers and other threads get their turn.
const BATCHES_PER_TURN: usize = 8;

/// Lets another thread, or anything that lives as long, end the loop's wait.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Ends the wait, now or the next one.
    pub fn wake(&self) {
        // It can only fail where it was called so often without being heard that it is sure to be heard.
        let _ = self.0.write(1);
    }
}

/// Why a turn of the loop ended, apart from events and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// A [`Waker`] was used.
    pub woken: bool,
    /// A signal came.
    pub signal: Option<Signal>,
    /// Something that is [watched](EventLoop::watch) can be read or written.
    pub ready: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub struct EventLoop {
    port: UdpPort,
    signals: Option<Signals>,
    wakes: Arc<EventFd>,
    epoch: Instant,
    backlog: VecDeque<Transmit>,
    /// Bytes of it.
    backlog_len: usize,
    /// Whether the node was told to make no answers.
    holds: bool,
    node_timeout: Time,
    /// `None` where nobody on the local network is asked or heard.
    lan: Option<Lan>,
    /// What ends the wait beside datagrams.
    watched: Option<Readiness>,
    /// When there was last nothing to read. What is read now came after that.
    empty_at: Time,
}

impl EventLoop {
    /// A loop around this socket.
    ///
    /// # Errors
    ///
    /// Where the system has no descriptor left.
    pub fn new(port: UdpPort, signals: Option<Signals>) -> io::Result<EventLoop> {
        let wakes = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(EventLoop {
            port,
            signals,
            wakes: Arc::new(wakes),
            epoch: Instant::now(),
            backlog: VecDeque::new(),
            backlog_len: 0,
            holds: false,
            node_timeout: Time::ZERO,
            lan: None,
            watched: None,
            empty_at: Time::ZERO,
        })
    }

    /// The present time, to give to the node.
    pub fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    /// The time of day at which `time` was, in milliseconds since 1970: for what is kept in files.
    pub fn unix_ms(&self, time: Time) -> u64 {
        let ago = self.now().since(time);
        let then = SystemTime::now().checked_sub(ago).unwrap_or(UNIX_EPOCH);
        then.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
    }

    /// The socket.
    pub fn port(&self) -> &UdpPort {
        &self.port
    }

    /// Lets the node ask on the local network, and with `hears` also answer those who ask there. Does nothing where the socket
    /// is bound to an address of loopback.
    ///
    /// # Errors
    ///
    /// Where the system has no descriptor left.
    pub(crate) fn join_lan(
        &mut self,
        node: &mut Node,
        hears: bool,
        events: &mut VecDeque<Event>,
    ) -> io::Result<()> {
        self.lan = Lan::open(&self.port, hears)?;
        self.look_at_lan(node, events);
        Ok(())
    }

    /// From now on the wait ends also when something in this set is ready; [`Wake::ready`] says so. The sockets of TCP are in one.
    pub fn watch(&mut self, set: &Readiness) {
        self.watched = Some(set.clone());
    }

    /// Something with which other threads end the loop's wait.
    pub fn waker(&self) -> Waker {
        Waker(self.wakes.clone())
    }

    /// Takes what the node wants done after a call to it. Every call must be followed by this.
    pub(crate) fn drain(&mut self, node: &mut Node, events: &mut VecDeque<Event>) {
        loop {
            match node.poll_output() {
                Output::Transmit(transmit) => {
                    if let Some(memory) = self.transmit(transmit) {
                        node.reuse(memory);
                    }
                }
                Output::Event(Event::PathOpened(address)) => self.tell_mtu(node, address),
                Output::Event(Event::AskLan(question)) => {
                    if let Some(lan) = &mut self.lan {
                        lan.ask(&self.port, &question);
                    }
                }
                Output::Event(Event::AskNeighbours(question)) => {
                    if let Some(lan) = &self.lan {
                        lan.ask_neighbours(&mut self.port, &question);
                    }
                }
                Output::Event(event) => events.push_back(event),
                Output::Timeout(at) => {
                    self.node_timeout = at;
                    return;
                }
            }
        }
    }

    fn tell_mtu(&self, node: &mut Node, address: SocketAddr) {
        if let Some(mtu) = self.port.route_mtu(address) {
            node.set_path_mtu(address, mtu);
        }
    }

    /// Sends what can be sent now and keeps the rest. Returns the memory of what need not be kept.
    fn transmit(&mut self, mut transmit: Transmit) -> Option<Vec<u8>> {
        if self.backlog.is_empty() {
            match self.port.send(transmit.to, &transmit.bytes, transmit.segment) {
                Sent::Done | Sent::Dropped => return Some(transmit.bytes),
                Sent::Full(sent) => drop(transmit.bytes.drain(..sent)),
            }
        }
        if self.backlog_len + transmit.bytes.len() > MAX_BACKLOG {
            return Some(transmit.bytes);
        }
        self.backlog_len += transmit.bytes.len();
        self.backlog.push_back(transmit);
        None
    }

    fn send_backlog(&mut self) {
        while let Some(transmit) = self.backlog.front_mut() {
            let length = transmit.bytes.len();
            if let Sent::Full(sent) = self.port.send(transmit.to, &transmit.bytes, transmit.segment) {
                transmit.bytes.drain(..sent);
                self.backlog_len -= sent;
                return;
            }
            self.backlog_len -= length;
            self.backlog.pop_front();
        }
    }

    /// Waits until something happens or `until`, and lets the node act on it. Events are added to `events`.
    ///
    /// # Errors
    ///
    /// Where the socket or a descriptor fails for good.
    pub(crate) fn turn(
        &mut self,
        node: &mut Node,
        store: &mut dyn Store,
        until: Time,
        events: &mut VecDeque<Event>,
    ) -> io::Result<Wake> {
        let (wake, is_lan_ready) = self.wait(until.min(self.node_timeout))?;
        if !self.backlog.is_empty() {
            self.send_backlog();
        }
        let holds = self.backlog_len > HOLD_BACKLOG;
        if holds != self.holds {
            self.holds = holds;
            node.hold_answers(self.now(), holds, store);
            self.drain(node, events);
        }
        for _ in 0..BATCHES_PER_TURN {
            if !self.receive(node, store, events)? {
                break;
            }
        }
        if is_lan_ready {
            self.hear_lan(node, store, events);
        }
        let now = self.now();
        if now >= self.node_timeout {
            node.handle_timeout(now, store);
            self.drain(node, events);
        }
        Ok(wake)
    }

    /// Reads a batch; returns whether there may be more.
    fn receive(
        &mut self,
        node: &mut Node,
        store: &mut dyn Store,
        events: &mut VecDeque<Event>,
    ) -> io::Result<bool> {
        let count = self.port.receive()?;
        let read_at = self.now();
        for nth in 0..count {
            let now = self.now();
            if let Some((from, bytes, segment)) = self.port.received(nth) {
                let came_at = (read_at - self.port.waited(nth)).max(self.empty_at);
                node.handle_waiting_datagrams(now, now.since(came_at), from, bytes, segment, store);
                self.drain(node, events);
            }
        }
        if count < BATCH {
            self.empty_at = read_at;
        }
        Ok(count == BATCH)
    }

    /// Takes in what was said to everybody on a link, and what became of the links.
    fn hear_lan(&mut self, node: &mut Node, store: &mut dyn Store, events: &mut VecDeque<Event>) {
        let Some(lan) = &self.lan else { return };
        let (has_changed, heard) = (lan.has_changed(), lan.receive());
        if has_changed {
            self.look_at_lan(node, events);
        }
        for (from, bytes) in heard {
            node.handle_group_datagram(self.now(), from, &bytes, store);
            self.drain(node, events);
        }
    }

    /// Tells the node which networks there are, where that is new.
    fn look_at_lan(&mut self, node: &mut Node, events: &mut VecDeque<Event>) {
        if let Some(links) = self.lan.as_mut().and_then(Lan::look) {
            node.attach(self.now(), links);
            self.drain(node, events);
        }
    }

    /// Returns also whether there is something to hear on the local network.
    fn wait(&mut self, until: Time) -> io::Result<(Wake, bool)> {
        let timeout = (until != Time::NEVER).then(|| {
            // No wait is without end: a clock that stands still must not hang the tool.
            until.since(self.now()).min(Duration::from_secs(3600))
        });
        let interest =
            if self.backlog.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
        let others = [
            self.signals.as_ref().map(AsFd::as_fd),
            self.lan.as_ref().map(AsFd::as_fd),
            self.watched.as_ref().map(AsFd::as_fd),
        ];
        let mut descriptors = vec![
            PollFd::new(self.port.as_fd(), interest),
            PollFd::new(self.wakes.as_fd(), PollFlags::POLLIN),
        ];
        descriptors.extend(others.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
        match ppoll(&mut descriptors, timeout.map(TimeSpec::from_duration), None) {
            Ok(0) | Err(Errno::EINTR) => return Ok((Wake::default(), false)),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut readies = descriptors.iter().skip(1).map(|descriptor| descriptor.any() != Some(false));
        let is_woken = readies.next() == Some(true);
        let [is_signalled, is_lan_ready, ready] =
            others.map(|other| other.is_some() && readies.next() == Some(true));
        let woken = is_woken
            && match self.wakes.read() {
                Ok(count) => count > 0,
                Err(Errno::EAGAIN | Errno::EINTR) => false,
                Err(errno) => return Err(errno.into()),
            };
        let signal = match &self.signals {
            Some(signals) if is_signalled => signals.next()?,
            _ => None,
        };
        Ok((Wake { woken, signal, ready }, is_lan_ready))
    }
}
