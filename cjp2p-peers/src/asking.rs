//! Asks a round of peers a question over the network, and notes in the table who answered.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::io::event_loop::EventLoop;
use cjp2p_wire::io::peer_file::PeerFile;
use cjp2p_wire::io::random;
use cjp2p_wire::io::sandbox::Sandbox;
use cjp2p_wire::io::signals::{Signals, end_by};
use cjp2p_wire::io::udp::UdpPort;
use cjp2p_wire::node::{Answer, Config, Event, Node, Question};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::table::PeerTable;
use cjp2p_wire::time::Time;
use cjp2p_wire::tool::args::{Listen, resolve_all};
use cjp2p_wire::tool::{Exit, ToolError};
use cjp2p_wire::transfer::blobs::{Library, Read, Sink};
use nix::sys::signal::Signal;

use crate::cli::NetworkArgs;
use crate::round::{Next, Round};

/// Something that happened to a question.
pub(crate) enum Reply<'a> {
    /// The peer answered.
    Answer { round_trip: Duration, answer: &'a Answer },
    /// It did not.
    Silence,
}

/// Whom to start with: those named, or where none are, everybody in the table, and the bootstrap list.
pub(crate) fn start_round(file: &PeerFile, network: &NetworkArgs) -> Round {
    let mut round = Round::default();
    if !network.only.is_empty() {
        for (address, origin) in resolve_all(&network.only, Origin::CommandLine) {
            round.add_friend(address, origin);
        }
        for (address, origin) in resolve_all(&network.peers.peers, Origin::CommandLine) {
            round.add_friend(address, origin);
        }
        return round;
    }
    for (address, origin) in network.peers.resolve() {
        round.add_friend(address, origin);
    }
    let table = load(file);
    // All are asked in the end; without the time, the nearest come first.
    for address in table.best(table.len(), 0) {
        let Some(peer) = table.get(address) else {
            continue;
        };
        let origin = peer.origin().clone();
        if peer.is_verified() || origin.is_local() {
            round.add_friend(address, origin);
        } else {
            round.add_stranger(address, origin);
        }
    }
    round
}

/// Where this tool listens.
pub(crate) fn listen(network: &NetworkArgs) -> Listen {
    network.listen.listen.unwrap_or(Listen::Everywhere { port: 0 })
}

/// The table, with a warning where something is amiss.
pub(crate) fn load(file: &PeerFile) -> PeerTable {
    let (table, warning) = file.load();
    if let Some(warning) = warning {
        log::warn!("{warning}");
    }
    table
}

/// Asks everybody in the round `question`, and hands on what they say as it comes, until all are asked and have answered or had
/// their time, or `limit` has passed. `each` may add to the round.
///
/// What was learned goes into the table however this ends.
pub(crate) fn ask(
    file: &PeerFile,
    network: &NetworkArgs,
    mut round: Round,
    question: Question,
    limit: Option<Duration>,
    mut each: impl FnMut(&mut Round, SocketAddr, Reply<'_>) -> Result<(), ToolError>,
) -> Result<Exit, ToolError> {
    if round.is_empty() {
        let message = "nobody to ask: the table is empty, and no peer that was named has an address";
        return Err(ToolError::new(Exit::NoSource, message));
    }
    let folder = file.path().parent().unwrap_or(Path::new("."));
    network.sandbox.confine(Sandbox::new().write(folder).see_interfaces(round.asks_lan()));
    let mut network = Network::start(network, round.asks_lan())?;
    let end = limit.map_or(Time::NEVER, |limit| network.event_loop.now() + limit);
    let outcome = network.run(&mut round, question, end, &mut each);
    let recorded = file.record(&network.event_loop, &network.node, Time::ZERO, &network.silent, |address| {
        round.origin(address)
    });
    match recorded {
        Ok(None) => {}
        Ok(Some(warning)) => log::warn!("{warning}"),
        Err(error) => log::warn!("the peer table was not written: {error}"),
    }
    if let Some(signal) = outcome? {
        end_by(signal);
        return Ok(Exit::Failure);
    }
    match network.answered {
        0 => Err(ToolError::new(Exit::NoSource, "no peer answered")),
        _ => Ok(Exit::Done),
    }
}

/// Writes a line of output at once: whoever reads it may act on it while we go on.
pub(crate) fn write_line(line: &str) -> Result<(), ToolError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(ToolError::output)
}

struct Network {
    event_loop: EventLoop,
    node: Node,
    /// Questions answered.
    answered: usize,
    silent: Vec<SocketAddr>,
}

impl Network {
    fn start(args: &NetworkArgs, asks_lan: bool) -> Result<Network, ToolError> {
        let failure = |what: &str, error: io::Error| ToolError::failure(format!("{what}: {error}"));
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
        let signals = Signals::take_over(&signals).map_err(|error| failure("signals", error))?;
        let candidates = listen(args).candidates();
        let port = UdpPort::bind(&candidates)
            .map_err(|error| failure(&format!("cannot listen at {}", candidates[0]), error))?;
        let mut event_loop =
            EventLoop::new(port, Some(signals)).map_err(|error| failure("event loop", error))?;
        let random = |error| failure("random numbers", error);
        let mut node = Node::new(Config {
            secret: random::secret().map_err(random)?,
            seed: random::seed().map_err(random)?,
            upload_rate: None,
            upload_rate_per_host: None,
            answers: false,
            lists: false,
            receive_buffer: event_loop.port().receive_buffer(),
        });
        if asks_lan {
            // Nothing comes of it before the loop runs.
            let (mut events, hears) = (Vec::new(), false);
            let joined = event_loop.join_lan(&mut node, hears, &mut events);
            joined.map_err(|error| failure("local network", error))?;
            node.look_for_neighbours(event_loop.now());
            event_loop.drain(&mut node, &mut events);
        }
        Ok(Network { event_loop, node, answered: 0, silent: Vec::new() })
    }

    /// Returns the signal that ended it early, if one did.
    fn run(
        &mut self,
        round: &mut Round,
        question: Question,
        end: Time,
        each: &mut impl FnMut(&mut Round, SocketAddr, Reply<'_>) -> Result<(), ToolError>,
    ) -> Result<Option<Signal>, ToolError> {
        let mut events = Vec::new();
        loop {
            let next_at = loop {
                let now = self.event_loop.now();
                match round.next(now) {
                    Next::Ask { address, suggested } => {
                        self.node.inquire(now, address, question, suggested);
                        self.event_loop.drain(&mut self.node, &mut events);
                    }
                    Next::Wait(at) => break at,
                }
            };
            let waits = self.node.open_questions() > 0 || self.node.looks_for_neighbours();
            let is_over = next_at == Time::NEVER && !waits && events.is_empty();
            if is_over || self.event_loop.now() >= end {
                return Ok(None);
            }
            let until = match events.is_empty() {
                true => next_at.min(end),
                false => Time::ZERO,
            };
            let wake = self
                .event_loop
                .turn(&mut self.node, &mut NothingShared, until, &mut events)
                .map_err(|error| ToolError::failure(format!("network: {error}")))?;
            if wake.signal.is_some() {
                return Ok(wake.signal);
            }
            for event in events.drain(..) {
                match event {
                    Event::Answer { from, round_trip, answer } => {
                        self.answered += 1;
                        let answer = &answer;
                        each(round, from, Reply::Answer { round_trip, answer })?;
                    }
                    Event::Unanswered(address) => {
                        self.silent.push(address);
                        each(round, address, Reply::Silence)?;
                    }
                    Event::Neighbour(address) => round.add_friend(address, Origin::Lan),
                    Event::Fetch(..) | Event::PathOpened(_) | Event::AskLan(_) => {}
                }
            }
        }
    }
}

/// This tool shares nothing and fetches nothing.
struct NothingShared;

impl Library for NothingShared {
    fn read(&mut self, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }
}

impl Sink for NothingShared {}
