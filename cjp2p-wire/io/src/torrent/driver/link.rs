//! One TCP connection: what waits to be sent, and what it is waited for.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};

use cjp2p_wire::time::Time;

use crate::readiness::{Interest, Readiness};

/// Messages that are handed to the system at once.
const SLICES: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    pub(super) address: SocketAddr,
    /// As much as the swarm leaves unsent, which it bounds.
    out: VecDeque<Vec<u8>>,
    /// Bytes of the first that have left.
    sent: usize,
    interest: Interest,
    pub(super) state: State,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum State {
    /// We call, for the swarm of this number, until then.
    Calling(u32, Time),
    /// It called, and has not said yet which torrent it wants: the beginning of what it said, and until when it may.
    Greeting(Vec<u8>, Time),
    /// It belongs to this connection of a swarm.
    Open(u32, cjp2p_torrent::swarm::ConnId),
    /// Nothing is read from it any more: what waits is sent until then.
    Closing(Time),
}

impl Link {
    /// Adds a connection to what is waited for.
    pub(super) fn new(
        stream: TcpStream,
        address: SocketAddr,
        state: State,
        (set, token): (&Readiness, u64),
    ) -> io::Result<Link> {
        // Messages are put together already; what is short is wanted soon.
        let _ = stream.set_nodelay(true);
        let interest = if matches!(state, State::Calling(..)) { Interest::WRITE } else { Interest::READ };
        set.add(&stream, token, interest)?;
        Ok(Link { stream, address, out: VecDeque::new(), sent: 0, interest, state })
    }

    /// Whether the call went through.
    pub(super) fn was_answered(&self) -> bool {
        matches!(self.stream.take_error(), Ok(None)) && self.stream.peer_addr().is_ok()
    }

    /// Reads what is there; `Ok(None)` where there is nothing now, `Ok(Some(0))` at the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match self.stream.read(into) {
                Ok(count) => Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Adds to what waits to be sent.
    pub(super) fn queue(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.out.push_back(bytes);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Sends as much as the system takes. Returns how many bytes left.
    pub(super) fn send(&mut self) -> io::Result<usize> {
        let mut total = 0;
        while !self.out.is_empty() {
            let mut skip = self.sent;
            let slices: Vec<IoSlice<'_>> = self
                .out
                .iter()
                .take(SLICES)
                .map(|bytes| IoSlice::new(&bytes[std::mem::take(&mut skip)..]))
                .collect();
            match self.stream.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    total += count;
                    self.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        while let Some(first) = self.out.front().map(Vec::len).filter(|len| *len <= self.sent) {
            self.sent -= first;
            self.out.pop_front();
        }
    }

    /// Waits for what it can do next.
    pub(super) fn wait(&mut self, set: &Readiness, token: u64) -> io::Result<()> {
        let wanted = match self.state {
            State::Calling(..) => Interest::WRITE,
            State::Greeting(..) => Interest::READ,
            State::Open(..) => Interest { read: true, write: !self.out.is_empty() },
            State::Closing(_) => Interest { read: false, write: !self.out.is_empty() },
        };
        if wanted != self.interest {
            set.change(&self.stream, token, wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }
}
