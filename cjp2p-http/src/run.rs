//! Runs the command: finds the folders, gives up what is not needed, opens the sockets, and starts what does the work.

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use cjp2p_cli::args::{ListenArgs, LockMode};
use cjp2p_cli::network::{NetworkStart, release_signals};
use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::file_lock::FileLock;
use cjp2p_io::lookup::Lookup;
use cjp2p_io::mainline::Mainline;
use cjp2p_io::names;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::peers::Peers;
use cjp2p_io::pointer_file::PointerFiles;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::search::Search;
use cjp2p_io::state_dir::StateDir;
use cjp2p_io::supervisor::Supervisor;
use cjp2p_io::{descriptors, signals, tcp};
use cjp2p_wire::peers::peer::Origin;

use crate::cache::Cache;
use crate::cache::files::Folder;
use crate::cli::{ANYWHERE, Cli, TOOL};
use crate::gateway::{Gateway, Settings, Share};
use crate::guard::{self, Guard};
use crate::token;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<Exit, ToolError> {
    cli.log.start(TOOL);
    let state = cli.state.open_or_do_without("no peer is remembered")?;
    let folder = cache_folder(&cli)?;
    let (is_nameless, _lock) = match cli.cache {
        0 => (true, None),
        _ => (false, Some(lock(&folder)?)),
    };
    descriptors::allow(cli.max_connections);
    let is_limited = !cli.only_peers.is_empty();
    let named = match is_limited {
        true => {
            Lookup::start(cli.only_peers.iter().map(|name| (name.clone(), Origin::CommandLine)).collect())
        }
        false => cli.peers.look_up(),
    };
    let udp = cli.udp.unwrap_or(ANYWHERE);
    let dht = if is_limited { None } else { cli.dht.entry(udp, &cli.peers) };
    let has_lan = !is_limited && cli.lan.is_on(udp);
    let at = cli.http();
    let failed = |error: io::Error| ToolError::failure(format!("--listen {at}: {error}"));
    let listener = tcp::listen(at).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    if guard::is_open(at) {
        log::warn!(
            "{at}: whoever can reach this machine can have it fetch and read anything that peers share"
        );
    }
    let share = share(&cli, at, state.as_ref())?;
    let supervisor = Supervisor::from_environment();
    let supervisor = supervisor.inspect_err(|error| log::warn!("NOTIFY_SOCKET: {error}")).unwrap_or_default();
    let sandbox = Sandbox::new().write(&folder).see_interfaces(has_lan).accept_tcp();
    let ending = signals::ending();
    let start = NetworkStart {
        tool: TOOL,
        sandbox: &cli.sandbox,
        needs: [state.as_ref().map(StateDir::path), share.as_ref().map(|(share, _)| &*share.folder)]
            .into_iter()
            .flatten()
            .fold(sandbox, Sandbox::write),
        signals: &ending,
        listen: &ListenArgs { listen: cli.udp },
        default: ANYWHERE,
        state: state.as_ref(),
    };
    let (event_loop, _) = start.open()?;
    let waker = event_loop.waker();
    let named = named.watch(move || waker.wake());
    let peers = Peers::new(PeerFile::new(state.as_ref()), named, has_lan, is_limited);
    let dht = dht.and_then(|entry| Mainline::start(entry, event_loop.waker()));
    let settings = Settings {
        source_timeout: cli.timeout,
        stall_timeout: cli.stall,
        most_connections: cli.max_connections.max(1),
        shares: !cli.no_share,
        json_only: cli.framing.no_raw,
    };
    let cache = Cache::new(Folder::new(folder, is_nameless), cli.cache);
    let (share, token) = share.unzip();
    let guard = Guard::new(cli.hosts, cli.origins, token);
    let found = (peers, Search::new(dht), PointerFiles::new(state.as_ref()));
    let mut gateway = Gateway::start(event_loop, listener, cache, guard, found, settings, share)?;
    stdout::print(format!("http://{at}/\n").as_bytes())?;
    supervisor.is_ready();
    let ended = gateway.run(&supervisor);
    supervisor.is_stopping();
    if ended.is_ok() {
        release_signals();
    }
    gateway.save();
    let signal = ended?;
    drop(gateway);
    end_by(signal);
    // The process that started this one had that signal ignored.
    Ok(Exit::of_signal(signal))
}

/// Where files go that clients send, and the token that they need.
fn share(cli: &Cli, at: SocketAddr, state: Option<&StateDir>) -> Result<Option<(Share, String)>, ToolError> {
    let Some(folder) = &cli.share else { return Ok(None) };
    if guard::is_open(at) {
        log::warn!("--share: at {at} nothing is taken: others could send files too");
        return Ok(None);
    }
    let folder = folder.canonicalize().map_err(|error| {
        ToolError::new(Exit::Destination, format!("--share {}: {error}", names::shown(folder)))
    })?;
    let state = state.ok_or_else(|| ToolError::failure("--share: there is no state folder for the token"))?;
    let path = state.file("http-token");
    let token = token::open(&path).map_err(|error| ToolError::failure(format!("--share: token: {error}")))?;
    log::info!("the token is in {}", names::shown(&path));
    Ok(Some((Share { folder, most: cli.max_upload }, token)))
}

/// The folder of the cache, made where it is missing, for this user only.
fn cache_folder(cli: &Cli) -> Result<PathBuf, ToolError> {
    let of_variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = cli.cache_dir.clone().or_else(|| {
        let caches =
            of_variable("XDG_CACHE_HOME").or_else(|| env::home_dir().map(|home| home.join(".cache")));
        caches.map(|folder| folder.join("cjp2p"))
    });
    let folder = folder.ok_or_else(|| ToolError::failure("no home folder: name one with --cache-dir"))?;
    match DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        Err(error) if !folder.is_dir() => {
            Err(ToolError::new(Exit::Destination, format!("{}: {error}", names::shown(&folder))))
        }
        _ => Ok(folder),
    }
}

/// Two processes that use one cache would remove each other's files.
fn lock(folder: &std::path::Path) -> Result<FileLock, ToolError> {
    let lock = LockMode::Fail.acquire(&folder.join("http.lock"))?;
    lock.ok_or_else(|| ToolError::new(Exit::Busy, "another process uses this cache"))
}
