//! `Swarm`: its parts, how it begins, and what it says of itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use cjp2p_wire::time::Time;

use super::bans::Bans;
use super::bucket::Bucket;
use super::choking::Choking;
use super::config::{Config, Order, Torrent};
use super::fetching::Fetching;
use super::known::Known;
use super::member::Member;
use super::metadata::MetadataFetch;
use super::output::{ConnId, Event, Output};
use super::spreading::Spreading;
use crate::connection::Introduction;
use crate::info_hash::InfoHash;
use crate::piece_set::PieceSet;
use crate::public::{Origin, admitted};

/// One torrent and its peers.
#[derive(Debug)]
pub struct Swarm {
    pub(super) config: Config,
    pub(super) random: fastrand::Rng,
    pub(super) introduction: Introduction,
    /// What is fetched, once the metadata is known.
    pub(super) fetching: Option<Fetching>,
    pub(super) metadata: MetadataFetch,
    // Invariant: at most `Config::max_connections`.
    pub(super) members: BTreeMap<ConnId, Member>,
    pub(super) known: Known,
    pub(super) bans: Bans,
    pub(super) choking: Choking,
    /// Those that may be asked or answered, or have something to send.
    pub(super) active: BTreeSet<ConnId>,
    /// Who was answered last.
    pub(super) last_served: ConnId,
    pub(super) spreading: Spreading,
    pub(super) upload: Bucket,
    // Invariant: hosts of members, and `MAX_GONE_HOSTS` at the most that are gone and were sent more than is due.
    pub(super) upload_of_host: BTreeMap<IpAddr, Bucket>,
    pub(super) download: Bucket,
    pub(super) outputs: VecDeque<Output>,
    pub(super) next_id: u64,
    pub(super) was_complete: bool,
    /// When all members are looked after.
    pub(super) tick_at: Time,
    pub(super) round_at: Time,
    /// When members are told which pieces came.
    pub(super) haves_at: Time,
    /// What was received and sent by peers that are gone, in bytes of blocks.
    pub(super) past: (u64, u64),
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// Connections whose handshakes went over.
    pub peers: usize,
    /// Of these, peers that have everything.
    pub seeds: usize,
    /// Addresses that are known.
    pub known: usize,
    /// Bytes that are wanted and here.
    pub done: u64,
    /// Bytes that are wanted.
    pub wanted: u64,
    /// Bytes of blocks that came.
    pub received: u64,
    /// Bytes of blocks that were sent.
    pub sent: u64,
    /// Bytes of blocks that come in a second.
    pub rate_in: f64,
    /// Bytes of blocks that are sent in a second.
    pub rate_out: f64,
}

/// Begin, and what is wanted.
impl Swarm {
    /// A torrent of which `have` is here, and `unchecked` too, but not verified: the owner hashes those, and calls
    /// [`on_checked`](Swarm::on_checked) for each. Everything is wanted, the rarest first.
    #[must_use]
    pub fn new(now: Time, torrent: Torrent, have: PieceSet, unchecked: &PieceSet, config: Config) -> Swarm {
        let mut swarm = Swarm::from_magnet(now, torrent.info_hash, config);
        swarm.start(now, torrent, have, unchecked);
        swarm
    }

    /// A torrent of which only the hash is known. Its `info` is asked of peers, until [`Event::Metadata`] gives it; then the owner
    /// calls [`start`](Swarm::start).
    #[must_use]
    pub fn from_magnet(now: Time, info_hash: InfoHash, config: Config) -> Swarm {
        Swarm {
            random: fastrand::Rng::with_seed(config.seed),
            introduction: Introduction::new(info_hash, config.peer_id, &config.client, config.port),
            fetching: None,
            metadata: MetadataFetch::new(info_hash),
            members: BTreeMap::new(),
            known: Known::default(),
            bans: Bans::default(),
            choking: Choking::default(),
            active: BTreeSet::new(),
            last_served: ConnId(0),
            spreading: Spreading::default(),
            upload: Bucket::new(config.upload_rate),
            upload_of_host: BTreeMap::new(),
            download: Bucket::new(config.download_rate),
            outputs: VecDeque::new(),
            next_id: 0,
            was_complete: false,
            tick_at: now,
            round_at: now,
            haves_at: Time::NEVER,
            past: (0, 0),
            config,
        }
    }

    /// As [`new`](Swarm::new), once the `info` is known. The second time it does nothing.
    pub fn start(&mut self, now: Time, torrent: Torrent, have: PieceSet, unchecked: &PieceSet) {
        if self.fetching.is_some() || torrent.info_hash != self.info_hash() {
            return;
        }
        let count = torrent.pieces.count();
        let most = self.config.max_begun;
        if have.is_full() {
            self.spreading = Spreading::new(count);
        }
        self.fetching = Some(Fetching::new(torrent, have, unchecked, most, &mut self.random));
        let ids: Vec<ConnId> = self.members.keys().copied().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if let Err(broken) = member.connection.set_pieces(count) {
                self.close(now, id, Some(broken));
                continue;
            }
            if member.is_introduced
                && let Some(fetching) = &self.fetching
            {
                member.connection.tell_parts(Some(fetching.have()));
            }
            self.on_has(id, None);
        }
        self.note_complete();
    }

    /// From now on these bytes are wanted, in this order of importance, whole pieces of which are fetched. They must not overlap.
    /// Returns the pieces that were begun and are given up: the store may forget them.
    pub fn want(&mut self, ranges: Vec<Range<u64>>, order: Order) -> Vec<u32> {
        let Some(fetching) = &mut self.fetching else { return Vec::new() };
        let given_up = fetching.want(ranges, order);
        for member in self.members.values_mut() {
            let parts = member.connection.parts().set();
            member.connection.want(parts.is_some_and(|parts| parts.intersects(fetching.needed())));
        }
        self.was_complete = false;
        self.active.extend(self.members.keys());
        self.note_complete();
        given_up
    }

    /// Only so many of the wanted bytes may be fetched now, counted in their order from the first: where a reader takes them in
    /// order, and holds only some.
    pub fn set_room(&mut self, room: u64) {
        if let Some(fetching) = &mut self.fetching {
            fetching.set_room(room);
            self.active.extend(self.members.keys());
        }
    }

    /// There may be a peer at this address, unless it may not be named by this origin.
    pub fn add_peer(&mut self, now: Time, address: SocketAddr, origin: Origin) {
        if let Some(address) = admitted(origin, address, self.config.allow_private)
            && !self.bans.has(address)
        {
            self.known.add(now, address, origin);
        }
    }

    pub(super) fn note_complete(&mut self) {
        let is_complete = self.is_complete();
        if is_complete && !std::mem::replace(&mut self.was_complete, is_complete) {
            self.active.extend(self.members.keys());
            self.outputs.push_back(Output::Event(Event::Complete));
        }
    }
}

/// How it stands.
impl Swarm {
    /// Whether everything that is wanted is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.fetching.as_ref().is_some_and(Fetching::is_complete)
    }

    /// The pieces that are here and right, once the metadata is known.
    #[must_use]
    pub fn have(&self) -> Option<&PieceSet> {
        self.fetching.as_ref().map(Fetching::have)
    }

    /// Its name.
    #[must_use]
    pub fn info_hash(&self) -> InfoHash {
        self.introduction.info_hash
    }

    /// Whether peers are found by trackers alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| fetching.torrent().is_private)
    }

    /// All figures.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        let (done, wanted) = self.fetching.as_ref().map_or((0, 0), Fetching::progress);
        let (received, sent) = self.past;
        let mut status =
            Status { known: self.known.len(), done, wanted, received, sent, ..Status::default() };
        for connection in self.members.values().map(|member| &member.connection) {
            status.peers += usize::from(connection.is_open());
            status.seeds += usize::from(connection.is_open() && connection.parts().is_seed());
            status.received += connection.down().total();
            status.sent += connection.up().total();
            status.rate_in += connection.down().rate(now);
            status.rate_out += connection.up().rate(now);
        }
        status
    }

    /// The peers that are connected: where they are, what they have sent and been sent in bytes.
    pub fn peers(&self) -> impl Iterator<Item = (SocketAddr, u64, u64)> + '_ {
        self.members.values().map(|Member { connection, .. }| {
            (connection.address(), connection.down().total(), connection.up().total())
        })
    }

    /// Panics where a field's invariant does not hold.
    #[cfg(debug_assertions)]
    pub fn check_invariants(&self) {
        assert!(self.members.len() <= self.config.max_connections);
        if let Some(fetching) = &self.fetching {
            fetching.check_invariants();
        }
    }
}
