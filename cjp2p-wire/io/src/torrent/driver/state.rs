//! The swarms, connections and stores that a driver has, and what its owner calls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::store::{PieceStore, Read};
use cjp2p_torrent::swarm::{ConnId, Event, Swarm};
use cjp2p_wire::time::Time;

use super::link::{Link, State};
use crate::readiness::{Interest, Readiness, Ready};
use crate::tcp;

/// Bytes read at once.
const READ_LEN: usize = 128 << 10;
/// Connections have numbers from here on; listening sockets the ones below.
const FIRST_LINK: u64 = 1 << 32;

/// Names a swarm of a driver. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwarmId(pub(super) u32);

/// A store that may come later: nothing is fetched before.
#[derive(Debug)]
pub(super) struct Slot<S>(Option<S>);

impl<S: PieceStore> PieceStore for Slot<S> {
    fn write_block(&mut self, piece: u32, begin: u32, block: &[u8]) {
        if let Some(store) = &mut self.0 {
            store.write_block(piece, begin, block);
        }
    }

    fn check(&mut self, piece: u32) {
        if let Some(store) = &mut self.0 {
            store.check(piece);
        }
    }

    fn forget(&mut self, piece: u32) {
        if let Some(store) = &mut self.0 {
            store.forget(piece);
        }
    }

    fn read_block(&mut self, piece: u32, begin: u32, into: &mut [u8]) -> Read {
        self.0.as_mut().map_or(Read::Gone, |store| store.read_block(piece, begin, into))
    }

    fn room(&self) -> u64 {
        self.0.as_ref().map_or(0, PieceStore::room)
    }
}

pub(super) struct Entry<S> {
    pub(super) swarm: Swarm,
    pub(super) store: Slot<S>,
    /// When it wants to be called.
    pub(super) timeout: Time,
    pub(super) links: BTreeMap<ConnId, u64>,
}

/// Connections of all swarms together: each is a descriptor, and takes some 5 KiB.
pub const MAX_LINKS: usize = 4096;

/// See the [module](super).
pub struct Driver<S> {
    pub(super) readiness: Readiness,
    pub(super) listeners: Vec<TcpListener>,
    /// Nobody is taken until then.
    pub(super) paused_until: Option<Time>,
    pub(super) swarms: BTreeMap<u32, Entry<S>>,
    pub(super) by_hash: BTreeMap<InfoHash, u32>,
    pub(super) next_swarm: u32,
    /// As many as the swarms take together, and [`MAX_GREETING`] callers.
    // Invariant: at most `max_links`.
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) next_link: u64,
    /// Who calls then is turned away, and nobody is called.
    pub(super) max_links: usize,
    /// Those that have a time limit: who calls, is called, or ends.
    pub(super) limited: BTreeSet<(Time, u64)>,
    pub(super) events: VecDeque<(SwarmId, Event)>,
    pub(super) ready: Vec<Ready>,
    pub(super) buffer: Vec<u8>,
}

impl<S: PieceStore> Driver<S> {
    /// No swarm, and nobody can call.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Driver<S>> {
        Ok(Driver {
            readiness: Readiness::new()?,
            listeners: Vec::new(),
            paused_until: None,
            swarms: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            next_swarm: 0,
            links: BTreeMap::new(),
            next_link: FIRST_LINK,
            max_links: MAX_LINKS,
            limited: BTreeSet::new(),
            events: VecDeque::new(),
            ready: Vec::new(),
            buffer: vec![0; READ_LEN],
        })
    }

    /// Lets peers call at this address, port 0 for a free one. Returns which it is.
    ///
    /// # Errors
    ///
    /// The address is in use or none of this machine's.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = tcp::listen(address)?;
        let address = listener.local_addr()?;
        self.take_listener(listener)?;
        Ok(address)
    }

    /// The same with a socket that listens already: one that was opened before the process was confined.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub fn take_listener(&mut self, listener: TcpListener) -> io::Result<()> {
        self.readiness.add(&listener, self.listeners.len() as u64, Interest::READ)?;
        self.listeners.push(listener);
        Ok(())
    }

    /// What the event loop watches.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Adds a swarm. Of a torrent whose files are not known yet the store comes later, by [`Driver::set_store`].
    pub fn add(&mut self, now: Time, swarm: Swarm, store: Option<S>) -> SwarmId {
        let id = self.next_swarm;
        self.next_swarm += 1;
        self.by_hash.insert(swarm.info_hash(), id);
        let (store, links) = (Slot(store), BTreeMap::new());
        self.swarms.insert(id, Entry { swarm, store, timeout: Time::ZERO, links });
        self.drain(now, id);
        SwarmId(id)
    }

    /// Gives a swarm its store.
    pub fn set_store(&mut self, id: SwarmId, store: S) {
        if let Some(entry) = self.swarms.get_mut(&id.0) {
            entry.store.0 = Some(store);
        }
    }

    /// The swarm.
    pub fn swarm(&self, id: SwarmId) -> Option<&Swarm> {
        self.swarms.get(&id.0).map(|entry| &entry.swarm)
    }

    /// The store of a swarm.
    pub fn store(&self, id: SwarmId) -> Option<&S> {
        self.swarms.get(&id.0)?.store.0.as_ref()
    }

    /// All swarms.
    pub fn ids(&self) -> impl Iterator<Item = SwarmId> + '_ {
        self.swarms.keys().copied().map(SwarmId)
    }

    /// The swarm of this torrent.
    pub fn find(&self, hash: InfoHash) -> Option<SwarmId> {
        self.by_hash.get(&hash).copied().map(SwarmId)
    }

    /// Calls a swarm, and does what it wants. `None` where there is no such swarm.
    pub fn call<R>(
        &mut self,
        now: Time,
        id: SwarmId,
        call: impl FnOnce(&mut Swarm, Option<&mut S>) -> R,
    ) -> Option<R> {
        let entry = self.swarms.get_mut(&id.0)?;
        let result = call(&mut entry.swarm, entry.store.0.as_mut());
        self.drain(now, id.0);
        Some(result)
    }

    /// Takes a swarm out, and closes its connections. Returns its store.
    pub fn remove(&mut self, id: SwarmId) -> Option<S> {
        let entry = self.swarms.remove(&id.0)?;
        self.by_hash.retain(|_, other| *other != id.0);
        for link in entry.links.values() {
            self.links.remove(link);
        }
        entry.store.0
    }

    /// What happened, once.
    pub fn next_event(&mut self) -> Option<(SwarmId, Event)> {
        self.events.pop_front()
    }

    /// Connections that are there.
    pub fn connections(&self) -> usize {
        self.links.len()
    }

    /// When [`Driver::turn`] is to be called at the latest.
    pub fn timeout(&self) -> Time {
        let limited = self.limited.first().map_or(Time::NEVER, |(at, _)| *at);
        let swarms = self.swarms.values().map(|entry| entry.timeout).min().unwrap_or(Time::NEVER);
        limited.min(swarms).min(self.paused_until.unwrap_or(Time::NEVER))
    }

    /// Does everything that can be done now.
    ///
    /// # Errors
    ///
    /// The system refuses to say what can be done.
    pub fn turn(&mut self, now: Time) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.readiness.take(&mut ready)?;
        for one in &ready {
            match usize::try_from(one.token).ok().filter(|nth| *nth < self.listeners.len()) {
                Some(nth) => self.accept(now, nth)?,
                None => self.on_ready(now, *one),
            }
        }
        self.ready = ready;
        while let Some(&(at, link)) = self.limited.first().filter(|(at, _)| *at <= now) {
            self.limited.remove(&(at, link));
            self.on_limit(now, link, at);
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.set_listening(Interest::READ)?;
        }
        let due: Vec<u32> =
            self.swarms.iter().filter(|(_, entry)| entry.timeout <= now).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(entry) = self.swarms.get_mut(&id) {
                entry.swarm.handle_timeout(now);
            }
            self.drain(now, id);
        }
        Ok(())
    }

    pub(super) fn set_listening(&self, interest: Interest) -> io::Result<()> {
        let mut listeners = self.listeners.iter().enumerate();
        listeners.try_for_each(|(nth, listener)| self.readiness.change(listener, nth as u64, interest))
    }

    pub(super) fn new_token(&mut self) -> u64 {
        self.next_link += 1;
        self.next_link
    }

    pub(super) fn drop_link(&mut self, token: u64) -> Option<Link> {
        let link = self.links.remove(&token)?;
        if let State::Calling(_, until) | State::Greeting(_, until) | State::Closing(until) = link.state {
            self.limited.remove(&(until, token));
        }
        Some(link)
    }
}
