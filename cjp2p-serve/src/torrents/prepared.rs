//! What is opened for torrents before the process is confined: metainfo, folders, and the socket that peers call.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cjp2p_cli::ToolError;
use cjp2p_io::descriptors;
use cjp2p_io::listen::Listen;
use cjp2p_io::names::shown;
use cjp2p_io::random;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::tcp;
use cjp2p_io::torrent::driver::MAX_LINKS;
use cjp2p_io::torrent::local::LocalSearch;
use cjp2p_io::torrent::trackers::Trackers;
use cjp2p_torrent::metainfo::{MAX_METAINFO, Metainfo};

use super::records::lasting_path;
use crate::torrent_args::TorrentArgs;

/// Torrents at the most: each is looked after every second.
const MAX_TORRENTS: usize = 1000;

/// A torrent whose metainfo was given.
pub(super) struct GivenTorrent {
    pub(super) metainfo: Metainfo,
    /// The folder that has its name in it.
    pub(super) folder: File,
    /// Where its file or folder is.
    pub(super) path: PathBuf,
}

/// A file or folder that a torrent is to be made of.
pub(super) struct ToMake {
    pub(super) path: PathBuf,
    /// The same wherever the process is started.
    pub(super) lasting: PathBuf,
}

/// See the [module](self).
pub(crate) struct Prepared {
    pub(super) given: Vec<GivenTorrent>,
    /// Of what is in these, or of these where they are files, torrents are made.
    pub(super) to_make: Vec<ToMake>,
    pub(super) listener: Option<TcpListener>,
    /// `None` where there is no tracker.
    pub(super) trackers: Option<Trackers>,
    /// Trackers that the user named.
    pub(super) trusted: Vec<String>,
    pub(super) allow_private: bool,
    /// `None` where nobody is told on the local network.
    pub(super) lan: Option<LocalSearch>,
}

impl Prepared {
    /// Opens everything. `None` where no torrent is to be seeded.
    ///
    /// # Errors
    ///
    /// Metainfo cannot be read, its files are in no folder that was named, or there are too many.
    pub(crate) fn of(
        args: &TorrentArgs,
        paths: &[PathBuf],
        listen: Listen,
        has_lan: bool,
    ) -> Result<Option<Prepared>, ToolError> {
        if !args.is_used() {
            return Ok(None);
        }
        descriptors::allow(MAX_LINKS);
        if args.torrents.len() > MAX_TORRENTS {
            return Err(ToolError::usage(format!("--torrent: more than {MAX_TORRENTS} of them")));
        }
        let given: Vec<GivenTorrent> =
            args.torrents.iter().map(|torrent| open(torrent, paths)).collect::<Result<_, _>>()?;
        let trusted = args.trackers.clone();
        let trackers = match trusted.is_empty() && given.iter().all(|one| one.metainfo.trackers.is_empty()) {
            true => None,
            false => Trackers::start().inspect_err(|error| log::warn!("no tracker is told: {error}")).ok(),
        };
        let to_make = if args.magnets { entries(paths)? } else { Vec::new() };
        // Afterwards a process that is confined cannot ask where it is.
        let to_make = to_make.into_iter().map(|path| ToMake { lasting: lasting_path(&path), path }).collect();
        let (listener, allow_private) = (listener(listen), args.allow_private);
        let lan = if has_lan && listener.is_some() { local_search() } else { None };
        Ok(Some(Prepared { given, to_make, listener, trackers, trusted, allow_private, lan }))
    }

    /// Adds to what the process needs once it is confined.
    pub(crate) fn sandbox(&self, sandbox: Sandbox) -> Sandbox {
        let sandbox = sandbox.connect_tcp();
        if self.listener.is_some() { sandbox.accept_tcp() } else { sandbox }
    }
}

fn open(torrent: &Path, paths: &[PathBuf]) -> Result<GivenTorrent, ToolError> {
    let failed = |error: io::Error| ToolError::failure(format!("{}: {error}", shown(torrent)));
    let mut bytes = Vec::new();
    let file = File::open(torrent).map_err(failed)?;
    file.take(MAX_METAINFO as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let metainfo = Metainfo::parse(&bytes)
        .map_err(|error| ToolError::failure(format!("{}: {error}", shown(torrent))))?;
    let name = Path::new(OsStr::from_bytes(metainfo.info.name().as_bytes())).to_owned();
    for folder in paths {
        let path = folder.join(&name);
        if fs::symlink_metadata(&path).is_ok() {
            let folder = File::open(folder).map_err(failed)?;
            return Ok(GivenTorrent { metainfo, folder, path });
        }
    }
    Err(ToolError::failure(format!("{}: {} is in none of the folders", shown(torrent), shown(&name))))
}

/// The files among these, and what is in the folders among them, by name.
fn entries(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ToolError> {
    let mut entries = Vec::new();
    for path in paths {
        let failed = |error: io::Error| ToolError::failure(format!("{}: {error}", shown(path)));
        if !path.is_dir() {
            entries.push(path.clone());
            continue;
        }
        let folder = File::open(path).map_err(failed)?;
        let names = cjp2p_io::walk::names(&folder, cjp2p_io::walk::Rules::default()).map_err(failed)?;
        entries.extend(names.into_iter().map(|name| path.join(name)));
    }
    if entries.len() > MAX_TORRENTS {
        return Err(ToolError::usage(format!(
            "--magnets: there are {} entries, and {MAX_TORRENTS} torrents at the most",
            entries.len()
        )));
    }
    Ok(entries)
}

/// `None` where there is no local network.
fn local_search() -> Option<LocalSearch> {
    let opened = random::seed().and_then(LocalSearch::open);
    opened.inspect_err(|error| log::info!("nobody is told on the local network: {error}")).ok()
}

/// At the port that the node has too, or where another process has that, at any.
fn listener(listen: Listen) -> Option<TcpListener> {
    let candidates = listen.candidates();
    let any = candidates.iter().map(|address| std::net::SocketAddr::new(address.ip(), 0));
    let mut why = None;
    for address in candidates.iter().copied().chain(any) {
        match tcp::listen(address) {
            Ok(listener) => return Some(listener),
            Err(error) => why = Some(error),
        }
    }
    if let Some(error) = why {
        log::warn!("nobody can call us by TCP: {error}");
    }
    None
}
