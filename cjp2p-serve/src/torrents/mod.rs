//! Torrents that are seeded beside what is shared: their swarms, stores, and what is told of them.

mod opening;
mod prepared;
mod records;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names::shown;
use cjp2p_io::random;
use cjp2p_io::readiness::{Interest, Readiness};
use cjp2p_io::tasks::Tasks;
use cjp2p_io::torrent::disk::Disk;
use cjp2p_io::torrent::driver::{Driver, SwarmId};
use cjp2p_io::torrent::files::Files;
use cjp2p_io::torrent::local::LocalSearch;
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

use self::opening::{Opened, RecordState, Sources};
pub(crate) use self::prepared::Prepared;
use self::records::Records;
use crate::report::Report;

/// Connections of one torrent, where it has few pieces.
const MAX_CONNECTIONS: usize = 1000;
/// What is known of the pieces of peers takes this at the most: a bit for each, in bytes of all connections.
const MAX_HAVE: usize = 4 << 20;

/// How often it is written down what was found, while files are hashed.
const KEEP_EVERY: Duration = Duration::from_secs(60);

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
    /// Where it is written down which pieces are right, if there is a place for it.
    pub(crate) state: Option<PathBuf>,
}

/// A torrent.
struct Seed {
    path: PathBuf,
    metainfo: Metainfo,
    /// Pieces that are still to be hashed. It is told once all are.
    unchecked: PieceSet,
    /// Pieces that were right when they were hashed, and were not lost since.
    right: PieceSet,
    /// How many pieces were hashed since the start.
    hashed: u32,
    files: Arc<Files>,
    record: RecordState,
    keep_at: Time,
    is_told: bool,
    announcing: Announcing,
}

impl Seed {
    /// Something else is known now than before.
    fn note_news(&mut self) {
        if self.record != RecordState::NotOurs {
            self.record = RecordState::Outdated;
        }
    }

    /// Work that writes down what is known.
    fn keep(&mut self, records: &Records) -> impl FnOnce() + Send + 'static {
        self.record = RecordState::Writing;
        let (records, files, right) = (records.clone(), self.files.clone(), self.right.clone());
        move || {
            if let Some(space) = files.space() {
                records.keep_seed(files.info(), space.lasting_states(), &right);
            }
        }
    }
}

/// See the [module](self).
pub(crate) struct Torrents {
    driver: Driver<Store>,
    disk: Disk,
    seeds: BTreeMap<SwarmId, Seed>,
    opened: Option<Receiver<Opened>>,
    records: Records,
    /// What is written down meanwhile.
    keeping: Tasks<SwarmId>,
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
        let records = Records::new(options.state.as_deref());
        let sources = Sources {
            given: prepared.given,
            to_make: prepared.to_make,
            rules: options.rules,
            records: records.clone(),
        };
        let opened = Some(opening::start(sources, waker.clone()).map_err(failed("threads"))?);
        if let Some(lan) = &prepared.lan {
            let added = driver.readiness().add(lan.readiness(), LOCAL_SEARCH, Interest::READ);
            added.map_err(failed("descriptors"))?;
        }
        let mut trackers = prepared.trackers;
        if let Some(told) = &mut trackers {
            told.watch(wake).map_err(failed("threads"))?;
        }
        Ok(Torrents {
            driver,
            disk,
            seeds: BTreeMap::new(),
            opened,
            records,
            keeping: Tasks::new(waker),
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
        })
    }

    /// Where peers call.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// How many are seeded.
    pub(crate) fn len(&self) -> usize {
        self.seeds.len()
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

    fn add(&mut self, now: Time, opened: Opened) {
        let Opened { metainfo, space, path, right, hashed, record } = opened;
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
        let mut unchecked = PieceSet::all(count);
        for piece in right.iter() {
            unchecked.remove(piece);
        }
        let mut swarm = Swarm::new(now, info.torrent(), right.clone(), &unchecked, config);
        // What is not right here is not fetched: these are the user's files.
        swarm.want(Vec::new(), cjp2p_torrent::swarm::Order::RarestFirst);
        let store = Store::new(Files::seeded(info, space), self.disk.clone());
        store.recheck(&unchecked);
        let port = self.address.map_or(NO_PORT, |address| address.port());
        let ours = Ours { info_hash: metainfo.info.hash(), peer_id: self.peer_id, port };
        let (tiers, private) = (&metainfo.trackers, self.allow_private);
        let announcing = Announcing::new(now, ours, &self.trusted, tiers, private, &mut self.numbers);
        let files = store.files().clone();
        let id = self.driver.add(now, swarm, Some(store));
        self.tell_at = Time::ZERO;
        let hashed = hashed + unchecked.count();
        let keep_at = now + KEEP_EVERY;
        let seed = Seed {
            path,
            metainfo,
            unchecked,
            right,
            hashed,
            files,
            record,
            keep_at,
            is_told: false,
            announcing,
        };
        self.seeds.insert(id, seed);
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
            while let Some(id) = self.keeping.outcome() {
                if let Some(seed) = self.seeds.get_mut(&id).filter(|seed| seed.record == RecordState::Writing)
                {
                    seed.record = RecordState::UpToDate;
                }
            }
            self.take_opened(now);
            self.take_from_stores(now, report)?;
        }
        while let Some((id, event)) = self.driver.next_event() {
            let Some(seed) = self.seeds.get_mut(&id) else { continue };
            match event {
                Event::PieceLost(piece) => {
                    let path = shown(&seed.path);
                    log::warn!(
                        "{path}: piece {piece} cannot be read any more: a file was changed, or is gone"
                    );
                    if seed.right.remove(piece) {
                        seed.note_news();
                    }
                }
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

    /// Writes down what is known, and says good-bye to trackers.
    pub(crate) fn end(&mut self, now: Time) {
        for seed in self.seeds.values_mut() {
            // Nobody waits for what is being written.
            if matches!(seed.record, RecordState::Outdated | RecordState::Writing) {
                seed.keep(&self.records)();
            }
        }
        let Some(trackers) = &mut self.trackers else { return };
        for (&id, seed) in &mut self.seeds {
            let figures = figures(&self.driver, now, id, &seed.metainfo);
            seed.announcing.stop(figures, trackers);
        }
    }

    fn take_opened(&mut self, now: Time) {
        while let Some(opened) = &self.opened {
            match opened.try_recv() {
                Ok(opened) => self.add(now, opened),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.opened = None,
            }
        }
    }

    fn take_from_stores(&mut self, now: Time, report: &Report) -> Result<(), ToolError> {
        for (&id, seed) in &mut self.seeds {
            self.driver.call(now, id, |swarm, store| {
                let Some(store) = store else { return };
                for (piece, is_right) in store.take_checked() {
                    seed.unchecked.remove(piece);
                    if is_right {
                        seed.right.insert(piece);
                    }
                    seed.note_news();
                    swarm.on_checked(now, piece, is_right);
                }
                if store.take_read() {
                    swarm.on_store();
                }
            });
            if seed.record == RecordState::Outdated
                && (seed.keep_at <= now || (seed.unchecked.is_empty() && !seed.is_told))
            {
                let keep = seed.keep(&self.records);
                self.keeping.run(move || {
                    keep();
                    id
                });
                seed.keep_at = now + KEEP_EVERY;
            }
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
                report.torrent(&Magnet::of(&seed.metainfo), &seed.path, have, count, seed.hashed)?;
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
