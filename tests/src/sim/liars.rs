//! Hostile citizens.

use std::net::SocketAddr;

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
    /// Begins honestly and flips bits of content after so many answers.
    After(u32),
}

/// A peer that has the content and lies about it, in correct messages from its true address.
pub struct Liar {
    lie: Lie,
    blobs: MemoryBlobs,
    answered: u32,
    returns_cookies: bool,
    cookie: Option<String>,
    random: fastrand::Rng,
}

impl Liar {
    /// A liar that has `content`.
    pub fn new(lie: Lie, content: &[u8], seed: u64) -> Liar {
        let mut blobs = MemoryBlobs::default();
        blobs.share(content.to_vec(), None);
        Liar {
            lie,
            blobs,
            answered: 0,
            returns_cookies: true,
            cookie: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// One that never proves its address.
    pub fn without_cookies(mut self) -> Liar {
        self.returns_cookies = false;
        self
    }

    fn answer(&mut self, id: &str, offset: u64, length: u64, encoder: &mut Encoder) {
        let Ok(parsed) = ContentId::parse(id) else {
            return;
        };
        let mut data = Vec::new();
        let Read::Found { eof } = self.blobs.read(&parsed, offset, length.min(40_960) as usize, &mut data)
        else {
            return;
        };
        let is_tree = matches!(parsed, ContentId::Tree(_));
        self.answered += 1;
        let (mut offset, mut eof) = (offset, eof);
        let mut spoil = |data: &mut Vec<u8>| {
            if !data.is_empty() {
                let at = self.random.usize(0..data.len());
                data[at] ^= 1 << self.random.u8(0..8);
            }
        };
        match self.lie {
            Lie::Content if !is_tree => spoil(&mut data),
            Lie::Tree if is_tree => spoil(&mut data),
            Lie::After(count) if !is_tree && self.answered > count => spoil(&mut data),
            Lie::Length(lie) | Lie::LengthThenSilence(lie) if !is_tree => {
                eof = Some(lie);
                data.truncate(lie.saturating_sub(offset) as usize);
            }
            Lie::Elsewhere => offset += 4096,
            _ => {}
        }
        let goes_silent = matches!(self.lie, Lie::LengthThenSilence(_)) && self.answered > 1;
        if goes_silent || matches!(self.lie, Lie::Promises | Lie::OddParts) {
            return;
        }
        encoder.content(id, offset, &data, eof, Padding::Padded);
    }
}

impl Citizen for Liar {
    fn handle_datagram(&mut self, _now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        match self.lie {
            Lie::Silence => return,
            Lie::Garbage => {
                let garbage = (0..bytes.len()).map(|_| self.random.u8(..)).collect();
                out.push((from, garbage));
                return;
            }
            Lie::Echo => {
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
                if self.lie == Lie::OddParts {
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
            if let Message::PleaseSendContent(request) = message {
                self.answer(&request.id, request.offset, request.length, &mut encoder);
            }
        }
        if encoder.len() > before {
            out.push((from, encoder.finish(0)));
        }
    }
}
