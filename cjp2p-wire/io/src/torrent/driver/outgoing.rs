//! What a swarm wants done: calls, bytes to send, ends.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_torrent::store::PieceStore;
use cjp2p_torrent::swarm::{ConnId, Output};
use cjp2p_wire::time::Time;

use super::link::{Link, State};
use super::state::{Driver, SwarmId};
use crate::tcp;

/// A call that nobody answers for so long is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// What was to be sent before the end is sent within this time.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

impl<S: PieceStore> Driver<S> {
    /// Does what a swarm wants done. Every call to it must be followed by this.
    pub(super) fn drain(&mut self, now: Time, id: u32) {
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
        let has_room = self.links.len() < self.max_links;
        let called = if has_room { tcp::connect(address) } else { Err(io::ErrorKind::QuotaExceeded.into()) };
        let called = called.and_then(|stream| {
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
