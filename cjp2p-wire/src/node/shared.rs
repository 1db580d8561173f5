//! What the server, the client and the discovery of a node share: its secrets, its contacts, what others may cost it, and what
//! leaves.

use std::net::SocketAddr;

use super::budget::Budget;
use super::contacts::Contacts;
use super::lengths::MAX_BLOCKS;
use super::outbox::Outbox;
use super::probes::Probes;
use crate::content_id::Hash;
use crate::datagram::Encoder;
use crate::message::BlocksOffer;
use crate::peers::cookie::CookieMint;
use crate::peers::links::Links;
use crate::time::Time;

/// What a node is to be like.
#[derive(Clone, Debug)]
pub struct Config {
    /// Makes our cookies. No other may know it; a new one at each start is fine.
    pub secret: Hash,
    /// Where all random choices come from.
    pub seed: u64,
    /// Bytes of datagrams with content that may leave in a second.
    pub upload_rate: Option<u64>,
    /// The same for those that go to one [host](crate::peers::address::host_of).
    pub upload_rate_per_host: Option<u64>,
    /// Whether to answer requests for content and peers at all.
    pub answers: bool,
    /// Whether to tell which content is shared.
    pub lists: bool,
    /// Whether to send and ask for raw content where both sides can: bytes after the JSON of a datagram.
    pub raw: bool,
    /// Bytes that may be on their way to us in all: what the socket's receive buffer was granted.
    pub receive_buffer: u64,
}

/// See the [module](self).
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) mint: CookieMint,
    pub(super) random: fastrand::Rng,
    pub(super) contacts: Contacts,
    pub(super) probes: Probes,
    /// Which networks are attached; `None` where no question is asked or answered on the link.
    pub(super) links: Option<Links>,
    pub(super) budget: Budget,
    pub(super) outbox: Outbox,
}

impl Shared {
    pub(super) fn new(config: Config) -> Shared {
        Shared {
            mint: CookieMint::new(config.secret),
            random: fastrand::Rng::with_seed(config.seed),
            contacts: Contacts::default(),
            probes: Probes::default(),
            links: None,
            budget: Budget::new(config.upload_rate, config.secret),
            outbox: Outbox::default(),
            config,
        }
    }

    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.outbox.send(to, bytes);
    }

    /// Whether we listen at this address ourselves, as far as that is known.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        self.links.as_ref().is_some_and(|links| links.is_own(address))
    }

    /// Writes what rides beside every message to a peer, in a datagram that is sent: its cookie, and a request to return ours
    /// if it does not yet.
    pub(super) fn write_cookies(
        &mut self,
        now: Time,
        to: SocketAddr,
        ask_for_ours: bool,
        encoder: &mut Encoder,
    ) {
        if self.write_cookies_unsent(now, to, ask_for_ours, encoder) {
            self.contacts.on_asked(to);
        }
    }

    /// The same in a datagram that may not be sent. Returns whether it asks for the return of our cookie: if it is sent after
    /// all, that must be noted.
    pub(super) fn write_cookies_unsent(
        &self,
        now: Time,
        to: SocketAddr,
        ask_for_ours: bool,
        encoder: &mut Encoder,
    ) -> bool {
        let contact = self.contacts.get(to);
        if let Some(cookie) = contact.and_then(|contact| contact.cookies.theirs.as_ref()) {
            encoder.value("AlwaysReturned", cookie);
        }
        if !ask_for_ours || contact.is_some_and(|c| c.has_good_cookie(now) || c.ignores_cookies()) {
            return false;
        }
        encoder.cookie("PleaseAlwaysReturnThisMessage", &self.mint.mint(now, to));
        if contact.is_some_and(|contact| contact.cookies.theirs.is_some()) {
            encoder.can_send_blocks(BlocksOffer { most: MAX_BLOCKS, raw: self.config.raw });
        }
        true
    }

    /// The same in a datagram that answers a validated source: it is asked to return our cookie only if it knows of such, and has not
    /// the present one.
    pub(super) fn write_cookies_beside_answer(&mut self, now: Time, to: SocketAddr, encoder: &mut Encoder) {
        self.write_cookies(now, to, self.contacts.wants_cookie_from(to), encoder);
    }
}
