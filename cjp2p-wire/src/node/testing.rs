//! What the tests of a node and of its machines share: a machine against a scripted other side.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::inbound::{Inbound, Returned};
use super::shared::Shared;
use super::{Config, Event, Node, Output, Transmit};
use crate::content_id::ContentId;
use crate::datagram;
use crate::store::{Asker, JobId, Library, Read, Sink};
use crate::time::Time;
use crate::tree::{Run, Verified};

/// A node without limits; it answers others or does not.
pub(super) fn config(seed: u8, answers: bool) -> Config {
    Config {
        secret: [seed; 32],
        seed: seed.into(),
        upload_rate: None,
        upload_rate_per_host: None,
        answers,
        lists: answers,
        raw: true,
        receive_buffer: 1 << 20,
    }
}

/// What leaves, what is reported, and when the node wants to be called again.
pub(super) fn drain(node: &mut Node) -> (Vec<Transmit>, Vec<Event>, Time) {
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    loop {
        match node.poll_output() {
            Output::Transmit(transmit) => sent.push(transmit),
            Output::Event(event) => events.push(event),
            Output::Timeout(at) => return (sent, events, at),
        }
    }
}

/// A port of a host.
pub(super) fn port_of(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

/// Shares one content, and takes whatever is downloaded.
#[derive(Default)]
pub(super) struct OneFile {
    pub(super) shared: Option<(ContentId, Vec<u8>)>,
    pub(super) written: Vec<u8>,
}

impl Library for OneFile {
    fn read(&mut self, _: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some((_, bytes)) = self.shared.as_ref().filter(|(shared, _)| shared == id) else {
            return Read::Absent;
        };
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        out.extend(rest.iter().take(length));
        Read::Found { eof: Some(bytes.len() as u64) }
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        self.shared.iter().map(|(id, bytes)| (id.clone(), bytes.len() as u64)).collect()
    }
}

impl Sink for OneFile {
    fn write(&mut self, _: JobId, block: Verified<'_>) -> io::Result<()> {
        self.written.extend(block.bytes());
        Ok(())
    }

    fn keep_run(&mut self, _: JobId, _: u64, _: Run, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn room(&self, _: JobId) -> u64 {
        u64::MAX
    }
}

/// One machine, and what it would share with the others: `at(ms).receive(..).expect_sent(..).expect_nothing()`.
pub(super) struct Script<M> {
    pub(super) machine: M,
    pub(super) shared: Shared,
    pub(super) store: OneFile,
    pub(super) now: Time,
    /// How long what comes had been here when it is read.
    pub(super) waited: Duration,
    take: fn(&mut Script<M>, &Inbound<'_>),
}

impl<M> Script<M> {
    /// `take`: what the machine does with a datagram.
    pub(super) fn new(config: Config, machine: M, take: fn(&mut Script<M>, &Inbound<'_>)) -> Script<M> {
        let (shared, store) = (Shared::new(config), OneFile::default());
        Script { machine, shared, store, now: Time::ZERO, waited: Duration::ZERO, take }
    }

    /// From now on it is this time.
    pub(super) fn at(&mut self, ms: u64) -> &mut Script<M> {
        self.now = Time::from_millis(ms);
        self
    }

    /// Has the machine do something.
    pub(super) fn call(&mut self, does: impl FnOnce(&mut Script<M>)) -> &mut Script<M> {
        does(self);
        self
    }

    /// These messages come from an address, and are classified as the node does it.
    pub(super) fn receive(&mut self, from: SocketAddr, messages: &[&str]) -> &mut Script<M> {
        let text = format!("[{}]", messages.join(","));
        let messages = datagram::decode(text.as_bytes()).expect("it is an array");
        let mut inbound = Inbound { waited: self.waited, ..Inbound::new(from, text.len(), &messages) };
        inbound.validation = self.shared.read_validation(self.now, &inbound);
        if inbound.is_validated() {
            self.shared.contacts.on_always_returned(self.now, from, inbound.validation);
        } else {
            self.shared.contacts.on_unvalidated(self.now, from);
        }
        for returned in self.shared.read_returned(self.now, &inbound) {
            if matches!(returned, Returned::Plain) {
                self.shared.contacts.on_returned(self.now, from, inbound.validation);
                inbound.answers_ours = true;
            }
        }
        self.shared.note_source(&mut inbound, || false);
        (self.take)(self, &inbound);
        self
    }

    /// The message by which an address returns our cookie: `AlwaysReturned`, or once, `ReturnedMessage`.
    pub(super) fn cookie(&self, message: &str, of: SocketAddr) -> String {
        format!(r#"{{"{message}":{{"cookie":"{}"}}}}"#, self.shared.mint.mint(self.now, of))
    }

    /// The next datagram goes to this address, and holds each of these texts.
    #[track_caller]
    pub(super) fn expect_sent(&mut self, to: SocketAddr, texts: &[&str]) -> &mut Script<M> {
        let sent = self.shared.outbox.poll_transmit().expect("a datagram is sent");
        let text = String::from_utf8_lossy(&sent.bytes).into_owned();
        assert_eq!(sent.to, to, "{text}");
        for expected in texts {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        self
    }

    /// This is reported next.
    #[track_caller]
    pub(super) fn expect_event(&mut self, is_expected: impl Fn(&Event) -> bool) -> &mut Script<M> {
        let event = self.shared.outbox.poll_event();
        assert!(event.as_ref().is_some_and(is_expected), "{event:?}");
        self
    }

    /// Nothing more is sent.
    #[track_caller]
    pub(super) fn expect_nothing(&mut self) -> &mut Script<M> {
        let sent = self.shared.outbox.poll_transmit();
        assert!(sent.is_none(), "{sent:?}");
        self
    }
}
