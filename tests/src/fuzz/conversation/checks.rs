//! What must hold of all that the node sends.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram;
use cjp2p_wire::message::Message;
use cjp2p_wire::peers::address;

use super::checked::{Asked, is_at};
use super::contents::{SHARED, WANTED};
use super::talk::Talk;
use crate::fuzz::sample::SAMPLES;

/// Letters of a cookie of ours.
const COOKIE_LEN: usize = 22;

/// The true bytes of an id that the node may serve.
fn truth(id: &str) -> Option<&'static [u8]> {
    if id == "hello.txt" {
        return Some(b"hello world\n");
    }
    let mut known = SHARED.iter().chain(&WANTED).map(|n| &SAMPLES[*n]);
    match ContentId::parse(id).ok()? {
        ContentId::Blake3(root) => known.find(|sample| sample.root == root).map(|sample| &sample.content[..]),
        ContentId::Tree(root) => known.find(|sample| sample.root == root).map(|sample| &sample.file[..]),
        ContentId::Sha256(_) | ContentId::Name(_) => None,
    }
}

/// The content that is shared under two ids beside its name.
fn is_hello(id: &str) -> bool {
    let hello = b"hello world\n";
    let id = ContentId::parse(id).ok();
    id == Some(crate::content::sha256_id(hello)) || id == Some(crate::content::blake3_id(hello))
}

/// Whether these bytes of this id may be served.
fn is_right(id: &str, offset: u64, data: &[u8], eof: Option<u64>) -> bool {
    match truth(id) {
        Some(truth) => {
            let end = truth.len() as u64;
            eof.is_none_or(|eof| eof == end) && (data.is_empty() || is_at(truth, offset, data))
        }
        None => is_hello(id) && (data.is_empty() || is_at(b"hello world\n", offset, data)),
    }
}

impl Talk {
    /// Notes what a datagram to the node changes of what it may do.
    pub(super) fn note_arrival(&mut self, from: SocketAddr, bytes: &[u8]) {
        let mut named = BTreeSet::new();
        let mut proves = false;
        for message in datagram::decode(bytes).unwrap_or_default() {
            match message {
                Message::Peers(peers) => named.extend(peers),
                Message::MaybeTheyHaveSome(referral) => named.extend(referral.peers),
                Message::PleaseSendContent(request) => {
                    if let Some(handle) = request.handle {
                        let handles = &mut self.met.entry(from).or_default().handles;
                        handles.entry(handle).or_default().push(request.id.into_owned());
                    }
                }
                Message::AlwaysReturned(value) => proves |= self.has_cookie(from, value),
                Message::ReturnedMessage(value) => proves |= self.has_cookie(from, value.get()),
                _ => {}
            }
        }
        for address in named {
            self.met.entry(address::canonical(address)).or_default().named = true;
        }
        self.met.entry(from).or_default().proved |= proves;
    }

    /// Whether a value has any cookie in it that this address was given.
    fn has_cookie(&self, from: SocketAddr, value: &str) -> bool {
        let given = self.met.get(&from).map_or(&[][..], |met| &met.cookies);
        // Also where it is spelled with escapes.
        let value = serde_json::from_str::<serde_json::Value>(value).map_or_else(
            |_| value.to_owned(),
            |value| value.get("cookie").and_then(|text| text.as_str()).unwrap_or_default().to_owned(),
        );
        given.iter().any(|cookie| {
            let letters = cookie.strip_prefix("{\"cookie\":\"").unwrap_or(cookie);
            letters.get(..COOKIE_LEN).is_some_and(|letters| value.contains(letters))
        })
    }

    /// Checks a datagram that the node sends, and notes what it says.
    pub(super) fn check_sent(&mut self, to: SocketAddr, bytes: &[u8]) {
        assert!(bytes.len() <= 65_507, "no datagram has {} bytes", bytes.len());
        let messages = datagram::decode(bytes).expect("what is sent can be read");
        let met = self.met.entry(to).or_default();
        for message in &messages {
            match message {
                Message::Content(block) => {
                    let right = is_right(&block.id, block.offset, &block.data, block.eof);
                    assert!(right, "wrong bytes are served: {block:?}");
                }
                Message::BytesFollow(block) => {
                    assert!(met.proved, "a stranger is sent raw content");
                    let ids = met.handles.get(&block.handle).map_or(&[][..], |ids| ids);
                    let is_right = |id: &String| is_right(id, block.offset, block.data, block.eof);
                    assert!(ids.iter().any(is_right), "wrong bytes are served: {block:?} for {ids:?}");
                }
                Message::PleaseSendContent(request) => {
                    let id = request.id.clone().into_owned();
                    let (offset, length, handle) = (request.offset, request.length, request.handle);
                    met.requests.push(Asked { id, offset, length, handle });
                }
                Message::PleaseReturnThisMessage(value) | Message::PleaseAlwaysReturnThisMessage(value) => {
                    met.cookies.push(value.get().to_owned());
                }
                _ => {}
            }
        }
        let excess = met.requests.len().saturating_sub(64);
        met.requests.drain(..excess);
    }
}
