//! The process that asks peers what a name stands for, and prints that: once, or with `--watch` whenever it is something else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cjp2p_cli::args::ListenArgs;
use cjp2p_cli::network::NetworkStart;
use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::event_loop::Waker;
use cjp2p_io::known_names::Known;
use cjp2p_io::listen::Listen;
use cjp2p_io::lookup::Lookup;
use cjp2p_io::mainline::{Mainline, key_of_publisher};
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::pointer_file::PointerFiles;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::signals;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::{Answer, Event, Query};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::round::{Next, Round};
use cjp2p_wire::signed::{PointerId, SignedPointer};
use cjp2p_wire::store::{Asker, Library, Read, Sink};
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;

use super::resolved::Resolved;
use crate::cli::{Cli, TOOL};
use cjp2p_io::peers::Peers;

/// Others may know something newer than the first that answers: they have this time,
const SETTLE: Duration = Duration::from_millis(300);
/// and peers that the user named this.
const SETTLE_NAMED: Duration = Duration::from_secs(1);
/// So long the DHT may take to find somebody.
const DHT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked at what has no event of its own.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What this process answers others with: the names that it asks for itself.
#[derive(Default)]
struct Heard(BTreeMap<PointerId, SignedPointer>);

impl Library for Heard {
    fn read(&mut self, _: Asker, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }

    fn latest(&mut self, _: Asker, id: &PointerId) -> Option<SignedPointer> {
        self.0.get(id).cloned()
    }
}

impl Sink for Heard {}

/// Prints what the first id of the command line stands for.
pub(crate) fn run(cli: &Cli) -> Result<Exit, ToolError> {
    let text = cli.ids.first().map(String::as_str).unwrap_or_default();
    let candidates = PointerId::candidates(text).map_err(|error| ToolError::usage(error.to_string()))?;
    let state = cli.state.open_or_do_without("no name and no peer is remembered")?;
    let is_limited = !cli.only_peers.is_empty();
    let named = match is_limited {
        true => {
            Lookup::start(cli.only_peers.iter().map(|name| (name.clone(), Origin::CommandLine)).collect())
        }
        false => cli.peers.look_up(),
    };
    let listen = beside(cli.listen.listen);
    let dht = if is_limited { None } else { cli.dht.entry(listen, &cli.peers) };
    let has_lan = !is_limited && cli.lan.is_on(listen);
    let ending = signals::ending();
    let needs = state.as_ref().map_or_else(Sandbox::new, |state| Sandbox::new().write(state.path()));
    let start = NetworkStart {
        tool: TOOL,
        sandbox: &cli.sandbox,
        needs: needs.see_interfaces(has_lan),
        signals: &ending,
        listen: &ListenArgs { listen: Some(listen) },
        default: listen,
        state: state.as_ref(),
    };
    let (event_loop, _) = start.open()?;
    let waker = event_loop.waker();
    let is_over = until_input_ends(waker.clone());
    let named = named.watch(move || waker.wake());
    let peers = Peers::new(PeerFile::new(state.as_ref()), named, has_lan, is_limited);
    let dht = dht.and_then(|entry| Mainline::start(entry, event_loop.waker()));
    let policy = Policy { answers: cli.watch && !cli.no_share, ..Policy::default() };
    let failed = |what: &'static str| move |error: io::Error| ToolError::failure(format!("{what}: {error}"));
    let mut session =
        Session::start(event_loop, policy, Heard::default()).map_err(failed("random numbers"))?;
    if has_lan {
        session.join_lan(cli.watch && !cli.no_share).map_err(failed("local network"))?;
        session.call(|node, now, _| node.look_for_neighbours(now));
    }
    let ids: Vec<PointerId> = candidates.iter().map(|(id, _)| id.clone()).collect();
    let known = Known::of(PointerFiles::new(state.as_ref()), ids.iter());
    for pointer in known.pointers() {
        let pointer = pointer.clone();
        session.call(|node, _, _| node.know_latest(pointer));
    }
    if let (Some(dht), Some(id)) = (&dht, ids.first()) {
        dht.look_up(key_of_publisher(&id.key));
    }
    let mut resolver = Resolver {
        text: text.to_owned(),
        candidates,
        ids,
        session,
        peers,
        dht,
        known,
        is_limited,
        is_over,
        watches: cli.watch,
        end: Time::ZERO + cli.timeout,
        round: Round::default(),
        of_user: BTreeSet::new(),
        found_at: None,
        told: None,
    };
    resolver.add_known_peers();
    let ended = resolver.run();
    resolver.peers.save_at_end(&resolver.session);
    if let Some(signal) = ended? {
        end_by(signal);
        return Ok(Exit::of_signal(signal));
    }
    Ok(Exit::Done)
}

/// Where this process listens: at the same address as the one that fetches, and another port.
pub(crate) fn beside(listen: Option<Listen>) -> Listen {
    match listen {
        Some(Listen::At(mut address)) => {
            address.set_port(0);
            Listen::At(address)
        }
        Some(Listen::Auto(Some(ip))) => Listen::At(SocketAddr::new(ip, 0)),
        _ => Listen::Everywhere { port: 0 },
    }
}

/// Becomes true when standard input ends, and so when the process is gone that started this one.
fn until_input_ends(waker: Waker) -> Arc<AtomicBool> {
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = is_over.clone();
    let wait = move || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(read) if read > 0) {}
        ended.store(true, Ordering::Release);
        waker.wake();
    };
    if let Err(error) = thread::Builder::new().spawn(wait) {
        log::warn!("the process that asks for a name: {error}");
    }
    is_over
}

/// See the [module](self).
struct Resolver {
    text: String,
    candidates: Vec<(PointerId, String)>,
    ids: Vec<PointerId>,
    session: Session<Heard>,
    peers: Peers,
    dht: Option<Mainline>,
    known: Known,
    is_limited: bool,
    is_over: Arc<AtomicBool>,
    watches: bool,
    /// Until then somebody has to know it.
    end: Time,
    round: Round,
    /// The peers that the user named.
    of_user: BTreeSet<SocketAddr>,
    /// When the first peer said something.
    found_at: Option<Time>,
    /// What was printed last.
    told: Option<String>,
}

impl Resolver {
    fn add_known_peers(&mut self) {
        self.of_user = self.peers.of_user().collect();
        for &address in &self.of_user {
            self.round.add_known(address, Origin::CommandLine);
        }
        if self.is_limited {
            return;
        }
        for &address in self.peers.nearest() {
            self.round.add_known(address, Origin::Added);
        }
        for (address, peer) in self.peers.others() {
            match peer.suggested {
                true => self.round.add_suggested(address, Origin::Incoming),
                false => self.round.add_known(address, Origin::Added),
            }
        }
    }

    /// Returns the signal that ended it, if one did.
    fn run(&mut self) -> Result<Option<Signal>, ToolError> {
        loop {
            let next_at = self.ask();
            if self.is_over.load(Ordering::Acquire) {
                return Ok(None);
            }
            if self.has_settled(next_at) {
                self.tell()?;
                if !self.watches {
                    return Ok(None);
                }
            }
            let until = (self.session.now() + LOOK_EVERY).min(next_at);
            let wake =
                self.session.turn(until).map_err(|error| ToolError::failure(format!("network: {error}")))?;
            if wake.signal.is_some() {
                return Ok(wake.signal);
            }
            self.take_news();
            self.peers.save_sometimes(&self.session);
        }
    }

    /// Asks those whose turn it is. Returns when the next is.
    fn ask(&mut self) -> Time {
        loop {
            match self.round.next(self.session.now()) {
                Next::Ask { address, suggested } => {
                    let (ids, watches) = (&self.ids, self.watches && self.of_user.contains(&address));
                    let asks_for_peers = !suggested && !self.is_limited;
                    self.session.call(|node, now, _| node.ask_latest(now, address, ids, suggested, watches));
                    if asks_for_peers {
                        self.session.call(|node, now, _| node.query(now, address, Query::Peers, false));
                    }
                }
                Next::Wait(at) => return at,
            }
        }
    }

    fn take_news(&mut self) {
        let now = self.session.now();
        for (address, of_user) in self.peers.take_named(now) {
            if of_user {
                self.of_user.insert(address);
            }
            self.round.add_known(address, Origin::CommandLine);
        }
        for found in self.dht.iter().flat_map(Mainline::found) {
            self.round.add_suggested(found.address, Origin::Dht);
        }
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Latest { from, pointer, .. } => self.on_latest(from, *pointer),
                Event::Answer { from, answer: Answer::Peers(peers), .. } if !self.is_limited => {
                    self.round.add_suggestions(from, &peers);
                }
                Event::Neighbour(address) => {
                    self.peers.add_found(address, Origin::Lan, false, now);
                    self.round.add_known(address, Origin::Lan);
                }
                _ => {}
            }
        }
    }

    fn on_latest(&mut self, from: SocketAddr, pointer: SignedPointer) {
        let id = pointer.pointer().id.clone();
        self.found_at.get_or_insert(self.session.now());
        let is_news = self.known.hear(from, pointer.clone());
        if self.watches {
            // It tells what is newer from now on, as all do that know the name.
            let ids = &self.ids;
            self.session.call(|node, now, _| node.ask_latest(now, from, ids, false, true));
        }
        if is_news {
            self.session.store_mut().0.insert(id.clone(), pointer);
            self.session.call(|node, now, heard| node.handle_news_of(now, &id, heard));
        }
    }

    /// Whether what is known by now counts.
    fn has_settled(&self, next_at: Time) -> bool {
        let now = self.session.now();
        if self.told.is_some() || now >= self.end {
            return true;
        }
        let node = self.session.node();
        let may_find_more = self.dht.is_some() && now < Time::ZERO + DHT_TIMEOUT;
        let is_pending = node.awaits_latest() > 0
            || next_at != Time::NEVER
            || node.looks_for_neighbours()
            || self.peers.may_have_more()
            || self.session.has_events();
        match self.found_at {
            None => !is_pending && !may_find_more,
            Some(found_at) => {
                let is_named_awaited = self.of_user.iter().any(|address| node.awaits_latest_of(*address));
                let time = if is_named_awaited { SETTLE_NAMED } else { SETTLE };
                !is_pending || now.since(found_at) >= time
            }
        }
    }

    /// Prints what the name stands for, if it is something else than before.
    fn tell(&mut self) -> Result<(), ToolError> {
        let resolved = Resolved::of(&self.candidates, |id| self.known.get(id));
        let Some(resolved) = resolved else {
            if self.told.is_some() {
                return Ok(());
            }
            let was_known = self.ids.iter().any(|id| self.known.is_remembered(id));
            let more = if was_known { "; it was known before" } else { "" };
            let message = format!("{}: no peer knows what it stands for{more}", self.text);
            return Err(ToolError::new(Exit::NoSource, message));
        };
        if self.told.as_ref() == Some(&resolved.id) {
            return Ok(());
        }
        self.told = Some(resolved.id.clone());
        let mut line =
            serde_json::to_string(&resolved).map_err(|error| ToolError::failure(error.to_string()))?;
        line.push('\n');
        stdout::print(line.as_bytes())
    }
}
