//! What a node has learned of its peers that the peer table shall know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use cjp2p_wire::node::Acquaintance;
use cjp2p_wire::peers::peer::{Origin, Peer};
use cjp2p_wire::peers::table::PeerTable;
use cjp2p_wire::store::Store;
use cjp2p_wire::time::Time;

use super::session::Session;

/// A peer that came of its own accord is kept only if it was heard over at least this time. One that fetches something and goes has
/// its port for minutes, and would be in the table for ever.
const STAY: Duration = Duration::from_secs(600);
/// Ports that Linux hands out to programs that ask for any, as those do that are gone soon. Nodes that stay have others.
const PASSING_PORTS: RangeInclusive<u16> = 32_768..=60_999;
/// Peers of which something is to be written, at the most: where the table cannot be written for long, more are not noted.
const MAX_LEARNED: usize = 16_384;

/// Which new peers are taken into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// All that answered: the user asked for them.
    Everybody,
    /// Those that are likely to be there tomorrow.
    Lasting,
}

/// What was learned of one peer.
#[derive(Clone, Debug)]
struct Heard {
    at_ms: u64,
    round_trip_ms: Option<f64>,
    useful_ms: Option<u64>,
    origin: Origin,
    /// It may be gone tomorrow: it is noted only where the table knows it.
    passes_by: bool,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Learned {
    heard: BTreeMap<SocketAddr, Heard>,
    /// Peers that did not answer, and how often.
    silent: BTreeMap<SocketAddr, u32>,
    /// Our own addresses.
    own: BTreeSet<SocketAddr>,
}

impl Learned {
    /// The peers that a node heard after `since`, when, and how far away; and those of `silent`, which did not answer. `origin` says
    /// how an address came to the tool, for those that are new.
    ///
    /// Peers that are not validated are left out, and so are those that sent what is provably wrong. Unless all are
    /// [admitted](Admit), two more kinds are left out. One came of its own accord, and neither stayed nor was of use. The other has a
    /// port of programs that are gone soon, has not stayed, and the user did not name it.
    pub fn of<S: Store>(
        session: &Session<S>,
        since: Time,
        silent: &[SocketAddr],
        admit: Admit,
        origin: impl Fn(SocketAddr) -> Origin,
    ) -> Learned {
        let is_told = |peer: &Acquaintance| {
            peer.validated_since.is_some() && !peer.misbehaved && peer.last_heard >= since
        };
        let heard = session.node().acquaintances().filter(is_told).map(|peer| {
            let origin = origin(peer.address);
            let passes_by = match admit {
                Admit::Everybody => false,
                Admit::Lasting => passes_by(&peer, &origin),
            };
            let heard = Heard {
                at_ms: session.unix_ms(peer.last_heard),
                round_trip_ms: peer.round_trip.map(milliseconds),
                useful_ms: peer.last_useful.map(|at| session.unix_ms(at)),
                origin,
                passes_by,
            };
            (peer.address, heard)
        });
        let listening = session.port().local_address().ok();
        let own = session.node().own_addresses().chain(listening.filter(|own| !own.ip().is_unspecified()));
        let silent = silent.iter().map(|address| (*address, 1));
        Learned { heard: heard.collect(), silent: silent.collect(), own: own.collect() }
    }

    /// A peer that the user named was heard just now.
    #[cfg(test)]
    pub(super) fn heard_now(address: SocketAddr) -> Learned {
        let heard = Heard {
            at_ms: 1,
            round_trip_ms: None,
            useful_ms: None,
            origin: Origin::CommandLine,
            passes_by: false,
        };
        Learned { heard: [(address, heard)].into(), ..Learned::default() }
    }

    /// Whether there is nothing to be written.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty() && self.silent.is_empty() && self.own.is_empty()
    }

    /// Takes in what was learned later.
    pub(super) fn add(&mut self, later: Learned) {
        for (address, heard) in later.heard {
            if self.heard.len() < MAX_LEARNED || self.heard.contains_key(&address) {
                // What came before it was heard does not count any more.
                self.silent.remove(&address);
                self.heard.insert(address, heard);
            }
        }
        for (address, times) in later.silent {
            if self.silent.len() < MAX_LEARNED || self.silent.contains_key(&address) {
                *self.silent.entry(address).or_default() += times;
            }
        }
        self.own.extend(later.own.into_iter().take(MAX_LEARNED.saturating_sub(self.own.len())));
    }

    /// Writes it into the table.
    pub(super) fn note_in(&self, table: &mut PeerTable) {
        for (address, heard) in &self.heard {
            if heard.passes_by && table.get(*address).is_none() {
                continue;
            }
            table.heard(*address, heard.at_ms, heard.round_trip_ms, heard.origin.clone());
            if let Some(at_ms) = heard.useful_ms {
                table.useful(*address, at_ms);
            }
        }
        for (address, times) in &self.silent {
            for _ in 0..*times {
                table.unanswered(*address);
            }
            if table.get(*address).is_some_and(is_gone) {
                table.remove(*address);
            }
        }
        for address in &self.own {
            // What the user named is another tool's to ask: it may be a server beside a getter.
            if table.get(*address).is_some_and(|peer| !peer.origin().is_local()) {
                table.remove(*address);
            }
        }
    }
}

/// To the microsecond: more digits would be noise.
pub fn milliseconds(round_trip: Duration) -> f64 {
    round_trip.as_micros() as f64 / 1000.0
}

/// Whether a peer is likely to be gone tomorrow.
fn passes_by(peer: &Acquaintance, origin: &Origin) -> bool {
    let stayed = peer.validated_since.is_some_and(|at| peer.last_heard.since(at) >= STAY);
    let only_came = *origin == Origin::Incoming && peer.last_useful.is_none();
    !stayed && !origin.is_local() && (only_came || PASSING_PORTS.contains(&peer.address.port()))
}

/// Whether this port had a program for a while that has ended: nobody will be there again.
fn is_gone(peer: &Peer) -> bool {
    peer.is_lost() && !peer.origin().is_local() && PASSING_PORTS.contains(&peer.address().port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, stayed: Duration, useful: bool) -> Acquaintance {
        let heard = Time::from_millis(10_000_000);
        Acquaintance {
            address: address.parse().unwrap(),
            last_heard: heard,
            round_trip: None,
            validated_since: Some(heard - stayed),
            last_useful: useful.then_some(heard),
            misbehaved: false,
            suggested: false,
            named_by: None,
        }
    }

    #[test]
    fn getters_that_are_gone_tomorrow_pass_by_whatever_they_sent() {
        let by = Origin::Referral("192.0.2.9:24254".parse().unwrap());
        let short = Duration::from_secs(60);
        for origin in [Origin::Incoming, Origin::Lan, Origin::Dht, by.clone()] {
            assert!(passes_by(&peer("192.0.2.1:40000", short, true), &origin), "{origin}");
            assert!(!passes_by(&peer("192.0.2.1:40000", STAY, false), &origin), "{origin} stayed");
        }
        // A peer that the user named, or that has a port of its own, is likely to be there.
        assert!(!passes_by(&peer("192.0.2.1:40000", short, false), &Origin::CommandLine));
        assert!(!passes_by(&peer("192.0.2.1:24254", short, false), &by));
        assert!(!passes_by(&peer("192.0.2.1:24254", short, true), &Origin::Incoming));
        assert!(passes_by(&peer("192.0.2.1:24254", short, false), &Origin::Incoming), "it only asked");
    }

    #[test]
    fn what_was_learned_at_two_times_adds_up_and_our_own_address_goes() {
        let (one, other, own) =
            ("192.0.2.1:5".parse().unwrap(), "192.0.2.2:5".parse().unwrap(), "192.0.2.3:5".parse().unwrap());
        let mut table = PeerTable::new();
        table.heard(own, 1, None, Origin::Incoming);
        table.heard(other, 1, None, Origin::CommandLine);
        let silent = |address| Learned { silent: [(address, 1)].into(), ..Learned::default() };
        let mut learned = silent(one);
        learned.add(silent(other));
        learned.add(Learned::heard_now(one));
        learned.add(silent(other));
        learned.add(Learned { own: [own].into(), ..Learned::default() });
        learned.note_in(&mut table);
        assert_eq!(table.get(one).unwrap().unanswered(), 0, "it was heard after that");
        assert_eq!(table.get(other).unwrap().unanswered(), 2);
        assert!(table.get(own).is_none());
        table.heard(own, 1, None, Origin::Added);
        learned.note_in(&mut table);
        assert!(table.get(own).is_some(), "the user wants it");
    }

    #[test]
    fn a_port_that_had_a_getter_is_forgotten_when_nobody_answers_there() {
        let mut table = PeerTable::new();
        let peers =
            ["192.0.2.1:40000", "192.0.2.2:40000", "192.0.2.3:24254"].map(|peer| peer.parse().unwrap());
        for (peer, origin) in peers.into_iter().zip([Origin::Incoming, Origin::Added, Origin::Incoming]) {
            table.heard(peer, 1, None, origin);
        }
        let silent = Learned { silent: peers.map(|peer| (peer, 1)).into(), ..Learned::default() };
        for nth in 1..=5 {
            silent.note_in(&mut table);
            assert_eq!(table.get(peers[0]).is_some(), nth < 3, "asked {nth} times");
        }
        assert!(peers[1..].iter().all(|peer| table.get(*peer).is_some()));
    }
}
