//! The loop: clients by HTTP on one side, peers on the other, and the cache between them.

mod client;
mod clients;
mod contents;
mod events;
mod evicting;
mod fetching;
mod finding;
mod folders;
mod names;
mod naming;
mod outcome;
mod policy;
mod reading;
mod requests;
mod sending;
mod streaming;
mod uploading;
mod view;
mod watching;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::{EventLoop, Waker};
use cjp2p_io::exchange::Exchange;
use cjp2p_io::peers::Peers;
use cjp2p_io::pointer_file::PointerFiles;
use cjp2p_io::readiness::{Interest, Readiness, Ready};
use cjp2p_io::search::Search;
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::supervisor::Supervisor;
use cjp2p_io::tasks::Tasks;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;

use crate::cache::{Cache, Slot};
use crate::guard::Guard;
use client::{Client, Token};
use names::Names;
use outcome::Outcome;
use view::View;

/// How often what has no event of its own is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The listening socket, in the set of those that are waited for.
const LISTENER: u64 = u64::MAX;

/// What the user chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Give up when no peer has sent a byte for so long.
    pub(crate) source_timeout: Duration,
    /// Give up when nothing new has come for so long.
    pub(crate) stall_timeout: Duration,
    /// Connections at a time.
    pub(crate) most_connections: usize,
    /// Whether peers are answered.
    pub(crate) shares: bool,
    /// Whether all datagrams are JSON.
    pub(crate) json_only: bool,
}

/// Where files go that clients send.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// A folder that others share.
    pub(crate) folder: PathBuf,
    /// Bytes of one file.
    pub(crate) most: u64,
}

/// See the [module](self).
pub(crate) struct Gateway {
    /// `None` where nothing is taken.
    share: Option<Share>,
    session: Session<Cache>,
    waker: Waker,
    listener: TcpListener,
    set: Readiness,
    /// Nobody is taken before this time: there was no room.
    accepts_at: Option<Time>,
    // Invariant: at most `Settings::most_connections`.
    clients: BTreeMap<Token, Client>,
    next_client: u64,
    guard: Guard,
    settings: Settings,
    /// Contents that a thread opens, and who waits for each.
    opening: BTreeMap<ContentId, Vec<Token>>,
    /// Who reads each entry.
    // Invariant: no set is empty.
    readers: BTreeMap<Slot, BTreeSet<Token>>,
    /// Entries that nobody reads any more, and since when.
    left: BTreeMap<Slot, Time>,
    /// When the job of each entry began.
    begun: BTreeMap<Slot, Time>,
    peers: Peers,
    search: Search,
    names: Names,
    /// Streams that are viewed for somebody.
    // Invariant: at most `MAX_VIEWS`.
    views: BTreeMap<JobId, View>,
    exchange: Exchange,
    tasks: Tasks<Outcome>,
    /// Threads that hash for long, and those for what peers ask for.
    hashing: Tasks<Outcome>,
    leaves: Tasks<Outcome>,
    /// The time of day as HTTP spells it, and until when it is that.
    date: (Time, String),
    looked_at: Time,
    noted_at: Time,
    /// Requests that came, and bytes that were sent.
    requests: u64,
    bytes_sent: u64,
    /// What each entry's job had received when that was last measured, and how fast.
    received: BTreeMap<Slot, (u64, u64)>,
    /// The last rates of all together.
    rates: VecDeque<u64>,
    measured_at: Time,
}

impl Gateway {
    /// Ready to run.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness or descriptors left.
    pub(crate) fn start(
        event_loop: EventLoop,
        listener: TcpListener,
        cache: Cache,
        guard: Guard,
        (peers, search, names): (Peers, Search, PointerFiles),
        settings: Settings,
        share: Option<Share>,
    ) -> Result<Gateway, ToolError> {
        let failed =
            |what: &'static str| move |error: io::Error| ToolError::failure(format!("{what}: {error}"));
        let waker = event_loop.waker();
        let policy = Policy { answers: settings.shares, json_only: settings.json_only, ..Policy::default() };
        let mut session = Session::start(event_loop, policy, cache).map_err(failed("random numbers"))?;
        if peers.lan_delay().is_some() {
            session.join_lan(settings.shares).map_err(failed("local network"))?;
        }
        let set = Readiness::new().map_err(failed("sockets"))?;
        set.add(&listener, LISTENER, Interest::READ).map_err(failed("sockets"))?;
        session.watch(&set);
        Ok(Gateway {
            share,
            session,
            listener,
            set,
            accepts_at: None,
            clients: BTreeMap::new(),
            next_client: 0,
            guard,
            settings,
            opening: BTreeMap::new(),
            readers: BTreeMap::new(),
            left: BTreeMap::new(),
            begun: BTreeMap::new(),
            peers,
            search,
            names: Names::new(names),
            views: BTreeMap::new(),
            exchange: Exchange::default(),
            tasks: Tasks::new(waker.clone()),
            hashing: Tasks::new(waker.clone()),
            leaves: Tasks::new(waker.clone()),
            waker,
            date: (Time::ZERO, String::new()),
            looked_at: Time::ZERO,
            noted_at: Time::ZERO,
            requests: 0,
            bytes_sent: 0,
            received: BTreeMap::new(),
            rates: VecDeque::new(),
            measured_at: Time::ZERO,
        })
    }

    /// Runs until a signal ends it, which it gives.
    ///
    /// # Errors
    ///
    /// What ends the tool and not only one request: the socket fails.
    pub(crate) fn run(&mut self, supervisor: &Supervisor) -> Result<Signal, ToolError> {
        let mut ready: Vec<Ready> = Vec::new();
        let mut alive_at = supervisor.every().map_or(Time::NEVER, |_| self.session.now());
        loop {
            if self.session.now() >= alive_at {
                alive_at = supervisor.every().map_or(Time::NEVER, |every| self.session.now() + every);
                supervisor.is_alive();
            }
            self.take_events();
            self.work_for_others();
            let until = (self.session.now() + LOOK_EVERY).min(alive_at);
            let failed = |error: io::Error| ToolError::failure(format!("network: {error}"));
            let wake = self.session.turn(until).map_err(failed)?;
            if let Some(signal) = wake.signal {
                return Ok(signal);
            }
            if wake.woken {
                self.take_outcomes();
                self.look_at_uploads();
            }
            self.take_events();
            for slot in self.session.store_mut().take_grown() {
                self.on_grown(slot);
            }
            if wake.ready {
                ready.clear();
                self.set.take(&mut ready).map_err(failed)?;
                for one in &ready {
                    match one.token {
                        LISTENER => self.accept(),
                        token => self.on_ready(Token(token), one),
                    }
                }
            }
            self.look_at_names();
            self.look_at_views();
            self.look_sometimes();
        }
    }

    /// Writes down what is needed to go on later, and the peers that we met.
    pub(crate) fn save(&mut self) {
        let slots: Vec<Slot> = self.session.store().iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.end_job(slot);
            self.session.store_mut().close(slot);
        }
        self.peers.save_at_end(&self.session);
    }

    fn look_sometimes(&mut self) {
        let now = self.session.now();
        if now.since(self.looked_at) < LOOK_EVERY {
            return;
        }
        self.looked_at = now;
        self.look_at_clients(now);
        self.look_at_entries(now);
        self.look_for_sources(now);
        self.look_at_rates(now);
        self.peers.save_sometimes(&self.session);
    }

    /// The time of day as HTTP spells it.
    fn date(&mut self) -> String {
        let now = self.session.now();
        if now >= self.date.0 {
            self.date = (now + Duration::from_millis(500), httpdate::fmt_http_date(SystemTime::now()));
        }
        self.date.1.clone()
    }
}
