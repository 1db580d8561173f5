//! The table of peers: bounded, so that unvalidated sources can neither fill memory nor push honest peers out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde_json::value::RawValue;

use super::address::{self, Prefix, Scope};
use super::peer::{LOST_AFTER, Origin, Peer};

#[cfg(test)]
mod tests;

/// How many peers the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Peers that returned our cookie.
    pub verified: usize,
    /// Addresses that were only suggested.
    pub suggested: usize,
    /// Of both, in one IPv4 /24 or IPv6 /48. Only public addresses are counted.
    pub per_narrow_prefix: usize,
    /// Of both, in one IPv4 /16 or IPv6 /32. Only public addresses are counted.
    pub per_wide_prefix: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { verified: 4096, suggested: 512, per_narrow_prefix: 8, per_wide_prefix: 32 }
    }
}

/// This many peers, those that have answered for longest, are never replaced by newcomers while they answer. So a flood of
/// the table cannot cut us off from the network.
pub const ANCHORS: usize = 8;

/// A peer that was not heard from for this time is worth a query, in milliseconds.
const DOUBTFUL_MS: u64 = 24 * 3600 * 1000;

/// A verified peer that was not heard from for this time may be replaced by a newcomer without a query, in milliseconds.
const FORGOTTEN_MS: u64 = 7 * 24 * 3600 * 1000;

/// What became of an address that was offered to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was there already; the table noted what is new.
    Known,
    /// It is in the table now.
    Added,
    /// No address that a peer can have.
    Unusable,
    /// No room: a peer that may still be alive is not given up for a newcomer.
    Full,
}

/// A part of a table's JSON that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProblem {
    /// The element, counted from 0 as `jq` does; `None` if the text as a whole is not a table.
    pub entry: Option<usize>,
    /// The line, counted from 1, on which that element starts, or on which the text stopped making sense.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for TableProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// What a table's JSON held.
#[derive(Clone, Debug)]
pub struct ParsedTable {
    /// All that could be read, within the limits.
    pub table: PeerTable,
    /// What could not be read; each is missing from the table.
    pub problems: Vec<TableProblem>,
    /// How many entries the limits left no room for.
    pub trimmed: usize,
}

/// The peers we know.
///
/// Times are milliseconds since 1970, as an argument. A clock that jumps makes the order of peers worse, no more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerTable {
    limits: Limits,
    /// Invariant: every key is its peer's address; every peer is `verified`; at most `limits.verified` of them.
    verified: BTreeMap<SocketAddr, Peer>,
    /// Invariant: every key is its peer's address; none is `verified`, none is also in `verified`; at most
    /// `limits.suggested` of them. Both maps together respect the limits per prefix.
    suggested: BTreeMap<SocketAddr, Peer>,
}

impl PeerTable {
    /// An empty table with the default limits.
    pub fn new() -> PeerTable {
        PeerTable::default()
    }

    /// An empty table with limits of its own.
    pub fn with_limits(limits: Limits) -> PeerTable {
        PeerTable { limits, ..PeerTable::default() }
    }

    /// How many peers there are, the suggested included.
    pub fn len(&self) -> usize {
        self.verified.len() + self.suggested.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The peer at an address.
    pub fn get(&self, address: SocketAddr) -> Option<&Peer> {
        let address = address::canonical(address);
        self.verified.get(&address).or_else(|| self.suggested.get(&address))
    }

    /// All peers, the verified first, each part in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.verified.values().chain(self.suggested.values())
    }

    /// Notes a suggested address. It stays a suggestion until [`PeerTable::heard`].
    ///
    /// A peer's suggestion must have passed [`address::referred`] before.
    pub fn suggest(&mut self, address: SocketAddr, origin: Origin) -> Admission {
        let address = address::canonical(address);
        if let Some(peer) = self.peer_mut(address) {
            if origin.is_local() && !peer.verified && !peer.origin.is_local() {
                peer.origin = origin;
            }
            return Admission::Known;
        }
        self.admit(Peer::new(address, origin))
    }

    /// Notes that the peer at `address` returned our cookie at `now_ms`, and the round trip in
    /// milliseconds if it was measured. `origin` counts only if the peer was unknown.
    pub fn heard(
        &mut self,
        address: SocketAddr,
        now_ms: u64,
        round_trip_ms: Option<f64>,
        origin: Origin,
    ) -> Admission {
        let address = address::canonical(address);
        let known = self.get(address).is_some();
        let mut peer = match self.verified.get(&address).or_else(|| self.suggested.get(&address)) {
            Some(peer) => peer.clone(),
            None => Peer::new(address, origin),
        };
        let was_verified = peer.verified;
        peer.verified = true;
        peer.first_heard_ms.get_or_insert(now_ms);
        peer.last_heard_ms = Some(now_ms);
        peer.round_trip_ms = round_trip_ms.filter(|ms| ms.is_finite() && *ms >= 0.0).or(peer.round_trip_ms);
        peer.unanswered = 0;
        if was_verified {
            self.verified.insert(address, peer);
            return Admission::Known;
        }
        // The suggestion makes way for the verified peer, and stays if there is no room for that.
        let suggestion = self.suggested.remove(&address);
        let admission = self.admit(peer);
        match (admission, suggestion) {
            (Admission::Added, _) if known => Admission::Known,
            (Admission::Full, Some(suggestion)) => {
                self.suggested.insert(address, suggestion);
                admission
            }
            _ => admission,
        }
    }

    /// Notes that the peer at `address` sent content that we asked for, at `now_ms`.
    pub fn useful(&mut self, address: SocketAddr, now_ms: u64) {
        if let Some(peer) = self.peer_mut(address::canonical(address)) {
            peer.useful_ms = peer.useful_ms.max(Some(now_ms));
        }
    }

    /// Notes that a query to `address` got no answer in time.
    pub fn unanswered(&mut self, address: SocketAddr) {
        let address = address::canonical(address);
        if let Some(peer) = self.peer_mut(address) {
            peer.unanswered = peer.unanswered.saturating_add(1);
        }
    }

    /// Forgets a peer.
    pub fn remove(&mut self, address: SocketAddr) -> Option<Peer> {
        let address = address::canonical(address);
        self.verified.remove(&address).or_else(|| self.suggested.remove(&address))
    }

    /// At most `count` peers, the most promising first: the verified before the suggested, those that answer before the
    /// silent, those heard from recently before the others, then the nearest. A peer that sent us no content recently counts as
    /// heard from longer ago.
    pub fn best(&self, count: usize, now_ms: u64) -> Vec<SocketAddr> {
        let mut peers: Vec<&Peer> = self.iter().collect();
        peers.sort_by(|a, b| a.cmp_rank(b, now_ms));
        peers.truncate(count);
        peers.into_iter().map(|peer| peer.address).collect()
    }

    /// At most `count` verified peers that may be gone, those not heard from for longest first. They are worth a query: only a
    /// peer that left queries unanswered makes room for others.
    pub fn doubtful(&self, count: usize, now_ms: u64) -> Vec<SocketAddr> {
        let silence = |peer: &Peer| now_ms.saturating_sub(peer.last_heard_ms.unwrap_or(0));
        let is_doubtful = |peer: &&Peer| peer.unanswered < LOST_AFTER && silence(peer) >= DOUBTFUL_MS;
        let mut peers: Vec<&Peer> = self.verified.values().filter(is_doubtful).collect();
        peers.sort_by_key(|peer| (std::cmp::Reverse(silence(peer)), peer.address));
        peers.into_iter().take(count).map(|peer| peer.address).collect()
    }

    /// The verified peers heard from at most `within_ms` ago: those that may be passed on to others.
    pub fn heard_within(&self, within_ms: u64, now_ms: u64) -> impl Iterator<Item = &Peer> {
        self.verified.values().filter(move |peer| {
            peer.last_heard_ms.is_some_and(|heard| now_ms.saturating_sub(heard) <= within_ms)
        })
    }

    /// Reads a table: a JSON array of objects, or the objects one after the other.
    ///
    /// Never fails: what can be read is in the table, the rest is in `problems`. Empty text is an empty table.
    pub fn parse(text: &str) -> ParsedTable {
        let mut problems = Vec::new();
        let mut all: BTreeMap<SocketAddr, Peer> = BTreeMap::new();
        let mut add = |peer: Peer| match all.get_mut(&peer.address) {
            Some(known) => known.merge(&peer),
            None => {
                all.insert(peer.address, peer);
            }
        };
        let elements = match elements(text) {
            Ok(elements) => elements,
            Err(error) => {
                problems.push(TableProblem {
                    entry: None,
                    line: error.line().max(1),
                    message: without_position(&error),
                });
                // A torn or damaged file still has whole lines before and after the damage.
                text.lines().filter_map(peer_of_line).for_each(&mut add);
                Vec::new()
            }
        };
        for (entry, element) in elements.into_iter().enumerate() {
            match serde_json::from_str::<Peer>(element.get()) {
                Ok(peer) => add(peer),
                Err(error) => problems.push(TableProblem {
                    entry: Some(entry),
                    line: line_of(text, element.get()),
                    message: without_position(&error),
                }),
            }
        }
        let mut table = PeerTable::new();
        let trimmed = table.fill(all.into_values().collect());
        ParsedTable { table, problems, trimmed }
    }

    /// The table as JSON: an array with one peer to a line, so that line tools can handle it too.
    pub fn to_json(&self) -> String {
        let lines: Vec<String> = self.iter().map(peer_json).collect();
        if lines.is_empty() {
            return "[]\n".into();
        }
        format!("[\n{}\n]\n", lines.join(",\n"))
    }

    /// The table as JSON objects, one to a line.
    pub fn to_json_lines(&self) -> String {
        self.iter().map(|peer| peer_json(peer) + "\n").collect()
    }

    fn peer_mut(&mut self, address: SocketAddr) -> Option<&mut Peer> {
        match self.verified.get_mut(&address) {
            Some(peer) => Some(peer),
            None => self.suggested.get_mut(&address),
        }
    }

    fn insert(&mut self, peer: Peer) {
        let map = if peer.verified { &mut self.verified } else { &mut self.suggested };
        map.insert(peer.address, peer);
    }

    /// The peers of both kinds within a range of addresses.
    fn within(&self, range: RangeInclusive<SocketAddr>) -> impl Iterator<Item = &Peer> {
        self.verified.range(range.clone()).chain(self.suggested.range(range)).map(|(_, peer)| peer)
    }

    /// The limits that a newcomer has to fit: for each, which peers count under it, and how many may.
    fn bounds(&self, newcomer: &Peer) -> Vec<(Vec<&Peer>, usize)> {
        let (kind, kind_limit) = if newcomer.verified {
            (&self.verified, self.limits.verified)
        } else {
            (&self.suggested, self.limits.suggested)
        };
        let mut full = Vec::new();
        if Scope::of(newcomer.address) == Scope::Public {
            let ip = newcomer.address.ip();
            for (prefix, limit) in [
                (Prefix::narrow(ip), self.limits.per_narrow_prefix),
                (Prefix::wide(ip), self.limits.per_wide_prefix),
            ] {
                let members: Vec<&Peer> = self.within(prefix.addresses()).collect();
                if members.len() >= limit {
                    full.push((members, limit));
                }
            }
        }
        if kind.len() >= kind_limit {
            full.push((kind.values().collect(), kind_limit));
        }
        full
    }

    /// Adds a peer that is not in the table, in place of worse ones if a limit is reached.
    fn admit(&mut self, newcomer: Peer) -> Admission {
        if Scope::of(newcomer.address) == Scope::Unusable {
            return Admission::Unusable;
        }
        let full = self.bounds(&newcomer);
        if full.is_empty() {
            self.insert(newcomer);
            return Admission::Added;
        }
        let anchors = self.anchors();
        let now_ms = newcomer.last_heard_ms.max(self.heard_last());
        let mut victims = BTreeSet::new();
        for (members, limit) in full {
            // A victim of a narrower limit makes room under this one too, if it counts here.
            let gone = members.iter().filter(|peer| victims.contains(&peer.address)).count();
            if members.len() - gone < limit {
                continue;
            }
            let worst = members
                .iter()
                .filter(|peer| !anchors.contains(&peer.address) && !victims.contains(&peer.address))
                .filter(|peer| gives_way(peer, &newcomer))
                .max_by(|a, b| a.cmp_rank(b, now_ms.unwrap_or(0)));
            match worst {
                Some(peer) => victims.insert(peer.address),
                None => return Admission::Full,
            };
        }
        for victim in victims {
            self.remove(victim);
        }
        self.insert(newcomer);
        Admission::Added
    }

    /// Replaces the contents by as many of `peers` as the limits allow, the best first. Returns how many were left out.
    fn fill(&mut self, mut peers: Vec<Peer>) -> usize {
        self.verified.clear();
        self.suggested.clear();
        let anchors = choose_anchors(peers.iter());
        let now_ms = peers.iter().filter_map(|peer| peer.last_heard_ms).max().unwrap_or(0);
        peers.sort_by(|a, b| {
            let not_anchor = |peer: &Peer| !anchors.contains(&peer.address);
            not_anchor(a).cmp(&not_anchor(b)).then_with(|| a.cmp_rank(b, now_ms))
        });
        let mut trimmed = 0;
        for peer in peers {
            if self.bounds(&peer).is_empty() {
                self.insert(peer);
            } else {
                trimmed += 1;
            }
        }
        trimmed
    }

    /// When any peer was last heard from.
    fn heard_last(&self) -> Option<u64> {
        self.verified.values().filter_map(|peer| peer.last_heard_ms).max()
    }

    fn anchors(&self) -> BTreeSet<SocketAddr> {
        choose_anchors(self.verified.values())
    }
}

/// Whether a peer may be given up for a newcomer.
fn gives_way(peer: &Peer, newcomer: &Peer) -> bool {
    match (peer.verified, newcomer.verified) {
        (true, true) => peer.unanswered > 0 || newcomer.heard_after(peer) >= FORGOTTEN_MS,
        (true, false) => false,
        (false, true) => true,
        (false, false) => peer.unanswered > 0 || (newcomer.origin.is_local() && !peer.origin.is_local()),
    }
}

fn choose_anchors<'a>(peers: impl Iterator<Item = &'a Peer>) -> BTreeSet<SocketAddr> {
    let mut answering: Vec<&Peer> = peers
        .filter(|peer| peer.verified && peer.unanswered < LOST_AFTER && peer.lifetime_ms() > 0)
        .collect();
    answering.sort_by_key(|peer| (std::cmp::Reverse(peer.lifetime_ms()), peer.address));
    answering.iter().take(ANCHORS).map(|peer| peer.address).collect()
}

fn elements(text: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    if text.trim_start().starts_with('{') {
        serde_json::Deserializer::from_str(text).into_iter().collect()
    } else if text.trim().is_empty() {
        Ok(Vec::new())
    } else {
        serde_json::from_str(text)
    }
}

/// The peer on a line of a table, if it is whole.
fn peer_of_line(line: &str) -> Option<Peer> {
    let line = line.trim();
    serde_json::from_str(line.strip_suffix(',').unwrap_or(line)).ok()
}

/// The line, counted from 1, on which `part`, a piece of `text`, starts.
fn line_of(text: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The message of an error without the position at its end, which counts from the start of an element.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&position).map(str::to_owned).unwrap_or(message)
}

fn peer_json(peer: &Peer) -> String {
    serde_json::to_string(peer).expect("a peer is made of strings, finite numbers and what was JSON before")
}
