//! The Ruby node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;
use serde_json::{Value, json};

use super::json::{BLOCK, Block, content, message, part, put, read, request, texts, told, write};
use crate::sim::{HostBehaviour, Outbox};

/// It reads no more of a datagram.
const READ_LIMIT: usize = 8192;
/// Of longer blocks the datagram would pass 64 KiB, and it would end.
const LONGEST: u64 = 48_000;
const STALL: Duration = Duration::from_secs(1);

/// Speaks IPv4 only, answers each message in a datagram of its own, and says no `eof` of what it still fetches.
pub struct Ruby {
    files: BTreeMap<String, Vec<u8>>,
    peers: BTreeSet<SocketAddr>,
    /// What others want returned, of any shape.
    cookies: BTreeMap<SocketAddr, Value>,
    wanted: Option<Wanted>,
    random: fastrand::Rng,
}

struct Wanted {
    id: String,
    bytes: Vec<u8>,
    asked: BTreeSet<u64>,
    received: BTreeSet<u64>,
    complete: u64,
    offset: u64,
    heard_at: Time,
    last: Option<SocketAddr>,
    sources: BTreeSet<SocketAddr>,
    begun: bool,
}

impl Ruby {
    /// A node that knows nobody and shares nothing.
    pub fn new(seed: u64) -> Ruby {
        Ruby {
            files: BTreeMap::new(),
            peers: BTreeSet::new(),
            cookies: BTreeMap::new(),
            wanted: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Shares `bytes` under this name.
    pub fn share(mut self, name: &str, bytes: &[u8]) -> Ruby {
        self.files.insert(name.to_owned(), bytes.to_vec());
        self
    }

    /// Fetches what is called `id`, and knows `peers`.
    pub fn fetch(mut self, id: &str, peers: &[SocketAddr]) -> Ruby {
        self.peers.extend(peers);
        self.wanted = Some(Wanted {
            id: id.to_owned(),
            bytes: Vec::new(),
            asked: BTreeSet::new(),
            received: BTreeSet::new(),
            complete: 0,
            offset: 0,
            heard_at: Time::ZERO,
            last: None,
            sources: BTreeSet::new(),
            begun: false,
        });
        self
    }

    /// What it shares under this name, or has fetched.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    fn ask(&mut self, offset: u64, out: &mut Outbox) {
        let Some(wanted) = &mut self.wanted else { return };
        let peers: Vec<SocketAddr> = self.peers.iter().copied().collect();
        let Some(to) = wanted.last.or_else(|| self.random.choice(peers)) else { return };
        wanted.asked.insert(offset);
        let mut messages = vec![request(&wanted.id, offset)];
        messages.extend(self.cookies.get(&to).map(|cookie| message("AlwaysReturned", cookie.clone())));
        out.push((to, write(&messages)));
    }

    fn answer(&mut self, from: SocketAddr, payload: &Value, out: &mut Outbox) {
        let (Some(id), Some(offset), Some(length)) =
            (payload["id"].as_str(), payload["offset"].as_u64(), payload["length"].as_u64())
        else {
            return;
        };
        if id.contains('/') {
            return;
        }
        if let Some(wanted) = self.wanted.as_ref().filter(|wanted| wanted.id == id) {
            let answer = if wanted.received.contains(&offset) {
                let data = part(&wanted.bytes, offset, length.min(BLOCK));
                let base64 = base64_simd::STANDARD.encode_to_string(data);
                json!({"Content": {"id": id, "base64": base64, "offset": offset}})
            } else {
                json!({"MaybeTheyHaveSome": {"id": id, "peers": texts(&wanted.sources)}})
            };
            out.push((from, write(&[answer])));
        } else if let Some(file) = self.files.get(id)
            && offset < file.len() as u64
        {
            let sent = length.min(file.len() as u64 - offset);
            assert!(sent <= LONGEST, "a Ruby node ends when asked for {sent} bytes at once");
            out.push((from, write(&[content(id, file, offset, length, true)])));
        }
    }

    fn take(&mut self, now: Time, from: SocketAddr, block: &Block, out: &mut Outbox) {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.id == block.id) else { return };
        let eof = block.eof.expect("a Ruby node ends when it is sent content without its length");
        wanted.last = Some(from);
        wanted.sources.insert(from);
        wanted.heard_at = now;
        if wanted.asked.contains(&block.offset) && !wanted.received.contains(&block.offset) {
            put(&mut wanted.bytes, block);
            if block.data.len() as u64 == BLOCK || block.end() == eof {
                wanted.received.insert(block.offset);
                wanted.complete += block.data.len() as u64;
            }
            if wanted.complete == eof {
                let done = self.wanted.take().expect("it is wanted");
                self.files.insert(done.id, done.bytes);
                return;
            }
        }
        wanted.offset += BLOCK;
        while wanted.received.contains(&wanted.offset) {
            wanted.offset += BLOCK;
        }
        if wanted.offset > eof {
            wanted.offset = 0;
        }
        let offset = wanted.offset;
        self.ask(offset, out);
        if self.random.u8(0..100) == 0
            && let Some(wanted) = &mut self.wanted
        {
            wanted.offset = if offset + BLOCK > eof { 0 } else { offset + BLOCK };
            let offset = wanted.offset;
            self.ask(offset, out);
        }
    }

    fn meet(address: &str) -> SocketAddr {
        assert_eq!(address.matches(':').count(), 1, "a Ruby node ends when told of {address}");
        address.parse().expect("an address")
    }
}

impl HostBehaviour for Ruby {
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        self.peers.insert(from);
        for (kind, payload) in read(&bytes[..bytes.len().min(READ_LIMIT)]).unwrap_or_default() {
            match &*kind {
                "PleaseSendPeers" => {
                    out.push((from, write(&[json!({"Peers": {"peers": texts(&self.peers)}})])));
                }
                "PleaseSendContent" => self.answer(from, &payload, out),
                "Peers" => self.peers.extend(told(&payload).map(Ruby::meet)),
                "Content" => {
                    let block = Block::read(&payload).expect("a Ruby node ends when base64 is damaged");
                    self.take(now, from, &block, out);
                }
                "MaybeTheyHaveSome" => {
                    let sources: Vec<SocketAddr> = told(&payload).map(Ruby::meet).collect();
                    if let Some(wanted) = &mut self.wanted {
                        wanted.sources.extend(sources);
                    }
                }
                "PleaseReturnThisMessage" => out.push((from, write(&[message("ReturnedMessage", payload)]))),
                "PleaseAlwaysReturnThisMessage" => {
                    self.cookies.insert(from, payload);
                }
                _ => {}
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        let Some(wanted) = &mut self.wanted else { return };
        wanted.heard_at = now;
        let offset = wanted.offset;
        if !std::mem::replace(&mut wanted.begun, true) {
            return self.ask(offset, out);
        }
        for n in 0..7 {
            if n >= 3
                && let Some(wanted) = &mut self.wanted
            {
                wanted.last = None;
            }
            self.ask(offset, out);
        }
    }

    fn next_timeout(&self) -> Time {
        match &self.wanted {
            None => Time::NEVER,
            Some(wanted) if !wanted.begun => Time::ZERO,
            Some(wanted) => wanted.heard_at + STALL,
        }
    }
}
