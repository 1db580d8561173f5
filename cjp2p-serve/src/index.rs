//! Which files are known, and which of them each id stands for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use cjp2p_wire::content_id::{ContentId, Hash, PlainName};

use crate::open::Identity;
use crate::place::Place;

/// One state of one file. A file that changed gets another number, and none is given twice, so whatever was
/// remembered by number about the old state cannot be taken for the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNo(u64);

/// The ids of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Its BLAKE3 hash, which also names its tree.
    pub blake3: Hash,
    /// Its SHA-256 hash.
    pub sha256: Hash,
}

/// A file as it was found.
#[derive(Clone, Debug)]
pub struct FileState {
    /// Where it is.
    pub place: Place,
    /// What it was when it was found; what it must still be when it is hashed and read.
    pub identity: Identity,
}

struct Entry {
    file: Arc<FileState>,
    name: Option<PlainName>,
    /// `None` until it is hashed.
    ids: Option<Ids>,
    /// The last walk that saw it.
    walk: u64,
}

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
    no: FileNo,
}

/// All known files. A file is known by where it is, gets ids when it has been hashed, and loses them with any change.
///
/// Invariant: the maps below hold exactly what follows from `files`.
pub struct Index {
    share_names: bool,
    next: u64,
    files: HashMap<FileNo, Entry>,
    places: BTreeMap<(u32, Arc<Path>), FileNo>,
    blake3: BTreeSet<(Hash, FileNo)>,
    sha256: BTreeSet<(Hash, FileNo)>,
    names: BTreeSet<(PlainName, FileNo)>,
}

impl Index {
    /// Knows no file. Without `share_names` files can be asked for by their hashes only.
    pub fn new(share_names: bool) -> Index {
        Index {
            share_names,
            next: 0,
            files: HashMap::new(),
            places: BTreeMap::new(),
            blake3: BTreeSet::new(),
            sha256: BTreeSet::new(),
            names: BTreeSet::new(),
        }
    }

    /// Takes note of a file that the walk numbered `walk` came across.
    pub fn see(&mut self, place: Place, identity: Identity, walk: u64) -> Seen {
        let key = (place.source.number, place.relative.clone());
        let Some(&no) = self.places.get(&key) else {
            return Seen::New(self.insert(place, identity, walk));
        };
        let known = self.files.get_mut(&no).expect("places name known files");
        if known.file.identity == identity && known.file.place.is_opened_like(&place) {
            known.walk = walk;
            return Seen::Same(no);
        }
        let Some((file, ids)) = self.remove(no) else {
            return Seen::New(self.insert(place, identity, walk));
        };
        let new = self.insert(place, identity, walk);
        Seen::Changed { old: no, file, ids, new }
    }

    fn insert(&mut self, place: Place, identity: Identity, walk: u64) -> FileNo {
        let no = FileNo(self.next);
        self.next += 1;
        let name = if self.share_names { place.name() } else { None };
        if let Some(name) = &name {
            self.names.insert((name.clone(), no));
        }
        self.places.insert((place.source.number, place.relative.clone()), no);
        let file = Arc::new(FileState { place, identity });
        let entry = Entry { file, name, ids: None, walk };
        self.files.insert(no, entry);
        no
    }

    /// Forgets a file. Gives what was known about it.
    pub fn remove(&mut self, no: FileNo) -> Option<(Arc<FileState>, Option<Ids>)> {
        let ids = self.withdraw(no);
        let entry = self.files.remove(&no)?;
        let place = &entry.file.place;
        self.places.remove(&(place.source.number, place.relative.clone()));
        if let Some(name) = entry.name {
            self.names.remove(&(name, no));
        }
        Some((entry.file, ids))
    }

    /// Answers for a file under its ids from now on. Gives the file, `None` if it is not known any more.
    pub fn share(&mut self, no: FileNo, ids: Ids) -> Option<Arc<FileState>> {
        self.withdraw(no);
        let entry = self.files.get_mut(&no)?;
        entry.ids = Some(ids);
        self.blake3.insert((ids.blake3, no));
        self.sha256.insert((ids.sha256, no));
        Some(entry.file.clone())
    }

    fn withdraw(&mut self, no: FileNo) -> Option<Ids> {
        let ids = self.files.get_mut(&no)?.ids.take()?;
        self.blake3.remove(&(ids.blake3, no));
        self.sha256.remove(&(ids.sha256, no));
        Some(ids)
    }

    /// What is known about a file, and its ids if it is shared.
    pub fn get(&self, no: FileNo) -> Option<(&Arc<FileState>, Option<Ids>)> {
        let entry = self.files.get(&no)?;
        Some((&entry.file, entry.ids))
    }

    /// The file at a place.
    pub fn at(&self, source: u32, relative: &Path) -> Option<FileNo> {
        self.places.get(&(source, relative.into())).copied()
    }

    /// The files below `relative` of a source, itself included, that the walk numbered `walk` did not see.
    pub fn unseen(&self, source: u32, relative: &Path, walk: u64) -> Vec<FileNo> {
        let from = (source, Arc::from(relative));
        self.places
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|((of, path), _)| *of == source && path.starts_with(relative))
            .map(|(_, no)| *no)
            .filter(|no| self.files[no].walk != walk)
            .collect()
    }

    /// The shared files whose content `id` stands for, in the order in which they were found. More than one where
    /// files have the same content; none for a name that several files have.
    pub fn find<'a>(&'a self, id: &'a ContentId) -> impl Iterator<Item = FileNo> + 'a {
        let (by_hash, by_name) = match id {
            ContentId::Blake3(hash) | ContentId::Tree(hash) => (Some(with(&self.blake3, hash)), None),
            ContentId::Sha256(hash) => (Some(with(&self.sha256, hash)), None),
            ContentId::Name(name) => (None, self.named(name)),
        };
        by_hash.into_iter().flatten().chain(by_name)
    }

    fn named(&self, name: &PlainName) -> Option<FileNo> {
        let mut all = with(&self.names, name);
        match (all.next(), all.next()) {
            (Some(no), None) if self.files[&no].ids.is_some() => Some(no),
            _ => None,
        }
    }

    /// Up to `limit` ids of shared contents with their lengths in bytes: the BLAKE3 id of each, and its name. Goes on
    /// where the list that gave `last` ended; gives where this one ended, `None` at the end.
    pub fn list(&self, last: Option<ListEnd>, limit: usize) -> (Vec<(ContentId, u64)>, Option<ListEnd>) {
        let mut listed: Vec<(ContentId, u64)> = Vec::new();
        let mut at = last;
        let from = last.map_or(Bound::Unbounded, |end| Bound::Excluded((end.hash, end.no)));
        for &(hash, no) in self.blake3.range((from, Bound::Unbounded)) {
            let entry = &self.files[&no];
            let first_with_content = at.is_none_or(|end| end.hash != hash);
            let id = first_with_content.then_some(ContentId::Blake3(hash));
            let name = (entry.name.as_ref())
                .filter(|name| self.named(name) == Some(no))
                .map(|name| ContentId::Name(name.clone()));
            let ids: Vec<ContentId> = id.into_iter().chain(name).collect();
            // At least the id itself, however small the limit: the next list must get further.
            if listed.len() + ids.len() > limit && at != last {
                return (listed, at);
            }
            let room = limit.saturating_sub(listed.len());
            let length = entry.file.identity.size;
            listed.extend(ids.into_iter().take(room).map(|id| (id, length)));
            at = Some(ListEnd { hash, no });
        }
        (listed, None)
    }

    /// How many files are shared, and their length together.
    pub fn totals(&self) -> Totals {
        let shared = self.files.values().filter(|entry| entry.ids.is_some());
        shared.fold(Totals::default(), |totals, entry| Totals {
            files: totals.files + 1,
            bytes: totals.bytes.saturating_add(entry.file.identity.size),
        })
    }

    /// How many files are known, hashed or not.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no file is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Panics if an invariant is broken. For tests.
    pub fn check_invariants(&self) {
        let of = |ids: fn(&Ids) -> Hash| -> BTreeSet<(Hash, FileNo)> {
            (self.files.iter()).filter_map(|(no, entry)| Some((ids(entry.ids.as_ref()?), *no))).collect()
        };
        assert_eq!(self.blake3, of(|ids| ids.blake3));
        assert_eq!(self.sha256, of(|ids| ids.sha256));
        let names: BTreeSet<_> =
            (self.files.iter()).filter_map(|(no, entry)| Some((entry.name.clone()?, *no))).collect();
        assert_eq!(self.names, names);
        assert_eq!(self.places.len(), self.files.len());
        for ((source, relative), no) in &self.places {
            let place = &self.files[no].file.place;
            assert_eq!((place.source.number, &place.relative), (*source, relative));
            assert!(no.0 < self.next);
        }
    }
}

/// The numbers that go with `key`.
fn with<'a, K: Ord + Clone>(
    set: &'a BTreeSet<(K, FileNo)>,
    key: &K,
) -> impl Iterator<Item = FileNo> + use<'a, K> {
    set.range((key.clone(), FileNo(0))..=(key.clone(), FileNo(u64::MAX))).map(|(_, no)| *no)
}

#[cfg(test)]
mod tests;
