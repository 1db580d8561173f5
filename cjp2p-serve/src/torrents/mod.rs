//! Torrents that are seeded beside what is shared: their swarms, stores, and what is told of them.

mod making;
mod prepared;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names::shown;
use cjp2p_io::random;
use cjp2p_io::readiness::{Interest, Readiness};
use cjp2p_io::torrent::disk::Disk;
use cjp2p_io::torrent::driver::{Driver, SwarmId};
use cjp2p_io::torrent::files::Files;
use cjp2p_io::torrent::local::LocalSearch;
use cjp2p_io::torrent::space::Space;
use cjp2p_io::torrent::store::Store;
use cjp2p_io::torrent::trackers::{Announcing, Figures, Ours, Trackers};
use cjp2p_io::walk::Rules;
use cjp2p_torrent::magnet::Magnet;
use cjp2p_torrent::metainfo::Metainfo;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::public::Origin;
use cjp2p_torrent::swarm::{Config, Event, Swarm};
use cjp2p_wire::time::Time;

use self::making::Made;
pub(crate) use self::prepared::Prepared;
use crate::report::Report;

/// Connections of one torrent, where it has few pieces.
const MAX_CONNECTIONS: usize = 1000;
/// What is known of the pieces of peers takes this at the most: a bit for each, in bytes of all connections.
const MAX_HAVE: usize = 4 << 20;

/// What trackers are told where nobody can call us: it is nobody's.
const NO_PORT: u16 = 1;

/// Among the connections of the driver, which have other numbers: somebody on the local network.
const LOCAL_SEARCH: u64 = u64::MAX;

/// What torrents are seeded with.
pub(crate) struct Options {
    /// Bytes a second, of each torrent.
    pub(crate) rate: Option<u64>,
    pub(crate) rate_per_host: Option<u64>,
    pub(crate) rules: Rules,
}

/// A torrent.
struct Seed {
    path: PathBuf,
    metainfo: Metainfo,
    /// Pieces that are still to be hashed. It is told once all are.
    unchecked: PieceSet,
    is_told: bool,
    announcing: Announcing,
}

/// See the [module](self).
pub(crate) struct Torrents {
    driver: Driver<Store>,
    disk: Disk,
    seeds: BTreeMap<SwarmId, Seed>,
    made: Option<Receiver<Made>>,
    options: Options,
    peer_id: PeerId,
    numbers: fastrand::Rng,
    address: Option<SocketAddr>,
    trackers: Option<Trackers>,
    /// Trackers that the user named.
    trusted: Vec<String>,
    allow_private: bool,
    /// When a tracker is to be told next.
    tell_at: Time,
    /// Info hashes that the DHT may be told, until they are taken.
    public: Vec<[u8; 20]>,
    lan: Option<LocalSearch>,
}

impl Torrents {
    /// Begins to look at the files, and to be called.
    ///
    /// # Errors
    ///
    /// The system has no threads, descriptors or randomness left.
    pub(crate) fn start(prepared: Prepared, options: Options, waker: Waker) -> Result<Torrents, ToolError> {
        let failed =
            |what: &'static str| move |error: io::Error| ToolError::failure(format!("{what}: {error}"));
        let mut numbers = fastrand::Rng::with_seed(random::seed().map_err(failed("random numbers"))?);
        let mut driver = Driver::new().map_err(failed("descriptors"))?;
        let mut address = None;
        if let Some(listener) = prepared.listener {
            address = Some(listener.local_addr().map_err(failed("TCP"))?);
            driver.take_listener(listener).map_err(failed("TCP"))?;
        }
        let wake = {
            let waker = waker.clone();
            move || waker.wake()
        };
        let disk = Disk::start(waker.clone()).map_err(failed("threads"))?;
        let made = match prepared.to_make.is_empty() {
            true => None,
            false => Some(making::start(prepared.to_make, options.rules, waker).map_err(failed("threads"))?),
        };
        if let Some(lan) = &prepared.lan {
            let added = driver.readiness().add(lan.readiness(), LOCAL_SEARCH, Interest::READ);
            added.map_err(failed("descriptors"))?;
        }
        let mut trackers = prepared.trackers;
        if let Some(told) = &mut trackers {
            told.watch(wake).map_err(failed("threads"))?;
        }
        let mut torrents = Torrents {
            driver,
            disk,
            seeds: BTreeMap::new(),
            made,
            options,
            peer_id: PeerId::random(&mut numbers),
            numbers,
            address,
            trackers,
            trusted: prepared.trusted,
            allow_private: prepared.allow_private,
            tell_at: Time::ZERO,
            public: Vec::new(),
            lan: prepared.lan,
        };
        for given in prepared.given {
            let space = Space::beside(OwnedFd::from(given.folder), given.metainfo.info.layout().clone());
            torrents.add(given.metainfo, space, given.path);
        }
        Ok(torrents)
    }

    /// Where peers call.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What ends the wait for the network.
    pub(crate) fn readiness(&self) -> &Readiness {
        self.driver.readiness()
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Time {
        let trackers = if self.trackers.is_some() { self.tell_at } else { Time::NEVER };
        let lan = self.lan.as_ref().map_or(Time::NEVER, LocalSearch::next_at);
        self.driver.timeout().min(trackers).min(lan)
    }

    fn add(&mut self, metainfo: Metainfo, space: Space, path: PathBuf) {
        let info = metainfo.info.clone();
        if self.driver.find(info.hash()).is_some() {
            log::warn!("{}: the same torrent is seeded already", shown(&path));
            return;
        }
        let count = info.pieces().count();
        let mut config = Config::new(self.peer_id, self.numbers.u64(..));
        config.port = self.address.map(|address| address.port());
        config.max_connections = (MAX_HAVE / (count as usize / 8 + 1)).clamp(16, MAX_CONNECTIONS);
        config.upload_rate = self.options.rate.and_then(NonZeroU64::new);
        config.upload_rate_per_host = self.options.rate_per_host.and_then(NonZeroU64::new);
        config.allow_private = self.allow_private;
        let (none, all) = (PieceSet::none(count), PieceSet::all(count));
        let mut swarm = Swarm::new(Time::ZERO, info.torrent(), none, &all, config);
        // What is not right here is not fetched: these are the user's files.
        swarm.want(Vec::new(), cjp2p_torrent::swarm::Order::RarestFirst);
        let store = Store::new(Files::seeded(info, space), self.disk.clone());
        store.recheck(&all);
        let port = self.address.map_or(NO_PORT, |address| address.port());
        let ours = Ours { info_hash: metainfo.info.hash(), peer_id: self.peer_id, port };
        let (tiers, private) = (&metainfo.trackers, self.allow_private);
        let announcing = Announcing::new(Time::ZERO, ours, &self.trusted, tiers, private, &mut self.numbers);
        let id = self.driver.add(Time::ZERO, swarm, Some(store));
        self.tell_at = Time::ZERO;
        self.seeds.insert(id, Seed { path, metainfo, unchecked: all, is_told: false, announcing });
    }

    /// Does everything that can be done now.
    ///
    /// # Errors
    ///
    /// The network fails, or nothing can be printed.
    pub(crate) fn turn(&mut self, now: Time, woken: bool, report: &Report) -> Result<(), ToolError> {
        self.driver.turn(now).map_err(|error| ToolError::failure(format!("network: {error}")))?;
        self.tell_trackers(now);
        self.tell_neighbours(now);
        if woken {
            self.take_made();
            self.take_from_stores(now, report)?;
        }
        while let Some((id, event)) = self.driver.next_event() {
            let Some(seed) = self.seeds.get(&id) else { continue };
            match event {
                Event::PieceLost(piece) => log::warn!(
                    "{}: piece {piece} cannot be read any more: a file was changed, or is gone",
                    shown(&seed.path)
                ),
                Event::Banned(host, why) => log::info!("{host}: not talked with any more: {why:?}"),
                Event::Connected(_, address, client) => log::debug!("{address}: connected: {client:?}"),
                Event::Disconnected(_, address) => log::debug!("{address}: gone"),
                _ => {}
            }
        }
        Ok(())
    }

    fn tell_trackers(&mut self, now: Time) {
        let Some(trackers) = &mut self.trackers else { return };
        for (nth, answer) in trackers.take_answers() {
            let told = self
                .seeds
                .iter_mut()
                .find_map(|(&id, seed)| Some((id, seed.announcing.take_answer(now, nth, &answer)?)));
            let Some((id, peers)) = told else { continue };
            self.driver.call(now, id, |swarm, _| {
                peers.into_iter().for_each(|address| swarm.add_peer(now, address, Origin::Tracker));
            });
            self.tell_at = Time::ZERO;
        }
        if now < self.tell_at {
            return;
        }
        self.tell_at = Time::NEVER;
        for (&id, seed) in &mut self.seeds {
            // First it is found out what is here.
            if seed.is_told && seed.announcing.next_at() <= now {
                let figures = figures(&self.driver, now, id, &seed.metainfo);
                seed.announcing.turn(now, figures, trackers);
            }
            if seed.is_told {
                self.tell_at = self.tell_at.min(seed.announcing.next_at());
            }
        }
    }

    /// Torrents that the DHT may be told since this was asked last, and where their peers call.
    pub(crate) fn take_public(&mut self) -> Vec<([u8; 20], u16)> {
        let Some(port) = self.address.map(|address| address.port()) else { return Vec::new() };
        std::mem::take(&mut self.public).into_iter().map(|hash| (hash, port)).collect()
    }

    /// Says on the local network what is here, and hears who else is.
    fn tell_neighbours(&mut self, now: Time) {
        let (Some(lan), Some(address)) = (&mut self.lan, self.address) else { return };
        for (hash, peer) in lan.turn(now, address.port()) {
            if let Some(id) = self.driver.find(hash) {
                self.driver.call(now, id, |swarm, _| swarm.add_peer(now, peer, Origin::Lan));
            }
        }
    }

    /// Says good-bye to trackers.
    pub(crate) fn end(&mut self, now: Time) {
        let Some(trackers) = &mut self.trackers else { return };
        for (&id, seed) in &mut self.seeds {
            let figures = figures(&self.driver, now, id, &seed.metainfo);
            seed.announcing.stop(figures, trackers);
        }
    }

    fn take_made(&mut self) {
        while let Some(made) = &self.made {
            match made.try_recv() {
                Ok(Made { metainfo, space, path }) => self.add(metainfo, space, path),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.made = None,
            }
        }
    }

    fn take_from_stores(&mut self, now: Time, report: &Report) -> Result<(), ToolError> {
        for (&id, seed) in &mut self.seeds {
            self.driver.call(now, id, |swarm, store| {
                let Some(store) = store else { return };
                for (piece, is_right) in store.take_checked() {
                    seed.unchecked.remove(piece);
                    swarm.on_checked(now, piece, is_right);
                }
                if store.take_read() {
                    swarm.on_store();
                }
            });
            if seed.unchecked.is_empty() && !seed.is_told {
                seed.is_told = true;
                self.tell_at = Time::ZERO;
                if !seed.metainfo.info.is_private() {
                    self.public.push(*seed.metainfo.info.hash().as_bytes());
                    if let Some(lan) = &mut self.lan {
                        lan.add(seed.metainfo.info.hash());
                    }
                }
                let have = self.driver.swarm(id).and_then(Swarm::have).map_or(0, PieceSet::count);
                let count = seed.metainfo.info.pieces().count();
                if have < count {
                    let path = shown(&seed.path);
                    log::warn!("{path}: {} of {count} pieces are not as the torrent says", count - have);
                }
                report.torrent(&Magnet::of(&seed.metainfo), &seed.path, have, count)?;
            }
        }
        Ok(())
    }
}

fn figures(driver: &Driver<Store>, now: Time, id: SwarmId, metainfo: &Metainfo) -> Figures {
    let Some(swarm) = driver.swarm(id) else { return Figures::default() };
    let (status, pieces) = (swarm.status(now), metainfo.info.pieces());
    let here = swarm.have().map_or(0, PieceSet::count);
    let missing = u64::from(pieces.count() - here) * u64::from(pieces.piece_length());
    Figures { uploaded: status.sent, downloaded: status.received, left: missing.min(pieces.length()) }
}
