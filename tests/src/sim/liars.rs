//! Hostile citizens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{self, Encoder, Padding};
use cjp2p_wire::message::{Message, TheseParts};
use cjp2p_wire::time::Time;

use super::memory::MemoryBlobs;
use super::world::{Citizen, Outbox};
use cjp2p_wire::transfer::blobs::{Library, Read};

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
}

/// A peer that has the content and lies about it, in correct messages from its true address.
pub struct Liar {
    lie: Lie,
    blobs: MemoryBlobs,
    /// Content that is the same but for one byte.
    other: MemoryBlobs,
    other_id: ContentId,
    answered: u32,
    /// Honest until this is set.
    turns: Option<Arc<AtomicBool>>,
    returns_cookies: bool,
    gives_hints: bool,
    cookie: Option<String>,
    random: fastrand::Rng,
}

impl Liar {
    /// A liar that has `content`.
    pub fn new(lie: Lie, content: &[u8], seed: u64) -> Liar {
        let mut blobs = MemoryBlobs::default();
        blobs.share(content.to_vec(), None);
        let mut changed = content.to_vec();
        if let Some(byte) = changed.get_mut(content.len() / 2) {
            *byte ^= 1;
        }
        let mut other = MemoryBlobs::default();
        let other_id = other.share(changed, None);
        Liar {
            lie,
            blobs,
            other,
            other_id,
            answered: 0,
            turns: None,
            returns_cookies: true,
            gives_hints: true,
            cookie: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// One that never proves its address.
    pub fn without_cookies(mut self) -> Liar {
        self.returns_cookies = false;
        self
    }

    /// One that does not know of other ids.
    pub fn without_hints(mut self) -> Liar {
        self.gives_hints = false;
        self
    }

    fn hint(&mut self, id: &str, encoder: &mut Encoder) {
        let Ok(ContentId::Sha256(sha256)) = ContentId::parse(id) else { return };
        let Some(root) = self.blobs.blake3_of(&sha256).filter(|_| self.gives_hints) else { return };
        let named = match self.lie() {
            Some(Lie::HintOfNothing) => ContentId::Blake3([7; 32]),
            Some(Lie::HintOfOther | Lie::OtherContent) => self.other_id.clone(),
            _ => ContentId::Blake3(root),
        };
        encoder.same_content([id, &named.to_string()]);
    }

    fn read(&mut self, id: &ContentId, offset: u64, length: usize, data: &mut Vec<u8>) -> Read {
        match (self.lie(), id) {
            (Some(Lie::OtherContent), ContentId::Sha256(_)) => {
                self.other.read(&self.other_id, offset, length, data)
            }
            (Some(Lie::HintOfOther | Lie::OtherContent), ContentId::Tree(_)) => {
                self.other.read(id, offset, length, data)
            }
            _ => self.blobs.read(id, offset, length, data),
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

    fn answer(&mut self, id: &str, offset: u64, length: u64, encoder: &mut Encoder) {
        let Ok(parsed) = ContentId::parse(id) else {
            return;
        };
        let mut data = Vec::new();
        let Read::Found { eof } = self.read(&parsed, offset, length.min(40_960) as usize, &mut data) else {
            return;
        };
        let is_tree = matches!(parsed, ContentId::Tree(_));
        self.answered += 1;
        let lie = self.lie();
        let (mut offset, mut eof) = (offset, eof);
        let mut spoil = |data: &mut Vec<u8>| {
            if !data.is_empty() {
                let at = self.random.usize(0..data.len());
                data[at] ^= 1 << self.random.u8(0..8);
            }
        };
        match lie {
            Some(Lie::Content) if !is_tree => spoil(&mut data),
            Some(Lie::Tree) if is_tree => spoil(&mut data),
            Some(Lie::After(count)) if !is_tree && self.answered > count => spoil(&mut data),
            Some(Lie::Length(lie) | Lie::LengthThenSilence(lie)) if !is_tree => {
                eof = Some(lie);
                data.truncate(lie.saturating_sub(offset) as usize);
            }
            Some(Lie::Elsewhere) => offset += 4096,
            _ => {}
        }
        let goes_silent = matches!(lie, Some(Lie::LengthThenSilence(_))) && self.answered > 1;
        if goes_silent || matches!(lie, Some(Lie::Promises | Lie::OddParts)) {
            return;
        }
        encoder.content(id, offset, &data, eof, Padding::Padded);
    }
}

impl Citizen for Liar {
    fn handle_datagram(&mut self, _now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
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
        for message in &messages {
            if let (Message::PleaseAlwaysReturnThisMessage(value), true) = (message, self.returns_cookies) {
                encoder.value("AlwaysReturned", value.get());
                // Whoever gave no cookie is not asked which parts it has.
                if matches!(self.lie, Lie::Promises | Lie::OddParts) {
                    encoder.cookie("PleaseAlwaysReturnThisMessage", "a cookie");
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
        let before = encoder.len();
        for message in &messages {
            if let Message::PleaseSayWhichParts(request) = message
                && let Ok(id) = ContentId::parse(&request.id)
                && let Some(mut parts) = self.blobs.parts(&id, 0, 1)
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
                Message::PleaseSendContent(request) => {
                    self.answer(&request.id, request.offset, request.length, &mut encoder);
                }
                Message::PleaseListIdsOfTheSameContent(id) => self.hint(id, &mut encoder),
                _ => {}
            }
        }
        if encoder.len() > before {
            out.push((from, encoder.finish(0)));
        }
    }
}
