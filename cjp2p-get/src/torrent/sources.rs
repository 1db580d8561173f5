//! Who may have a torrent: peers that were named, and those that trackers and the DHT find.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_io::event_loop::Waker;
use cjp2p_io::lookup::{Lookup, Lookups};
use cjp2p_io::mainline::Mainline;
use cjp2p_io::readiness::Readiness;
use cjp2p_io::torrent::local::LocalSearch;
use cjp2p_io::torrent::trackers::{Announcing, Figures, Ours, Trackers};
use cjp2p_torrent::pieces::BLOCK;
use cjp2p_torrent::public::Origin;
use cjp2p_torrent::swarm::Status;
use cjp2p_wire::time::Time;

/// How often the DHT is asked, and told of us.
const ASK_DHT_EVERY: Duration = Duration::from_secs(300);
/// What trackers are told where nobody can call us: it is nobody's.
const NO_PORT: u16 = 1;

/// What is known, or was started, before the process is confined.
pub(crate) struct Prepared {
    pub(crate) named: Lookup,
    /// Those of a magnet.
    pub(crate) of_torrent: Vec<SocketAddr>,
    /// Where peers can call.
    pub(crate) port: Option<u16>,
    /// `None` where no tracker is to be asked.
    pub(crate) trackers: Option<Trackers>,
    /// Trackers that the user named, and those of the torrent.
    pub(crate) trusted: Vec<String>,
    pub(crate) tiers: Vec<Vec<String>>,
    pub(crate) allow_private: bool,
    /// `None` where nobody is asked on the local network.
    pub(crate) lan: Option<LocalSearch>,
}

/// See the [module](self).
pub(crate) struct Sources {
    named: Lookups,
    of_torrent: Vec<SocketAddr>,
    dht: Option<Mainline>,
    asked_dht_at: Option<Time>,
    port: Option<u16>,
    ours: Ours,
    trackers: Option<Trackers>,
    announcing: Announcing,
    lan: Option<LocalSearch>,
    has_trackers: bool,
}

impl Sources {
    /// `waker` is woken when somebody is found.
    pub(crate) fn new(
        prepared: Prepared,
        dht: Option<Mainline>,
        ours: Ours,
        numbers: &mut fastrand::Rng,
        waker: &Waker,
    ) -> Sources {
        let Prepared { named, of_torrent, port, mut trackers, trusted, tiers, allow_private, mut lan } =
            prepared;
        if let Some(lan) = &mut lan {
            lan.add(ours.info_hash);
        }
        let wake = || {
            let waker = waker.clone();
            move || waker.wake()
        };
        if let Some(asked) = &mut trackers
            && let Err(error) = asked.watch(wake())
        {
            log::warn!("no tracker is asked: {error}");
            trackers = None;
        }
        let announcing = Announcing::new(Time::ZERO, ours, &trusted, &tiers, allow_private, numbers);
        let has_trackers = !announcing.is_empty() && trackers.is_some();
        let named = named.watch(wake());
        let asked_dht_at = None;
        Sources { named, of_torrent, dht, asked_dht_at, port, ours, trackers, announcing, lan, has_trackers }
    }

    /// What trackers are told that we are.
    pub(crate) fn ours(
        info_hash: cjp2p_torrent::info_hash::InfoHash,
        peer_id: cjp2p_torrent::peer_id::PeerId,
        port: Option<u16>,
    ) -> Ours {
        Ours { info_hash, peer_id, port: port.unwrap_or(NO_PORT) }
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Time {
        let trackers = if self.has_trackers { self.announcing.next_at() } else { Time::NEVER };
        trackers.min(self.lan.as_ref().map_or(Time::NEVER, LocalSearch::next_at))
    }

    /// Asks whom it is time to ask. Gives the peers that were found since. A private torrent is not looked up in the DHT.
    pub(crate) fn turn(&mut self, now: Time, is_private: bool, status: &Status) -> Vec<(SocketAddr, Origin)> {
        let named = self.named.news().into_iter().map(|(address, _)| (address, Origin::User));
        let of_torrent = std::mem::take(&mut self.of_torrent).into_iter();
        let mut found: Vec<_> = named.chain(of_torrent.map(|address| (address, Origin::Torrent))).collect();
        if let Some(trackers) = &mut self.trackers {
            self.announcing.turn(now, figures(status), trackers);
            for (nth, answer) in trackers.take_answers() {
                let peers = self.announcing.take_answer(now, nth, &answer).unwrap_or_default();
                found.extend(peers.into_iter().map(|address| (address, Origin::Tracker)));
            }
        }
        if is_private {
            self.lan = None;
        }
        if let (Some(lan), Some(port)) = (&mut self.lan, self.port) {
            found.extend(lan.turn(now, port).into_iter().map(|(_, address)| (address, Origin::Lan)));
        }
        let Some(dht) = self.dht.as_ref().filter(|_| !is_private) else { return found };
        let key = *self.ours.info_hash.as_bytes();
        if self.asked_dht_at.is_none_or(|at| now.since(at) >= ASK_DHT_EVERY) {
            self.asked_dht_at = Some(now);
            dht.look_up(key);
            if let Some(port) = self.port {
                dht.announce(key, port);
            }
        }
        found.extend(dht.found().filter(|hit| hit.key == key).map(|hit| (hit.address, Origin::Dht)));
        found
    }

    /// What tells that somebody on the local network said something.
    pub(crate) fn readiness(&self) -> Option<&Readiness> {
        self.lan.as_ref().map(LocalSearch::readiness)
    }

    /// Everything is here.
    pub(crate) fn on_complete(&mut self, now: Time, status: &Status) {
        self.announcing.on_complete(now);
        // At once, for this may be the end.
        if let Some(trackers) = &mut self.trackers {
            self.announcing.turn(now, figures(status), trackers);
        }
    }

    /// Says good-bye to trackers.
    pub(crate) fn end(&mut self, status: &Status) {
        if let Some(trackers) = &mut self.trackers {
            self.announcing.stop(figures(status), trackers);
        }
    }

    /// What could still find a peer, for whoever wonders why there is none.
    pub(crate) fn lacking(&self) -> &'static str {
        match (self.has_trackers, self.dht.is_some()) {
            (false, false) => "; no tracker is named, and the DHT is asked only with --dht",
            (true, false) => "; the DHT is asked only with --dht",
            _ => "",
        }
    }
}

fn figures(status: &Status) -> Figures {
    // While it is not known what there is, nobody shall take us for one who has all of it.
    let left = if status.wanted == 0 { u64::from(BLOCK) } else { status.wanted.saturating_sub(status.done) };
    Figures { uploaded: status.sent, downloaded: status.received, left }
}
