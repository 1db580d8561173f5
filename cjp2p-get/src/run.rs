//! Runs the command: takes the locks and signals, and starts what does the work.

use std::env;
use std::fs;

use cjp2p_cli::logging::expect_another_version;
use cjp2p_cli::network::{NetworkStart, release_signals};
use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::mainline::Mainline;
use cjp2p_io::names;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::signals;
use cjp2p_io::state_dir::{StateDir, folder_of};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::time::Time;

use crate::cli::{ANYWHERE, Cli, TOOL};
use crate::folder::command::{Command, is_path_in_folder};
use crate::getter::{Fetched, Getter};
use crate::ids::{Accept, Ids};
use crate::latest::resolved::Resolved;
use crate::latest::run::Name;
use crate::latest::{self, in_folder, peer_hints, resolver, watch};
use crate::output_lock::lock_of_output;
use crate::place::Places;
use crate::reach::Reach;
use crate::sinks::Outlet;
use crate::sinks::stream::Output;
use crate::sinks::temporary::Temporary;
use crate::stream;
use crate::torrent;
use cjp2p_io::peers::Peers;
use cjp2p_io::search::Search;

/// Runs the command.
pub(crate) fn run(mut cli: Cli) -> Result<Exit, ToolError> {
    cli.log.start(TOOL);
    if cli.end_with_parent {
        end_with_parent()?;
    }
    if torrent::is_torrent(&cli)? {
        return torrent::run(cli);
    }
    let original = cli.ids.first().cloned().unwrap_or_default();
    let hints = peer_hints::take(&mut cli.ids)?;
    // Where only some may be contacted, these are meant as well as any others.
    if cli.only_peers.is_empty() {
        cli.peers.peers.extend(hints);
    }
    if stream::is_stream(&cli)? {
        return stream::run(cli);
    }
    if cli.resolve_name {
        return resolver::run(&cli);
    }
    if !latest::run::is_name(&cli)? {
        if let [id] = &cli.ids[..]
            && is_path_in_folder(id)
        {
            let there = in_folder::find(&cli, &Resolved::of_path(id)?)?;
            cli.ids[0] = there.id;
        }
        return fetch(cli);
    }
    if cli.watch {
        return watch::run(&cli, &original);
    }
    expect_another_version();
    let mut name = Name::find_out(&mut cli)?;
    let there = in_folder::find(&cli, name.resolved())?;
    name.set(&mut cli, there);
    if cli.if_newer && name.is_done() {
        log::info!("nothing newer");
        return Ok(Exit::NothingNewer);
    }
    cli.force |= name.may_replace();
    cli.known_peers.extend(name.peers());
    let exit = fetch(cli)?;
    if exit == Exit::Done {
        name.note_done();
    }
    Ok(exit)
}

/// Has this process told to end when the one that started it does.
fn end_with_parent() -> Result<(), ToolError> {
    let failed =
        |error: rustix::io::Errno| ToolError::failure(format!("ending with another process: {error}"));
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).map_err(failed)
}

/// Fetches what the command line names.
fn fetch(cli: Cli) -> Result<Exit, ToolError> {
    let folder = Command::of(&cli)?;
    let places = if folder.is_some() { Places::Stdout } else { Places::of(&cli)? };
    let has_peers = !cli.peers.peers.is_empty() || !cli.only_peers.is_empty();
    let accept = Accept { names: cli.unverified, has_peers, whole_only: cli.ranges.is_empty() };
    let what = match folder {
        Some(folder) => Fetched::Folder(Box::new(folder)),
        None => Fetched::Ids(Ids::new(&cli.ids, accept, cli.allow_empty)?),
    };
    let state = cli.state.open_or_do_without("no peer is remembered")?;
    let temp_dir = cli.temp_dir.clone().unwrap_or_else(env::temp_dir);
    let what = match what {
        Fetched::Folder(folder) => {
            match folder.open(cli.lock.unwrap_or_default(), &temp_dir, state.as_ref())? {
                Some(folder) => Fetched::Folder(Box::new(folder)),
                None => return Ok(Exit::Done),
            }
        }
        ids => ids,
    };
    let Some(_lock) = lock_of_output(&cli, &places, state.as_ref())? else {
        return Ok(Exit::Done);
    };
    let output = match &places {
        _ if matches!(what, Fetched::Folder(_)) => None,
        Places::Stdout => Some(Output::stdout()?),
        Places::Device(path) => Some(Output::device(path)?),
        Places::File(_) | Places::Folder { .. } => None,
    };
    let outlet = match output {
        // Made now, for nothing can be written beside it later.
        Some(output) if matches!(&what, Fetched::Ids(ids) if ids.first_is_whole()) => {
            Some(Outlet::Whole(Temporary::new(&temp_dir, output)?))
        }
        output => output.map(Outlet::Stream),
    };
    let Reach { is_limited, named, dht, has_lan } = Reach::of(&cli);
    let ending = signals::ending();
    let start = NetworkStart {
        tool: TOOL,
        sandbox: &cli.sandbox,
        needs: needs(&places, &what, state.as_ref())?.see_interfaces(has_lan),
        signals: &ending,
        listen: &cli.listen,
        default: ANYWHERE,
        state: state.as_ref(),
    };
    let (event_loop, _) = start.open()?;
    let waker = event_loop.waker();
    let named = named.watch(move || waker.wake());
    let mut peers = Peers::new(PeerFile::new(state.as_ref()), named, has_lan, is_limited);
    for &address in cli.known_peers.iter().filter(|_| !is_limited) {
        peers.add_found(address, Origin::Record, false, Time::ZERO);
    }
    let dht = dht.and_then(|entry| Mainline::start(entry, event_loop.waker()));
    let sources = (peers, Search::new(dht));
    let mut getter = Getter::start(cli, places, outlet, what, sources, event_loop)?;
    let ended = getter.run();
    if let Ok(Some(_)) = ended {
        release_signals();
    }
    getter.save();
    let Some(signal) = ended? else { return Ok(getter.finish()) };
    // Takes the bar off the screen.
    drop(getter);
    end_by(signal);
    // The process that started this one had that signal ignored.
    Ok(Exit::of_signal(signal))
}

/// The files that are needed from now on: those of the output, and the state.
fn needs(places: &Places, what: &Fetched, state: Option<&StateDir>) -> Result<Sandbox, ToolError> {
    let sandbox = match places {
        Places::Stdout | Places::Device(_) => Sandbox::new(),
        // Where a link leads is looked at, though never written.
        Places::File(target) => Sandbox::new().write(folder_of(target)).read(target),
        Places::Folder { folder, unfinished } => {
            for folder in [folder, unfinished] {
                // Only what is there can be named.
                fs::create_dir_all(folder).map_err(|error| {
                    ToolError::new(Exit::Destination, format!("{}: {error}", names::shown(folder)))
                })?;
            }
            Sandbox::new().write(folder).write(unfinished)
        }
    };
    let sandbox = match what {
        Fetched::Folder(folder) => folder.sandbox(sandbox),
        Fetched::Ids(_) => sandbox,
    };
    Ok(match state {
        Some(state) => sandbox.write(state.path()),
        None => sandbox,
    })
}
