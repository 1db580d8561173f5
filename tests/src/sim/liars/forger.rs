//! Hosts that speak in the name of others, and hosts with many ports.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{self, Encoder, Padding};
use cjp2p_wire::message::{ContentRequest, Message};
use cjp2p_wire::time::Time;

use super::super::host::{HostBehaviour, Outbox};
use super::odd;

/// Between two forged datagrams.
const PAUSE: Duration = Duration::from_millis(3);

/// Sends datagrams from addresses that are not its own: of victims, of honest peers, and of nobody. What it was told to
/// return itself, and what others are told, it uses as cookies of those.
pub struct Forger {
    /// Whom it speaks to.
    targets: Vec<SocketAddr>,
    /// In whose names.
    names: Vec<SocketAddr>,
    ids: Vec<String>,
    /// How long the content is that the ids name.
    length: u64,
    /// Cookies that it got hold of, as JSON.
    stolen: Vec<String>,
    left: u32,
    next: Time,
    forged: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    random: fastrand::Rng,
}

impl Forger {
    /// Sends `count` datagrams, from `names` and other addresses, to `targets`, about these ids, of content of `length` bytes.
    pub fn new(
        targets: &[SocketAddr],
        names: &[SocketAddr],
        ids: &[ContentId],
        length: u64,
        count: u32,
        seed: u64,
    ) -> Forger {
        Forger {
            targets: targets.to_vec(),
            names: names.to_vec(),
            ids: ids.iter().map(ContentId::to_string).collect(),
            length,
            stolen: vec![r#"{"cookie":"AAAAAAAAAAAAAAAAAAAAAA"}"#.to_owned()],
            left: count,
            next: Time::ZERO,
            forged: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn says(&mut self) -> Vec<u8> {
        let id = self.ids[self.random.usize(0..self.ids.len())].clone();
        let random = &mut self.random;
        let cookie = self.stolen[random.usize(0..self.stolen.len())].clone();
        let mut encoder = Encoder::new();
        match random.u8(0..10) {
            0 => return odd::question(random, &self.ids),
            1 => encoder.value("AlwaysReturned", &cookie),
            2 => encoder.value("ReturnedMessage", &cookie),
            3 => encoder.value("PleaseAlwaysReturnThisMessage", &cookie),
            _ => {}
        }
        let offset = if random.bool() { 0 } else { random.u64(0..self.length.max(1)) };
        match random.u8(0..6) {
            0 => encoder.request(&ContentRequest::plain(id, offset, 40_960)),
            1 => encoder.referral(&id, &self.names),
            2 => encoder.peers(&self.names),
            3 => encoder.bare("PleaseSendPeers"),
            _ => {
                let eof = if random.bool() { self.length } else { self.length / 2 };
                encoder.content(&id, offset, &[9; 900], Some(eof), Padding::Padded);
            }
        }
        encoder.finish(0)
    }
}

impl HostBehaviour for Forger {
    fn handle_datagram(&mut self, _: Time, _: SocketAddr, bytes: &[u8], _: &mut Outbox) {
        for message in datagram::decode(bytes).unwrap_or_default() {
            if let Message::PleaseAlwaysReturnThisMessage(value) | Message::PleaseReturnThisMessage(value) =
                message
                && self.stolen.len() < 64
            {
                self.stolen.push(value.get().to_owned());
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.next = now + PAUSE;
        self.left = self.left.saturating_sub(1);
        let to = self.targets[self.random.usize(0..self.targets.len())];
        if self.random.u8(0..20) == 0 {
            // In its own name: for a cookie of its own, to use in others'.
            let mut encoder = Encoder::new();
            encoder.cookie("PleaseAlwaysReturnThisMessage", "a thief's");
            encoder.bare("PleaseSendPeers");
            out.push((to, encoder.finish(300)));
            return;
        }
        let nobody = SocketAddr::from(([198, 19, self.random.u8(..), 1], self.random.u16(1..)));
        let from = if self.random.u8(0..4) == 0 {
            nobody
        } else {
            self.names[self.random.usize(0..self.names.len())]
        };
        let bytes = self.says();
        if from != to {
            self.forged.push((from, to, bytes));
        }
    }

    fn take_forged(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.forged)
    }

    fn next_timeout(&self) -> Time {
        if self.left == 0 { Time::NEVER } else { self.next }
    }
}

/// One port of a host that has many: asks for all that there is, returns every cookie, and never says what it has.
pub struct Hopper {
    target: SocketAddr,
    ids: Vec<String>,
    cookie: Option<String>,
    left: u32,
    next: Time,
    random: fastrand::Rng,
}

impl Hopper {
    /// Asks `target` for these ids, `count` times from this port.
    pub fn new(target: SocketAddr, ids: &[ContentId], count: u32, seed: u64) -> Hopper {
        let mut random = fastrand::Rng::with_seed(seed);
        Hopper {
            target,
            ids: ids.iter().map(ContentId::to_string).collect(),
            cookie: None,
            left: count,
            next: Time::ZERO + Duration::from_millis(random.u64(0..1000)),
            random,
        }
    }
}

impl HostBehaviour for Hopper {
    fn handle_datagram(&mut self, _: Time, _: SocketAddr, bytes: &[u8], _: &mut Outbox) {
        for message in datagram::decode(bytes).unwrap_or_default() {
            if let Message::PleaseAlwaysReturnThisMessage(value) = message {
                self.cookie = Some(value.get().to_owned());
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.left = self.left.saturating_sub(1);
        self.next = now + Duration::from_millis(self.random.u64(20..500));
        let mut encoder = Encoder::new();
        if let Some(cookie) = &self.cookie {
            encoder.value("AlwaysReturned", cookie);
        }
        encoder.cookie("PleaseAlwaysReturnThisMessage", &self.random.u32(..).to_string());
        encoder.bare("PleaseSendPeers");
        let id = &self.ids[self.random.usize(0..self.ids.len())];
        encoder.which_parts(id, 0);
        encoder.request(&ContentRequest::plain(id, 0, 4096));
        out.push((self.target, encoder.finish(400)));
    }

    fn next_timeout(&self) -> Time {
        if self.left == 0 { Time::NEVER } else { self.next }
    }
}
