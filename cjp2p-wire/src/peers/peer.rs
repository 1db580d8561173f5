//! One peer as the table remembers it, and as JSON spells it.

use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::address::{self, Scope};

/// A peer that left this many queries in a row unanswered is probably gone.
pub(super) const LOST_AFTER: u32 = 3;
/// Peers heard from within this time compare by their round trip, in milliseconds.
const RECENT_MS: u64 = 15 * 60 * 1000;
/// How long it counts that a peer sent us content, in milliseconds.
const USEFUL_MS: u64 = 7 * 24 * 3600 * 1000;
/// A peer that sent us none in that time counts as silent for eight times as long as it was.
const USELESS_STEPS: u32 = 3;

/// How an address first came to be in the table.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Origin {
    /// It was written into the table by hand (`cjp2p-peers add`, or an editor).
    #[default]
    Added,
    /// `--peer` of a tool.
    CommandLine,
    /// The bootstrap list.
    Bootstrap,
    /// It sent us a message of its own accord.
    Incoming,
    /// It is on our link, and answered a query to all nodes there.
    Lan,
    /// A node of the Mainline DHT named it.
    Dht,
    /// The record of an interrupted download.
    Record,
    /// The peer at this address named it.
    Referral(SocketAddr),
    /// An origin that a later version wrote; kept as it stands.
    Other(String),
}

impl Origin {
    /// Whether the user of this machine chose the address, and not another node.
    pub fn is_local(&self) -> bool {
        matches!(self, Origin::Added | Origin::CommandLine | Origin::Bootstrap)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Added => f.write_str("added"),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Bootstrap => f.write_str("bootstrap"),
            Origin::Incoming => f.write_str("incoming"),
            Origin::Lan => f.write_str("lan"),
            Origin::Dht => f.write_str("dht"),
            Origin::Record => f.write_str("resume record"),
            Origin::Referral(by) => write!(f, "referral {by}"),
            Origin::Other(text) => f.write_str(text),
        }
    }
}

impl From<String> for Origin {
    fn from(text: String) -> Origin {
        match text.as_str() {
            "added" => Origin::Added,
            "command line" => Origin::CommandLine,
            "bootstrap" => Origin::Bootstrap,
            "incoming" => Origin::Incoming,
            "lan" => Origin::Lan,
            "dht" => Origin::Dht,
            "resume record" => Origin::Record,
            _ => match text.strip_prefix("referral ").map(address::parse) {
                Some(Ok(by)) => Origin::Referral(by),
                _ => Origin::Other(text),
            },
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Origin, D::Error> {
        String::deserialize(deserializer).map(Origin::from)
    }
}

/// What is known about one peer. `docs/peer-table.md` documents the JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it is. Invariant: canonical, and not [`Scope::Unusable`].
    #[serde(deserialize_with = "read_address")]
    pub(super) address: SocketAddr,
    /// Whether it ever returned our cookie from there; otherwise the address is only a suggestion.
    #[serde(default)]
    pub(super) verified: bool,
    /// When it was first heard from, in milliseconds since 1970.
    #[serde(default)]
    pub(super) first_heard_ms: Option<u64>,
    /// When it was last heard from, in milliseconds since 1970.
    #[serde(default)]
    pub(super) last_heard_ms: Option<u64>,
    /// When it last sent content that we asked for, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) useful_ms: Option<u64>,
    /// The last round trip measured, in milliseconds. Invariant: finite and not negative.
    #[serde(default, deserialize_with = "read_round_trip")]
    pub(super) round_trip_ms: Option<f64>,
    /// How often it was asked since it was last heard from.
    #[serde(default)]
    pub(super) unanswered: u32,
    /// How the address came to us.
    #[serde(default)]
    pub(super) origin: Origin,
    /// Fields of later versions, kept when the table is rewritten.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, origin: Origin) -> Peer {
        Peer {
            address,
            verified: false,
            first_heard_ms: None,
            last_heard_ms: None,
            useful_ms: None,
            round_trip_ms: None,
            unanswered: 0,
            origin,
            other: Map::new(),
        }
    }

    /// Where it is: canonical, and an address that a peer can have.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it ever returned our cookie from there; otherwise the address is only a suggestion.
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// When it was first heard from, in milliseconds since 1970.
    pub fn first_heard_ms(&self) -> Option<u64> {
        self.first_heard_ms
    }

    /// When it was last heard from, in milliseconds since 1970.
    pub fn last_heard_ms(&self) -> Option<u64> {
        self.last_heard_ms
    }

    /// When it last sent content that we asked for, in milliseconds since 1970.
    pub fn useful_ms(&self) -> Option<u64> {
        self.useful_ms
    }

    /// The last round trip measured, in milliseconds.
    pub fn round_trip_ms(&self) -> Option<f64> {
        self.round_trip_ms
    }

    /// How often it was asked since it was last heard from.
    pub fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Whether it left so many queries in a row unanswered that it is probably gone.
    pub fn is_lost(&self) -> bool {
        self.unanswered >= LOST_AFTER
    }

    /// How the address came to us.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How long it has been known to answer, in milliseconds.
    pub(super) fn lifetime_ms(&self) -> u64 {
        let first = self.first_heard_ms.unwrap_or(u64::MAX);
        self.last_heard_ms.unwrap_or(0).saturating_sub(first)
    }

    /// How much later than `other` it was heard from, in milliseconds.
    pub(super) fn heard_after(&self, other: &Peer) -> u64 {
        let heard = |peer: &Peer| peer.last_heard_ms.unwrap_or(0);
        heard(self).saturating_sub(heard(other))
    }

    /// Which peer to ask first, and to give up last: `Less` is the better one. Peers that answer come before silent ones, peers
    /// before suggestions, our own suggestions before those of other nodes, recently heard before others, then the nearest. The
    /// order is total, so that trimming is repeatable.
    pub(super) fn cmp_rank(&self, other: &Peer, now_ms: u64) -> Ordering {
        let key = |peer: &Peer| {
            // A peer that was silent three times is worse than an untried suggestion.
            let lost = peer.unanswered >= LOST_AFTER;
            let stranger = !peer.verified && !peer.origin.is_local();
            (lost, !peer.verified, stranger, peer.unanswered, peer.age(now_ms))
        };
        let distance = |peer: &Peer| peer.round_trip_ms.unwrap_or(f64::MAX);
        key(self)
            .cmp(&key(other))
            .then_with(|| distance(self).total_cmp(&distance(other)))
            .then_with(|| other.last_heard_ms.cmp(&self.last_heard_ms))
            .then_with(|| self.address.cmp(&other.address))
    }

    /// How long it was silent, in steps that double: minutes matter among fresh peers, months among old ones.
    fn age(&self, now_ms: u64) -> u32 {
        let silence = now_ms.saturating_sub(self.last_heard_ms.unwrap_or(0));
        let age = (silence / RECENT_MS).checked_ilog2().map_or(0, |log| log + 1);
        let was_useful = self.useful_ms.is_some_and(|at| now_ms.saturating_sub(at) <= USEFUL_MS);
        if was_useful { age } else { age + USELESS_STEPS }
    }

    /// Takes what another record of the same peer knows. The order of the two does not matter.
    pub(super) fn merge(&mut self, other: &Peer) {
        debug_assert_eq!(self.address, other.address);
        // Both were last heard at the same instant: the record with more queries since is newer. Otherwise any fixed choice does.
        let tie_break = |a: &Peer, b: &Peer| {
            a.unanswered
                .cmp(&b.unanswered)
                .then_with(|| a.round_trip_ms.unwrap_or(-1.0).total_cmp(&b.round_trip_ms.unwrap_or(-1.0)))
        };
        let (newer, older) =
            match self.last_heard_ms.cmp(&other.last_heard_ms).then_with(|| tie_break(self, other)) {
                Ordering::Less => (other, &*self),
                _ => (&*self, other),
            };
        // The origin is the first one. If that is unclear, our own choice goes before another node's.
        let origin_key = |peer: &Peer| {
            let first = peer.first_heard_ms.unwrap_or(u64::MAX);
            (first, !peer.origin.is_local(), peer.origin.to_string())
        };
        let origin = if origin_key(self) <= origin_key(other) { &self.origin } else { &other.origin };
        let mut fields = older.other.clone();
        fields.extend(newer.other.clone());
        *self = Peer {
            address: self.address,
            verified: self.verified || other.verified,
            first_heard_ms: [self.first_heard_ms, other.first_heard_ms].into_iter().flatten().min(),
            last_heard_ms: newer.last_heard_ms,
            useful_ms: self.useful_ms.max(other.useful_ms),
            round_trip_ms: newer.round_trip_ms.or(older.round_trip_ms),
            unanswered: newer.unanswered,
            origin: origin.clone(),
            other: fields,
        };
    }
}

fn read_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(deserializer)?;
    let address = address::parse(&text).map_err(D::Error::custom)?;
    if Scope::of(address) == Scope::Unusable {
        return Err(D::Error::custom(format_args!("no peer can be at {address}")));
    }
    Ok(address)
}

fn read_round_trip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    use serde::de::Error;
    let round_trip = Option::<f64>::deserialize(deserializer)?;
    if round_trip.is_some_and(|ms| !(ms.is_finite() && ms >= 0.0)) {
        return Err(D::Error::custom("round_trip_ms is negative"));
    }
    Ok(round_trip)
}
