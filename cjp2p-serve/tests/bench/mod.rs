//! A share in a temporary folder, driven by a test.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use blake3::hazmat::{Mode, merge_subtrees_non_root};
use cjp2p_serve::events::Event;
use cjp2p_serve::library::SharedLibrary;
use cjp2p_serve::mounts::Mounts;
use cjp2p_serve::share::{Options, Share, open_sources};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::{Asker, Library, Read};
use cjp2p_wire::tree::{LeafIndex, group_leaves, header};
use sha2::{Digest, Sha256};

/// No test should take so long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A folder to share and one for the state.
pub(crate) struct Bench {
    base: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::at(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(base: tempfile::TempDir) -> Bench {
        fs::create_dir(base.path().join("share")).unwrap();
        fs::create_dir(base.path().join("state")).unwrap();
        Bench { base }
    }

    /// A path outside of the share.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// A path in the share.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join("share").join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.base.path().join("state")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(&Options::default())
    }

    pub(crate) fn start_with(&self, options: &Options) -> Running {
        Running::start(&[self.path("")], options, &self.state())
    }

    /// Started, and everything that is there is shared.
    pub(crate) fn ready(&self) -> Running {
        let mut running = self.start();
        running.until_ready();
        running
    }
}

/// A share that is running.
pub(crate) struct Running {
    pub(crate) share: Share,
    pub(crate) library: SharedLibrary,
    wakes: Receiver<()>,
    /// Events not looked at yet.
    events: Vec<Event>,
}

impl Running {
    pub(crate) fn start(arguments: &[PathBuf], options: &Options, state: &Path) -> Running {
        let sources = open_sources(arguments).unwrap();
        let (wake, wakes) = mpsc::sync_channel(1);
        let wake = move || {
            let _ = wake.try_send(());
        };
        let (share, library) =
            Share::start(sources, options, Some(state), Mounts::open().ok(), Arc::new(wake)).unwrap();
        Running { share, library, wakes, events: Vec::new() }
    }

    fn wait(&mut self) {
        let woken = self.wakes.recv_timeout(TIMEOUT);
        woken.expect("nothing happens any more");
        self.events.extend(self.share.poll(&mut self.library));
    }

    /// Waits for the first event for which `wanted` gives something; later ones stay to be waited for.
    pub(crate) fn until<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let found = self.events.iter().position(|event| wanted(event).is_some());
            if let Some(at) = found {
                let event = self.events.drain(..=at).next_back().unwrap();
                return wanted(&event).unwrap();
            }
            self.events.clear();
            self.wait();
        }
    }

    /// Waits until all that was there at the start is shared; says how many files are shared and were hashed.
    pub(crate) fn until_ready(&mut self) -> (u64, u64) {
        self.until(|event| match event {
            Event::Ready { files, hashed, .. } => Some((*files, *hashed)),
            _ => None,
        })
    }

    /// Waits until a file of this path is shared with this content.
    pub(crate) fn until_shared(&mut self, name: &str, content: impl AsRef<[u8]>) {
        let hash = *blake3::hash(content.as_ref()).as_bytes();
        self.until(|event| match event {
            Event::Shared { file, ids, .. } => {
                (ids.blake3 == hash && file.place.shown().ends_with(name)).then_some(())
            }
            _ => None,
        });
    }

    pub(crate) fn until_changed(&mut self, name: &str) {
        self.until(|event| match event {
            Event::Changed { file, .. } => file.place.shown().ends_with(name).then_some(()),
            _ => None,
        });
    }

    pub(crate) fn until_withdrawn(&mut self, name: &str) {
        self.until(|event| match event {
            Event::Withdrawn { file, .. } => file.place.shown().ends_with(name).then_some(()),
            _ => None,
        });
    }

    /// Reads, however long it takes to get the bytes into memory. `None` where the content is not shared.
    pub(crate) fn read(&mut self, id: &ContentId, offset: u64, length: usize) -> Option<(Vec<u8>, u64)> {
        let asker = Asker::Host(Ipv4Addr::LOCALHOST.into());
        let start = Instant::now();
        let mut out = b"kept".to_vec();
        loop {
            let read = self.library.read(asker, id, offset, length, &mut out);
            assert!(out.starts_with(b"kept") && out.len() <= 4 + length);
            match read {
                Read::Found { eof } => return Some((out.split_off(4), eof.unwrap())),
                Read::Absent => {
                    assert_eq!(out, b"kept");
                    return None;
                }
                Read::Later => assert_eq!(out, b"kept"),
            }
            assert!(start.elapsed() < TIMEOUT, "still not in memory");
            self.wait();
        }
    }

    /// Reads all of a content in pieces of `step` bytes.
    pub(crate) fn read_all(&mut self, id: &ContentId, step: usize) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let (bytes, eof) = self.read(id, content.len() as u64, step)?;
            content.extend(bytes);
            if content.len() as u64 >= eof {
                return Some(content);
            }
        }
    }
}

pub(crate) fn blake3_id(content: &[u8]) -> ContentId {
    ContentId::Blake3(*blake3::hash(content).as_bytes())
}

pub(crate) fn sha256_id(content: &[u8]) -> ContentId {
    ContentId::Sha256(Sha256::digest(content).into())
}

pub(crate) fn tree_id(content: &[u8]) -> ContentId {
    ContentId::Tree(*blake3::hash(content).as_bytes())
}

pub(crate) fn name(text: &str) -> ContentId {
    ContentId::parse(text).unwrap()
}

/// The whole tree file of a content, level by level as the format describes it.
pub(crate) fn tree_of(content: &[u8]) -> Vec<u8> {
    let mut levels = vec![group_leaves(LeafIndex(0), content)];
    while levels[levels.len() - 1].len() > 2 {
        let above = levels[levels.len() - 1].chunks(2).map(|pair| match pair {
            [left, right] => merge_subtrees_non_root(left, right, Mode::Hash),
            odd => odd[0],
        });
        levels.push(above.collect());
    }
    let mut tree = header(blake3::hash(content).as_bytes()).to_vec();
    for level in levels.iter().rev() {
        tree.extend_from_slice(level.as_flattened());
    }
    tree
}

/// Bytes that look random and differ for each seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
