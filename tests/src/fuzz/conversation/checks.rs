//! What must hold of all that the node writes and sends.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::datagram;
use cjp2p_wire::message::Message;
use cjp2p_wire::peers::address;
use cjp2p_wire::store::{JobId, Library, ListPart, Parts, Read, Sink};
use cjp2p_wire::tree::{Run, Verified};

use super::{SHARED, Talk, WANTED};
use crate::fuzz::sample::{SAMPLES, Sample};
use crate::sim::memory::{MemoryBlobs, Original};

/// Staged bytes go as far as somebody claims; the disk of this test is no larger.
const DISK: u64 = 4 << 20;
/// Letters of a cookie of ours.
const COOKIE_LEN: usize = 22;

/// What there is between the node and an address.
#[derive(Default)]
pub(super) struct Met {
    /// The node was told of it, and so may ask it.
    pub(super) named: bool,
    /// It has returned a cookie of the node.
    pub(super) proved: bool,
    /// What the node asked it to return, as JSON.
    pub(super) cookies: Vec<String>,
    /// What the node asked it for: the id, from where, how many bytes.
    pub(super) requests: Vec<(String, u64, u64)>,
}

/// Memory that looks at what is written to it.
pub(super) struct Checked {
    inner: MemoryBlobs,
    expected: BTreeMap<JobId, &'static Sample>,
    pub(super) to_judge: Vec<JobId>,
}

thread_local! {
    static ORIGINALS: LazyCell<[Rc<Original>; 2]> =
        LazyCell::new(|| SHARED.map(|n| Original::new(SAMPLES[n].content.clone())));
}

impl Checked {
    pub(super) fn new() -> Checked {
        let mut inner = MemoryBlobs::default();
        inner.repeats = true;
        ORIGINALS.with(|originals| originals.iter().for_each(|original| inner.share_original(original)));
        inner.share(b"hello world\n".to_vec(), Some("hello.txt"));
        Checked { inner, expected: BTreeMap::new(), to_judge: Vec::new() }
    }

    pub(super) fn expect(&mut self, job: JobId, id: &ContentId, sample: &'static Sample) {
        self.inner.share_fetched(id, job);
        self.expected.insert(job, sample);
    }

    /// An interrupted fetch wrote this, and it is right.
    pub(super) fn is_there(&mut self, job: JobId, sample: &Sample, range: Range<u64>) {
        let fetched = self.inner.fetched.entry(job).or_default();
        let length = sample.content.len();
        fetched.bytes.resize(length, 0);
        fetched.done.insert(range.clone());
        let span = range.start as usize..range.end as usize;
        fetched.bytes[span.clone()].copy_from_slice(&sample.content[span]);
        if range.end == length as u64 {
            fetched.length = Some(range.end);
        }
    }

    pub(super) fn fetched(&self, job: JobId) -> &[u8] {
        self.inner.fetched.get(&job).map_or(&[], |fetched| &fetched.bytes)
    }
}

impl Library for Checked {
    fn read(&mut self, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        self.inner.read(id, offset, length, out)
    }

    fn parts(&mut self, id: &ContentId, from: u64, most: usize) -> Option<Parts> {
        self.inner.parts(id, from, most)
    }

    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)> {
        self.inner.list(limit)
    }

    fn list_after(&mut self, after: Option<&ContentId>, limit: usize) -> Option<ListPart> {
        self.inner.list_after(after, limit)
    }

    fn is_withdrawn(&mut self, id: &ContentId) -> bool {
        self.inner.is_withdrawn(id)
    }

    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        self.inner.blake3_of(sha256)
    }
}

impl Sink for Checked {
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        let sample = self.expected.get(&job).expect("only what was wanted is written");
        assert_eq!(*block.root(), sample.root);
        assert!(is_at(&sample.content, block.offset(), block.bytes()), "wrong bytes at {}", block.offset());
        self.inner.write(job, block)
    }

    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > DISK {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.stage(job, offset, bytes)
    }

    fn restage(&mut self, job: JobId) -> io::Result<()> {
        self.inner.restage(job)
    }

    fn keep_run(&mut self, job: JobId, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.inner.keep_run(job, length, run, bytes)
    }

    fn room(&self, job: JobId) -> u64 {
        self.inner.room(job)
    }
}

fn is_at(all: &[u8], offset: u64, part: &[u8]) -> bool {
    let end = offset.saturating_add(part.len() as u64);
    all.get(offset.min(end) as usize..end as usize) == Some(part)
}

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

impl Talk {
    /// Notes what a datagram to the node changes of what it may do.
    pub(super) fn note_arrival(&mut self, from: SocketAddr, bytes: &[u8]) {
        let mut named = BTreeSet::new();
        let mut proves = false;
        for message in datagram::decode(bytes).unwrap_or_default() {
            match message {
                Message::Peers(peers) => named.extend(peers),
                Message::MaybeTheyHaveSome(referral) => named.extend(referral.peers),
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
                    let right = match truth(&block.id) {
                        Some(truth) => {
                            let end = truth.len() as u64;
                            block.eof.is_none_or(|eof| eof == end)
                                && (block.data.is_empty() || is_at(truth, block.offset, &block.data))
                        }
                        None => {
                            is_hello(&block.id) && is_at(b"hello world\n", block.offset, &block.data)
                                || is_hello(&block.id) && block.data.is_empty()
                        }
                    };
                    assert!(right, "wrong bytes are served: {block:?}");
                }
                Message::PleaseSendContent(request) => {
                    met.requests.push((request.id.clone().into_owned(), request.offset, request.length));
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
