//! Asks a round of peers a question over the network, and notes in the table which of them answered.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_cli::network::NetworkStart;
use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::learned::{Admit, Learned};
use cjp2p_io::listen::Listen;
use cjp2p_io::lookup::{Lookup, Lookups};
use cjp2p_io::mainline::{Entry, Mainline, meeting_key};
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::peer_saver::PeerSaver;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::signals;
use cjp2p_io::state_dir::StateDir;
use cjp2p_wire::node::{Answer, Event, Query};
use cjp2p_wire::peers::announcements::Key;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::round::{Next, Round};
use cjp2p_wire::peers::table::PeerTable;
use cjp2p_wire::store::NothingShared;
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;

use crate::cli::{NetworkArgs, TOOL};

/// Where to ask from if nothing is said: nobody needs to find this node again.
pub(crate) const ANYWHERE: Listen = Listen::Everywhere { port: 0 };
/// So long the DHT may take to find somebody.
pub(crate) const DHT_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that happened to a question.
pub(crate) enum Reply<'a> {
    /// The peer answered.
    Answer { round_trip: Duration, answer: &'a Answer },
    /// It did not.
    Silence {
        /// It is there all the same.
        is_there: bool,
    },
}

/// Whom to start with: those named, or where none are, everybody in the table, and the bootstrap list. The names are looked up
/// meanwhile.
pub(crate) fn start_round(file: &PeerFile, network: &NetworkArgs) -> (Round, Lookup) {
    let mut round = Round::default();
    let names = network.look_up();
    if !network.only.is_empty() {
        return (round, names);
    }
    let table = load(file);
    // All are asked in the end; without the time, the nearest come first.
    for address in table.best(table.len(), 0) {
        let Some(peer) = table.get(address) else {
            continue;
        };
        let origin = peer.origin().clone();
        if peer.is_verified() || origin.is_local() {
            round.add_known(address, origin);
        } else {
            round.add_suggested(address, origin);
        }
    }
    (round, names)
}

/// The table, with a warning where something is amiss.
pub(crate) fn load(file: &PeerFile) -> PeerTable {
    let (table, warning) = file.load();
    if let Some(warning) = warning {
        log::warn!("{warning}");
    }
    table
}

/// Asks everybody in the round a question, and hands on what they say as it comes, until all are asked and have answered or had
/// their time, or the limit has passed. `each` may add to the round, and so does the DHT where `dht` says how to join it.
///
/// What was learned goes into the table however this ends.
pub(crate) fn ask(
    file: &PeerFile,
    network: &NetworkArgs,
    (mut round, names): (Round, Lookup),
    (question, limit): (Query, Option<Duration>),
    dht: Option<Entry>,
    mut each: impl FnMut(&mut Round, SocketAddr, Reply<'_>) -> Result<(), ToolError>,
) -> Result<Exit, ToolError> {
    if round.is_empty() && names.is_empty() && dht.is_none() {
        let message = "nobody to ask: the table is empty, and no peer that was named has an address";
        return Err(ToolError::new(Exit::NoSource, message));
    }
    let dht = dht.map(|entry| (entry, meeting_key()));
    let mut network = Network::start(network, file.state(), round.asks_lan(), names, dht)?;
    if round.asks_lan() {
        network.join_lan()?;
        network.session.call(|node, now, _| node.look_for_neighbours(now));
    }
    let end = limit.map_or(Time::NEVER, |limit| network.session.now() + limit);
    let outcome = network.run(&mut round, question, end, &mut each);
    network.note_in(file, |address| round.origin(address));
    if let Some(signal) = outcome? {
        end_by(signal);
        return Ok(Exit::Failure);
    }
    match network.answered {
        0 => Err(ToolError::new(Exit::NoSource, "no peer answered")),
        _ => Ok(Exit::Done),
    }
}

/// Prints a line of output now: its reader may act on it while we go on.
pub(crate) fn write_line(line: &str) -> Result<(), ToolError> {
    stdout::print(format!("{line}\n").as_bytes())
}

pub(crate) struct Network {
    pub(crate) dht: Option<Mainline>,
    /// The peers that were named.
    pub(crate) names: Lookups,
    pub(crate) session: Session<NothingShared>,
    /// Questions answered.
    answered: usize,
    pub(crate) silent: Vec<SocketAddr>,
}

impl Network {
    /// Confines the process to what asking takes, on the local network too if `asks_lan`. Joins the DHT where `dht` says how, to
    /// look for what stands for this key.
    pub(crate) fn start(
        args: &NetworkArgs,
        state: Option<&StateDir>,
        asks_lan: bool,
        names: Lookup,
        dht: Option<(Entry, Key)>,
    ) -> Result<Network, ToolError> {
        let ending = signals::ending();
        let needed = state.map_or_else(Sandbox::new, |state| Sandbox::new().write(state.path()));
        let start = NetworkStart {
            tool: TOOL,
            sandbox: &args.sandbox,
            needs: needed.see_interfaces(asks_lan),
            signals: &ending,
            listen: &args.listen,
            default: ANYWHERE,
            state,
        };
        let (event_loop, _) = start.open()?;
        stdout::write_behind(event_loop.waker());
        let join = |(entry, key)| {
            let dht = Mainline::start(entry, event_loop.waker())?;
            dht.look_up(key);
            Some(dht)
        };
        let dht = dht.and_then(join);
        let waker = event_loop.waker();
        let names = names.watch(move || waker.wake());
        let session = Session::start(event_loop, Policy::default(), NothingShared)
            .map_err(|error| ToolError::failure(format!("random numbers: {error}")))?;
        Ok(Network { dht, names, session, answered: 0, silent: Vec::new() })
    }

    /// Gets ready to ask everybody on the local network.
    pub(crate) fn join_lan(&mut self) -> Result<(), ToolError> {
        let hears = false;
        self.session.join_lan(hears).map_err(|error| ToolError::failure(format!("local network: {error}")))
    }

    /// Notes in the table which peers answered, and which did not.
    pub(crate) fn note_in(&self, file: &PeerFile, origin: impl Fn(SocketAddr) -> Origin) {
        let learned = Learned::of(&self.session, Time::ZERO, &self.silent, Admit::Everybody, origin);
        let mut table = PeerSaver::new(file.clone());
        table.save(learned);
        table.finish();
    }

    /// Has those asked too that were found otherwise than by asking peers.
    fn take_found(&mut self, round: &mut Round) {
        for (address, origin) in self.names.news() {
            round.add_known(address, origin);
        }
        for found in self.dht.iter().flat_map(Mainline::found) {
            round.add_suggested(found.address, Origin::Dht);
        }
    }

    /// Returns the signal that ended it early, if one did.
    fn run(
        &mut self,
        round: &mut Round,
        question: Query,
        end: Time,
        each: &mut impl FnMut(&mut Round, SocketAddr, Reply<'_>) -> Result<(), ToolError>,
    ) -> Result<Option<Signal>, ToolError> {
        loop {
            self.take_found(round);
            // Where nobody reads what was found, no more is asked for.
            let is_held_up = stdout::is_full();
            let next_at = loop {
                if is_held_up {
                    break Time::NEVER;
                }
                match round.next(self.session.now()) {
                    Next::Ask { address, suggested } => {
                        self.session.call(|node, now, _| node.query(now, address, question, suggested));
                    }
                    Next::Wait(at) => break at,
                }
            };
            let may_find_more = self.dht.is_some() && self.session.now() < Time::ZERO + DHT_TIMEOUT;
            let waits = self.session.node().open_questions() > 0
                || self.session.node().looks_for_neighbours()
                || self.names.is_pending();
            let is_over = !is_held_up
                && next_at == Time::NEVER
                && !waits
                && !self.session.has_events()
                && !may_find_more;
            if is_over || self.session.now() >= end {
                return Ok(None);
            }
            let until = match !self.session.has_events() || is_held_up {
                true if may_find_more => next_at.min(end).min(Time::ZERO + DHT_TIMEOUT),
                true => next_at.min(end),
                false => Time::ZERO,
            };
            let wake =
                self.session.turn(until).map_err(|error| ToolError::failure(format!("network: {error}")))?;
            if wake.signal.is_some() {
                return Ok(wake.signal);
            }
            if wake.woken {
                stdout::check()?;
            }
            if is_held_up {
                continue;
            }
            while let Some(event) = self.session.next_event() {
                match event {
                    Event::Answer { from, round_trip, answer } => {
                        self.answered += 1;
                        let answer = &answer;
                        each(round, from, Reply::Answer { round_trip, answer })?;
                    }
                    Event::Unanswered(address) => {
                        self.silent.push(address);
                        let is_there =
                            self.session.node().acquaintances().any(|peer| peer.address == address);
                        each(round, address, Reply::Silence { is_there })?;
                    }
                    Event::Neighbour(address) => round.add_known(address, Origin::Lan),
                    Event::Download(..)
                    | Event::Latest { .. }
                    | Event::PathOpened(_)
                    | Event::AskLan(_)
                    | Event::Stream(..)
                    | Event::AskNeighbours(_) => {}
                }
            }
        }
    }
}
