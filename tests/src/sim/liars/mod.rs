//! Hostile hosts.

pub mod forger;
pub mod odd;
pub mod raw;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{self, Encoder, Padding};
use cjp2p_wire::message::{BlocksOffer, ContentRequest, Handle, Message, TheseParts};
use cjp2p_wire::store::{Asker, Library, Read};
use cjp2p_wire::time::Time;
use cjp2p_wire::tree::{Geometry, Level};

use self::raw::{RawLie, RawTricks, spoil};
use super::host::{HostBehaviour, Outbox};
use super::memory::MemoryBlobs;

/// What a liar does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Flips a bit of every block of content.
    Content,
    /// Flips a bit of every block of the tree.
    Tree,
    /// Claims another length, and sends what there is.
    Length(u64),
    /// Claims a length and then says nothing.
    LengthThenSilence(u64),
    /// Takes every request and never answers.
    Silence,
    /// Answers with what is no JSON.
    Garbage,
    /// Answers with blocks nobody asked for.
    Elsewhere,
    /// Says that it has everything, and sends nothing of it.
    Promises,
    /// Says that it has odd parts of it, and sends nothing of them.
    OddParts,
    /// Sends everything back.
    Echo,
    /// Says that a hash which it made up names the same content.
    HintOfNothing,
    /// Says that the hash of other content, of the same length, names the same. Sends that one's tree, and the right bytes.
    HintOfOther,
    /// The same, and sends bytes that fit that tree.
    OtherContent,
    /// Begins honestly and flips bits of content after so many answers.
    After(u32),
    /// Flips a bit of what it sends of this level of the tree, leaves first.
    TreeLevel(Level),
    /// Sends less than was asked for, sometimes a single byte.
    ShortBlocks,
    /// Cuts off the end of each datagram.
    Torn,
    /// After some answers, sends old ones again and no others.
    Replay,
    /// Answers one request in so long, and forgets most of the others.
    Drip(Duration),
    /// Claims that the content is a TiB, and makes up as much of its tree as anybody wants.
    EndlessTree,
    /// Says that others have it: victims, addresses that it makes up, and those that nobody may name.
    Referrals,
    /// Sends dozens of datagrams for each request, of all kinds.
    Flood,
    /// Sends what is too long or too deep beside its answers.
    Oversized,
    /// Sends numbers at boundaries beside its answers.
    Numbers,
    /// Sends ids with tricks beside its answers.
    Ids,
    /// Announces raw content, and answers so.
    Raw(RawLie),
}

impl Lie {
    /// All ways to lie about content of `length` bytes; where there is a number, one or more of it.
    pub fn all(length: u64) -> Vec<Lie> {
        use Lie::*;
        let geometry = Geometry::new(length).expect("content that is in memory");
        let mut all = vec![
            Content,
            Tree,
            Length(length + 5),
            Length(length.saturating_sub(1)),
            Length(length / 2 + 1),
            Length(length * 3 + 1),
            Length(1 << 53),
            LengthThenSilence(length / 2),
            LengthThenSilence(length * 1000),
            Silence,
            Garbage,
            Elsewhere,
            Promises,
            OddParts,
            Echo,
            HintOfNothing,
            HintOfOther,
            OtherContent,
            After(20),
            ShortBlocks,
            Torn,
            Replay,
            Drip(Duration::from_secs(1)),
            Drip(Duration::from_secs(7)),
            EndlessTree,
            Referrals,
            Flood,
            Oversized,
            Numbers,
            Ids,
        ];
        all.extend(RawLie::all(length).into_iter().map(Raw));
        all.extend((0..geometry.level_count()).map(Level).map(TreeLevel));
        all
    }
}

/// Old answers that [`Lie::Replay`] keeps.
const REPLAYED: usize = 32;
/// Requests that wait for [`Lie::Drip`].
const MAX_DRIPS: usize = 16;
/// Datagrams that [`Lie::Flood`] sends for one, and in all.
const FLOOD_EACH: usize = 24;
const FLOOD_IN_ALL: usize = 5000;
/// What [`Lie::EndlessTree`] says the length is.
const ENDLESS: u64 = 1 << 40;

/// A peer that has the content and lies about it, in correct messages from its true address.
pub struct Liar {
    lie: Lie,
    store: MemoryBlobs,
    /// Content that is the same but for one byte.
    other: MemoryBlobs,
    other_id: ContentId,
    answered: u32,
    /// Honest until this is set.
    turns: Option<Arc<AtomicBool>>,
    returns_cookies: bool,
    gives_hints: bool,
    cookie: Option<String>,
    geometry: Geometry,
    /// Whom it names for others.
    victims: Vec<SocketAddr>,
    /// What it sent.
    old: Vec<Vec<u8>>,
    /// What waits to be answered.
    drips: VecDeque<(SocketAddr, Vec<u8>)>,
    drip_at: Time,
    flooded: usize,
    raw: RawTricks,
    random: fastrand::Rng,
}

impl Liar {
    /// A liar that has `content`.
    pub fn new(lie: Lie, content: &[u8], seed: u64) -> Liar {
        let mut store = MemoryBlobs::default();
        store.share(content.to_vec(), None);
        let mut changed = content.to_vec();
        if let Some(byte) = changed.get_mut(content.len() / 2) {
            *byte ^= 1;
        }
        let mut other = MemoryBlobs::default();
        let other_id = other.share(changed, None);
        Liar {
            lie,
            store,
            other,
            other_id,
            answered: 0,
            turns: None,
            returns_cookies: true,
            gives_hints: true,
            cookie: None,
            geometry: Geometry::new(content.len() as u64).expect("content that is in memory"),
            victims: Vec::new(),
            old: Vec::new(),
            drips: VecDeque::new(),
            drip_at: Time::ZERO,
            flooded: 0,
            raw: RawTricks::default(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// One whose address is never validated.
    pub fn without_cookies(mut self) -> Liar {
        self.returns_cookies = false;
        self
    }

    /// One that names these where it names others.
    pub fn aiming_at(mut self, victims: &[SocketAddr]) -> Liar {
        self.victims = victims.to_vec();
        self
    }

    /// One that does not know of other ids.
    pub fn without_hints(mut self) -> Liar {
        self.gives_hints = false;
        self
    }

    fn hint(&mut self, id: &str, encoder: &mut Encoder) {
        let Ok(ContentId::Sha256(sha256)) = ContentId::parse(id) else { return };
        let Some(root) = self.store.blake3_of(&sha256).filter(|_| self.gives_hints) else { return };
        let named = match self.lie() {
            Some(Lie::HintOfNothing) => ContentId::Blake3([7; 32]),
            Some(Lie::HintOfOther | Lie::OtherContent) => self.other_id.clone(),
            _ => ContentId::Blake3(root),
        };
        encoder.same_content([id, &named.to_string()]);
    }

    fn read(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, data: &mut Vec<u8>) -> Read {
        match (self.lie(), id) {
            (Some(Lie::OtherContent), ContentId::Sha256(_)) => {
                self.other.read(asker, &self.other_id, offset, length, data)
            }
            (Some(Lie::HintOfOther | Lie::OtherContent), ContentId::Tree(_)) => {
                self.other.read(asker, id, offset, length, data)
            }
            _ => self.store.read(asker, id, offset, length, data),
        }
    }

    /// One that is honest until `turns` is set.
    pub fn that_turns(mut self, turns: Arc<AtomicBool>) -> Liar {
        self.turns = Some(turns);
        self
    }

    /// What it does wrong at present.
    fn lie(&self) -> Option<Lie> {
        self.turns.as_ref().is_none_or(|turns| turns.load(Ordering::Relaxed)).then_some(self.lie)
    }

    /// One that knows the handles which somebody puts here: those of others, told to them.
    pub fn knowing(mut self, handles: Arc<Mutex<Vec<Handle>>>) -> Liar {
        self.raw.stolen = handles;
        self
    }

    /// Answers a request for raw content. Returns whether it was one, and this liar does so.
    fn answer_raw(&mut self, to: SocketAddr, request: &ContentRequest<'_>, out: &mut Outbox) -> bool {
        let (Some(Lie::Raw(lie)), Some(_)) = (self.lie(), request.handle) else { return false };
        let Ok(id) = ContentId::parse(&request.id) else { return false };
        let mut data = Vec::new();
        let length = request.length.min(1 << 20) as usize;
        let found = self.read(Asker::Unvalidated, &id, request.offset, length, &mut data);
        let Read::Found { eof } = found else { return false };
        let train = self.raw.train(lie, request, &data, eof, &mut self.random);
        out.extend(train.into_iter().map(|datagram| (to, datagram)));
        true
    }

    fn answer(&mut self, id: &str, offset: u64, length: u64, encoder: &mut Encoder) {
        let Ok(parsed) = ContentId::parse(id) else {
            return;
        };
        let mut data = Vec::new();
        let is_tree = matches!(parsed, ContentId::Tree(_));
        let found = self.read(Asker::Unvalidated, &parsed, offset, length.min(40_960) as usize, &mut data);
        let Read::Found { eof } = found else { return };
        self.answered += 1;
        let lie = self.lie();
        let (mut offset, mut eof) = (offset, eof);
        match lie {
            Some(Lie::Content) if !is_tree => spoil(&mut data, &mut self.random),
            Some(Lie::Tree) if is_tree => spoil(&mut data, &mut self.random),
            Some(Lie::After(count)) if !is_tree && self.answered > count => {
                spoil(&mut data, &mut self.random)
            }
            Some(Lie::Length(lie) | Lie::LengthThenSilence(lie)) if !is_tree => {
                eof = Some(lie);
                data.truncate(lie.saturating_sub(offset) as usize);
            }
            Some(Lie::Elsewhere) => offset += 4096,
            Some(Lie::TreeLevel(level)) if is_tree => {
                let start = self.geometry.level_offset(level);
                let range = start..start + self.geometry.level_entries(level) * ENTRY_LEN;
                let here = range.start.max(offset)..range.end.min(offset + data.len() as u64);
                if !here.is_empty() {
                    data[(self.random.u64(here) - offset) as usize] ^= 1 << self.random.u8(0..8);
                }
            }
            Some(Lie::ShortBlocks) if !data.is_empty() => {
                let most = if self.random.bool() { 2 } else { data.len() + 1 };
                data.truncate(self.random.usize(1..most));
            }
            Some(Lie::EndlessTree) => {
                let endless = Geometry::new(ENDLESS).expect("a length that content may have");
                eof = Some(if is_tree { endless.tree_length() } else { ENDLESS });
                if is_tree || data.is_empty() {
                    let length = length.min(40_960) as usize;
                    data = (0..length).map(|_| self.random.u8(..)).collect();
                }
            }
            _ => {}
        }
        let goes_silent = matches!(lie, Some(Lie::LengthThenSilence(_))) && self.answered > 1;
        if goes_silent || matches!(lie, Some(Lie::Promises | Lie::OddParts)) {
            return;
        }
        encoder.content(id, offset, &data, eof, Padding::Padded);
    }
}

/// Bytes of an entry of a tree.
const ENTRY_LEN: u64 = 32;

impl Liar {
    /// Whom it names: its victims, those that nobody may name, and addresses that it makes up.
    fn named(&mut self, asker: SocketAddr) -> Vec<SocketAddr> {
        let mut named = self.victims.clone();
        let odd = ["127.0.0.1:24254", "10.0.0.1:80", "255.255.255.255:24254", "224.0.0.1:24254", "0.0.0.0:0"];
        named.extend(odd.iter().filter_map(|text| text.parse::<SocketAddr>().ok()));
        named.push(asker);
        let far = (0..8).map(|_| {
            let ip = [198, 18, self.random.u8(..), self.random.u8(..)];
            SocketAddr::from((ip, self.random.u16(..)))
        });
        named.extend(far);
        self.random.shuffle(&mut named);
        named
    }

    /// What it sends beside its answers.
    fn odd(&mut self, id: &str) -> Option<Vec<u8>> {
        match self.lie()? {
            Lie::Oversized => Some(odd::oversized(&mut self.random, id)),
            Lie::Numbers => Some(odd::numbers(&mut self.random, id)),
            Lie::Ids => Some(odd::ids(&mut self.random, id)),
            _ => None,
        }
    }

    fn flood(&mut self, to: SocketAddr, id: &str, out: &mut Outbox) {
        for _ in 0..FLOOD_EACH {
            if self.flooded >= FLOOD_IN_ALL {
                return;
            }
            self.flooded += 1;
            let mut encoder = Encoder::new();
            let data: Vec<u8> = (0..self.random.usize(0..960)).map(|_| self.random.u8(..)).collect();
            match self.random.u8(0..5) {
                0..3 => {
                    let offset = self.random.u64(0..self.geometry.length().max(1));
                    encoder.content(id, offset, &data, Some(self.geometry.length()), Padding::Padded);
                }
                3 => encoder.cookie("PleaseAlwaysReturnThisMessage", &self.random.u64(..).to_string()),
                _ => encoder.referral(id, &self.named(to)),
            }
            out.push((to, encoder.finish(0)));
        }
    }

    /// Answers as this kind of liar does, all at once.
    fn take(&mut self, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        match self.lie() {
            Some(Lie::Silence) => return,
            Some(Lie::Garbage) => {
                let garbage = (0..bytes.len()).map(|_| self.random.u8(..)).collect();
                out.push((from, garbage));
                return;
            }
            Some(Lie::Echo) => {
                out.push((from, bytes.to_vec()));
                return;
            }
            _ => {}
        }
        let Ok(messages) = datagram::decode(bytes) else {
            return;
        };
        let mut encoder = Encoder::new();
        self.raw.announces = false;
        for message in &messages {
            if let (Message::PleaseAlwaysReturnThisMessage(value), true) = (message, self.returns_cookies) {
                encoder.value("AlwaysReturned", value.get());
                // A source that gave no cookie is not asked which parts it has.
                if matches!(self.lie, Lie::Promises | Lie::OddParts | Lie::Raw(_)) {
                    encoder.cookie("PleaseAlwaysReturnThisMessage", "a cookie");
                }
                if matches!(self.lie, Lie::Raw(_)) {
                    self.raw.announces = true;
                    encoder.can_send_blocks(BlocksOffer { most: 64, raw: true });
                }
                self.cookie = Some(value.get().to_owned());
            }
        }
        if encoder.is_empty()
            && self.returns_cookies
            && let Some(cookie) = &self.cookie
        {
            encoder.value("AlwaysReturned", cookie);
        }
        // Raw content has no cookie beside it: that goes alone.
        let before = if self.raw.announces { 0 } else { encoder.len() };
        for message in &messages {
            if let Message::PleaseSayWhichParts(request) = message
                && let Ok(id) = ContentId::parse(&request.id)
                && let Some(mut parts) = self.store.parts(&id, 0, 1)
            {
                if self.lie() == Some(Lie::OddParts) {
                    parts.ranges =
                        (0..100).map(|n| n * 40_961 + 7).map(|start| start..start + 20_003).collect();
                }
                encoder.these_parts(&TheseParts {
                    id: request.id.clone(),
                    offset: 0,
                    until: parts.until,
                    parts: parts.ranges,
                    eof: parts.length,
                    busy: false,
                });
            }
            match message {
                Message::PleaseSendContent(request) if self.lie() == Some(Lie::Referrals) => {
                    let named = self.named(from);
                    encoder.referral(&request.id, &named);
                }
                Message::PleaseSendPeers if self.lie() == Some(Lie::Referrals) => {
                    let named = self.named(from);
                    encoder.peers(&named);
                }
                Message::PleaseSendContent(request) => {
                    if self.lie() == Some(Lie::Flood) {
                        self.flood(from, &request.id, out);
                    }
                    out.extend(self.odd(&request.id).map(|odd| (from, odd)));
                    if !self.answer_raw(from, request, out) {
                        self.answer(&request.id, request.offset, request.length, &mut encoder);
                    }
                }
                Message::PleaseListIdsOfTheSameContent(id) => self.hint(id, &mut encoder),
                _ => {}
            }
        }
        if encoder.len() > before {
            let mut bytes = encoder.finish(0);
            match self.lie() {
                Some(Lie::Torn) => bytes.truncate(self.random.usize(0..bytes.len())),
                Some(Lie::Replay) if self.old.len() < REPLAYED => self.old.push(bytes.clone()),
                Some(Lie::Replay) => {
                    // Also to those who never asked for it.
                    let nth = self.random.usize(0..self.old.len());
                    bytes.clone_from(&self.old[nth]);
                }
                _ => {}
            }
            out.push((from, bytes));
        }
    }
}

impl HostBehaviour for Liar {
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let Some(Lie::Drip(pause)) = self.lie() else { return self.take(from, bytes, out) };
        if self.drips.is_empty() {
            self.drip_at = self.drip_at.max(now + pause);
        }
        if self.drips.len() < MAX_DRIPS {
            self.drips.push_back((from, bytes.to_vec()));
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        if let (Some(Lie::Drip(pause)), Some((from, bytes))) = (self.lie(), self.drips.pop_front()) {
            self.drip_at = now + pause;
            self.take(from, &bytes, out);
        }
    }

    fn next_timeout(&self) -> Time {
        if self.drips.is_empty() { Time::NEVER } else { self.drip_at }
    }
}
