//! Puts together what fetches a torrent: where it goes, its peers, the network.

use std::net::{SocketAddr, TcpListener};

use cjp2p_cli::network::{NetworkStart, release_signals};
use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::lookup::Lookup;
use cjp2p_io::mainline::Mainline;
use cjp2p_io::torrent::local::LocalSearch;
use cjp2p_io::torrent::trackers::Trackers;
use cjp2p_io::{random, signals, tcp};
use cjp2p_wire::peers::peer::Origin;

use super::fetcher::{Fetcher, Parts};
use super::given::{Given, is_meant};
use super::selection::Chooser;
use super::sources::Prepared;
use super::target::Target;
use crate::cli::{ANYWHERE, Cli, TOOL};
use crate::output_lock::lock_of_output;
use crate::place::Places;

/// Whether the command line asks for a torrent.
///
/// # Errors
///
/// It is given beside other ids, or options do not go together.
pub(crate) fn is_torrent(cli: &Cli) -> Result<bool, ToolError> {
    let is_torrent = cli.ids.iter().any(|id| is_meant(id));
    if !is_torrent {
        let named = cli.peers.peers.iter().chain(&cli.only_peers).find(|name| name.is_torrent());
        return match (cli.torrent.first_given(), named) {
            (Some(option), _) => Err(ToolError::usage(format!("{option} is for torrents"))),
            (None, Some(name)) => Err(ToolError::usage(format!("--peer {name} is for torrents"))),
            (None, None) => Ok(false),
        };
    }
    if cli.ids.len() > 1 {
        return Err(ToolError::usage("a torrent is fetched alone: other ids take a command of their own"));
    }
    let others = [("--watch", cli.watch), ("--if-newer", cli.if_newer), ("--unverified", cli.unverified)];
    let other = others.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option);
    match other.or(cli.folder.first_for_disk()).or(cli.stream.first_given()) {
        Some(other) => Err(ToolError::usage(format!("{other} is not for torrents"))),
        None => Ok(true),
    }
}

/// Fetches the torrent that the command line names, or lists its files.
///
/// # Errors
///
/// Where it does not come to its end.
pub(crate) fn run(cli: Cli) -> Result<Exit, ToolError> {
    let given = Given::read(cli.ids.first().map(String::as_str).unwrap_or_default())?;
    let chooser = Chooser::new(&cli.folder.files, &cli.torrent.priorities)?;
    if let (Given::Metainfo(metainfo), true) = (&given, cli.folder.list) {
        let wanted = chooser.choose(metainfo.info.layout(), None)?;
        super::listing::print(metainfo.info.layout(), &wanted, cli.json)?;
        return Ok(Exit::Done);
    }
    let state = cli.state.open_or_do_without("no peer is remembered")?;
    let places = if cli.folder.list { Places::Stdout } else { Places::of(&cli)? };
    let Some(_lock) = lock_of_output(&cli, &places, state.as_ref())? else {
        return Ok(Exit::Done);
    };
    let (target, sandbox) = Target::of(&cli, &places)?;
    let sandbox = match &state {
        Some(state) => sandbox.write(state.path()),
        None => sandbox,
    };
    let is_limited = !cli.only_peers.is_empty();
    let names = if is_limited { &cli.only_peers } else { &cli.peers.peers };
    let names = names.iter().filter(|name| name.is_torrent());
    let named = Lookup::start(names.map(|name| (name.clone(), Origin::CommandLine)).collect());
    let (trusted, tiers) = (cli.torrent.trackers.clone(), given.trackers());
    let trackers = match is_limited || (trusted.is_empty() && tiers.is_empty()) {
        true => None,
        false => Trackers::start().inspect_err(|error| log::warn!("no tracker is asked: {error}")).ok(),
    };
    let listen = cli.listen.listen.unwrap_or(ANYWHERE);
    let dht = if is_limited { None } else { cli.dht.entry(listen, &cli.peers) };
    let listener = if cli.no_share { None } else { listener(&listen.candidates()) };
    let lan = match &given {
        Given::Metainfo(metainfo) if metainfo.info.is_private() => None,
        _ if is_limited || listener.is_none() || !cli.lan.is_on(listen) => None,
        _ => local_search(),
    };
    let sandbox = if listener.is_some() { sandbox.accept_tcp() } else { sandbox };
    let ending = signals::ending();
    let start = NetworkStart {
        tool: TOOL,
        sandbox: &cli.sandbox,
        needs: sandbox.connect_tcp(),
        signals: &ending,
        listen: &cli.listen,
        default: ANYWHERE,
        state: state.as_ref(),
    };
    let (event_loop, _) = start.open()?;
    let waker = event_loop.waker();
    if cli.json || cli.folder.list {
        stdout::write_behind(waker.clone());
    }
    let of_torrent = match &given {
        Given::Magnet(magnet) if !is_limited => {
            magnet.peers.iter().filter_map(|peer| peer.parse::<SocketAddr>().ok()).collect()
        }
        _ => Vec::new(),
    };
    let port =
        listener.as_ref().and_then(|listener| listener.local_addr().ok()).map(|address| address.port());
    let dht = dht.and_then(|entry| Mainline::start(entry, waker.clone()));
    let allow_private = cli.torrent.allow_private;
    let sources = Prepared { named, of_torrent, port, trackers, trusted, tiers, allow_private, lan };
    let parts = Parts { given, chooser, target, listener, sources, dht, is_limited };
    let mut fetcher = Fetcher::start(&cli, parts, event_loop)?;
    let ended = fetcher.run();
    if let Ok(None) = ended {
        return Ok(fetcher.finish());
    }
    release_signals();
    let signal = match ended {
        Ok(Some(signal)) => signal,
        Ok(None) => return Ok(Exit::Done),
        Err(error) => return Err(fetcher.fail(error)),
    };
    // Takes the bar off the screen.
    fetcher.end();
    end_by(signal);
    // The process that started this one had that signal ignored.
    Ok(Exit::of_signal(signal))
}

/// Who is there on the local network; `None` where there is no such network.
fn local_search() -> Option<LocalSearch> {
    let opened = random::seed().and_then(LocalSearch::open);
    opened.inspect_err(|error| log::info!("nobody is looked for on the local network: {error}")).ok()
}

/// A socket that peers call, at the first of these addresses that there is. Without one we only call.
fn listener(candidates: &[SocketAddr]) -> Option<TcpListener> {
    let mut why = None;
    for address in candidates {
        match tcp::listen(*address) {
            Ok(listener) => return Some(listener),
            Err(error) => why = Some(error),
        }
    }
    if let Some(error) = why {
        log::warn!("nobody can call us by TCP: {error}");
    }
    None
}
