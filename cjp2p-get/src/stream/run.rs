//! Puts together what views a stream: the place where it goes, the peers, the network.

use cjp2p_cli::network::{NetworkStart, release_signals};
use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::mainline::{Mainline, key_of_publisher};
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::signals;
use cjp2p_io::state_dir::folder_of;
use cjp2p_wire::node::Start;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::stream::StreamId;
use cjp2p_wire::time::Time;

use super::outlet::Target;
use super::place::StreamFile;
use super::store::ViewStore;
use super::viewer::{Parts, Viewer};
use crate::cli::{ANYWHERE, Cli, TOOL};
use crate::output_lock::lock_of_output;
use crate::place::{Paths, Places};
use crate::reach::Reach;
use crate::sinks::stream::Output;
use cjp2p_io::peers::Peers;

/// Whether the command line asks for a stream.
///
/// # Errors
///
/// Where it is given beside other ids, or options do not go together.
pub(crate) fn is_stream(cli: &Cli) -> Result<bool, ToolError> {
    let is_stream = cli.ids.iter().any(|id| StreamId::is_meant(id));
    let option = cli.stream.first_given();
    if !is_stream {
        return match option {
            Some(option) => Err(ToolError::usage(format!("{option} is for streams: stream/KEY/NAME"))),
            None => Ok(false),
        };
    }
    if cli.ids.len() > 1 {
        return Err(ToolError::usage("a stream is viewed alone: other ids take a command of their own"));
    }
    let others = [
        ("--range", !cli.ranges.is_empty()),
        ("--into", cli.into.is_some()),
        ("--watch", cli.watch),
        ("--if-newer", cli.if_newer),
    ];
    let other = others.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option);
    match other.or(cli.folder.first_given()) {
        Some(other) => Err(ToolError::usage(format!("{other} is not for streams"))),
        None => Ok(true),
    }
}

/// Views the stream that the command line names.
///
/// # Errors
///
/// Where it does not come to its end.
pub(crate) fn run(cli: Cli) -> Result<Exit, ToolError> {
    let text = cli.ids.first().map(String::as_str).unwrap_or_default();
    let id = StreamId::parse(text).map_err(|error| ToolError::usage(format!("{text:?}: {error}")))?;
    let places = Places::of(&cli)?;
    let state = cli.state.open_or_do_without("no peer is remembered")?;
    let Some(_lock) = lock_of_output(&cli, &places, state.as_ref())? else {
        return Ok(Exit::Done);
    };
    let (target, sandbox) = match &places {
        Places::Stdout => (Target::Output(Output::stdout()?), Sandbox::new()),
        Places::Device(path) => (Target::Output(Output::device(path)?), Sandbox::new()),
        Places::File(target) => {
            let file = StreamFile::open(Paths::of_file(target.clone()), &id, cli.force)?;
            (Target::File(Box::new(file)), Sandbox::new().write(folder_of(target)).read(target))
        }
        Places::Folder { .. } => return Err(ToolError::usage("a stream goes to a file, not to a folder")),
    };
    let sandbox = match &state {
        Some(state) => sandbox.write(state.path()),
        None => sandbox,
    };
    let Reach { is_limited, named, dht, has_lan } = Reach::of(&cli);
    let ending = signals::ending();
    let start = NetworkStart {
        tool: TOOL,
        sandbox: &cli.sandbox,
        needs: sandbox.see_interfaces(has_lan),
        signals: &ending,
        listen: &cli.listen,
        default: ANYWHERE,
        state: state.as_ref(),
    };
    let (event_loop, _) = start.open()?;
    let waker = event_loop.waker();
    if cli.json {
        stdout::write_behind(waker.clone());
    }
    let named = named.watch(move || waker.wake());
    let mut peers = Peers::new(PeerFile::new(state.as_ref()), named, has_lan, is_limited);
    for &address in cli.known_peers.iter().filter(|_| !is_limited) {
        peers.add_found(address, Origin::Record, false, Time::ZERO);
    }
    let dht = dht.and_then(|entry| Mainline::start(entry, event_loop.waker()));
    if let Some(dht) = &dht {
        dht.look_up(key_of_publisher(id.key()));
    }
    let failed =
        |what: &'static str| move |error: std::io::Error| ToolError::failure(format!("{what}: {error}"));
    let policy = Policy { answers: !cli.no_share, json_only: cli.framing.no_raw, ..Policy::default() };
    let store = ViewStore::new(id.clone(), usize::try_from(cli.stream.keep()).unwrap_or(usize::MAX));
    let mut session = Session::start(event_loop, policy, store).map_err(failed("random numbers"))?;
    if has_lan {
        session.join_lan(!cli.no_share).map_err(failed("local network"))?;
    }
    let from = match &target {
        Target::File(file) => file.position().map_or(cli.stream.from(), Start::Offset),
        Target::Output(_) => cli.stream.from(),
    };
    let parts = Parts { id, from, target, peers, dht, is_limited };
    let mut viewer = Viewer::start(&cli, parts, session)?;
    let ended = viewer.run();
    if let Ok(Some(_)) = ended {
        release_signals();
    }
    viewer.save(&ended);
    let Some(signal) = ended? else { return Ok(Exit::Done) };
    // Takes the bar off the screen.
    drop(viewer);
    end_by(signal);
    // The process that started this one had that signal ignored.
    Ok(Exit::of_signal(signal))
}
