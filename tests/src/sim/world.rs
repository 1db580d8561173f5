//! The network and its clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cjp2p_wire::time::Time;

use super::event_queue::EventQueue;
use super::host::{HostBehaviour, Outbox};
use super::link::{Link, Wire};
use super::nat::{Nat, NatKind};
use super::peer::Peer;

struct Host {
    host: Box<dyn HostBehaviour>,
    link: Link,
    up: Wire,
    down: Wire,
    is_up: bool,
    traffic: Traffic,
    wake_at: Time,
    queueing: Vec<Duration>,
}

/// What a host sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams it sent.
    pub datagrams_out: u64,
    /// Bytes of them, UDP payload.
    pub bytes_out: u64,
    /// Datagrams that reached it.
    pub datagrams_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
}

enum What {
    /// A datagram reaches the receiver's own link.
    Downlink {
        to: SocketAddr,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    Arrival {
        to: SocketAddr,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    Timeout {
        host: SocketAddr,
    },
}

/// A network of hosts.
pub struct World {
    now: Time,
    random: fastrand::Rng,
    hosts: BTreeMap<SocketAddr, Host>,
    /// Hosts whose link is that of another.
    behind: BTreeMap<SocketAddr, SocketAddr>,
    /// Routers, each by the host behind it.
    nats: BTreeMap<SocketAddr, Nat>,
    event_queue: EventQueue<What>,
    /// Everything that leaves a host passes here first: (time, from, to, payload).
    watch: Option<Watch>,
    /// The same for what arrives at a host.
    watch_arrivals: Option<Watch>,
    last: Option<(SocketAddr, &'static str)>,
}

type Watch = Box<dyn FnMut(Time, SocketAddr, SocketAddr, &[u8])>;

impl World {
    /// An empty network. The same seed and the same calls give the same history.
    pub fn new(seed: u64) -> World {
        World {
            now: Time::ZERO,
            random: fastrand::Rng::with_seed(seed),
            hosts: BTreeMap::new(),
            behind: BTreeMap::new(),
            nats: BTreeMap::new(),
            event_queue: EventQueue::default(),
            watch: None,
            watch_arrivals: None,
            last: None,
        }
    }

    /// The present time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A random number below `n`.
    pub fn random_below(&mut self, n: u64) -> u64 {
        self.random.u64(0..n)
    }

    /// Shows every datagram that leaves a host to `watch`.
    pub fn watch(&mut self, watch: impl FnMut(Time, SocketAddr, SocketAddr, &[u8]) + 'static) {
        self.watch = Some(Box::new(watch));
    }

    /// Shows every datagram that arrives at a host to `watch`, before the host has it.
    pub fn watch_arrivals(&mut self, watch: impl FnMut(Time, SocketAddr, SocketAddr, &[u8]) + 'static) {
        self.watch_arrivals = Some(Box::new(watch));
    }

    /// Adds a host.
    pub fn add(&mut self, address: SocketAddr, link: Link, host: impl HostBehaviour) {
        let host = Host {
            host: Box::new(host),
            link,
            up: Wire::default(),
            down: Wire::default(),
            is_up: true,
            traffic: Traffic::default(),
            wake_at: Time::NEVER,
            queueing: Vec::new(),
        };
        self.hosts.insert(address, host);
        self.reschedule(address);
    }

    /// Unplugs a host, or plugs it in again. It keeps its state but hears and says nothing.
    pub fn set_up(&mut self, address: SocketAddr, is_up: bool) {
        if let Some(host) = self.hosts.get_mut(&address) {
            host.is_up = is_up;
        }
    }

    /// Gives a host another address, as a router does that forgot its mappings. What is on its way to the old one is lost.
    pub fn move_host(&mut self, from: SocketAddr, to: SocketAddr) {
        if let Some(mut host) = self.hosts.remove(&from) {
            host.wake_at = Time::NEVER;
            self.hosts.insert(to, host);
            self.reschedule(to);
        }
    }

    /// Changes a host's link.
    pub fn set_link(&mut self, address: SocketAddr, link: Link) {
        if let Some(host) = self.hosts.get_mut(&address) {
            host.link = link;
        }
    }

    /// What a host sent and received.
    pub fn traffic(&self, address: SocketAddr) -> Traffic {
        self.hosts[&address].traffic
    }

    /// How long datagrams waited to leave a host, and left, in the middle of all that it sent.
    pub fn median_queueing(&self, address: SocketAddr) -> Duration {
        let mut all = self.hosts[&address].queueing.clone();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    }

    /// The peer at `address`, to look at.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn peer(&self, address: SocketAddr) -> &Peer {
        self.host(address)
    }

    /// The host of this kind at `address`, to look at.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn host<C: HostBehaviour>(&self, address: SocketAddr) -> &C {
        let host: &dyn std::any::Any = &*self.hosts[&address].host;
        host.downcast_ref().expect("a host of this kind")
    }

    /// Does something with the peer at `address`, and sends what it wants sent then.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn with_peer<R>(&mut self, address: SocketAddr, act: impl FnOnce(&mut Peer, Time) -> R) -> R {
        let host = self.hosts.get_mut(&address).expect("the host exists");
        let host: &mut dyn std::any::Any = &mut *host.host;
        let peer: &mut Peer = host.downcast_mut().expect("the host is a peer");
        let result = act(peer, self.now);
        let mut out = Outbox::new();
        peer.drain(self.now, &mut out);
        self.dispatch(address, out);
        self.reschedule(address);
        result
    }

    /// Does something with the host of this kind at `address`.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn with_host<C: HostBehaviour, R>(
        &mut self,
        address: SocketAddr,
        act: impl FnOnce(&mut C) -> R,
    ) -> R {
        let host = self.hosts.get_mut(&address).expect("the host exists");
        let host: &mut dyn std::any::Any = &mut *host.host;
        act(host.downcast_mut().expect("a host of this kind"))
    }

    /// Adds a host that has its link in common with `gateway`.
    pub fn add_behind(&mut self, gateway: SocketAddr, address: SocketAddr, host: impl HostBehaviour) {
        self.behind.insert(address, gateway);
        self.add(address, Link::default(), host);
    }

    /// Puts a router of this kind before a host: to others it is at `outside` from now on, at its own port if the kind allows.
    pub fn add_nat(&mut self, host: SocketAddr, kind: NatKind, outside: IpAddr) {
        self.nats.insert(host, Nat::new(kind, host, outside));
    }

    /// Sends a datagram with any source address, as a forger may.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.event_queue.add(self.now, What::Downlink { to, from, bytes });
    }

    fn inject_all(&mut self, forged: Vec<(SocketAddr, SocketAddr, Vec<u8>)>) {
        for (from, to, bytes) in forged {
            self.inject(from, to, bytes);
        }
    }

    fn reschedule(&mut self, address: SocketAddr) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&address) else {
            return;
        };
        let at = host.host.next_timeout();
        if at != Time::NEVER && (at < host.wake_at || host.wake_at <= now) {
            host.wake_at = at.max(now);
            let at = host.wake_at;
            self.event_queue.add(at, What::Timeout { host: address });
        }
    }

    fn dispatch(&mut self, from: SocketAddr, out: Outbox) {
        for (to, bytes) in out {
            if let Some(watch) = &mut self.watch {
                watch(self.now, from, to, &bytes);
            }
            let Some(host) = self.hosts.get_mut(&from) else {
                return;
            };
            host.traffic.datagrams_out += 1;
            host.traffic.bytes_out += bytes.len() as u64;
            let Some(host) = self.hosts.get_mut(self.behind.get(&from).unwrap_or(&from)) else { return };
            if !host.is_up {
                continue;
            }
            let Some(left) = host.up.send(self.now, bytes.len(), &host.link.outward()) else { continue };
            host.queueing.push(left.since(self.now));
            if host.link.loses(bytes.len(), &mut self.random) {
                continue;
            }
            let at = left + host.link.delay(&mut self.random);
            let from = self.nats.get_mut(&from).map_or(from, |nat| nat.send(to));
            if self.random.f64() < host.link.duplication {
                self.event_queue.add(at, What::Downlink { to, from, bytes: bytes.clone() });
            }
            self.event_queue.add(at, What::Downlink { to, from, bytes });
        }
    }

    /// Does the next thing; `false` where nothing is left or it lies after `until`.
    fn step(&mut self, until: Time) -> bool {
        let Some((at, what)) = self.event_queue.take(until) else { return false };
        self.now = at;
        match what {
            What::Downlink { to, from, bytes } => {
                let to = match self.nats.values().find(|nat| nat.outside() == to.ip()) {
                    Some(nat) => match nat.receive(from, to.port()) {
                        Some(host) => host,
                        None => return true,
                    },
                    None => to,
                };
                let Some(host) = self.hosts.get_mut(self.behind.get(&to).unwrap_or(&to)) else {
                    return true;
                };
                if !host.is_up || host.link.loses(bytes.len(), &mut self.random) {
                    return true;
                }
                if let Some(through) = host.down.send(at, bytes.len(), &host.link) {
                    let at = through + host.link.delay;
                    self.event_queue.add(at, What::Arrival { to, from, bytes });
                }
            }
            What::Arrival { to, from, bytes } => {
                let Some(host) = self.hosts.get_mut(&to) else {
                    return true;
                };
                if let Some(watch) = &mut self.watch_arrivals {
                    watch(at, from, to, &bytes);
                }
                self.last = Some((to, "arrival"));
                host.traffic.datagrams_in += 1;
                host.traffic.bytes_in += bytes.len() as u64;
                let mut out = Outbox::new();
                host.host.handle_datagram(at, from, &bytes, &mut out);
                let forged = host.host.take_forged();
                self.dispatch(to, out);
                self.inject_all(forged);
                self.reschedule(to);
            }
            What::Timeout { host: address } => {
                let Some(host) = self.hosts.get_mut(&address) else {
                    return true;
                };
                self.last = Some((address, "timeout"));
                if host.wake_at != at {
                    return true;
                }
                host.wake_at = Time::NEVER;
                let mut out = Outbox::new();
                if host.host.next_timeout() <= at {
                    host.host.handle_timeout(at, &mut out);
                }
                let forged = host.host.take_forged();
                self.dispatch(address, out);
                self.inject_all(forged);
                self.reschedule(address);
            }
        }
        true
    }

    /// Lets time pass until `done` holds or `limit` has passed; returns whether it held.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&World) -> bool) -> bool {
        let until = self.now + limit;
        let mut steps = (self.now, 0u64);
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                self.now = until;
                return done(self);
            }
            steps = if steps.0 == self.now { (self.now, steps.1 + 1) } else { (self.now, 0) };
            assert!(steps.1 < 100_000, "time stands still at {:?}, the last at {:?}", self.now, self.last);
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }
}
