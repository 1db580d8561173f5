//! The Rust node of February 2026: no cookies, no hashes, and no base64 with padding.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;
use serde_json::{Value, json};

use super::json::{BLOCK, Block, MAX_ANSWER, content, message, put, read, request, texts, told, write};
use crate::sim::{HostBehaviour, Outbox};

const ROUND: Duration = Duration::from_secs(3);

/// Gives anybody all it asks for, believes all it is told, and returns at once whatever it is asked to return.
pub struct RustFebruary {
    files: BTreeMap<String, Vec<u8>>,
    peers: BTreeSet<SocketAddr>,
    wanted: Option<Wanted>,
    next_round: Time,
    /// Messages that it logged an error for.
    pub complaints: u32,
}

struct Wanted {
    id: String,
    bytes: Vec<u8>,
    received: BTreeSet<u64>,
    next: u64,
}

impl RustFebruary {
    /// A node that knows nobody and shares nothing.
    pub fn new() -> RustFebruary {
        RustFebruary {
            files: BTreeMap::new(),
            peers: BTreeSet::new(),
            wanted: None,
            next_round: Time::NEVER,
            complaints: 0,
        }
    }

    /// Shares `bytes` under this name.
    pub fn share(mut self, name: &str, bytes: &[u8]) -> RustFebruary {
        self.files.insert(name.to_owned(), bytes.to_vec());
        self
    }

    /// Fetches what is called `id`, and knows `peers`.
    pub fn fetch(mut self, id: &str, peers: &[SocketAddr]) -> RustFebruary {
        self.peers.extend(peers);
        self.wanted =
            Some(Wanted { id: id.to_owned(), bytes: Vec::new(), received: BTreeSet::new(), next: 0 });
        self.next_round = Time::ZERO;
        self
    }

    /// What it shares under this name, or has fetched.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    fn answer(&self, payload: &Value) -> Option<Value> {
        let id = payload["id"].as_str()?;
        let (offset, length) = (payload["offset"].as_u64()?, payload["length"].as_u64()?);
        // A name with a slash is never among its files.
        Some(content(id, self.files.get(id)?, offset, length.min(MAX_ANSWER), false))
    }

    fn take(&mut self, now: Time, block: &Block, replies: &mut Vec<Value>) {
        assert!(!block.padded, "a February node ends when base64 is padded");
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.id == block.id) else { return };
        let Some(eof) = block.eof else {
            self.complaints += 1;
            return;
        };
        assert!(
            block.offset < eof.next_multiple_of(BLOCK),
            "a February node ends when content is past its end"
        );
        put(&mut wanted.bytes, block);
        let number = block.offset / BLOCK;
        if !wanted.received.contains(&number) {
            // It counts before it looks how long the block is.
            if (wanted.received.len() as u64 + 1) * BLOCK >= eof {
                let done = self.wanted.take().expect("it is wanted");
                self.files.insert(done.id, done.bytes);
                return;
            }
            if block.data.len() as u64 == BLOCK {
                wanted.received.insert(number);
            }
        }
        let blocks = eof.div_ceil(BLOCK);
        let after = (wanted.next + 1..blocks).chain(1..blocks).find(|n| !wanted.received.contains(n));
        wanted.next = after.unwrap_or(0);
        replies.push(request(&wanted.id, wanted.next * BLOCK));
        if wanted.received.len() % 101 == 0 {
            replies.push(stamp(now));
        }
    }
}

impl Default for RustFebruary {
    fn default() -> Self {
        RustFebruary::new()
    }
}

fn stamp(now: Time) -> Value {
    json!({"PleaseReturnThisMessage": {"sent_at": now.as_nanos() as f64 / 1e9}})
}

impl HostBehaviour for RustFebruary {
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let Some(messages) = read(bytes) else { return };
        self.peers.insert(from);
        let mut replies = Vec::new();
        for (kind, payload) in messages {
            match &*kind {
                "PleaseSendContent" => replies.extend(self.answer(&payload)),
                "Content" => {
                    let block = Block::read(&payload).expect("a February node ends when base64 is damaged");
                    self.take(now, &block, &mut replies);
                }
                "PleaseSendPeers" => replies.push(json!({"Peers": {"peers": texts(&self.peers)}})),
                "Peers" => {
                    self.peers.extend(told(&payload).filter_map(|peer| peer.parse::<SocketAddr>().ok()))
                }
                "PleaseReturnThisMessage" => replies.push(message("ReturnedMessage", payload)),
                "ReturnedMessage" => {}
                _ => self.complaints += 1,
            }
        }
        if !replies.is_empty() {
            out.push((from, write(&replies)));
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.next_round = now + ROUND;
        for &peer in &self.peers {
            out.push((peer, write(&[json!({"PleaseSendPeers": {}}), stamp(now)])));
            if let Some(wanted) = &self.wanted {
                out.push((peer, write(&[request(&wanted.id, 0), stamp(now)])));
                out.push((peer, write(&[request(&wanted.id, 0), stamp(now)])));
            }
        }
    }

    fn next_timeout(&self) -> Time {
        self.next_round
    }
}
