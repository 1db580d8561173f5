//! `Connection`: one client, its requests one after another, and what is sent to it.
//!
//! Whatever comes goes into [`Connection::on_bytes`]. Then [`Connection::take_request`] gives what is asked for, and the owner
//! [answers](Connection::answer), now or later. [`Connection::to_send`] says what to send; [`Connection::on_sent`] is told how much was.
//! Requests that came before their turn wait unread.

use std::ops::Range;

use cjp2p_wire::time::Time;

use super::limits::{
    BODY_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT, LINGER, MAX_DISCARDED, MAX_HEAD, MAX_QUEUED, SEND_TIMEOUT,
};
use super::outgoing::{Outgoing, ToSend};
use super::request::{Bad, Request, parse};
use super::response::{Answer, Body, Piece};
use incoming::Incoming;

mod incoming;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: what was sent arrives.
    Close,
    /// So that the client cannot take for whole what is not.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request may come, or some of it is here.
    Reading,
    /// It is here, and waits to be taken or answered.
    Asked,
    /// The answer is being sent.
    Sending,
    /// All is sent, and what the client still sends is read for a while: else it might not see the answer.
    Lingering,
    Over(End),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Connection {
    state: State,
    /// What came and is not read yet.
    // Invariant: at most a head and what is read at once, as long as the owner reads only when told to.
    input: Vec<u8>,
    /// To be taken.
    request: Option<Result<Request, Bad>>,
    /// Of the request that is being answered.
    is_head: bool,
    is_modern: bool,
    keeps_alive: bool,
    /// The client sends no more.
    has_ended: bool,
    expects_continue: bool,
    incoming: Incoming,
    /// The body is wanted.
    receives: bool,
    outgoing: Outgoing,
    /// More of the answer is told later; in chunks where it `chunks`.
    streams: bool,
    chunks: bool,
    /// When this state began, or when something was last sent or came in it.
    since: Time,
}

impl Connection {
    /// A client that has just connected.
    pub fn new(now: Time) -> Connection {
        Connection {
            state: State::Reading,
            input: Vec::new(),
            request: None,
            is_head: false,
            is_modern: true,
            keeps_alive: true,
            has_ended: false,
            expects_continue: false,
            incoming: Incoming::None,
            receives: false,
            outgoing: Outgoing::default(),
            streams: false,
            chunks: false,
            since: now,
        }
    }

    /// Whether to read from the client: what it sends is of use now.
    pub fn wants_bytes(&self) -> bool {
        match self.state {
            // Else that there is nothing more to read would be told again and again.
            _ if self.has_ended => false,
            State::Reading | State::Lingering => true,
            State::Asked => !self.receives || self.incoming.has_room(),
            // To see that it has gone; requests that come early are few.
            State::Sending => self.input.len() < MAX_HEAD,
            State::Over(_) => false,
        }
    }

    /// Takes in what the client sent.
    pub fn on_bytes(&mut self, now: Time, bytes: &[u8]) {
        match self.state {
            State::Over(_) => {}
            State::Lingering => {
                if self.incoming.discard(bytes.len() as u64) > MAX_DISCARDED {
                    self.end(End::Close);
                }
            }
            State::Reading => {
                if self.input.is_empty() {
                    self.since = now;
                }
                self.input.extend_from_slice(bytes);
                self.read_head(now);
            }
            State::Asked if self.receives => {
                self.since = now;
                self.input.extend_from_slice(bytes);
                self.read_body();
            }
            State::Asked | State::Sending => {
                // A body that nobody wants yet waits in the socket.
                if self.input.len() < 2 * MAX_HEAD {
                    self.input.extend_from_slice(bytes);
                } else {
                    self.keeps_alive = false;
                }
            }
        }
    }

    /// The client sends no more. One that waits for an answer is taken to be gone.
    pub fn on_end(&mut self) {
        self.has_ended = true;
        match self.state {
            State::Reading | State::Lingering => self.end(End::Close),
            State::Asked => self.end(End::Reset),
            State::Sending if self.streams => self.end(End::Reset),
            // Requests that came before are answered.
            State::Sending | State::Over(_) => {}
        }
    }

    fn read_head(&mut self, now: Time) {
        debug_assert_eq!(self.state, State::Reading);
        match parse(&self.input) {
            Ok(None) => {}
            Ok(Some((request, length))) => {
                self.input.drain(..length);
                self.is_head = request.is_head();
                self.is_modern = request.is_modern;
                self.keeps_alive = request.keeps_alive;
                self.expects_continue = request.expects_continue;
                self.incoming = Incoming::of(&request);
                self.request = Some(Ok(request));
                self.state = State::Asked;
                self.since = now;
            }
            Err(bad) => self.on_bad(now, bad),
        }
    }

    fn on_bad(&mut self, now: Time, bad: Bad) {
        self.input = Vec::new();
        (self.is_head, self.is_modern, self.keeps_alive) = (false, true, false);
        self.incoming = Incoming::Unknown;
        self.request = Some(Err(bad));
        self.state = State::Asked;
        self.since = now;
    }

    /// What is asked for, once. It has to be answered.
    pub fn take_request(&mut self) -> Option<Result<Request, Bad>> {
        self.request.take()
    }

    /// Whether a request waits to be taken.
    pub fn has_request(&self) -> bool {
        self.request.is_some()
    }

    /// The body of the request is wanted: tells the client so where it waits for that.
    pub fn accept_body(&mut self, now: Time) {
        if self.state != State::Asked || self.receives {
            return;
        }
        self.receives = true;
        self.since = now;
        if self.expects_continue && self.input.is_empty() {
            self.outgoing.push(Piece::Bytes(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
        }
        self.read_body();
    }

    fn read_body(&mut self) {
        let taken = self.incoming.take_in(&self.input);
        self.input.drain(..taken);
    }

    /// Whether a body is wanted, and all of it was not here when that was last looked at.
    pub fn is_receiving(&self) -> bool {
        self.state == State::Asked && self.receives
    }

    /// What came of the body that is wanted, and was not taken before. Empty where nothing did.
    pub fn take_body(&mut self) -> Vec<u8> {
        let body = self.incoming.take();
        if self.receives {
            self.read_body();
        }
        body
    }

    /// Whether all of the body has come and was taken.
    pub fn is_body_over(&self) -> bool {
        self.incoming.is_over()
    }

    /// Whether the body cannot be read.
    pub fn is_body_broken(&self) -> bool {
        self.incoming.is_broken()
    }

    /// Sends an answer. `date` is the time of day as HTTP spells it.
    pub fn answer(&mut self, now: Time, date: &str, answer: Answer) {
        if self.state != State::Asked {
            return;
        }
        self.keeps_alive &= self.incoming.is_over();
        let length = answer.body.len();
        let mut more = format!("Date: {date}\r\n");
        self.streams = length.is_none() && !self.is_head;
        self.chunks = length.is_none() && self.is_modern;
        match (&answer.body, length) {
            (Body::None, _) => {}
            (_, Some(length)) => more.push_str(&format!("Content-Length: {length}\r\n")),
            (_, None) if self.chunks => more.push_str("Transfer-Encoding: chunked\r\n"),
            // It ends where the connection does.
            (_, None) => self.keeps_alive = false,
        }
        match (self.keeps_alive, self.is_modern) {
            (false, _) => more.push_str("Connection: close\r\n"),
            (true, false) => more.push_str("Connection: keep-alive\r\n"),
            (true, true) => {}
        }
        self.outgoing.push(Piece::Bytes(answer.head.encode(&more)));
        if let Body::Pieces(pieces) = answer.body
            && !self.is_head
        {
            pieces.into_iter().for_each(|piece| self.outgoing.push(piece));
        }
        self.receives = false;
        self.state = State::Sending;
        self.since = now;
    }

    /// More of an answer whose length is not known.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state != State::Sending || !self.streams || bytes.is_empty() {
            return;
        }
        if self.chunks {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend_from_slice(bytes);
            chunk.extend_from_slice(b"\r\n");
            self.outgoing.push(Piece::Bytes(chunk));
        } else {
            self.outgoing.push(Piece::Bytes(bytes.to_vec()));
        }
    }

    /// Whether [`Connection::push`] may be given more: else the client reads too slowly.
    pub fn has_room(&self) -> bool {
        self.outgoing.in_memory() < MAX_QUEUED
    }

    /// An answer whose length was not known ends here.
    pub fn finish(&mut self, now: Time) {
        if self.state == State::Sending && self.streams {
            self.streams = false;
            if self.chunks {
                self.outgoing.push(Piece::Bytes(b"0\r\n\r\n".to_vec()));
            }
            self.after_sending(now);
        }
    }

    /// The rest of the answer cannot be had: nobody may take what was sent for all of it.
    pub fn fail(&mut self) {
        self.end(End::Reset);
    }

    /// What to send next, if anything is there to be sent.
    pub fn to_send(&self) -> Option<ToSend<'_>> {
        match self.state {
            State::Asked | State::Sending => self.outgoing.next(),
            State::Reading | State::Lingering | State::Over(_) => None,
        }
    }

    /// The content that is still to be sent, in order.
    pub fn content_to_send(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.outgoing.content()
    }

    /// So many bytes of what was [to be sent](Connection::to_send) were sent.
    pub fn on_sent(&mut self, now: Time, count: u64) {
        if count == 0 {
            return;
        }
        self.since = now;
        self.outgoing.on_sent(count);
        self.after_sending(now);
    }

    /// The client waits for content, and not the other way round: its time does not run.
    pub fn on_waiting(&mut self, now: Time) {
        if self.state == State::Sending {
            self.since = now;
        }
    }

    fn after_sending(&mut self, now: Time) {
        if self.state != State::Sending || self.streams || !self.outgoing.is_empty() {
            return;
        }
        self.since = now;
        if self.keeps_alive && !(self.has_ended && self.input.is_empty()) {
            self.state = State::Reading;
            self.incoming = Incoming::None;
            if !self.input.is_empty() {
                self.read_head(now);
            }
            if self.has_ended && self.state == State::Reading {
                self.end(End::Close);
            }
        } else if self.incoming.is_over() {
            self.end(End::Close);
        } else {
            self.input = Vec::new();
            self.state = State::Lingering;
        }
    }

    fn end(&mut self, end: End) {
        self.state = State::Over(end);
        self.outgoing.clear();
        self.input = Vec::new();
        self.request = None;
    }

    /// Whether all is sent that will be: the client is to be told that nothing more comes.
    pub fn is_lingering(&self) -> bool {
        self.state == State::Lingering
    }

    /// Whether it is between requests, with nothing of the next one here.
    pub fn is_idle(&self) -> bool {
        self.state == State::Reading && self.input.is_empty()
    }

    /// Whether an answer is being sent.
    pub fn is_sending(&self) -> bool {
        self.state == State::Sending
    }

    /// How it is to be ended, if it is.
    pub fn is_over(&self) -> Option<End> {
        match self.state {
            State::Over(end) => Some(end),
            _ => None,
        }
    }

    /// When [`Connection::handle_timeout`] has something to do.
    pub fn timeout_at(&self) -> Time {
        match self.state {
            State::Reading if self.input.is_empty() => self.since + IDLE_TIMEOUT,
            State::Reading => self.since + HEAD_TIMEOUT,
            State::Asked if self.receives => self.since + BODY_TIMEOUT,
            // An answer may be long in coming, and its owner knows how long.
            State::Asked => Time::NEVER,
            // A live answer may have nothing to say for long.
            State::Sending if self.streams && self.outgoing.is_empty() => Time::NEVER,
            State::Sending => self.since + SEND_TIMEOUT,
            State::Lingering => self.since + LINGER,
            State::Over(_) => Time::NEVER,
        }
    }

    /// Ends what took too long.
    pub fn handle_timeout(&mut self, now: Time) {
        if now < self.timeout_at() {
            return;
        }
        match self.state {
            State::Reading if self.input.is_empty() => self.end(End::Close),
            State::Reading => self.on_bad(now, Bad { status: 408, why: "the request took too long" }),
            State::Asked | State::Sending => self.end(End::Reset),
            State::Lingering => self.end(End::Close),
            State::Over(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
