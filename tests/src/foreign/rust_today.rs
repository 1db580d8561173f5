//! Today's Rust node, v2.2.2.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::time::Duration;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::time::Time;
use cjp2p_wire::tree::{LeafIndex, group_leaves};
use serde_json::{Value, json};

use super::json::{BLOCK, Block, MAX_ANSWER, content, message, put, read, request, texts, told, write};
use crate::sim::{HostBehaviour, Outbox};

/// What it looks after about every second.
const MAINTENANCE: Duration = Duration::from_millis(900);
const STALL: Duration = Duration::from_secs(1);
/// Bytes of content for somebody who has not returned its cookie.
const TASTE: u64 = 32;
/// It tells everybody of these.
const BOOTSTRAP: [&str; 2] = ["192.0.2.10:24254", "[2001:db8::10]:24254"];

/// Has one cookie for all ports of an IP, and expects it in every single datagram. Fetches whole aligned blocks.
pub struct RustToday {
    files: BTreeMap<String, Vec<u8>>,
    wanted: Vec<Wanted>,
    secret: u64,
    /// What others want returned.
    cookies: BTreeMap<SocketAddr, Value>,
    /// Who returned its cookie once.
    peers: BTreeSet<SocketAddr>,
    sources: BTreeSet<SocketAddr>,
    random: fastrand::Rng,
    next_maintenance: Time,
    begun: bool,
    /// Everybody on its links.
    groups: Vec<SocketAddr>,
    /// Who wants to have what it fetched.
    done: Option<Sender<Vec<u8>>>,
}

/// A file under way: content, or the tree that is fetched before it.
struct Wanted {
    id: String,
    eof: Option<u64>,
    bytes: Vec<u8>,
    done: BTreeSet<u64>,
    next: u64,
    heard_at: Time,
}

impl Wanted {
    fn new(id: String) -> Wanted {
        Wanted { id, eof: None, bytes: Vec::new(), done: BTreeSet::new(), next: 0, heard_at: Time::ZERO }
    }

    fn is_complete(&self) -> bool {
        self.eof.is_some_and(|eof| self.done.len() as u64 == eof.div_ceil(BLOCK))
    }

    /// It goes on past the end as long as it has nothing.
    fn next_request(&mut self) -> Value {
        let end = self.eof.filter(|_| !self.done.is_empty()).map_or(u64::MAX, |eof| eof.div_ceil(BLOCK));
        let missing = (self.next..end).chain(0..end).find(|n| !self.done.contains(n)).unwrap_or(0);
        self.next = missing + 1;
        request(&self.id, missing * BLOCK)
    }
}

impl RustToday {
    /// A node that knows nobody and shares nothing.
    pub fn new(seed: u64) -> RustToday {
        RustToday {
            files: BTreeMap::new(),
            wanted: Vec::new(),
            secret: seed,
            cookies: BTreeMap::new(),
            peers: BTreeSet::new(),
            sources: BTreeSet::new(),
            random: fastrand::Rng::with_seed(seed),
            next_maintenance: Time::ZERO,
            begun: false,
            groups: Vec::new(),
            done: None,
        }
    }

    /// Looks for others on the links with these broadcast addresses.
    pub fn on_links(mut self, groups: &[SocketAddr]) -> RustToday {
        self.groups = groups.to_vec();
        self
    }

    /// Hands on what it fetches, once it has all of it.
    pub fn tells_when_complete(mut self, done: Sender<Vec<u8>>) -> RustToday {
        self.done = Some(done);
        self
    }

    /// Shares `bytes` by both hashes, and their tree.
    pub fn share(mut self, bytes: &[u8]) -> RustToday {
        let blake3 = crate::content::blake3_id(bytes).to_string();
        self.files.insert(tree_of(&blake3), crate::reference_tree::file(bytes));
        self.files.insert(blake3, bytes.to_vec());
        self.files.insert(crate::content::sha256_id(bytes).to_string(), bytes.to_vec());
        self
    }

    /// Fetches `id` and knows who may have it.
    pub fn fetch(mut self, id: &ContentId, sources: &[SocketAddr]) -> RustToday {
        self.sources.extend(sources);
        let id = id.to_string();
        if id.starts_with("blake3/") {
            self.wanted.push(Wanted::new(tree_of(&id)));
        }
        self.wanted.push(Wanted::new(id));
        self
    }

    /// Has the tree of `bytes`, and of the content these blocks; the rest it will never get.
    pub fn fetch_in_vain(mut self, bytes: &[u8], blocks: impl IntoIterator<Item = u64>) -> RustToday {
        let id = crate::content::blake3_id(bytes).to_string();
        self.files.insert(tree_of(&id), crate::reference_tree::file(bytes));
        let done = blocks.into_iter().collect();
        self.wanted.push(Wanted {
            eof: Some(bytes.len() as u64),
            bytes: bytes.to_vec(),
            done,
            ..Wanted::new(id)
        });
        self
    }

    /// What it shares by this id, or has fetched.
    pub fn file(&self, id: &ContentId) -> Option<&[u8]> {
        self.files.get(&id.to_string()).map(Vec::as_slice)
    }

    /// Whether it keeps the cookie of the node at `address`.
    pub fn keeps_cookie_of(&self, address: SocketAddr) -> bool {
        self.cookies.contains_key(&address)
    }

    fn cookie(&self, ip: IpAddr) -> Value {
        let hash = blake3::hash(format!("{} {ip}", self.secret).as_bytes());
        json!({"cookie": &hash.to_hex()[..8]})
    }

    fn answer(&mut self, from: SocketAddr, payload: &Value, verified: bool) -> Vec<Value> {
        let (Some(id), Some(offset), Some(length)) =
            (payload["id"].as_str(), payload["offset"].as_u64(), payload["length"].as_u64())
        else {
            return Vec::new();
        };
        if let Some(wanted) = self.wanted.iter().find(|wanted| wanted.id == id && !wanted.is_complete()) {
            let others: Vec<SocketAddr> = self.sources.iter().copied().filter(|peer| *peer != from).collect();
            let mut replies = Vec::new();
            if !others.is_empty() {
                replies.push(json!({"MaybeTheyHaveSome": {"id": id, "peers": texts(&others)}}));
            }
            // Of what it has verified, whole blocks, whatever it was asked for.
            let number = offset / BLOCK;
            if wanted.done.contains(&number) && id.starts_with("blake3/") {
                replies.push(content(id, &wanted.bytes, number * BLOCK, BLOCK, true));
            }
            self.sources.insert(from);
            return replies;
        }
        if !verified && self.random.u8(0..27) == 0 {
            return Vec::new();
        }
        let length = if verified { length.min(MAX_ANSWER) } else { TASTE };
        self.files.get(id).map(|file| content(id, file, offset, length, true)).into_iter().collect()
    }

    /// Returns what to ask for next, after any content of what is wanted.
    fn take(&mut self, now: Time, from: SocketAddr, block: &Block) -> Option<Value> {
        let at = self.wanted.iter().position(|wanted| wanted.id == block.id)?;
        let tree = self.files.get(&tree_of(&block.id)).cloned();
        let wanted = &mut self.wanted[at];
        let eof = block.eof.unwrap_or(block.end() + 1);
        if eof == 0 || *wanted.eof.get_or_insert(eof) != eof {
            return None;
        }
        self.sources.insert(from);
        wanted.heard_at = now;
        assert!(block.data.is_empty() || block.end() <= eof, "a Rust node ends when content passes its end");
        let waits_for_tree = block.id.starts_with("blake3/") && tree.is_none();
        if waits_for_tree {
            let other = if self.random.bool() { at } else { at - 1 };
            return Some(self.wanted[other].next_request());
        }
        let number = block.offset / BLOCK;
        let is_whole = block.offset.is_multiple_of(BLOCK)
            && !block.data.is_empty()
            && (block.data.len() as u64 == BLOCK || block.end() == eof);
        if is_whole && !wanted.done.contains(&number) {
            let leaf = |tree: &Vec<u8>| {
                let leaves = eof.div_ceil(BLOCK) as usize;
                tree[tree.len() - 32 * (leaves - number as usize)..][..32] == leaf_value(number, &block.data)
            };
            assert!(tree.as_ref().is_none_or(leaf), "what came is not this leaf");
            wanted.bytes.resize(eof as usize, 0);
            put(&mut wanted.bytes, block);
            wanted.done.insert(number);
        }
        if !wanted.is_complete() {
            return Some(wanted.next_request());
        }
        let done = self.wanted.remove(at);
        let is_tree = done.id.starts_with("blake3_tree");
        assert!(!is_tree || done.bytes.len() > 96, "a Rust node makes nothing of a tree of one leaf");
        if let Some(told) = self.done.as_ref().filter(|_| !is_tree) {
            // Who waited may have given up.
            let _ = told.send(done.bytes.clone());
        }
        self.files.insert(done.id, done.bytes);
        // The content that came before its tree was thrown away.
        is_tree.then(|| self.wanted[at].next_request())
    }

    /// Sends `replies`, with what always rides along.
    fn send(
        &mut self,
        to: SocketAddr,
        mut replies: Vec<Value>,
        heard: Option<(usize, bool)>,
        theirs: Option<Value>,
        out: &mut Outbox,
    ) {
        if let Some((received, false)) = heard {
            let too_long = |replies: &[Value], limit: f64| {
                (write(replies).len() + 85) as f64 / (received + 85) as f64 > limit
            };
            while !replies.is_empty() && too_long(&replies, 1.0 + 4.0 * self.random.f64()) {
                replies.pop();
            }
            replies.push(message("PleaseAlwaysReturnThisMessage", self.cookie(to.ip())));
        }
        if replies.is_empty() {
            return;
        }
        let theirs = self.cookies.get(&to).cloned().or(theirs);
        replies.extend(theirs.map(|cookie| message("AlwaysReturned", cookie)));
        out.push((to, write(&replies)));
    }
}

fn tree_of(id: &str) -> String {
    id.replacen("blake3/", "blake3_tree_v2/", 1)
}

fn leaf_value(number: u64, bytes: &[u8]) -> Hash {
    group_leaves(LeafIndex(number), bytes)[0]
}

/// The one shape of cookie that it knows.
fn as_cookie(payload: &Value) -> Option<Value> {
    payload["cookie"].is_string().then(|| payload.clone())
}

impl HostBehaviour for RustToday {
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let Some(messages) = read(bytes) else { return };
        let returned = messages.iter().find(|(kind, _)| kind == "AlwaysReturned");
        let verified = returned.is_some_and(|(_, payload)| *payload == self.cookie(from.ip()));
        let theirs = messages
            .iter()
            .find(|(kind, _)| kind == "PleaseAlwaysReturnThisMessage")
            .and_then(|(_, payload)| as_cookie(payload));
        if let (true, Some(cookie)) = (verified, &theirs) {
            self.cookies.insert(from, cookie.clone());
        }
        let mut replies = Vec::new();
        if verified && self.peers.insert(from) {
            replies.extend([
                json!({"PleaseSendPeers": {}}),
                json!({"PleaseReturnThisMessage": {"cookie": format!("{}", now.as_nanos() as f64 / 1e9)}}),
            ]);
        }
        for (kind, payload) in &messages {
            match &**kind {
                "PleaseSendContent" => replies.extend(self.answer(from, payload, verified)),
                "Content" => {
                    if let Some(block) = Block::read(payload) {
                        replies.extend(self.take(now, from, &block));
                    }
                }
                "PleaseReturnThisMessage" => {
                    replies.extend(as_cookie(payload).map(|cookie| message("ReturnedMessage", cookie)));
                }
                "ReturnedMessage" if verified => {
                    let text = payload["cookie"].as_str().unwrap_or_default();
                    assert!(text.parse::<f64>().is_ok(), "a Rust node ends when {text} is returned to it");
                }
                "PleaseSendPeers" => {
                    let known = BOOTSTRAP.iter().map(|peer| (*peer).to_owned()).chain(texts(&self.peers));
                    let told: Vec<String> = known.take(if verified { 50 } else { 1 }).collect();
                    replies.push(json!({"Peers": {"peers": told}}));
                }
                "MaybeTheyHaveSome" => {
                    self.sources.extend(told(payload).filter_map(|peer| peer.parse::<SocketAddr>().ok()));
                }
                _ => {}
            }
        }
        self.send(from, replies, Some((bytes.len(), verified)), theirs, out);
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.next_maintenance = now + MAINTENANCE;
        let begins = !std::mem::replace(&mut self.begun, true);
        let sources: Vec<SocketAddr> = self.sources.iter().copied().collect();
        let copies = if begins { 1 + 5 / (1 + sources.len()) } else { 2 * (1 + 1 / (1 + sources.len())) };
        let has_tree = self.wanted.first().is_none_or(|wanted| !wanted.id.starts_with("blake3_tree"));
        for at in 0..self.wanted.len() {
            let wanted = &mut self.wanted[at];
            let stalls = now.since(wanted.heard_at) > STALL;
            if !begins && (!stalls || at > 0 && !has_tree) {
                continue;
            }
            wanted.next = 0;
            let ask = wanted.next_request();
            if begins {
                wanted.next = 0;
            }
            for &source in &sources {
                for _ in 0..copies {
                    self.send(source, vec![ask.clone()], None, None, out);
                }
            }
        }
        for &group in &self.groups {
            out.push((group, write(&[json!({"PleaseSendPeers": {}})])));
        }
        if !self.groups.is_empty() && !begins {
            // Those whom it found there are asked like all its peers.
            for at in 0..self.wanted.len() {
                let ask = self.wanted[at].next_request();
                self.wanted[at].next = 0;
                for peer in self.peers.clone().into_iter().filter(|peer| !sources.contains(peer)) {
                    self.send(peer, vec![ask.clone()], None, None, out);
                }
            }
        }
        for peer in self.peers.clone() {
            let probe = vec![
                json!({"MyPublicKey": {"ed25519h": "00"}}),
                json!({"PleaseSendPeers": {}}),
                json!({"PleaseReturnThisMessage": {"cookie": format!("{}", now.as_nanos() as f64 / 1e9)}}),
                message("PleaseAlwaysReturnThisMessage", self.cookie(peer.ip())),
            ];
            self.send(peer, probe, None, None, out);
        }
    }

    fn next_timeout(&self) -> Time {
        self.next_maintenance
    }
}
