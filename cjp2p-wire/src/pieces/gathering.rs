//! `Gathering`: the extents that are being gathered, each until it is full and its owner says what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;

use super::extent::{Extent, Space};
use crate::slices::Slices;

/// Names an extent: where it lies, and its first byte.
pub type Key = (Space, u64);

/// A picker gathers at most so many bytes, in all extents.
pub const MAX_GATHERED: u64 = 16 << 20;
/// Extents whose memory is kept for the next ones.
const MAX_SPARE: usize = 4;

/// What came of bytes that arrived for one extent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// How many of them were new.
    pub new: u64,
    /// The extent has all of its bytes.
    pub is_full: bool,
}

/// All extents that are being gathered.
#[derive(Debug)]
pub(super) struct Gathering {
    extents: BTreeMap<Key, Extent>,
    // Invariant: the keys of the extents that have something to ask for.
    askable: BTreeSet<Key>,
    // Invariant: the sum of the lengths of all extents.
    bytes: u64,
    /// The extent that was filled last.
    last: Key,
    /// Memory of extents that are done.
    spare: Vec<Vec<u8>>,
    /// While extents have so many bytes, nothing more is begun.
    most: u64,
    /// The bytes are kept elsewhere.
    is_elsewhere: bool,
}

impl Gathering {
    pub(super) fn new() -> Gathering {
        Gathering {
            extents: BTreeMap::new(),
            askable: BTreeSet::new(),
            bytes: 0,
            last: (Space::Tree, 0),
            spare: Vec::new(),
            most: MAX_GATHERED,
            is_elsewhere: false,
        }
    }

    /// The same, of extents whose bytes are kept elsewhere: at most `most` of them are begun, and one extent more.
    pub(super) fn elsewhere(most: u64) -> Gathering {
        Gathering { most, is_elsewhere: true, ..Gathering::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Whether so much is being gathered that nothing more is begun.
    pub(super) fn is_contended(&self) -> bool {
        self.bytes >= self.most
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.extents.contains_key(&key)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Extent> {
        self.extents.get(&key)
    }

    /// All extents, the tree's first, each in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Extent)> {
        self.extents.iter().map(|(&key, extent)| (key, extent))
    }

    /// Those of the content.
    pub(super) fn content(&self) -> impl Iterator<Item = &Extent> {
        self.extents.range((Space::Content, 0)..).map(|(_, extent)| extent)
    }

    /// Those that have something to ask for.
    pub(super) fn askable(&self) -> impl Iterator<Item = (Key, &Extent)> {
        self.askable.iter().filter_map(|&key| Some((key, self.extents.get(&key)?)))
    }

    /// Changes an extent, and notes whether it then has something to ask for. `None` where there is no such extent.
    pub(super) fn change<T>(&mut self, key: Key, change: impl FnOnce(&mut Extent) -> T) -> Option<T> {
        let extent = self.extents.get_mut(&key)?;
        let needed = extent.needs_asking();
        let result = change(extent);
        match (needed, extent.needs_asking()) {
            (false, true) => _ = self.askable.insert(key),
            (true, false) => _ = self.askable.remove(&key),
            _ => {}
        }
        Some(result)
    }

    pub(super) fn begin(&mut self, space: Space, range: Range<u64>) -> Key {
        let key = (space, range.start);
        self.bytes += range.end - range.start;
        let extent = match self.is_elsewhere {
            true => Extent::elsewhere(range),
            false => Extent::new(range, self.spare.pop().unwrap_or_default()),
        };
        self.extents.insert(key, extent);
        self.askable.insert(key);
        key
    }

    /// Takes the bytes of an extent out of it, until others are put there.
    pub(super) fn swap_memory(&mut self, key: Key, memory: Vec<u8>) -> Vec<u8> {
        self.extents.get_mut(&key).map_or_else(Vec::new, |extent| extent.swap_memory(memory))
    }

    /// Ends an extent. Returns which bytes it had.
    pub(super) fn end(&mut self, key: Key) -> Option<Range<u64>> {
        self.askable.remove(&key);
        let extent = self.extents.remove(&key)?;
        let range = extent.range.clone();
        self.bytes -= range.end - range.start;
        let memory = extent.into_memory();
        if key.0 == Space::Content && self.spare.len() < MAX_SPARE && memory.capacity() > 0 {
            self.spare.push(memory);
        }
        Some(range)
    }

    /// The extent that was filled last, if `range` lies within it.
    pub(super) fn last_if_holds(&self, space: Space, range: &Range<u64>) -> Option<Key> {
        let holds = |extent: &Extent| extent.range.start <= range.start && range.end <= extent.range.end;
        (self.last.0 == space && self.extents.get(&self.last).is_some_and(holds)).then_some(self.last)
    }

    /// The keys of the extents that overlap `range`.
    pub(super) fn overlapping(&self, space: Space, range: &Range<u64>) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .extents
            .range((space, range.start)..(space, range.end.max(range.start)))
            .map(|(&key, _)| key)
            .collect();
        if let Some((&key, extent)) = self.extents.range(..(space, range.start)).next_back()
            && key.0 == space
            && extent.range.end > range.start
        {
            keys.insert(0, key);
        }
        keys
    }

    /// Takes in bytes that came from `source` for this extent, if it is being gathered.
    pub(super) fn fill(
        &mut self,
        key: Key,
        source: SocketAddr,
        offset: u64,
        data: Slices<'_>,
    ) -> Option<Filled> {
        let filled = self.change(key, |extent| {
            let new = extent.fill(source, offset, data);
            Filled { new, is_full: extent.is_full() }
        })?;
        self.last = key;
        Some(filled)
    }

    /// As [`fill`](Gathering::fill), for bytes that are kept elsewhere.
    pub(super) fn note(&mut self, key: Key, source: SocketAddr, range: Range<u64>) -> Option<Filled> {
        let filled = self.change(key, |extent| {
            let new = extent.note(source, range);
            Filled { new, is_full: extent.is_full() }
        })?;
        self.last = key;
        Some(filled)
    }

    /// What was asked of `source` did not come: it is asked for again, of any source if `release`.
    pub(super) fn give_back(&mut self, source: SocketAddr, space: Space, range: &Range<u64>, release: bool) {
        for key in self.overlapping(space, range) {
            self.change(key, |extent| {
                extent.give_back(range.clone());
                if release && extent.belongs_to(source) {
                    extent.release();
                }
            });
        }
    }

    /// `source` is not asked any more: its extents are free for others.
    pub(super) fn release(&mut self, source: SocketAddr) {
        for (key, extent) in self.extents.iter_mut().filter(|(_, extent)| extent.belongs_to(source)) {
            extent.release();
            extent.ask_missing_again();
            if extent.needs_asking() {
                self.askable.insert(*key);
            }
        }
    }

    /// What came is wrong. Returns the contributor that is to blame, and how many bytes were spoilt by it. Of several it is not
    /// known which: then all is asked of one source.
    pub(super) fn start_over(&mut self, key: Key) -> Option<(SocketAddr, u64)> {
        self.change(key, |extent| {
            let only = match extent.contributors[..] {
                [only] => Some((only, extent.range.end - extent.range.start)),
                _ => None,
            };
            extent.start_over();
            extent.sole = only.is_none();
            only
        })?
    }

    /// Panics where a field's invariant does not hold.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let mut bytes = 0;
        for (key, extent) in &self.extents {
            assert_eq!(key.1, extent.range.start);
            assert_eq!(self.askable.contains(key), extent.needs_asking());
            bytes += extent.range.end - extent.range.start;
        }
        assert_eq!(bytes, self.bytes);
    }
}
