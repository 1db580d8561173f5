//! Finds what is at a path in a folder. Asks for one list after another: those on the way there, and those of the folder that is found.

use std::collections::{BTreeMap, VecDeque};

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{Kind, read_list};

/// Lists that are read for one path; what would need more is cut.
const MAX_LISTS: usize = 512;
/// Entries that are shown of a folder.
const MAX_CHILDREN: usize = 50_000;
/// Folders with lists of their own within each other.
const MAX_DEPTH: usize = 256;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File {
        /// The BLAKE3 hash of its content.
        root: Hash,
    },
    /// A symbolic link, there or on the way there.
    Link {
        /// What it says.
        target: Vec<u8>,
        /// What is left of the path behind it. Empty where the link itself is at the path.
        rest: Vec<u8>,
    },
    /// A folder.
    Folder(Listing),
    /// Nothing.
    Nothing,
}

/// What is in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// By their names.
    pub children: BTreeMap<Vec<u8>, Child>,
    /// There are more.
    pub is_cut: bool,
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// A file, its length in bytes, and the hash of its content.
    File(u64, Hash),
    /// A symbolic link.
    Link,
    /// A folder.
    Folder,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This list is needed.
    List(Hash),
    /// It is found.
    Found(Found),
}

/// Why a path cannot be followed: the lists break the rules, or go too deep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Find {
    /// What is left of the path, from the folder whose list is read; empty for that folder itself.
    rest: Vec<u8>,
    /// Lists of that folder that are still to be read. The first is the one that is needed.
    lists: VecDeque<Hash>,
    /// What is at `rest`, if it was seen.
    exact: Option<Kind>,
    /// The deepest folder on the way that has a list of its own: how much of `rest` it is.
    on_the_way: Option<(usize, Hash)>,
    /// A link on the way: what it says, and what is left of `rest` behind it.
    link: Option<(Vec<u8>, Vec<u8>)>,
    listing: Listing,
    read: usize,
    depth: usize,
}

impl Find {
    /// Looks for a path, its parts joined by `/`, in the folder with this list. The empty path is the folder itself.
    pub fn new(root: Hash, path: Vec<u8>) -> Find {
        Find {
            rest: path,
            lists: VecDeque::from([root]),
            exact: None,
            on_the_way: None,
            link: None,
            listing: Listing::default(),
            read: 0,
            depth: 0,
        }
    }

    /// What is needed, or was found.
    pub fn next(&self) -> Next {
        match (self.lists.front(), &self.exact) {
            (Some(list), _) => Next::List(*list),
            (None, _) if self.rest.is_empty() => Next::Found(Found::Folder(self.listing.clone())),
            (None, Some(Kind::File { root, .. })) => Next::Found(Found::File { root: *root }),
            (None, Some(Kind::Link { target })) => {
                Next::Found(Found::Link { target: target.clone(), rest: Vec::new() })
            }
            (None, Some(Kind::Folder { .. })) => Next::Found(Found::Folder(self.listing.clone())),
            (None, Some(Kind::Part(_)) | None) => Next::Found(match &self.link {
                Some((target, rest)) => Found::Link { target: target.clone(), rest: rest.clone() },
                None => Found::Nothing,
            }),
        }
    }

    /// Takes the list that was needed, verified.
    ///
    /// # Errors
    ///
    /// Where it breaks the rules, or there is no end of them.
    pub fn take(&mut self, text: &[u8]) -> Result<(), Broken> {
        self.lists.pop_front();
        self.read += 1;
        let mut parts: Vec<(Vec<u8>, Hash)> = Vec::new();
        for entry in read_list(text) {
            let entry = entry.map_err(|error| Broken(error.to_string()))?;
            match entry.kind {
                Kind::Part(list) => parts.push((entry.path.as_bytes().to_vec(), list.root)),
                kind => self.note(entry.path.as_bytes(), kind),
            }
        }
        self.plan(&parts);
        if self.lists.is_empty() {
            self.descend()?;
        }
        Ok(())
    }

    fn note(&mut self, path: &[u8], kind: Kind) {
        if path == self.rest {
            self.exact = Some(kind);
            return;
        }
        if let Some(below) = self.rest.strip_prefix(path).and_then(|below| below.strip_prefix(b"/")) {
            match kind {
                Kind::Folder { list: Some(list) } => self.on_the_way = Some((path.len() + 1, list.root)),
                Kind::Link { target } => self.link = Some((target, below.to_vec())),
                Kind::Folder { list: None } | Kind::File { .. } | Kind::Part(_) => {}
            }
            return;
        }
        let below = match self.rest.as_slice() {
            b"" => Some(path),
            rest => path.strip_prefix(rest).and_then(|below| below.strip_prefix(b"/")),
        };
        let Some(name) = below.filter(|name| !name.contains(&b'/')) else { return };
        if self.listing.children.len() >= MAX_CHILDREN {
            self.listing.is_cut = true;
            return;
        }
        let child = match kind {
            Kind::File { length, root, .. } => Child::File(length, root),
            Kind::Link { .. } => Child::Link,
            Kind::Folder { .. } => Child::Folder,
            Kind::Part(_) => return,
        };
        self.listing.children.insert(name.to_vec(), child);
    }

    /// Plans to read those parts that may have something on the way, each of which has the paths from its own to that of the next.
    fn plan(&mut self, parts: &[(Vec<u8>, Hash)]) {
        let below_first = [&self.rest[..], b"/"].concat();
        let below_end = [&self.rest[..], b"0"].concat();
        let mut wanted = Vec::new();
        for (nth, (first, list)) in parts.iter().enumerate() {
            let end = parts.get(nth + 1).map(|(next, _)| next);
            let has = |path: &[u8]| first.as_slice() <= path && end.is_none_or(|end| path < end.as_slice());
            let slashes = self.rest.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let is_on_the_way = has(&self.rest) || slashes.map(|(at, _)| &self.rest[..at]).any(has);
            // '0' comes right after '/'.
            let has_children = first.as_slice() < below_end.as_slice()
                && end.is_none_or(|end| end.as_slice() > below_first.as_slice());
            if is_on_the_way || has_children || self.rest.is_empty() {
                wanted.push(*list);
            }
        }
        let room = MAX_LISTS.saturating_sub(self.read + self.lists.len());
        self.listing.is_cut |= wanted.len() > room;
        wanted.into_iter().take(room).rev().for_each(|list| self.lists.push_front(list));
    }

    /// Goes into a folder that has a list of its own, if what is looked for is there.
    fn descend(&mut self) -> Result<(), Broken> {
        let (skipped, list) = match (&self.exact, self.on_the_way) {
            (Some(Kind::Folder { list: Some(list) }), _) => (self.rest.len(), list.root),
            (None, Some((skipped, list))) => (skipped, list),
            _ => return Ok(()),
        };
        self.depth += 1;
        if self.depth > MAX_DEPTH || self.read >= MAX_LISTS {
            return Err(Broken("the lists of the folder go too deep".into()));
        }
        let (read, depth) = (self.read, self.depth);
        *self = Find { read, depth, ..Find::new(list, self.rest.split_off(skipped)) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cjp2p_wire::folder::{Builder, Entry, FolderPath, ListRef, reference_of};
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: FolderPath::new(path.as_bytes()).unwrap(), kind, mtime: None }
    }

    fn hash_of(path: &str) -> Hash {
        *blake3::hash(path.as_bytes()).as_bytes()
    }

    /// The lists of a folder that has these files, as they would be shared.
    fn lists_of(files: &BTreeSet<String>) -> (ListRef, BTreeMap<Hash, Vec<u8>>) {
        let mut lists = BTreeMap::new();
        let mut builder = Builder::new(|text: &[u8]| {
            let list = reference_of(text);
            lists.insert(list.root, text.to_vec());
            Ok::<ListRef, std::convert::Infallible>(list)
        });
        let mut entries = BTreeMap::new();
        for path in files {
            for (at, _) in path.match_indices('/') {
                entries.insert(path[..at].to_owned(), Kind::Folder { list: None });
            }
            let root = hash_of(path);
            entries.insert(path.clone(), Kind::File { length: 7, root, exec: false });
        }
        let mut entries: Vec<Entry> = entries.into_iter().map(|(path, kind)| entry(&path, kind)).collect();
        entries.sort_by(|one, other| one.path.cmp_tree(&other.path));
        for entry in &entries {
            builder.push(entry).unwrap();
        }
        let top = builder.finish().unwrap();
        (top, lists)
    }

    fn found(top: &ListRef, lists: &BTreeMap<Hash, Vec<u8>>, path: &str) -> (Found, usize) {
        let mut find = Find::new(top.root, path.as_bytes().to_vec());
        let mut read = 0;
        loop {
            match find.next() {
                Next::List(list) => find.take(&lists[&list]).unwrap(),
                Next::Found(found) => return (found, read),
            }
            read += 1;
        }
    }

    #[test]
    fn a_path_in_a_large_folder_is_found_by_few_of_its_lists() {
        let mut files = BTreeSet::new();
        for one in 0..60 {
            for other in 0..100 {
                files.insert(format!("folder {one}/sub/file {other}"));
                files.insert(format!("folder {one}.txt"));
            }
        }
        let (top, lists) = lists_of(&files);
        assert!(lists.len() > 20, "{}", lists.len());
        for path in ["folder 7/sub/file 99", "folder 59.txt", "folder 0/sub/file 0"] {
            let (found, read) = found(&top, &lists, path);
            assert_eq!(found, Found::File { root: hash_of(path) }, "{path}");
            assert!(read <= 6, "{path}: {read} lists");
        }
        let (Found::Folder(listing), _) = found(&top, &lists, "folder 33/sub") else { panic!("a folder") };
        assert_eq!((listing.children.len(), listing.is_cut), (100, false));
        let (Found::Folder(listing), _) = found(&top, &lists, "") else { panic!("a folder") };
        assert_eq!((listing.children.len(), listing.is_cut), (120, false));
        for path in ["nothing", "folder 7/sub/file 99/x", "folder 7/sub/file 9 9", "folder 7.txt/a", "folder"]
        {
            assert_eq!(found(&top, &lists, path).0, Found::Nothing, "{path}");
        }
    }

    #[test]
    fn a_link_on_the_way_is_told_with_what_is_behind_it() {
        let mut text = Vec::new();
        entry("a", Kind::Folder { list: None }).write(&mut text);
        entry("a/now", Kind::Link { target: b"../b".to_vec() }).write(&mut text);
        let top = reference_of(&text);
        let lists = BTreeMap::from([(top.root, text)]);
        let link = |rest: &[u8]| Found::Link { target: b"../b".to_vec(), rest: rest.to_vec() };
        assert_eq!(found(&top, &lists, "a/now").0, link(b""));
        assert_eq!(found(&top, &lists, "a/now/c/d").0, link(b"c/d"));
        assert_eq!(found(&top, &lists, "a/nowhere").0, Found::Nothing);
    }

    #[test]
    fn lists_that_break_the_rules_or_never_end_are_refused() {
        let mut find = Find::new([1; 32], b"a".to_vec());
        assert!(find.take(b"no list\n").is_err());
        // A folder that says to be in itself.
        let list = ListRef { length: 9, root: [1; 32] };
        let mut text = Vec::new();
        entry("a", Kind::Folder { list: Some(list) }).write(&mut text);
        let mut find = Find::new([1; 32], vec!["a"; 200].join("/").into_bytes());
        let mut taken = 0;
        while let Next::List(_) = find.next() {
            if find.take(&text).is_err() {
                break;
            }
            taken += 1;
            assert!(taken <= MAX_DEPTH + 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn every_file_is_found_and_nothing_else(
            names in prop::collection::btree_set("[a-c0./-]{1,3}(/[ab.0-]{1,2}){0,3}", 1..80),
            padding in 1usize..200,
        ) {
            // Long names make for many lists.
            let pad = "x".repeat(padding);
            let files: BTreeSet<String> = names
                .iter()
                .map(|name| name.split('/').map(|part| format!("{part}{pad}")).collect::<Vec<_>>().join("/"))
                .filter(|path| FolderPath::new(path.as_bytes()).is_ok())
                .collect();
            // No file is a folder too.
            let files: BTreeSet<String> = files
                .iter()
                .filter(|path| !files.iter().any(|other| other.starts_with(&format!("{path}/"))))
                .cloned()
                .collect();
            let (top, lists) = lists_of(&files);
            for path in &files {
                prop_assert_eq!(found(&top, &lists, path).0, Found::File { root: hash_of(path) });
                if let Some((folder, name)) = path.rsplit_once('/') {
                    let Found::Folder(listing) = found(&top, &lists, folder).0 else {
                        return Err(TestCaseError::fail(format!("{folder} is a folder")));
                    };
                    prop_assert_eq!(listing.children.get(name.as_bytes()), Some(&Child::File(7, hash_of(path))));
                    let all = files.iter().filter_map(|path| path.strip_prefix(&format!("{folder}/")));
                    let names: BTreeSet<&str> = all.filter_map(|rest| rest.split('/').next()).collect();
                    prop_assert_eq!(listing.children.len(), names.len());
                }
                let other = format!("{path}!");
                prop_assert!(files.contains(&other) || found(&top, &lists, &other).0 == Found::Nothing);
            }
        }
    }
}
