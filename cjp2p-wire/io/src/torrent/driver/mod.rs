//! `Driver`: swarms, their connections over TCP, and their stores, on the thread of the network.
//!
//! The driver never waits. [`Driver::readiness`] is what the event loop [watches](crate::event_loop::EventLoop::watch); after each of
//! its turns call [`Driver::turn`], and take [`Driver::next_event`] until there is none.

mod link;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::store::{PieceStore, Read};
use cjp2p_torrent::swarm::{ConnId, Event, Output, Swarm};
use cjp2p_wire::time::Time;

use self::link::{Link, State};
use crate::readiness::{Interest, Readiness, Ready};
use crate::tcp;

/// A call that nobody answers for so long is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever calls says within this time which torrent it wants.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Callers that have not said so yet, at the most. Of more the one that waits longest goes.
const MAX_GREETING: usize = 64;
/// What was to be sent before the end is sent within this time.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);
/// Callers taken before others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// While the system has no descriptor left nobody is taken for this time.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes read at once, and how often from one connection before others get their turn.
const READ_LEN: usize = 128 << 10;
const READS_PER_TURN: usize = 4;
/// Where in a handshake the info hash is, after a length, 19 letters and 8 bytes of flags.
const HASH_AT: usize = 28;
/// Connections have numbers from here on; listening sockets the ones below.
const FIRST_LINK: u64 = 1 << 32;

/// Names a swarm of a driver. None is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwarmId(u32);

/// A store that may come later: nothing is fetched before.
#[derive(Debug)]
struct Slot<S>(Option<S>);

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

struct Entry<S> {
    swarm: Swarm,
    store: Slot<S>,
    /// When it wants to be called.
    timeout: Time,
    links: BTreeMap<ConnId, u64>,
}

/// See the [module](self).
pub struct Driver<S> {
    readiness: Readiness,
    listeners: Vec<TcpListener>,
    /// Nobody is taken until then.
    paused_until: Option<Time>,
    swarms: BTreeMap<u32, Entry<S>>,
    by_hash: BTreeMap<InfoHash, u32>,
    next_swarm: u32,
    /// As many as the swarms take together, and [`MAX_GREETING`] callers.
    links: BTreeMap<u64, Link>,
    next_link: u64,
    /// Those that have a time limit: who calls, is called, or ends.
    limited: BTreeSet<(Time, u64)>,
    events: VecDeque<(SwarmId, Event)>,
    ready: Vec<Ready>,
    buffer: Vec<u8>,
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

    fn set_listening(&self, interest: Interest) -> io::Result<()> {
        let mut listeners = self.listeners.iter().enumerate();
        listeners.try_for_each(|(nth, listener)| self.readiness.change(listener, nth as u64, interest))
    }

    fn accept(&mut self, now: Time, nth: usize) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let taken = self.listeners.get(nth).map_or(Ok(None), tcp::accept);
            match taken {
                Ok(Some((stream, address))) => {
                    let (token, until) = (self.new_token(), now + GREETING_TIMEOUT);
                    let state = State::Greeting(Vec::new(), until);
                    match Link::new(stream, address, state, (&self.readiness, token)) {
                        Ok(link) => {
                            self.links.insert(token, link);
                            self.limited.insert((until, token));
                            self.make_room_for_callers();
                        }
                        Err(error) => log::debug!("{address}: {error}"),
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    // No descriptors: connections that end give some back.
                    log::warn!("nobody new can connect for a second: {error}");
                    self.paused_until = Some(now + PAUSE);
                    self.set_listening(Interest::NONE)?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn make_room_for_callers(&mut self) {
        let greeting = |link: &Link| matches!(link.state, State::Greeting(..));
        let waiting = self.links.iter().filter(|(_, link)| greeting(link));
        if let (count, Some(first)) = (waiting.clone().count(), waiting.map(|(token, _)| *token).next())
            && count > MAX_GREETING
        {
            self.drop_link(first);
        }
    }

    fn new_token(&mut self) -> u64 {
        self.next_link += 1;
        self.next_link
    }

    fn drop_link(&mut self, token: u64) -> Option<Link> {
        let link = self.links.remove(&token)?;
        if let State::Calling(_, until) | State::Greeting(_, until) | State::Closing(until) = link.state {
            self.limited.remove(&(until, token));
        }
        Some(link)
    }

    fn on_limit(&mut self, now: Time, token: u64, at: Time) {
        let Some(link) = self.links.get(&token) else { return };
        match link.state {
            State::Calling(swarm, until) if until == at => self.on_no_answer(now, token, swarm),
            State::Greeting(_, until) | State::Closing(until) if until == at => drop(self.drop_link(token)),
            _ => {}
        }
    }

    fn on_no_answer(&mut self, now: Time, token: u64, swarm: u32) {
        let Some(link) = self.drop_link(token) else { return };
        if let Some(entry) = self.swarms.get_mut(&swarm) {
            entry.swarm.on_connect_failed(now, link.address);
            self.drain(now, swarm);
        }
    }

    fn on_ready(&mut self, now: Time, ready: Ready) {
        let token = ready.token;
        let Some(link) = self.links.get_mut(&token) else { return };
        match link.state {
            State::Calling(swarm, until) => {
                if !link.was_answered() {
                    return self.on_no_answer(now, token, swarm);
                }
                self.limited.remove(&(until, token));
                let address = link.address;
                let taken = self.swarms.get_mut(&swarm).and_then(|entry| {
                    let id = entry.swarm.on_connected(now, address)?;
                    entry.links.insert(id, token);
                    Some(id)
                });
                match (taken, self.links.get_mut(&token)) {
                    (Some(id), Some(link)) => {
                        link.state = State::Open(swarm, id);
                        self.drain(now, swarm);
                        self.go_on(now, token);
                    }
                    _ => drop(self.drop_link(token)),
                }
            }
            State::Greeting(..) => self.read_greeting(now, token),
            State::Open(swarm, id) => {
                if ready.write {
                    self.go_on(now, token);
                }
                if ready.read {
                    self.read(now, token, swarm, id);
                }
            }
            State::Closing(_) => {
                if ready.gone || link.send().is_err() || link.is_empty() {
                    self.drop_link(token);
                }
            }
        }
    }

    /// Reads until it is known which torrent a caller wants.
    fn read_greeting(&mut self, now: Time, token: u64) {
        let Some(link) = self.links.get_mut(&token) else { return };
        let mut bytes = [0; HASH_AT + InfoHash::LEN];
        let State::Greeting(heard, until) = &mut link.state else { return };
        let (mut heard, until) = (std::mem::take(heard), *until);
        let read = link.read(&mut bytes[heard.len()..]);
        match read {
            Ok(None) => {}
            Ok(Some(count)) if count > 0 => {
                let from = heard.len();
                heard.extend_from_slice(&bytes[from..from + count]);
            }
            _ => return drop(self.drop_link(token)),
        }
        let hash = heard.get(HASH_AT..).and_then(|hash| <[u8; InfoHash::LEN]>::try_from(hash).ok());
        let Some(hash) = hash else {
            link.state = State::Greeting(heard, until);
            return;
        };
        self.limited.remove(&(until, token));
        let address = link.address;
        let taken = self.by_hash.get(&InfoHash::from_bytes(hash)).copied().and_then(|swarm| {
            let entry = self.swarms.get_mut(&swarm)?;
            let id = entry.swarm.on_accepted(now, address)?;
            entry.links.insert(id, token);
            Some((swarm, id))
        });
        let (Some((swarm, id)), Some(link)) = (taken, self.links.get_mut(&token)) else {
            self.links.remove(&token);
            return;
        };
        link.state = State::Open(swarm, id);
        if let Some(entry) = self.swarms.get_mut(&swarm) {
            entry.swarm.on_bytes(now, id, &heard, &mut entry.store);
        }
        self.drain(now, swarm);
        self.go_on(now, token);
        self.read(now, token, swarm, id);
    }

    /// Takes in what a peer sent.
    fn read(&mut self, now: Time, token: u64, swarm: u32, id: ConnId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..READS_PER_TURN {
            // What is done about the bytes may end the connection.
            let Some(link) = self.links.get_mut(&token) else { break };
            if !matches!(link.state, State::Open(..)) {
                break;
            }
            match link.read(&mut buffer) {
                Ok(None) => break,
                Ok(Some(count)) if count > 0 => {
                    if let Some(entry) = self.swarms.get_mut(&swarm) {
                        entry.swarm.on_bytes(now, id, &buffer[..count], &mut entry.store);
                    }
                    self.drain(now, swarm);
                    if count < buffer.len() {
                        break;
                    }
                }
                _ => {
                    self.on_gone(now, token, swarm, id);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn on_gone(&mut self, now: Time, token: u64, swarm: u32, id: ConnId) {
        self.drop_link(token);
        if let Some(entry) = self.swarms.get_mut(&swarm) {
            entry.links.remove(&id);
            entry.swarm.on_closed(now, id);
            self.drain(now, swarm);
        }
    }

    /// Sends what waits.
    fn go_on(&mut self, now: Time, token: u64) {
        let Some(link) = self.links.get_mut(&token) else { return };
        let State::Open(swarm, id) = link.state else { return };
        let sent = link.send();
        let waits = sent.and_then(|sent| link.wait(&self.readiness, token).map(|()| sent));
        match waits {
            Ok(0) => {}
            Ok(sent) => {
                if let Some(entry) = self.swarms.get_mut(&swarm) {
                    entry.swarm.on_sent(id, sent);
                    self.drain(now, swarm);
                }
            }
            Err(_) => self.on_gone(now, token, swarm, id),
        }
    }

    /// Does what a swarm wants done. Every call to it must be followed by this.
    fn drain(&mut self, now: Time, id: u32) {
        // What is sent may leave at once, and then the swarm has more to send.
        loop {
            let mut to_send = BTreeSet::new();
            loop {
                let Some(entry) = self.swarms.get_mut(&id) else { return };
                match entry.swarm.poll_output(now, &mut entry.store) {
                    Output::Connect(address) => self.call_peer(now, id, address),
                    Output::Send(conn, bytes) => {
                        if let Some(token) = entry.links.get(&conn)
                            && let Some(link) = self.links.get_mut(token)
                        {
                            link.queue(bytes);
                            to_send.insert((*token, conn));
                        }
                    }
                    Output::Close(conn) => {
                        if let Some(token) = entry.links.remove(&conn) {
                            self.close(now, token);
                        }
                    }
                    Output::Event(event) => self.events.push_back((SwarmId(id), event)),
                    Output::Timeout(at) => {
                        entry.timeout = at;
                        break;
                    }
                }
            }
            let mut has_sent = false;
            for (token, conn) in to_send {
                has_sent |= self.send_now(now, id, token, conn);
            }
            if !has_sent {
                return;
            }
        }
    }

    /// Whether anything left, or the connection is gone.
    fn send_now(&mut self, now: Time, swarm: u32, token: u64, conn: ConnId) -> bool {
        let Some(link) = self.links.get_mut(&token) else { return false };
        if !matches!(link.state, State::Open(..)) {
            return false;
        }
        let sent = link.send();
        let waits = sent.and_then(|sent| link.wait(&self.readiness, token).map(|()| sent));
        let Some(entry) = self.swarms.get_mut(&swarm) else { return false };
        match waits {
            Ok(0) => false,
            Ok(sent) => {
                entry.swarm.on_sent(conn, sent);
                true
            }
            Err(_) => {
                entry.links.remove(&conn);
                entry.swarm.on_closed(now, conn);
                self.drop_link(token);
                true
            }
        }
    }

    fn call_peer(&mut self, now: Time, swarm: u32, address: SocketAddr) {
        let (token, until) = (self.new_token(), now + CALL_TIMEOUT);
        let called = tcp::connect(address).and_then(|stream| {
            Link::new(stream, address, State::Calling(swarm, until), (&self.readiness, token))
        });
        match called {
            Ok(link) => {
                self.links.insert(token, link);
                self.limited.insert((until, token));
            }
            Err(error) => {
                log::debug!("{address}: {error}");
                if let Some(entry) = self.swarms.get_mut(&swarm) {
                    entry.swarm.on_connect_failed(now, address);
                }
            }
        }
    }

    fn close(&mut self, now: Time, token: u64) {
        let Some(link) = self.links.get_mut(&token) else { return };
        if link.send().is_err() || link.is_empty() {
            self.links.remove(&token);
            return;
        }
        let until = now + CLOSING_TIMEOUT;
        link.state = State::Closing(until);
        if link.wait(&self.readiness, token).is_err() {
            self.links.remove(&token);
            return;
        }
        self.limited.insert((until, token));
    }
}
