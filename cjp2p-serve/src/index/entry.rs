//! What is kept about a file: as little as there is to know, for there may be very many.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use cjp2p_io::identity::{Identity, Stamp};

use crate::file::{FileState, Ids};
use crate::place::{Place, Source, Target};

/// Files in one piece of memory.
const CHUNK: usize = 256;

/// What files of one folder have in common.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) source: Arc<Source>,
    pub(super) path: Arc<Path>,
    /// Nearly always that of the folder itself.
    device: u64,
}

impl Folder {
    pub(super) fn new(source: Arc<Source>, path: Arc<Path>, device: u64) -> Arc<Folder> {
        Arc::new(Folder { source, path, device })
    }

    /// Whether a file with this source on this device, if it is in this folder, can share what is known about it.
    pub(super) fn is_of(&self, source: &Arc<Source>, device: u64) -> bool {
        Arc::ptr_eq(&self.source, source) && self.device == device
    }
}

/// A known file.
pub(super) struct Entry {
    pub(super) folder: Arc<Folder>,
    pub(super) name: Box<OsStr>,
    inode: u64,
    pub(super) size: u64,
    // Seconds and nanoseconds apart: two stamps as they are would take eight bytes more.
    seconds: [i64; 2],
    nanos: [u32; 2],
    /// `None` until it is hashed.
    pub(super) ids: Option<Ids>,
    pub(super) generation: u32,
    /// The last walk that saw it.
    pub(super) walk: u32,
}

impl Entry {
    /// A file of this name, not hashed yet. The folder must be of its device.
    pub(super) fn new(
        folder: Arc<Folder>,
        name: Box<OsStr>,
        identity: Identity,
        generation: u32,
        walk: u32,
    ) -> Entry {
        let Identity { device, inode, size, modified, changed } = identity;
        debug_assert_eq!(folder.device, device);
        let seconds = [modified.seconds, changed.seconds];
        let nanos = [modified.nanos, changed.nanos];
        Entry { folder, name, inode, size, seconds, nanos, ids: None, generation, walk }
    }

    pub(super) fn identity(&self) -> Identity {
        let stamp = |n: usize| Stamp { seconds: self.seconds[n], nanos: self.nanos[n] };
        let (modified, changed) = (stamp(0), stamp(1));
        Identity { device: self.folder.device, inode: self.inode, size: self.size, modified, changed }
    }

    pub(super) fn state(&self, target: Option<Arc<Target>>) -> Arc<FileState> {
        let relative = self.folder.path.join(&*self.name).into();
        let place = Place { source: self.folder.source.clone(), relative, target };
        Arc::new(FileState { place, identity: self.identity() })
    }

    /// The name to ask for it by, if it is a [`PlainName`](cjp2p_wire::content_id::PlainName).
    pub(super) fn plain_name(&self) -> Option<&str> {
        self.folder.source.name_of(&self.name).and_then(OsStr::to_str)
    }
}

/// Entries by slot. They never move: growing neither copies them nor leaves half of the memory empty.
#[derive(Default)]
pub(super) struct Slots {
    /// Invariant: all but the last have `CHUNK` slots.
    chunks: Vec<Vec<Option<Entry>>>,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        full + self.chunks.last().map_or(0, Vec::len)
    }

    /// Adds an empty slot.
    pub(super) fn push(&mut self) {
        match self.chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(None),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(None);
                self.chunks.push(chunk);
            }
        }
    }

    /// What is in a slot. `None` where there is no such slot.
    pub(super) fn get(&self, slot: u32) -> Option<&Option<Entry>> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Option<Entry>> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    /// By number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Option<Entry>> {
        self.chunks.iter().flatten()
    }
}
