//! The published vectors and the library agree on the lists of folders.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::folder::{
    Builder, Entry, FolderPath, Kind, ListRef, Mtime, Step, Walk, read_list, reference_of,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    entries: Vec<Given>,
    #[serde(default)]
    generated: Vec<Generated>,
    id: String,
    length: u64,
    lists: usize,
    all_lists: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Given {
    path_hex: String,
    kind: String,
    length: Option<u64>,
    blake3: Option<String>,
    #[serde(default)]
    exec: bool,
    target_hex: Option<String>,
    target_byte: Option<u8>,
    target_length: Option<usize>,
    mtime: Option<i64>,
    mtime_ns: Option<u32>,
}

#[derive(Deserialize)]
struct Generated {
    path: String,
    count: u64,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hash(hex: &str) -> Hash {
    bytes(hex).try_into().unwrap()
}

fn path(bytes: &[u8]) -> FolderPath {
    FolderPath::new(bytes).unwrap()
}

impl Given {
    fn entry(&self) -> Entry {
        let kind = match &*self.kind {
            "file" => {
                let root = hash(self.blake3.as_ref().unwrap());
                Kind::File { length: self.length.unwrap(), root, exec: self.exec }
            }
            "folder" => Kind::Folder { list: None },
            "link" => Kind::Link {
                target: match &self.target_hex {
                    Some(hex) => bytes(hex),
                    None => vec![self.target_byte.unwrap(); self.target_length.unwrap()],
                },
            },
            other => panic!("{other}"),
        };
        let mtime = self.mtime.map(|seconds| Mtime::new(seconds, self.mtime_ns.unwrap_or(0)).unwrap());
        Entry { path: path(&bytes(&self.path_hex)), kind, mtime }
    }
}

/// All entries by path.
fn entries(case: &Case) -> BTreeMap<FolderPath, Entry> {
    let mut all: BTreeMap<_, _> =
        case.entries.iter().map(Given::entry).map(|entry| (entry.path.clone(), entry)).collect();
    for generated in &case.generated {
        for number in 0..generated.count {
            let path = path(generated.path.replace('#', &format!("{number:06}")).as_bytes());
            let root = *blake3::hash(path.as_bytes()).as_bytes();
            let mut above = path.parent();
            while let Some(folder) = above {
                above = folder.parent();
                let kind = Kind::Folder { list: None };
                all.entry(folder.clone()).or_insert(Entry { path: folder, kind, mtime: None });
            }
            let kind = Kind::File { length: number, root, exec: false };
            all.insert(path.clone(), Entry { path, kind, mtime: None });
        }
    }
    all
}

fn build(entries: &BTreeMap<FolderPath, Entry>) -> (ListRef, BTreeMap<Hash, Vec<u8>>) {
    let mut lists = BTreeMap::new();
    let mut builder = Builder::new(|text: &[u8]| {
        let list = reference_of(text);
        lists.insert(list.root, text.to_vec());
        Ok::<_, Infallible>(list)
    });
    let mut in_tree_order: Vec<&Entry> = entries.values().collect();
    in_tree_order.sort_by(|one, other| one.path.cmp_tree(&other.path));
    in_tree_order.into_iter().for_each(|entry| builder.push(entry).unwrap());
    (builder.finish().unwrap(), lists)
}

#[test]
fn the_library_makes_and_reads_the_lists_of_every_vector() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/folders.json");
    let vectors: Vectors = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(vectors.cases.len() >= 13);
    for case in vectors.cases {
        let entries = entries(&case);
        let (list, lists) = build(&entries);
        assert_eq!(list.folder_id(), case.id, "{}", case.name);
        assert_eq!(list.id().to_string(), case.id.replace("folder/", "blake3/"));
        assert_eq!((list.length, lists.len()), (case.length, case.lists), "{}", case.name);
        // A map of hashes is sorted.
        let all: Vec<u8> = lists.keys().flatten().copied().collect();
        assert_eq!(*blake3::hash(&all).as_bytes(), hash(&case.all_lists), "{}", case.name);
        if let Some(text) = &case.text {
            assert_eq!(String::from_utf8_lossy(&lists[&list.root]), *text, "{}", case.name);
        }

        let (mut walk, mut read, mut used) = (Walk::new(list), Vec::new(), BTreeSet::new());
        loop {
            match walk.step().unwrap() {
                Step::List(list) => {
                    used.insert(list.root);
                    walk.give(lists[&list.root].clone()).unwrap();
                }
                Step::Entry(Entry { path, kind: Kind::Folder { .. }, mtime }) => {
                    read.push(Entry { path, kind: Kind::Folder { list: None }, mtime });
                }
                Step::Entry(entry) => read.push(entry),
                Step::End => break,
            }
        }
        assert!(read.iter().eq(entries.values()), "{}", case.name);
        assert!(used.iter().eq(lists.keys()), "{}", case.name);
    }
}

#[test]
fn the_lists_in_the_document_are_lists() {
    let document = include_str!("../../../docs/folder-format.md");
    let mut examples = document.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole = examples.next().unwrap();
    let parts = examples.next().unwrap();
    let read: Result<Vec<Entry>, _> = read_list(whole.as_bytes()).collect();
    let mut walk = Walk::new(reference_of(whole.as_bytes()));
    assert!(matches!(walk.step(), Ok(Step::List(_))));
    walk.give(whole.as_bytes().to_vec()).unwrap();
    for entry in read.unwrap() {
        assert_eq!(walk.step().unwrap(), Step::Entry(entry));
    }
    let part = read_list(parts.as_bytes()).next().unwrap().unwrap();
    assert!(matches!(part.kind, Kind::Part(list) if matches!(list.id(), ContentId::Blake3(_))));
}
