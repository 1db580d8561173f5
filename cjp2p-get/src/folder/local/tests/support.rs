//! Trees in memory, on the disk and as lists, and runs from one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::state_dir::StateDir;
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{Entry, FolderPath, Kind, Mtime};
use tempfile::TempDir;

use super::super::{Local, Options, Summary, Told};

/// A test that waits for longer fails.
const LIMIT: Duration = Duration::from_secs(60);
/// Longer content comes as a file.
const AS_FILE: usize = 1000;

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    File(Vec<u8>, bool),
    Link(Vec<u8>),
    Folder,
}

/// All that is in a folder, by paths.
pub(super) type Things = BTreeMap<Vec<u8>, Thing>;

pub(super) fn file(bytes: impl AsRef<[u8]>) -> Thing {
    Thing::File(bytes.as_ref().to_vec(), false)
}

pub(super) fn link(target: &str) -> Thing {
    Thing::Link(target.into())
}

/// These, and the folders that they are in.
pub(super) fn things<const N: usize>(these: [(&str, Thing); N]) -> Things {
    let mut things = Things::new();
    for (path, thing) in these {
        insert(&mut things, path.as_bytes(), thing);
    }
    things
}

/// Puts something in, with the folders that it is in.
pub(super) fn insert(things: &mut Things, path: &[u8], thing: Thing) {
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        things.entry(path[..at].to_vec()).or_insert(Thing::Folder);
    }
    things.insert(path.to_vec(), thing);
}

pub(super) fn root(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Makes these in a folder.
pub(super) fn make(folder: &Path, things: &Things) {
    for (name, thing) in things {
        let path = folder.join(path(name));
        match thing {
            Thing::Folder => fs::create_dir_all(&path).unwrap(),
            Thing::Link(target) => symlink(std::ffi::OsStr::from_bytes(target), &path).unwrap(),
            Thing::File(bytes, exec) => {
                fs::write(&path, bytes).unwrap();
                let mode = if *exec { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// What is in a folder.
pub(super) fn found(folder: &Path) -> Things {
    let mut things = Things::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            let thing = if kind.is_symlink() {
                Thing::Link(fs::read_link(&path).unwrap().into_os_string().into_vec())
            } else if kind.is_dir() {
                folders.push(path.clone());
                Thing::Folder
            } else {
                Thing::File(fs::read(&path).unwrap(), kind.permissions().mode() & 0o100 != 0)
            };
            things.insert(path.strip_prefix(folder).unwrap().as_os_str().as_bytes().to_vec(), thing);
        }
    }
    things
}

/// As a list has it.
pub(super) fn entry(name: &[u8], thing: &Thing, mtime: Option<Mtime>) -> Entry {
    let kind = match thing {
        Thing::Folder => Kind::Folder { list: None },
        Thing::Link(target) => Kind::Link { target: target.clone() },
        Thing::File(bytes, exec) => Kind::File { length: bytes.len() as u64, root: root(bytes), exec: *exec },
    };
    Entry { path: FolderPath::new(name).unwrap(), kind, mtime }
}

/// The lines of a list.
pub(super) fn lines(entries: impl IntoIterator<Item = Entry>) -> File {
    let mut text = Vec::new();
    entries.into_iter().for_each(|entry| entry.write(&mut text));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&text).unwrap();
    file.rewind().unwrap();
    file
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) result: Result<Summary, ToolError>,
    pub(super) told: Vec<Told>,
    /// What was asked for.
    pub(super) asked: Vec<Hash>,
}

impl Ended {
    pub(super) fn exit(&self) -> Exit {
        self.result.as_ref().map_or_else(|error| error.exit, |summary| summary.exit)
    }

    /// The paths that were refused.
    pub(super) fn refused(&self) -> Vec<String> {
        let refused = |told: &Told| match told {
            Told::Refused { path, .. } => Some(String::from_utf8_lossy(path).into_owned()),
            _ => None,
        };
        self.told.iter().filter_map(refused).collect()
    }

    /// What would be done.
    pub(super) fn would(&self) -> Vec<String> {
        let would = |told: &Told| match told {
            Told::Would { what, path, .. } => {
                Some(format!("{} {}", what.as_str(), String::from_utf8_lossy(path)))
            }
            _ => None,
        };
        self.told.iter().filter_map(would).collect()
    }
}

/// A folder to fetch to, a state folder, and content that can be had.
pub(super) struct World {
    pub(super) base: TempDir,
    state: StateDir,
    pub(super) contents: BTreeMap<Hash, Vec<u8>>,
    /// What cannot be had.
    pub(super) missing: BTreeSet<Hash>,
    pub(super) mtime: Option<Mtime>,
    /// Where all goes, if that is elsewhere.
    pub(super) to: Option<PathBuf>,
    /// Is done to the place where all goes when the first content is asked for.
    pub(super) meanwhile: Option<fn(&Path)>,
}

impl World {
    pub(super) fn new() -> World {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&base.path().join("state"))).unwrap();
        World {
            base,
            state,
            contents: BTreeMap::new(),
            missing: BTreeSet::new(),
            mtime: None,
            to: None,
            meanwhile: None,
        }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// Where all goes.
    pub(super) fn to(&self) -> PathBuf {
        self.to.clone().unwrap_or_else(|| self.at("to"))
    }

    pub(super) fn found(&self) -> Things {
        found(&self.to())
    }

    /// Fetches these.
    pub(super) fn fetch(&mut self, things: &Things, options: Options) -> Ended {
        for thing in things.values() {
            if let Thing::File(bytes, _) = thing {
                self.contents.insert(root(bytes), bytes.clone());
            }
        }
        let mtime = self.mtime;
        self.fetch_entries(things.iter().map(|(name, thing)| entry(name, thing, mtime)), options)
    }

    /// Fetches by these entries.
    pub(super) fn fetch_entries(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
        options: Options,
    ) -> Ended {
        let local = match Local::open(&self.to(), Some(&self.state), options) {
            Ok(local) => local.expect("nobody else has the lock"),
            Err(error) => return Ended { result: Err(error), told: Vec::new(), asked: Vec::new() },
        };
        let (wake, woken) = mpsc::channel();
        let wake = move || {
            let _ = wake.send(());
        };
        let mut running = local.start(lines(entries), wake).unwrap();
        let (mut told, mut asked) = (Vec::new(), Vec::new());
        loop {
            told.extend(std::iter::from_fn(|| running.next_told()));
            if let Some(result) = running.finished() {
                told.extend(std::iter::from_fn(|| running.next_told()));
                return Ended { result, told, asked };
            }
            while running.has_room()
                && let Some(need) = running.next_need()
            {
                asked.push(need.root);
                if let Some(meanwhile) = self.meanwhile.take() {
                    meanwhile(&self.to());
                }
                let bytes = self.contents.get(&need.root).filter(|_| !self.missing.contains(&need.root));
                match bytes {
                    None => running.failed(need.number, "no peer has it".into()),
                    Some(bytes) if bytes.len() > AS_FILE => {
                        fs::write(&need.staged, bytes).unwrap();
                        running.done(need.number);
                    }
                    Some(bytes) => running.give(need.number, bytes.clone()),
                }
            }
            woken.recv_timeout(LIMIT).expect("there is something to do");
        }
    }
}
