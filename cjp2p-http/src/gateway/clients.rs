//! Connections: who comes, what they send, and when they go.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use cjp2p_io::readiness::{Interest, Ready};
use cjp2p_io::tcp;
use cjp2p_wire::time::Time;
use rustix::net::sockopt;

use super::client::{Client, Token};
use super::{Gateway, LISTENER};
use crate::http::End;

/// Bytes that are read at once.
const READ_AT_ONCE: usize = 16 << 10;
/// Connections that are taken in a turn of the loop.
const TAKEN_AT_ONCE: usize = 64;
/// Where the system has no room for one more, so long nobody is taken.
const PAUSE: Duration = Duration::from_millis(200);

impl Gateway {
    /// Takes those who come.
    pub(super) fn accept(&mut self) {
        for _ in 0..TAKEN_AT_ONCE {
            match tcp::accept(&self.listener) {
                Ok(Some((stream, from))) => self.add_client(stream, from),
                Ok(None) => return,
                Err(error) => {
                    log::debug!("no connection can be taken: {error}");
                    self.accepts_at = Some(self.session.now() + PAUSE);
                    // It is in the set.
                    let _ = self.set.change(&self.listener, LISTENER, Interest::NONE);
                    return;
                }
            }
        }
    }

    fn add_client(&mut self, stream: TcpStream, from: SocketAddr) {
        if self.clients.len() >= self.settings.most_connections && !self.drop_an_idle_one() {
            log::debug!("{from}: too many connections");
            return;
        }
        let Ok(to) = stream.local_addr() else { return };
        // A head is sent at once, and content in long pieces.
        let _ = stream.set_nodelay(true);
        let token = Token(self.next_client);
        if self.set.add(&stream, token.0, Interest::READ).is_err() {
            return;
        }
        self.next_client += 1;
        let now = self.session.now();
        let client = Client::new(now, stream, to.ip(), from);
        self.clients.insert(token, client);
    }

    /// Ends the connection that is idle for longest, if one is.
    fn drop_an_idle_one(&mut self) -> bool {
        let idle = self.clients.iter().filter(|(_, client)| client.connection.is_idle());
        let Some((&token, _)) = idle.min_by_key(|(_, client)| client.since) else { return false };
        self.drop_client(token, End::Close);
        true
    }

    /// Something can be read from a client, or sent to it.
    pub(super) fn on_ready(&mut self, token: Token, ready: &Ready) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        if ready.write {
            client.is_full = false;
        }
        if ready.read && client.connection.wants_bytes() {
            let now = self.session.now();
            let mut buffer = [0; READ_AT_ONCE];
            match client.stream.read(&mut buffer) {
                Ok(0) => client.connection.on_end(),
                Ok(count) => {
                    client.since = now;
                    client.connection.on_bytes(now, &buffer[..count]);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return self.drop_client(token, End::Close),
            }
        } else if ready.gone {
            return self.drop_client(token, End::Close);
        }
        self.turn_client(token);
    }

    /// Does all that can be done for a client now.
    pub(super) fn turn_client(&mut self, token: Token) {
        // Requests that came together are answered one after another, but others have their turn too.
        for _ in 0..16 {
            let Some(client) = self.clients.get_mut(&token) else { return };
            if let Some(request) = client.connection.take_request() {
                self.on_request(token, request);
            }
            self.turn_upload(token);
            self.turn_reading(token);
            self.send(token);
            match self.clients.get(&token) {
                Some(client) if client.connection.has_request() => {}
                _ => break,
            }
        }
        let Some(client) = self.clients.get_mut(&token) else { return };
        if let Some(end) = client.connection.is_over() {
            return self.drop_client(token, end);
        }
        if client.connection.is_lingering() && !client.is_shut {
            client.is_shut = true;
            let _ = client.stream.shutdown(Shutdown::Write);
        }
        let wants = Interest {
            read: client.connection.wants_bytes(),
            // More than a turn takes is told again; what is not here yet is told by what brings it.
            write: client.is_full || client.connection.has_request(),
        };
        if wants != client.interest {
            client.interest = wants;
            if self.set.change(&client.stream, token.0, wants).is_err() {
                self.drop_client(token, End::Reset);
            }
        }
    }

    /// Ends a connection.
    pub(super) fn drop_client(&mut self, token: Token, end: End) {
        self.detach(token);
        self.end_viewing(token);
        let Some(client) = self.clients.remove(&token) else { return };
        if end == End::Reset {
            // Closed so, the other side is told that it broke off.
            let _ = sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO));
        }
        log::trace!("{}: {end:?}", client.from);
    }

    /// Ends what takes too long, and takes clients again.
    pub(super) fn look_at_clients(&mut self, now: Time) {
        if self.accepts_at.is_some_and(|at| at <= now) {
            self.accepts_at = None;
            let _ = self.set.change(&self.listener, LISTENER, Interest::READ);
        }
        let late = self.clients.iter().filter(|(_, client)| client.connection.timeout_at() <= now);
        let late: Vec<Token> = late.map(|(&token, _)| token).collect();
        for token in late {
            if let Some(client) = self.clients.get_mut(&token) {
                client.connection.handle_timeout(now);
            }
            self.turn_client(token);
        }
    }
}
