//! Which files are known, and which of them each id stands for.

mod entry;
mod list;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::ops::{Bound, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use cjp2p_io::identity::Identity;
use cjp2p_wire::content_id::{ContentId, Hash, PlainName};
use entry::{Entry, Folder, Slots};

use crate::file::{FileNo, FileState, Ids};
use crate::gone::Gone;
use crate::place::{Place, Target};

/// What [`Index::see`] found out.
#[derive(Debug)]
pub enum Seen {
    /// It was not known.
    New(FileNo),
    /// It is not what it was.
    Changed {
        /// What it was, known no more.
        old: FileNo,
        /// The same, as it was found.
        file: Arc<FileState>,
        /// The ids under which that was shared, if it was.
        ids: Option<Ids>,
        /// What it is.
        new: FileNo,
    },
    /// It is as it was.
    Same(FileNo),
}

/// What is shared, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

/// Where a [list](Index::list) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEnd {
    hash: Hash,
    at: Key,
}

/// The first bytes of a hash, and the slot of a file that has it. Whether it has it is seen from the file itself.
///
/// In two halves, as a `u64` would make each key four bytes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    prefix: [u32; 2],
    slot: u32,
}

impl Key {
    fn new(prefix: u64, slot: u32) -> Key {
        Key { prefix: [(prefix >> 32) as u32, prefix as u32], slot }
    }

    fn prefix(&self) -> u64 {
        u64::from(self.prefix[0]) << 32 | u64::from(self.prefix[1])
    }

    /// All keys that begin so.
    fn all(prefix: u64) -> RangeInclusive<Key> {
        Key::new(prefix, 0)..=Key::new(prefix, u32::MAX)
    }
}

/// The same for what needs no order, by a hash that only this process knows: nobody can make two collide. So it can be short,
/// and the few files that collide by chance cost a look at them.
type ShortKey = (u32, u32);

/// What [`Index::search`] finds.
type InFolder<'a> = (&'a FilesOf, Result<usize, usize>);

/// The files of a folder.
struct FilesOf {
    /// As the last one has it that was added.
    folder: Arc<Folder>,
    /// Their slots, sorted by name.
    slots: Vec<u32>,
}

/// All known files. A file is known by where it is, gets ids when it has been hashed, and loses them with any change.
///
/// Invariant: the maps below hold exactly what follows from `files`.
pub struct Index {
    share_names: bool,
    gone: Gone,
    files: Slots,
    /// Where those files are, by slot, that are reached by links.
    targets: BTreeMap<u32, Arc<Target>>,
    /// The free slots, and the generation that each is at.
    free: Vec<FileNo>,
    /// By the number of a source: the files of each of its folders. None is empty.
    sources: BTreeMap<u32, BTreeMap<Arc<Path>, FilesOf>>,
    blake3: BTreeSet<Key>,
    sha256: BTreeSet<ShortKey>,
    names: BTreeSet<ShortKey>,
    /// Different contents that are shared; so many first halves of keys are in `blake3`.
    contents: u64,
    /// For the short keys.
    keys: RandomState,
}

impl Index {
    /// Knows no file. Without `share_names` files can be asked for by their hashes only.
    pub fn new(share_names: bool) -> Index {
        Index {
            share_names,
            gone: Gone::default(),
            files: Slots::default(),
            targets: BTreeMap::new(),
            free: Vec::new(),
            sources: BTreeMap::new(),
            blake3: BTreeSet::new(),
            sha256: BTreeSet::new(),
            names: BTreeSet::new(),
            contents: 0,
            keys: RandomState::new(),
        }
    }

    /// Takes note of a file that the walk numbered `walk` came across.
    pub fn see(&mut self, place: Place, identity: Identity, walk: u32) -> Seen {
        let Some(no) = self.at(place.source.number, &place.relative) else {
            return Seen::New(self.insert(place, identity, walk));
        };
        let target = self.targets.get(&no.slot).map(|target| &**target);
        let is_same_target = Target::is_same(target, place.target.as_deref());
        if let Some(known) = self.entry_mut(no)
            && known.identity() == identity
            && is_same_target
            && Arc::ptr_eq(&known.folder.source, &place.source)
        {
            known.walk = walk;
            return Seen::Same(no);
        }
        let Some((file, ids)) = self.remove(no) else {
            return Seen::New(self.insert(place, identity, walk));
        };
        let new = self.insert(place, identity, walk);
        Seen::Changed { old: no, file, ids, new }
    }

    /// The file must not be known.
    fn insert(&mut self, place: Place, identity: Identity, walk: u32) -> FileNo {
        let no = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.files.len()).expect("4,294,967,296 files are not in memory");
            self.files.push();
            FileNo { slot, generation: 0 }
        });
        let Place { source, relative, target } = place;
        let (path, name) = split(&relative);
        let found = self.search(source.number, path, name);
        let at = found.map_or(0, |(_, Ok(at) | Err(at))| at);
        let path = found.map_or_else(|| path.into(), |(files, _)| files.folder.path.clone());
        let of_source = self.sources.entry(source.number).or_default();
        let files = of_source.entry(path.clone()).or_insert_with(|| FilesOf {
            folder: Folder::new(source.clone(), path.clone(), identity.device),
            slots: Vec::new(),
        });
        if !files.folder.is_of(&source, identity.device) {
            files.folder = Folder::new(source, path, identity.device);
        }
        files.slots.insert(at, no.slot);
        let entry = Entry::new(files.folder.clone(), name.into(), identity, no.generation, walk);
        if let Some(key) = self.name_key(&entry, no.slot) {
            self.names.insert(key);
        }
        if let Some(target) = target {
            self.targets.insert(no.slot, target);
        }
        if let Some(place) = self.files.get_mut(no.slot) {
            *place = Some(entry);
        }
        no
    }

    /// Forgets a file. Gives what was known about it.
    pub fn remove(&mut self, no: FileNo) -> Option<(Arc<FileState>, Option<Ids>)> {
        let ids = self.withdraw(no);
        let entry = self.entry(no)?;
        let (number, path) = (entry.folder.source.number, entry.folder.path.clone());
        if let Some((_, Ok(at))) = self.search(number, &path, &entry.name)
            && let Some(folders) = self.sources.get_mut(&number)
            && let Some(files) = folders.get_mut(&path)
        {
            files.slots.remove(at);
            if files.slots.is_empty() {
                folders.remove(&path);
            }
        }
        let entry = self.files.get_mut(no.slot)?.take()?;
        if let Some(ids) = ids {
            self.gone.doubt(ids, entry.size);
        }
        if let Some(key) = self.name_key(&entry, no.slot) {
            self.names.remove(&key);
        }
        self.free.push(FileNo { generation: no.generation.wrapping_add(1), ..no });
        Some((entry.state(self.targets.remove(&no.slot)), ids))
    }

    /// Answers for a file under its ids from now on. Gives the file, `None` if it is not known any more.
    pub fn share(&mut self, no: FileNo, ids: Ids) -> Option<Arc<FileState>> {
        self.withdraw(no);
        self.entry_mut(no)?.ids = Some(ids);
        self.contents += u64::from(!self.has_any(prefix(&ids.blake3)));
        self.blake3.insert(Key::new(prefix(&ids.blake3), no.slot));
        self.sha256.insert(self.short_key(ids.sha256, no.slot));
        self.state(no)
    }

    fn withdraw(&mut self, no: FileNo) -> Option<Ids> {
        let ids = self.entry_mut(no)?.ids.take()?;
        self.blake3.remove(&Key::new(prefix(&ids.blake3), no.slot));
        self.sha256.remove(&self.short_key(ids.sha256, no.slot));
        self.contents -= u64::from(!self.has_any(prefix(&ids.blake3)));
        Some(ids)
    }

    /// Whether any shared file has a BLAKE3 hash that begins so.
    fn has_any(&self, prefix: u64) -> bool {
        self.blake3.range(Key::all(prefix)).next().is_some()
    }

    fn entry(&self, no: FileNo) -> Option<&Entry> {
        self.in_slot(no.slot).filter(|entry| entry.generation == no.generation)
    }

    fn entry_mut(&mut self, no: FileNo) -> Option<&mut Entry> {
        self.files.get_mut(no.slot)?.as_mut().filter(|entry| entry.generation == no.generation)
    }

    fn in_slot(&self, slot: u32) -> Option<&Entry> {
        self.files.get(slot)?.as_ref()
    }

    fn state(&self, no: FileNo) -> Option<Arc<FileState>> {
        self.entry(no).map(|entry| entry.state(self.targets.get(&no.slot).cloned()))
    }

    fn no_of(&self, slot: u32) -> Option<FileNo> {
        self.in_slot(slot).map(|entry| FileNo { slot, generation: entry.generation })
    }

    /// What is known about a file, and its ids if it is shared.
    pub fn get(&self, no: FileNo) -> Option<(Arc<FileState>, Option<Ids>)> {
        Some((self.state(no)?, self.entry(no)?.ids))
    }

    /// The same in short: what it was when it was found, and its ids if it is shared.
    pub fn look(&self, no: FileNo) -> Option<(Identity, Option<Ids>)> {
        self.entry(no).map(|entry| (entry.identity(), entry.ids))
    }

    /// The file at a place.
    pub fn at(&self, source: u32, relative: &Path) -> Option<FileNo> {
        let (folder, name) = split(relative);
        let (files, found) = self.search(source, folder, name)?;
        self.no_of(*files.slots.get(found.ok()?)?)
    }

    /// The files of a folder, and where among these one is, or would have to be.
    fn search(&self, source: u32, folder: &Path, name: &OsStr) -> Option<InFolder<'_>> {
        let files = self.sources.get(&source)?.get(folder)?;
        let name_of = |slot: &u32| self.in_slot(*slot).map(|entry| &*entry.name);
        let found = files.slots.binary_search_by(|slot| name_of(slot).cmp(&Some(name)));
        Some((files, found))
    }

    /// The files below `relative` of a source, itself included, that the walk numbered `walk` did not see. In the order
    /// in which they are best removed: the last of a folder first.
    pub fn unseen(&self, source: u32, relative: &Path, walk: u32) -> Vec<FileNo> {
        let folders = self.sources.get(&source);
        let from = (Bound::Included(relative), Bound::Unbounded);
        let below = (folders.into_iter())
            .flat_map(|folders| folders.range::<Path, _>(from))
            .take_while(|(folder, _)| folder.starts_with(relative))
            .flat_map(|(_, files)| files.slots.iter().rev().filter_map(|slot| self.no_of(*slot)));
        let unseen = |no: &FileNo| self.entry(*no).is_some_and(|entry| entry.walk != walk);
        self.at(source, relative).into_iter().chain(below).filter(unseen).collect()
    }

    /// Whether the content of this id was shared, and is gone for good as far as that is known.
    pub fn is_withdrawn(&self, id: &ContentId) -> bool {
        self.gone.has(id) && self.find(id).next().is_none()
    }

    /// Whether it is known of everything that was shared whether it is gone for good.
    pub fn is_settled(&self) -> bool {
        self.gone.is_settled()
    }

    /// Decides what is gone for good, but for contents of a length for which `may_come` holds.
    pub fn settle(&mut self, may_come: impl Fn(u64) -> bool) {
        let mut gone = std::mem::take(&mut self.gone);
        gone.settle(may_come, |ids| self.find(&ContentId::Blake3(ids.blake3)).next().is_some());
        self.gone = gone;
    }

    /// The shared files whose content `id` stands for. More than one where files have the same content; none for a
    /// name that several files have.
    pub fn find<'a>(&'a self, id: &'a ContentId) -> impl Iterator<Item = FileNo> + 'a {
        let blake3 = match id {
            ContentId::Blake3(hash) | ContentId::Tree(hash) => Some(hash),
            _ => None,
        };
        let sha256 = if let ContentId::Sha256(hash) = id { Some(hash) } else { None };
        let by_blake3 = blake3.into_iter().flat_map(|hash| {
            let slots = self.blake3.range(Key::all(prefix(hash))).map(|key| key.slot);
            slots.filter_map(|slot| self.shared_as(slot, |ids| ids.blake3 == *hash))
        });
        let by_sha256 = sha256.into_iter().flat_map(|hash| {
            let slots = self.slots(&self.sha256, hash);
            slots.filter_map(|slot| self.shared_as(slot, |ids| ids.sha256 == *hash))
        });
        let by_name = match id {
            ContentId::Name(name) => self.named(name.as_str()),
            _ => None,
        };
        by_blake3.chain(by_sha256).chain(by_name)
    }

    /// The file in a slot, if it is shared by such ids.
    fn shared_as(&self, slot: u32, has: impl Fn(&Ids) -> bool) -> Option<FileNo> {
        let is_it = self.in_slot(slot)?.ids.as_ref().is_some_and(has);
        self.no_of(slot).filter(|_| is_it)
    }

    fn named(&self, name: &str) -> Option<FileNo> {
        let has_it = |no: &FileNo| self.entry(*no).and_then(Entry::plain_name) == Some(name);
        let slots = self.slots(&self.names, name);
        let mut all = slots.filter_map(|slot| self.no_of(slot)).filter(has_it);
        match (all.next(), all.next()) {
            (Some(no), None) => {
                Some(no).filter(|no| self.entry(*no).is_some_and(|entry| entry.ids.is_some()))
            }
            _ => None,
        }
    }

    /// Where in `names` a file is, if it can be asked for by its name.
    fn name_key(&self, entry: &Entry, slot: u32) -> Option<ShortKey> {
        let name = entry.plain_name().filter(|_| self.share_names)?;
        PlainName::new(name).ok()?;
        Some(self.short_key(name, slot))
    }

    fn short_key(&self, of: impl std::hash::Hash, slot: u32) -> ShortKey {
        (self.keys.hash_one(of) as u32, slot)
    }

    /// The slots with the key of this.
    fn slots(&self, set: &BTreeSet<ShortKey>, of: impl std::hash::Hash) -> impl Iterator<Item = u32> {
        set.range(self.short_key(&of, 0)..=self.short_key(&of, u32::MAX)).map(|(_, slot)| *slot)
    }

    /// How many files are shared, and their length together.
    pub fn totals(&self) -> Totals {
        let shared = self.files.iter().flatten().filter(|entry| entry.ids.is_some());
        shared.fold(Totals::default(), |totals, entry| Totals {
            files: totals.files + 1,
            bytes: totals.bytes.saturating_add(entry.size),
        })
    }

    /// How many files are known, hashed or not.
    pub fn len(&self) -> usize {
        self.files.len() - self.free.len()
    }

    /// Whether no file is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics if an invariant is broken. For tests.
    pub fn check_invariants(&self) {
        let entries =
            || (0..).zip(self.files.iter()).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)));
        let hashed = || entries().filter_map(|(slot, entry)| Some((slot, entry.ids?)));
        let blake3 = hashed().map(|(slot, ids)| Key::new(prefix(&ids.blake3), slot));
        assert_eq!(self.blake3, blake3.collect());
        let sha256 = hashed().map(|(slot, ids)| self.short_key(ids.sha256, slot));
        assert_eq!(self.sha256, sha256.collect());
        let contents: BTreeSet<u64> = self.blake3.iter().map(Key::prefix).collect();
        assert_eq!(self.contents, contents.len() as u64);
        let names: BTreeSet<_> = entries().filter_map(|(slot, entry)| self.name_key(entry, slot)).collect();
        assert_eq!(self.names, names);
        assert_eq!(entries().count(), self.len());
        let folders =
            || self.sources.iter().flat_map(|(source, folders)| folders.iter().map(move |at| (source, at)));
        assert_eq!(folders().map(|(_, (_, files))| files.slots.len()).sum::<usize>(), self.len());
        for (source, (folder, files)) in folders() {
            let entries: Vec<_> = files.slots.iter().filter_map(|slot| self.in_slot(*slot)).collect();
            let is_here = |of: &Folder| of.source.number == *source && of.path == *folder;
            assert!(is_here(&files.folder) && entries.iter().all(|entry| is_here(&entry.folder)));
            assert!(entries.is_sorted_by(|a, b| a.name < b.name));
            assert!(!files.slots.is_empty() && entries.len() == files.slots.len());
        }
        for no in &self.free {
            assert!(self.in_slot(no.slot).is_none());
        }
        assert!(self.targets.keys().all(|slot| self.in_slot(*slot).is_some()));
    }
}

/// A path as the folder and the name in it. The empty path is no file's.
fn split(relative: &Path) -> (&Path, &OsStr) {
    (relative.parent().unwrap_or(Path::new("")), relative.file_name().unwrap_or_default())
}

/// What of a hash is kept to find it by.
fn prefix(hash: &Hash) -> u64 {
    let (first, _) = hash.split_first_chunk().expect("32 bytes are more than 8");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests;
