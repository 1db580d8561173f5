//! One socket's conversations, by three machines: the server answers what others ask, the client downloads what is wanted, and the
//! discovery finds peers that may have it.
//!
//! # How to drive it
//!
//! A node has no clock and no socket. Call [`Node::handle_datagram`] for each datagram, [`Node::handle_timeout`] at the
//! time that the last [`Output::Timeout`] named, and the other methods as needed. After every such call, take
//! [`Node::poll_output`] until it gives an [`Output::Timeout`]; debug builds check that this was done. `now` must never
//! go back.
//!
//! # How a datagram walks
//!
//! It is decoded and classified once, as an `Inbound`: what kinds of messages it holds, what its cookies show of its source, and
//! how much of it is believed. Then one machine after another takes what is its own: the client content and refusals, the discovery
//! names and answers to queries, the server requests. They share only what `Shared` holds, and none sees the fields of another:
//! where one needs something of another, `Node` passes a value.

mod api;
mod buckets;
mod budget;
mod by_address;
mod client;
mod contacts;
mod discovery;
mod event;
mod inbound;
mod lengths;
mod outbox;
mod probes;
mod server;
mod shared;
mod sizes;
mod stream_api;
mod stream_event;
mod streams;
#[cfg(test)]
mod testing;

use std::net::SocketAddr;
use std::slice::Chunks;
use std::time::Duration;

pub use self::budget::{
    MAX_UNVALIDATED_WORK, UNVALIDATED_ANSWERS_AT_ONCE, UNVALIDATED_ANSWERS_PER_SECOND, WORK_PER_SECOND,
    WORK_PER_SECOND_OF_HOST, WORK_PER_SECOND_OF_LONE_HOST,
};
pub use self::contacts::{Acquaintance, MAX_CONTACTS, MAX_CONTACTS_OF_HOST};
pub use self::discovery::MAX_NEIGHBOURS;
pub use self::event::{Answer, Event, ListEnd, Query};
pub use self::lengths::{AMPLIFICATION, ORDINARY_DATAGRAM};
pub use self::outbox::{Counters, Transmit};
pub use self::server::{
    ECHO_FACTOR, ECHO_LIFETIME, ECHO_RATE, ECHO_RATE_OF_HOST, MAX_LIST, MAX_PEERS_TOLD, turns,
};
pub use self::shared::Config;
pub use self::sizes::Sizes;
pub use self::stream_event::{Start, StreamEvent, StreamOptions, StreamProgress};

use self::client::{Client, RawRun};
use self::contacts::Contact;
use self::discovery::{Discovery, Giver, is_own_lan_question};
use self::inbound::{Belief, Inbound, Returned};
use self::server::{Context, Server};
use self::shared::Shared;
use self::streams::Streams;
use crate::datagram::{self, raw};
use crate::download::DownloadEvent;
use crate::message::{Message, RawBlock};
use crate::store::Store;
use crate::time::Time;

/// What a node wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// Take note.
    Event(Event),
    /// Nothing more now: call [`Node::handle_timeout`] at this time if nothing else happened.
    Timeout(Time),
}

/// See the [module](self).
pub struct Node {
    shared: Shared,
    server: Server,
    client: Client,
    discovery: Discovery,
    streams: Streams,
    /// The bytes of a block that came.
    decoded: Vec<u8>,
    now: Time,
    /// Whether all outputs were taken since the last call.
    drained: bool,
}

impl Node {
    /// A node that knows nobody.
    pub fn new(config: Config) -> Node {
        Node {
            server: Server::new(&config),
            client: Client::default(),
            discovery: Discovery::default(),
            streams: Streams::default(),
            shared: Shared::new(config),
            decoded: Vec::new(),
            now: Time::ZERO,
            drained: true,
        }
    }

    /// Takes in a datagram.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], store: &mut dyn Store) {
        self.handle_datagrams(now, from, bytes, bytes.len(), store);
    }

    /// Takes in datagrams that came together from one address: those in `bytes` of `segment` bytes each, the last of which
    /// may be shorter.
    pub fn handle_datagrams(
        &mut self,
        now: Time,
        from: SocketAddr,
        bytes: &[u8],
        segment: usize,
        store: &mut dyn Store,
    ) {
        self.handle_waiting_datagrams(now, Duration::ZERO, from, bytes, segment, store);
    }

    /// The same for datagrams that came a while ago: the system kept them for so long until they were read. This is no part of
    /// the path that they took.
    pub fn handle_waiting_datagrams(
        &mut self,
        now: Time,
        waited: Duration,
        from: SocketAddr,
        bytes: &[u8],
        segment: usize,
        store: &mut dyn Store,
    ) {
        self.enter(now);
        if bytes.is_empty() {
            self.take_datagram(now, waited, from, bytes, store);
        }
        let mut datagrams = bytes.chunks(segment.max(1));
        let mut next = datagrams.next();
        while let Some(datagram) = next {
            match raw::read(datagram) {
                Some(first) => {
                    self.shared.outbox.on_received(datagram.len());
                    next = self.take_raw(now, waited, from, first, &mut datagrams, store);
                }
                None => {
                    self.take_datagram(now, waited, from, datagram, store);
                    next = datagrams.next();
                }
            }
        }
        self.serve_turns(now, store);
        self.client.on_heard(&mut self.shared, now, from, store);
    }

    /// Takes in raw content, and what goes on with it in the datagrams that follow. Returns the first that does not.
    fn take_raw<'a>(
        &mut self,
        now: Time,
        waited: Duration,
        from: SocketAddr,
        first: RawBlock<'a>,
        datagrams: &mut Chunks<'a, u8>,
        store: &mut dyn Store,
    ) -> Option<&'a [u8]> {
        let RawBlock { handle, offset, eof, data, .. } = first;
        let mut pieces = Vec::with_capacity(1 + datagrams.len());
        pieces.push(data);
        let mut end = offset + data.len() as u64;
        let rest = loop {
            let Some(datagram) = datagrams.next() else { break None };
            match raw::read(datagram) {
                Some(block) if (block.handle, block.offset, block.eof) == (handle, end, eof) => {
                    self.shared.outbox.on_received(datagram.len());
                    pieces.push(block.data);
                    end += block.data.len() as u64;
                }
                _ => break Some(datagram),
            }
        };
        self.take_raw_run(now, from, &RawRun { handle, offset, eof, waited, pieces: &pieces }, store);
        rest
    }

    /// Whoever gave out the handle takes what came under it. Returns whether anybody did.
    fn take_raw_run(&mut self, now: Time, from: SocketAddr, run: &RawRun<'_>, store: &mut dyn Store) -> bool {
        if self.streams.has_handle(from, run.handle) {
            self.streams.take_raw(&mut self.shared, now, from, run, store);
            return true;
        }
        self.client.take_raw(&mut self.shared, now, from, run, store)
    }

    fn take_datagram(
        &mut self,
        now: Time,
        waited: Duration,
        from: SocketAddr,
        bytes: &[u8],
        store: &mut dyn Store,
    ) {
        self.shared.outbox.on_received(bytes.len());
        let mut room = std::mem::take(&mut self.decoded);
        match datagram::decode_into(bytes, &mut room) {
            Ok(messages) => {
                let mut shows_sender = false;
                for message in &messages {
                    if let Message::BytesFollow(RawBlock { handle, offset, eof, data, .. }) = *message {
                        let run = RawRun { handle, offset, eof, waited, pieces: &[data] };
                        shows_sender = self.take_raw_run(now, from, &run, store);
                    }
                }
                // Alone it comes without a cookie, which does not mean that its sender has none of ours.
                if !shows_sender || messages.len() > 1 {
                    let inbound = Inbound { waited, ..Inbound::new(from, bytes.len(), &messages) };
                    self.walk(now, inbound, store);
                }
            }
            Err(error) => {
                self.shared.outbox.on_unreadable();
                log::debug!("{from}: {error}");
            }
        }
        self.decoded = room;
    }

    /// Takes a datagram through the machines, one after another.
    fn walk(&mut self, now: Time, mut inbound: Inbound<'_>, store: &mut dyn Store) {
        let from = inbound.from;
        if self.shared.is_own_voice(now, &inbound) {
            if self.shared.contacts.on_own_voice(from) {
                self.client.on_silent(now, from);
                self.discovery.give_up(&mut self.shared, from);
            }
            return;
        }
        self.validate(now, &mut inbound);
        self.shared.note_source(&mut inbound, || self.discovery.queries(from) || self.streams.asks(from));
        match inbound.belief {
            Belief::Nothing => {}
            Belief::Queries => {
                if inbound.is_first_cookie || inbound.kinds.content {
                    self.discovery.ask_again(now, from);
                    self.client.probe_again(now, from);
                    self.streams.ask_again(now, from);
                }
            }
            Belief::Everything => {
                self.client.take(&mut self.shared, now, &inbound, store);
                let names_others = inbound.kinds.names && self.take_names(now, &inbound);
                if inbound.is_first_cookie {
                    // What it held back until it knew us can be asked for again at once; or when those were asked that it names.
                    self.discovery.ask_again(now, from);
                    self.client.probe_again(now, from);
                    self.streams.ask_again(now, from);
                    if names_others {
                        self.client.look_again_later(now, from);
                    }
                }
            }
        }
        if inbound.belief != Belief::Nothing {
            self.discovery.take_query_answers(&mut self.shared, now, &inbound);
        }
        self.streams.take(&mut self.shared, now, &inbound, store);
        let (server, mut context) = self.server(now, store);
        for id in server.take(&mut context, &inbound) {
            self.client.on_leecher(&mut self.shared, now, from, &id);
        }
    }

    /// Finds out what the cookies in a datagram show of its source, and notes it.
    fn validate(&mut self, now: Time, inbound: &mut Inbound<'_>) {
        let from = inbound.from;
        let known = self.shared.contacts.get(from);
        let was_only_suggested = known.is_some_and(Contact::is_only_suggested);
        let was_validated = known.is_some_and(Contact::is_validated);
        inbound.validation = self.shared.read_validation(now, inbound);
        if inbound.is_validated() {
            self.shared.contacts.forget_gone(now, |address| self.discovery.queries(address));
            self.shared.contacts.on_always_returned(now, from, inbound.validation);
        } else {
            self.shared.contacts.on_unvalidated(now, from);
        }
        for returned in self.shared.read_returned(now, inbound) {
            match returned {
                // Another may have asked us in its name; then that it answers shows nothing about it.
                Returned::Plain
                    if self.client.asks(from) || self.discovery.queries(from) || self.streams.asks(from) =>
                {
                    self.shared.contacts.on_returned(now, from, inbound.validation);
                    inbound.answers_ours = true;
                }
                Returned::Plain => {}
                Returned::Challenge(text, request) => {
                    let (shared, request) = (&mut self.shared, &text[request..]);
                    if let Some((id, offset)) = self.server.take_echo(shared, now, inbound, &text, request) {
                        self.streams.note_echo(id, offset);
                    }
                }
                Returned::Other(cookie) => {
                    self.discovery.lan_mut().take_answer(&mut self.shared, now, from, &cookie);
                }
            }
        }
        if was_validated {
            return;
        }
        let contact = self.shared.contacts.get(from);
        if contact.is_some_and(Contact::is_validated) {
            self.shared.probes.forget(from);
            self.streams.ask_again(now, from);
        }
        if was_only_suggested && !contact.is_some_and(Contact::is_only_suggested) {
            self.client.probe_again(now, from);
        }
    }

    /// Has the discovery take in which peers a datagram names. Returns whether any of them is news.
    fn take_names(&mut self, now: Time, inbound: &Inbound<'_>) -> bool {
        let giver = self.giver(inbound.from);
        let is_news = self.discovery.take(&self.shared, self.client.downloads(), now, giver, inbound);
        self.try_suggested(now);
        is_news
    }

    fn giver(&self, address: SocketAddr) -> Giver {
        let measured = || self.shared.contacts.get(address).and_then(|contact| contact.round_trip);
        Giver { address, round_trip: self.client.round_trip(address).or_else(measured) }
    }

    /// Has the client ask the suggested address whose time has come.
    fn try_suggested(&mut self, now: Time) {
        if let Some(found) = self.discovery.next_suggested(self.client.downloads(), now) {
            self.client.open_source_now(&mut self.shared, now, found.job, found.address, found.suggested);
            self.shared.contacts.on_named(found.address, found.by);
        }
    }

    /// Has the client ask the known peers whose turn it is.
    fn ask_known(&mut self, now: Time) {
        while let Some(found) = self.discovery.next_known(self.client.downloads(), now) {
            self.client.open_source(&mut self.shared, now, found.job, found.address, found.suggested);
        }
    }

    /// The server, and what it is given with a call.
    fn server<'a>(&'a mut self, now: Time, store: &'a mut dyn Store) -> (&'a mut Server, Context<'a>) {
        let downloads = self.client.downloads();
        (&mut self.server, Context { now, shared: &mut self.shared, downloads, store })
    }

    fn serve_turns(&mut self, now: Time, store: &mut dyn Store) {
        let (server, mut context) = self.server(now, store);
        server.serve_turns(&mut context);
    }

    fn tell_watchers(&mut self, now: Time, store: &mut dyn Store) {
        let (server, mut context) = self.server(now, store);
        server.tell_watchers(&mut context);
    }

    /// Takes in a datagram that was sent to everybody on the link: a broadcast or a multicast. It is answered if it comes from
    /// the link itself. One from elsewhere was sent with a forged address, or to have all of us answer at once.
    pub fn handle_group_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        bytes: &[u8],
        store: &mut dyn Store,
    ) {
        self.enter(now);
        self.shared.outbox.on_received(bytes.len());
        if !self.shared.links.as_ref().is_some_and(|links| links.is_on_link(from)) {
            log::debug!("{from}: a question to all that is not from here");
            return;
        }
        match datagram::decode(bytes) {
            Ok(messages) if is_own_lan_question(&mut self.shared, now, &messages) => {}
            Ok(messages) => {
                let inbound = Inbound::new(from, bytes.len(), &messages);
                let (server, mut context) = self.server(now, store);
                server.answer_on_lan(&mut context, &inbound);
                self.discovery.greet(&mut self.shared, now, &inbound);
            }
            Err(error) => {
                self.shared.outbox.on_unreadable();
                log::debug!("{from}: {error}");
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time, store: &mut dyn Store) {
        self.enter(now);
        let due = self.client.take_due(now);
        self.client.handle_timeout(now, store);
        self.discovery.send_queries(&mut self.shared, now);
        self.try_suggested(now);
        self.ask_known(now);
        self.discovery.lan_mut().ask(&mut self.shared, self.client.downloads(), now);
        self.streams.handle_timeout(&mut self.shared, now, store);
        self.server.answer_echoes(&self.shared, now);
        self.tell_watchers(now, store);
        self.serve_turns(now, store);
        self.client.look_at_due(&mut self.shared, now, due, store);
    }

    /// The next thing to do. [`Output::Timeout`] says that there is nothing more.
    pub fn poll_output(&mut self) -> Output {
        if let Some(transmit) = self.shared.outbox.poll_transmit() {
            return Output::Transmit(transmit);
        }
        if let Some(event) = self.poll_event() {
            return Output::Event(event);
        }
        self.drained = true;
        Output::Timeout(self.next_timeout())
    }

    fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.shared.outbox.poll_event() {
            return Some(event);
        }
        if let Some(event) = self.streams.poll_event() {
            return Some(event);
        }
        let event = self.client.poll_event(&mut self.shared, self.now)?;
        if let Event::Download(job, DownloadEvent::Complete(_) | DownloadEvent::Failed(_)) = event {
            self.discovery.forget(job);
        }
        Some(event)
    }

    fn next_timeout(&self) -> Time {
        let discovery = self.discovery.next_at(&self.shared);
        let streams = self.streams.next_at(self.now);
        discovery.min(self.server.next_at(self.now)).min(self.client.next_at(self.now)).min(streams)
    }

    /// Begins a call: see the module's contract.
    fn enter(&mut self, now: Time) {
        debug_assert!(now >= self.now, "time went back from {:?} to {now:?}", self.now);
        debug_assert!(self.drained, "poll_output was not drained after the last call");
        self.drained = false;
        self.now = now;
    }
}
