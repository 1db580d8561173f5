//! Sees a torrent to its end: drives its swarm, its store and its reader, and says how it goes.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cjp2p_cli::args::LockMode;
use cjp2p_cli::progress::Progress;
use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::event_loop::{EventLoop, Waker};
use cjp2p_io::mainline::Mainline;
use cjp2p_io::random;
use cjp2p_io::readiness::Interest;
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::torrent::driver::{Driver, SwarmId};
use cjp2p_io::torrent::place::place;
use cjp2p_io::torrent::store::Store;
use cjp2p_torrent::metainfo::Info;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::swarm::{Config, Event, Status, Swarm};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::NothingShared;
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;

use super::given::Given;
use super::job::{Finish, Prepared, Ready, prepare};
use super::outlet::Outlet;
use super::selection::Chooser;
use super::sources::{self, Sources};
use super::target::Target;
use crate::cli::{Cli, TOOL};
use crate::report::Report;
use crate::torrent_args::TorrentArgs;
use cjp2p_io::tasks::Tasks;

/// Without new data for so long a fetch has stalled, if nothing else is said: peers give turns of half a minute.
const STALL: Duration = Duration::from_secs(90);
/// How often progress is shown, and what has no event of its own is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a lock that another process holds is tried.
const TRY_LOCK_EVERY: Duration = Duration::from_millis(250);

/// Among the connections of the driver, which have other numbers: somebody on the local network.
const LOCAL_SEARCH: u64 = u64::MAX;

/// What a fetch is made of.
pub(crate) struct Parts {
    pub(crate) given: Given,
    pub(crate) chooser: Chooser,
    pub(crate) target: Target,
    /// Where peers call, if they may.
    pub(crate) listener: Option<TcpListener>,
    pub(crate) sources: sources::Prepared,
    pub(crate) dht: Option<Mainline>,
    /// Only peers that the user named.
    pub(crate) is_limited: bool,
}

/// What threads did.
pub(super) enum Outcome {
    Prepared(Result<Prepared, ToolError>),
    Placed(Result<(), ToolError>),
}

/// How far it is.
pub(super) enum Step {
    /// The metadata is asked for.
    Looking,
    /// What is there is looked at.
    Preparing,
    /// Another process has it.
    Locked(Option<Target>, Time),
    Fetching,
    /// The files get their places.
    Placing,
    /// All is done, and others are given until then.
    Seeding(Time),
    Over,
}

/// See the [module](self).
pub(crate) struct Fetcher {
    pub(super) session: Session<NothingShared>,
    pub(super) driver: Driver<Store>,
    pub(super) id: SwarmId,
    pub(super) given: Given,
    pub(super) chooser: Arc<Chooser>,
    pub(super) info: Option<Arc<Info>>,
    pub(super) wanted: Vec<bool>,
    pub(super) target: Option<Target>,
    pub(super) outlet: Option<Outlet>,
    pub(super) sources: Sources,
    pub(super) tasks: Tasks<Outcome>,
    pub(super) step: Step,
    pub(super) args: TorrentArgs,
    /// What is written, if that has a name.
    pub(super) path: Option<PathBuf>,
    pub(super) finish: Finish,
    /// What of one file is written, if not simply all.
    pub(super) ranges: Option<RangeSet>,
    pub(super) lock: LockMode,
    pub(super) timeout: Duration,
    pub(super) stall: Duration,
    pub(super) report: Report,
    pub(super) progress: Progress,
    pub(super) shown_at: Time,
    pub(super) started: Time,
    /// When something new came last.
    pub(super) news_at: Time,
    /// Bytes that had come then, the reader's included.
    pub(super) news: u64,
    /// Bytes of blocks that came and were of no use.
    pub(super) wasted: u64,
    /// Pieces that may have been here before and are still to be hashed, and bytes of those that were.
    pub(super) unchecked: PieceSet,
    pub(super) resumed: u64,
    pub(super) waker: Waker,
}

impl Fetcher {
    /// Ready to run.
    ///
    /// # Errors
    ///
    /// The system has no randomness or no descriptors left.
    pub(crate) fn start(cli: &Cli, parts: Parts, event_loop: EventLoop) -> Result<Fetcher, ToolError> {
        let failed =
            |what: &'static str| move |error: io::Error| ToolError::failure(format!("{what}: {error}"));
        let waker = event_loop.waker();
        let policy = Policy { answers: false, ..Policy::default() };
        let mut session =
            Session::start(event_loop, policy, NothingShared).map_err(failed("random numbers"))?;
        let Parts { given, chooser, target, listener, sources, dht, is_limited } = parts;
        let mut driver = Driver::new().map_err(failed("descriptors"))?;
        session.watch(driver.readiness());
        let port = match listener {
            Some(listener) => {
                let port = listener.local_addr().map_err(failed("TCP"))?.port();
                driver.take_listener(listener).map_err(failed("TCP"))?;
                Some(port)
            }
            None => None,
        };
        let seed = random::seed().map_err(failed("random numbers"))?;
        let mut numbers = fastrand::Rng::with_seed(seed);
        let peer_id = PeerId::random(&mut numbers);
        let ours = Sources::ours(given.info_hash(), peer_id, port);
        let sources = Sources::new(sources, dht, ours, &mut numbers, &waker);
        if let Some(lan) = sources.readiness() {
            driver.readiness().add(lan, LOCAL_SEARCH, Interest::READ).map_err(failed("descriptors"))?;
        }
        let mut config = Config::new(peer_id, numbers.u64(..));
        config.port = port;
        config.allow_private = cli.torrent.allow_private;
        config.exchange_peers = !is_limited;
        if cli.no_share {
            config.upload_slots = 0;
        }
        let now = session.now();
        let swarm = Swarm::from_magnet(now, given.info_hash(), config);
        let id = driver.add(now, swarm, None);
        let mut fetcher = Fetcher {
            session,
            driver,
            id,
            chooser: Arc::new(chooser),
            info: None,
            wanted: Vec::new(),
            target: Some(target),
            outlet: None,
            sources,
            tasks: Tasks::new(waker.clone()),
            step: Step::Looking,
            args: cli.torrent.clone(),
            path: None,
            finish: Finish::Nothing,
            ranges: None,
            lock: cli.lock.unwrap_or_default(),
            timeout: cli.timeout,
            stall: cli.stall.unwrap_or(STALL),
            report: Report::new(cli.json && !cli.folder.list),
            progress: cli.progress.start(TOOL, &cli.log),
            shown_at: Time::ZERO,
            started: now,
            news_at: now,
            news: 0,
            wasted: 0,
            unchecked: PieceSet::none(0),
            resumed: 0,
            waker,
            given,
        };
        if let Given::Metainfo(metainfo) = &fetcher.given {
            let info = metainfo.info.clone();
            fetcher.prepare(info);
        }
        Ok(fetcher)
    }

    /// Runs until all is done, or gives the signal that ended it.
    ///
    /// # Errors
    ///
    /// It cannot be had, or not be written.
    pub(crate) fn run(&mut self) -> Result<Option<Signal>, ToolError> {
        loop {
            let due = self.driver.timeout().min(self.sources.due());
            let until = (self.session.now() + LOOK_EVERY).min(due);
            let wake = self.session.turn(until).map_err(network)?;
            if wake.signal.is_some() {
                return Ok(wake.signal);
            }
            // The node beside it has nothing to say.
            while self.session.next_event().is_some() {}
            let now = self.session.now();
            self.driver.turn(now).map_err(network)?;
            self.take_sources(now);
            self.take_outcomes()?;
            self.take_from_store(now, wake.woken)?;
            self.take_events()?;
            self.serve_reader(now)?;
            self.note_news(now);
            self.look_at_limits(now)?;
            self.show_progress(now);
            if matches!(self.step, Step::Over) {
                return Ok(None);
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        self.driver.swarm(self.id).map(|swarm| swarm.status(self.session.now())).unwrap_or_default()
    }

    fn take_sources(&mut self, now: Time) {
        let status = self.status();
        let is_private = self.driver.swarm(self.id).is_some_and(Swarm::is_private);
        let found = self.sources.turn(now, is_private, &status);
        if !found.is_empty() {
            self.driver.call(now, self.id, |swarm, _| {
                found.into_iter().for_each(|(address, origin)| swarm.add_peer(now, address, origin));
            });
        }
    }

    /// Has a thread look at what is there.
    fn prepare(&mut self, info: Arc<Info>) {
        let Some(target) = self.target.take() else { return };
        self.info = Some(info.clone());
        self.step = Step::Preparing;
        let magnet = match &self.given {
            Given::Magnet(magnet) => Some(magnet.clone()),
            Given::Metainfo(_) => None,
        };
        let (chooser, waker) = (self.chooser.clone(), self.waker.clone());
        self.tasks.run(move || Outcome::Prepared(prepare(info, magnet.as_deref(), &chooser, target, waker)));
    }

    fn take_outcomes(&mut self) -> Result<(), ToolError> {
        if let Step::Locked(target, at) = &mut self.step
            && *at <= self.session.now()
            && let Some(info) = self.info.clone()
        {
            self.target = target.take();
            self.prepare(info);
        }
        while let Some(outcome) = self.tasks.outcome() {
            let now = self.session.now();
            match outcome {
                Outcome::Prepared(Ok(Prepared::Listed)) => self.step = Step::Over,
                Outcome::Prepared(Ok(Prepared::Locked(target))) => match self.lock {
                    LockMode::Fail => {
                        return Err(ToolError::new(
                            Exit::Busy,
                            "another process fetches it to the same place",
                        ));
                    }
                    LockMode::Skip => self.step = Step::Over,
                    LockMode::Wait => self.step = Step::Locked(Some(target), now + TRY_LOCK_EVERY),
                },
                Outcome::Prepared(Ok(Prepared::Ready(ready))) => self.begin(now, *ready)?,
                Outcome::Prepared(Err(error)) => return Err(error),
                Outcome::Placed(Ok(())) => self.done(now)?,
                Outcome::Placed(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// The files are known: fetches what is wanted of them.
    fn begin(&mut self, now: Time, ready: Ready) -> Result<(), ToolError> {
        let Ready { store, info, wanted, ranges, order, unchecked, output, path, finish } = ready;
        (self.path, self.finish) = (path, finish);
        if let Some(output) = output {
            let outlet = Outlet::start(store.files().clone(), ranges.clone(), output, self.waker.clone());
            self.outlet = Some(outlet.map_err(|error| ToolError::failure(format!("threads: {error}")))?);
        }
        let room = self.outlet.as_ref().map(Outlet::room);
        self.driver.set_store(self.id, store);
        let torrent = info.torrent();
        self.driver.call(now, self.id, |swarm, _| {
            swarm.start(now, torrent, PieceSet::none(info.pieces().count()), &unchecked);
            if let Some(room) = room {
                swarm.set_room(room);
            }
            swarm.want(ranges, order);
        });
        (self.wanted, self.info, self.unchecked) = (wanted, Some(info), unchecked);
        self.step = Step::Fetching;
        self.news_at = now;
        Ok(())
    }

    fn take_from_store(&mut self, now: Time, woken: bool) -> Result<(), ToolError> {
        let (unchecked, mut resumed) = (&mut self.unchecked, 0);
        let info = self.info.clone();
        let found = self.driver.call(now, self.id, |swarm, store| {
            let store = store?;
            for (piece, is_right) in store.take_checked() {
                swarm.on_checked(now, piece, is_right);
                if unchecked.remove(piece) && is_right {
                    resumed += info.as_ref().map_or(0, |info| u64::from(info.pieces().len_of(piece)));
                }
            }
            // It has room again, or has read something.
            if store.take_read() || woken {
                swarm.on_store();
            }
            store.take_problem()
        });
        self.resumed += resumed;
        match found.flatten() {
            Some(error) => Err(ToolError::new(Exit::Destination, error.to_string())),
            None => Ok(()),
        }
    }

    fn take_events(&mut self) -> Result<(), ToolError> {
        while let Some((_, event)) = self.driver.next_event() {
            match event {
                Event::Metadata(raw) => {
                    let info = Info::parse(&raw).map_err(|error| {
                        ToolError::new(Exit::Mismatch, format!("the torrent of this hash {error}"))
                    })?;
                    self.prepare(Arc::new(info));
                }
                Event::PieceWrong(piece) => {
                    log::info!("piece {piece} is wrong, and fetched again");
                    self.wasted +=
                        self.info.as_ref().map_or(0, |info| u64::from(info.pieces().len_of(piece)));
                }
                Event::Banned(host, why) => log::warn!("{host}: not talked with any more: {why:?}"),
                Event::Connected(_, address, client) => log::debug!("{address}: connected: {client:?}"),
                Event::Disconnected(_, address) => log::debug!("{address}: gone"),
                Event::Complete | Event::PieceDone(_) | Event::PieceLost(_) => {}
            }
        }
        if matches!(self.step, Step::Fetching)
            && self.outlet.is_none()
            && self.driver.swarm(self.id).is_some_and(Swarm::is_complete)
        {
            self.place();
        }
        Ok(())
    }

    /// Has a thread give the files their places, or make one of parts.
    fn place(&mut self) {
        let Some(store) = self.driver.store(self.id) else { return };
        let (files, wanted) = (store.files().clone(), self.wanted.clone());
        self.step = Step::Placing;
        if let Finish::Excerpt(excerpt) = std::mem::replace(&mut self.finish, Finish::Nothing) {
            self.ranges = Some(excerpt.ranges.clone());
            self.tasks.run(move || Outcome::Placed(excerpt.finish(&files)));
            return;
        }
        self.tasks.run(move || {
            let placed = place(&files, &|index| wanted[index]);
            Outcome::Placed(placed.map_err(|error| ToolError::new(Exit::Destination, error.to_string())))
        });
    }

    fn serve_reader(&mut self, now: Time) -> Result<(), ToolError> {
        let Some(outlet) = &mut self.outlet else { return Ok(()) };
        if let Some(error) = outlet.take_error() {
            return Err(error);
        }
        if !matches!(self.step, Step::Fetching) {
            return Ok(());
        }
        if let Some(have) = self.driver.swarm(self.id).and_then(Swarm::have) {
            outlet.hand_over(have);
        }
        let room = outlet.room();
        let is_over = outlet.is_over();
        self.driver.call(now, self.id, |swarm, _| swarm.set_room(room));
        if is_over { self.done(now) } else { Ok(()) }
    }

    pub(super) fn show_progress(&mut self, now: Time) {
        if now.since(self.shown_at) < LOOK_EVERY {
            return;
        }
        self.shown_at = now;
        let status = self.status();
        let total = self.info.as_ref().filter(|_| status.wanted > 0).map(|_| status.wanted);
        let done = self.outlet.as_ref().map_or(status.done, Outlet::written);
        self.progress.update(done, total, status.peers);
    }
}

fn network(error: io::Error) -> ToolError {
    ToolError::failure(format!("network: {error}"))
}
