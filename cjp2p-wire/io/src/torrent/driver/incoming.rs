//! What comes: callers and what they want, answers to our calls, bytes, and ends.

use std::io;
use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::store::PieceStore;
use cjp2p_torrent::swarm::ConnId;
use cjp2p_wire::time::Time;

use super::link::{Link, State};
use super::state::Driver;
use crate::readiness::{Interest, Ready};
use crate::tcp;

/// Whoever calls says within this time which torrent it wants.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Callers that have not said so yet, at the most. Of more the one that waits longest goes.
pub(super) const MAX_GREETING: usize = 64;
/// Callers taken before others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// While the system has no descriptor left nobody is taken for this time.
const PAUSE: Duration = Duration::from_secs(1);
/// How often is read from one connection before others get their turn.
const READS_PER_TURN: usize = 4;
/// Where in a handshake the info hash is, after a length, 19 letters and 8 bytes of flags.
const HASH_AT: usize = 28;

impl<S: PieceStore> Driver<S> {
    pub(super) fn accept(&mut self, now: Time, nth: usize) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let taken = self.listeners.get(nth).map_or(Ok(None), tcp::accept);
            match taken {
                Ok(Some((_, address))) if self.links.len() >= self.max_links => {
                    log::debug!("{address}: turned away: there are as many connections as may be");
                }
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

    pub(super) fn on_limit(&mut self, now: Time, token: u64, at: Time) {
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

    pub(super) fn on_ready(&mut self, now: Time, ready: Ready) {
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
}
