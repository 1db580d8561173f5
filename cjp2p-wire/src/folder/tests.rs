//! What is made against a model that is slow and obviously right, and what is read back from it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use proptest::prelude::*;
use proptest::sample::select;

use super::walk::{Step, Walk, WalkError};
use super::*;
use crate::content_id::Hash;

/// Lists by how they are referred to.
type Lists = BTreeMap<ListRef, Vec<u8>>;
/// The entries of a folder by path.
type Tree = BTreeMap<FolderPath, Entry>;

fn path(text: impl AsRef<[u8]>) -> FolderPath {
    FolderPath::new(text.as_ref()).unwrap()
}

fn file(at: &str, length: u64) -> Entry {
    let kind = Kind::File { length, root: *blake3::hash(at.as_bytes()).as_bytes(), exec: false };
    Entry { path: path(at), kind, mtime: None }
}

fn folder(at: &str, list: Option<ListRef>) -> Entry {
    Entry { path: path(at), kind: Kind::Folder { list }, mtime: None }
}

fn text_of(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    entries.iter().for_each(|entry| entry.write(&mut text));
    text
}

fn keep(lists: &mut Lists, entries: &[Entry]) -> ListRef {
    let text = text_of(entries);
    let list = reference_of(&text);
    lists.insert(list, text);
    list
}

/// The rules as `docs/folder-format.md` has them.
mod model {
    use super::*;

    /// The entries of the list of the folder at `at` (the top for `None`), all of it in one piece.
    fn own_list(tree: &Tree, at: Option<&FolderPath>, lists: &mut Lists) -> Vec<Entry> {
        let mut entries = Vec::new();
        for entry in tree.values().filter(|entry| entry.path.parent().as_ref() == at) {
            let name = path(entry.path.name());
            let mut entry = Entry { path: name.clone(), ..entry.clone() };
            if let Kind::Folder { list } = &mut entry.kind {
                let full = at.map_or(name.clone(), |at| at.join(&name).unwrap());
                let below = own_list(tree, Some(&full), lists);
                if text_of(&below).len() <= MAX_INLINE {
                    let moved = |below: Entry| Entry { path: name.join(&below.path).unwrap(), ..below };
                    entries.extend(below.into_iter().map(moved));
                } else {
                    *list = Some(cut(&below, lists));
                }
            }
            entries.push(entry);
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries
    }

    fn cut(entries: &[Entry], lists: &mut Lists) -> ListRef {
        if text_of(entries).len() <= MAX_LIST {
            return keep(lists, entries);
        }
        let mut parts: Vec<Vec<Entry>> = vec![Vec::new()];
        for entry in entries {
            let current = parts.last_mut().unwrap();
            let has_room = text_of(current).len() + text_of(std::slice::from_ref(entry)).len() <= MAX_PART;
            match current.is_empty() || has_room {
                true => current.push(entry.clone()),
                false => parts.push(vec![entry.clone()]),
            }
            let current = parts.last().unwrap();
            let is_cut_here = blake3::hash(entry.path.as_bytes()).as_bytes()[0].is_multiple_of(64);
            if text_of(current).len() >= MIN_PART && is_cut_here {
                parts.push(Vec::new());
            }
        }
        parts.retain(|part| !part.is_empty());
        let referred = parts.iter().map(|part| Entry {
            path: part[0].path.clone(),
            kind: Kind::Part(keep(lists, part)),
            mtime: None,
        });
        cut(&referred.collect::<Vec<_>>(), lists)
    }

    pub(super) fn lists_of(tree: &Tree) -> (ListRef, Lists) {
        let mut lists = Lists::new();
        let top = own_list(tree, None, &mut lists);
        (cut(&top, &mut lists), lists)
    }
}

fn built(tree: &Tree) -> (ListRef, Lists) {
    let mut lists = Lists::new();
    let mut entries: Vec<&Entry> = tree.values().collect();
    entries.sort_by(|one, other| one.path.cmp_tree(&other.path));
    let mut builder = Builder::new(|text: &[u8]| {
        let list = reference_of(text);
        lists.insert(list, text.to_vec());
        Ok::<_, Infallible>(list)
    });
    for entry in entries {
        builder.push(entry).unwrap();
    }
    let list = builder.finish().unwrap();
    (list, lists)
}

/// All entries, without the lists of folders; and how many lists were given.
fn walked(list: ListRef, lists: &Lists) -> Result<(Vec<Entry>, usize), WalkError> {
    let (mut walk, mut entries, mut given) = (Walk::new(list), Vec::new(), 0);
    loop {
        match walk.step()? {
            Step::List(list) => {
                assert_eq!(walk.step(), Ok(Step::List(list)), "it stays so");
                walk.give(lists[&list].clone())?;
                given += 1;
            }
            Step::Entry(mut entry) => {
                if let Kind::Folder { list } = &mut entry.kind {
                    *list = None;
                }
                entries.push(entry);
            }
            Step::End => return Ok((entries, given)),
        }
    }
}

/// Names that come between a folder and what is in it, in the order of bytes, and others.
const NAMES: [&[u8]; 12] = [
    b"S",
    b"S-",
    b"S-x",
    b"S!",
    b"S.",
    b"S0",
    b"-rf",
    b"a\nb",
    b"\xff",
    b"e\xcc\x81",
    b"%41",
    "é".as_bytes(),
];

fn any_entry() -> impl Strategy<Value = Entry> {
    let name = prop_oneof![8 => select(&NAMES[..]).prop_map(<[u8]>::to_vec), 1 => "[a-z]{200,255}".prop_map(String::into_bytes)];
    let kind = prop_oneof![
        (any::<Hash>(), 0..=crate::tree::MAX_LENGTH, any::<bool>())
            .prop_map(|(root, length, exec)| Kind::File { length, root, exec }),
        // Long ones, so that a few make a list long.
        (1..=MAX_TARGET_LEN, select(&b"a\x01\xff\""[..]))
            .prop_map(|(length, byte)| Kind::Link { target: vec![byte; length] }),
        Just(Kind::Folder { list: None }),
    ];
    (prop::collection::vec(name, 1..5), kind).prop_map(|(parts, kind)| Entry {
        path: path(parts.join(&b'/')),
        kind,
        mtime: None,
    })
}

/// Puts in the folders that are missing, and leaves out what is in a file.
fn tree_of(entries: Vec<Entry>, times: Option<i64>) -> Tree {
    let mut tree = Tree::new();
    for entry in entries {
        let mut above: Vec<FolderPath> = Vec::new();
        while let Some(next) = above.last().unwrap_or(&entry.path).parent() {
            above.push(next);
        }
        let is_folder =
            |at: &FolderPath| tree.get(at).is_none_or(|found| matches!(found.kind, Kind::Folder { .. }));
        if tree.contains_key(&entry.path) || !above.iter().all(is_folder) {
            continue;
        }
        for at in above {
            tree.entry(at.clone()).or_insert(Entry {
                path: at,
                kind: Kind::Folder { list: None },
                mtime: None,
            });
        }
        tree.insert(entry.path.clone(), entry);
    }
    if let Some(seconds) = times {
        for (entry, count) in tree.values_mut().zip(0..) {
            entry.mtime = Mtime::new(seconds.wrapping_add(count), count as u32 % 3);
        }
    }
    tree
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let entries = prop_oneof![3 => prop::collection::vec(any_entry(), 0..12), 1 => prop::collection::vec(any_entry(), 40..150)];
    (entries, any::<Option<i64>>()).prop_map(|(entries, times)| tree_of(entries, times))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(96)))]

    #[test]
    fn the_lists_are_those_of_the_model_and_give_the_folder_back(tree in any_tree()) {
        let (list, lists) = built(&tree);
        let (expected, all) = model::lists_of(&tree);
        prop_assert_eq!(list, expected);
        prop_assert!(lists == all, "other lists");
        prop_assert!(lists.values().all(|text| text.len() <= MAX_LIST));
        let (entries, given) = walked(list, &lists).unwrap();
        prop_assert_eq!(&entries, &tree.into_values().collect::<Vec<_>>());
        prop_assert!(given >= lists.len());
        for text in lists.values() {
            let lines: Vec<Entry> = read_list(text).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(&text_of(&lines), text);
        }
    }

    #[test]
    fn no_changed_list_is_read_as_another_folder(tree in any_tree(), at: prop::sample::Index, to: u8, cut: bool) {
        let (_, lists) = built(&tree);
        for text in lists.values().filter(|text| !text.is_empty()) {
            let mut changed = text.clone();
            let at = at.index(changed.len());
            if cut { changed.truncate(at) } else { changed[at] = to }
            if let Ok(lines) = read_list(&changed).collect::<Result<Vec<Entry>, _>>() {
                prop_assert_eq!(text_of(&lines), changed, "not the one way to write it");
            }
        }
    }
}

#[test]
fn an_empty_folder_is_an_empty_list() {
    let (list, lists) = built(&Tree::new());
    assert_eq!(list, reference_of(b""));
    assert_eq!(lists.len(), 1);
    assert_eq!(walked(list, &lists).unwrap().0, []);
}

#[test]
fn each_entry_is_written_in_one_way() {
    let time = |seconds, nanos| Mtime::new(seconds, nanos);
    let (root, hex) = ([0xab; 32], "ab".repeat(32));
    let file =
        |at: &str, exec, mtime| Entry { path: path(at), kind: Kind::File { length: 7, root, exec }, mtime };
    let link =
        |target: &[u8]| Entry { path: path("l"), kind: Kind::Link { target: target.to_vec() }, mtime: None };
    for (entry, line) in [
        (file("a", false, None), format!(r#"{{"path":"a","kind":"file","length":7,"blake3":"{hex}"}}"#)),
        (
            file("a/\"\\\n\u{1}\u{7f}é", true, time(-1, 5)),
            format!(
                "{{\"path\":\"a/\\\"\\\\\\n\\u0001\u{7f}é\",\"kind\":\"file\",\"length\":7,\"blake3\":\"{hex}\",\"exec\":true,\"mtime\":-1,\"mtime_ns\":5}}"
            ),
        ),
        (link(b"/%"), r#"{"path":"l","kind":"link","target":"/%"}"#.into()),
        (link(b"%\xff"), r#"{"path":"l","kind":"link","target_escaped":"%25%FF"}"#.into()),
        (folder("d", None), r#"{"path":"d","kind":"folder"}"#.into()),
        (
            folder("d", Some(ListRef { length: 9000, root })),
            format!(r#"{{"path":"d","kind":"folder","length":9000,"blake3":"{hex}"}}"#),
        ),
        (
            Entry { path: path(b"\xfe/a"), kind: Kind::Folder { list: None }, mtime: time(3, 0) },
            r#"{"path_escaped":"%FE/a","kind":"folder","mtime":3}"#.into(),
        ),
    ] {
        let text = text_of(std::slice::from_ref(&entry));
        assert_eq!(String::from_utf8_lossy(&text), format!("{line}\n"));
        assert_eq!(read_list(&text).collect::<Vec<_>>(), [Ok(entry)]);
    }
}

#[test]
fn what_is_not_written_in_that_way_is_refused_and_the_path_is_named() {
    let hex = "ab".repeat(32);
    let file = |path: &str, rest: &str| {
        format!(r#"{{"path":"{path}","kind":"file","length":1,"blake3":"{hex}"{rest}}}"#)
    };
    for (line, flaw) in [
        ("".to_owned(), Flaw::NoEntry),
        ("[]".into(), Flaw::NoEntry),
        (r#"{"kind":"folder"}"#.into(), Flaw::NoEntry),
        (r#"{"path":"a","path_escaped":"a","kind":"folder"}"#.into(), Flaw::NoEntry),
        (r#"{"path":"a","path":"a","kind":"folder"}"#.into(), Flaw::NoEntry),
        (r#"{"path":"a","kind":"folder","mode":1}"#.into(), Flaw::NoEntry),
        (file("/etc/passwd", ""), Flaw::Path(PathError::Absolute)),
        (file("a/../../b", ""), Flaw::Path(PathError::Dots)),
        (file("a\\u0000", ""), Flaw::Path(PathError::Nul)),
        (file("a", " "), Flaw::NotCanonical),
        (file("\\u0061", ""), Flaw::NotCanonical),
        (file("a", r#","exec":false"#), Flaw::NotCanonical),
        (file("a", r#","target":"b""#), Flaw::NotCanonical),
        (file("a", r#","mtime":1,"mtime_ns":0"#), Flaw::NotCanonical),
        (file("a", r#","mtime_ns":1"#), Flaw::NotCanonical),
        (file("a", r#","mtime":1,"mtime_ns":1000000000"#), Flaw::Time),
        (file("a", "").replace("ab", "AB"), Flaw::NotCanonical),
        (file("a", "").replace(&hex, &hex[2..]), Flaw::Id),
        (file("a", "").replace(":1,", ":9007199254740993,"), Flaw::Length),
        (file("a", "").replace(":1,", ":01,"), Flaw::NoEntry),
        (file("a", "").replace("file", "socket"), Flaw::Kind),
        (file("a", "").replace(r#","length":1"#, ""), Flaw::Id),
        (file("a", "").replace("file", "list").replace(":1,", ":65537,"), Flaw::LongList),
        (r#"{"path_escaped":"a","kind":"folder"}"#.into(), Flaw::NotCanonical),
        (r#"{"path_escaped":"%ff","kind":"folder"}"#.into(), Flaw::NotCanonical),
        (r#"{"path_escaped":"%2","kind":"folder"}"#.into(), Flaw::NoEntry),
        (r#"{"path":"a","kind":"link","target":""}"#.into(), Flaw::Target),
        (r#"{"path":"a","kind":"link","target":"b\u0000"}"#.into(), Flaw::Target),
        (r#"{"path":"a","kind":"link"}"#.into(), Flaw::Target),
    ] {
        let text = format!("{line}\n");
        let read: Vec<_> = read_list(text.as_bytes()).collect();
        assert_eq!(read.len(), 1, "{line}");
        let error = read[0].as_ref().expect_err(&line);
        assert_eq!((error.line, error.what), (1, flaw), "{line}");
    }
    let text = format!("{}\n", file("a/../\\u001b[2J", ""));
    let error = read_list(text.as_bytes()).next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "line 1, a/../\\u{1b}[2J: a path with a part . or ..");
    let error = read_list(file("a", "").as_bytes()).next().unwrap().unwrap_err();
    assert_eq!(error.what, Flaw::NoEnd);
    let error = read_list(&vec![b'\n'; MAX_LIST + 1]).next().unwrap().unwrap_err();
    assert_eq!(error.what, Flaw::LongList);
}

#[test]
fn the_line_that_is_wrong_is_counted() {
    for (entries, line) in [
        (vec![file("a", 1), file("a/b", 1)], 2),
        (vec![file("a/b", 1)], 1),
        (vec![folder("a", None), file("a/b", 1), file("a/b", 2)], 3),
    ] {
        let mut lists = Lists::new();
        let list = keep(&mut lists, &entries);
        match walked(list, &lists) {
            Err(WalkError::List(_, error)) => assert_eq!(error.line, line, "{entries:?}"),
            other => panic!("{other:?}"),
        }
    }
}

/// What is wrong with a folder of these lists, the last of which it is known by.
fn flaw_of(lists: &Lists, top: ListRef) -> (Flaw, String) {
    match walked(top, lists) {
        Err(WalkError::List(_, error)) => (error.what, error.path.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_makes_no_folder_is_refused_wherever_it_is() {
    let part = |at: &str, list| Entry { path: path(at), kind: Kind::Part(list), mtime: None };
    let link = |at: &str| Entry { path: path(at), kind: Kind::Link { target: b"x".to_vec() }, mtime: None };
    let dated = |entry: Entry| Entry { mtime: Mtime::new(1, 0), ..entry };
    let (file, folder) = (|at| file(at, 1), |at| folder(at, None));
    for (entries, flaw, at) in [
        (vec![file("b"), file("a")], Flaw::Order, "a"),
        (vec![file("a"), file("a")], Flaw::Order, "a"),
        (vec![file("a/b")], Flaw::Parent, "a/b"),
        (vec![file("a"), file("a/b")], Flaw::Parent, "a/b"),
        (vec![link("a"), file("a/b")], Flaw::Parent, "a/b"),
        (vec![folder("a"), file("a/b/c")], Flaw::Parent, "a/b/c"),
        (vec![folder("a"), file("a-"), file("a0"), file("a0/b")], Flaw::Parent, "a0/b"),
        (vec![folder("a"), folder("a0"), file("a1/b")], Flaw::Parent, "a1/b"),
        (vec![folder("ab"), file("ac/x")], Flaw::Parent, "ac/x"),
        (vec![file("a"), dated(file("b"))], Flaw::Times, "b"),
        (vec![dated(file("a")), file("b")], Flaw::Times, "b"),
    ] {
        let mut lists = Lists::new();
        let list = keep(&mut lists, &entries);
        assert_eq!(flaw_of(&lists, list), (flaw, at.to_owned()), "{entries:?}");
        // The same as a part, and in a folder with a list of its own.
        let parts = keep(&mut lists, &[part(&entries[0].path.to_string(), list)]);
        assert_eq!(flaw_of(&lists, parts).0, flaw, "{entries:?}");
        let within = keep(
            &mut lists,
            &[Entry { path: path("w"), kind: Kind::Folder { list: Some(list) }, mtime: entries[0].mtime }],
        );
        assert_eq!(flaw_of(&lists, within), (flaw, format!("w/{at}")), "{entries:?}");
    }
    let mut lists = Lists::new();
    let (empty, one) = (keep(&mut lists, &[]), keep(&mut lists, &[file("b")]));
    let has_list = |at: &str| super::tests::folder(at, Some(one));
    for (entries, flaw, at) in [
        (vec![part("a", one)], Flaw::First, "a"),
        (vec![part("b", empty)], Flaw::EmptyPart, "b"),
        (vec![file("a"), part("b", one)], Flaw::Mixed, "b"),
        (vec![part("b", one), file("c")], Flaw::Mixed, "c"),
        (vec![part("b", one), part("b", one)], Flaw::Order, "b"),
        (vec![has_list("a"), file("a/c")], Flaw::Parent, "a/c"),
        (vec![has_list("a"), file("a/a")], Flaw::Parent, "a/a"),
    ] {
        let list = keep(&mut lists, &entries);
        assert_eq!(flaw_of(&lists, list), (flaw, at.to_owned()), "{entries:?}");
    }
    let mut deep = one;
    for _ in 0..=MAX_PART_DEPTH {
        deep = keep(&mut lists, &[part("b", deep)]);
    }
    assert_eq!(flaw_of(&lists, deep), (Flaw::Depth, "b".into()));
    let long = ListRef { length: MAX_LIST as u64 + 1, root: [0; 32] };
    assert_eq!(flaw_of(&lists, long).0, Flaw::LongList);
}

#[test]
fn folders_within_folders_end_at_the_longest_path() {
    // Each list has the one before in it: far more than a path can name.
    let mut lists = Lists::new();
    let mut list = keep(&mut lists, &[file("f", 1)]);
    for _ in 0..3_000 {
        list = keep(&mut lists, &[folder("d", Some(list)), file("e", 2)]);
    }
    assert_eq!(flaw_of(&lists, list).0, Flaw::Path(PathError::TooLong));
}

#[test]
fn another_list_than_the_one_asked_for_is_not_taken() {
    let mut lists = Lists::new();
    let list = keep(&mut lists, &[file("a", 1)]);
    let mut walk = Walk::new(list);
    assert_eq!(walk.give(b"x".to_vec()), Err(WalkError::Other(list)));
    assert_eq!(walk.step(), Ok(Step::List(list)));
    walk.give(lists[&list].clone()).unwrap();
    assert_eq!(walk.give(lists[&list].clone()), Err(WalkError::NotWanted));
    assert_eq!(walk.step(), Ok(Step::Entry(file("a", 1))));
    assert_eq!(walk.step(), Ok(Step::End));
    assert_eq!(walk.step(), Ok(Step::End));
}

#[test]
fn deep_lists_are_forgotten_and_asked_for_again() {
    // 200 folders in each other, each with so much beside the next that it has a list of its own.
    let mut tree = Tree::new();
    let mut at = String::new();
    for level in 0..200 {
        for name in 0..10 {
            let target = vec![b'x'; 4_000];
            let entry = Entry {
                path: path(format!("{at}z{level}-{name}")),
                kind: Kind::Link { target },
                mtime: None,
            };
            tree.insert(entry.path.clone(), entry);
        }
        let entry = folder(&format!("{at}d"), None);
        tree.insert(entry.path.clone(), entry);
        at += "d/";
    }
    let (list, lists) = built(&tree);
    let (entries, given) = walked(list, &lists).unwrap();
    assert_eq!(entries, tree.into_values().collect::<Vec<_>>());
    assert!(given > lists.len(), "{given} of {}: none was forgotten", lists.len());
}

#[test]
fn a_change_of_one_entry_changes_few_lists() {
    let names: Vec<String> = (0..10_000).map(|number| format!("photo-{number:05}.jpg")).collect();
    let tree = |change: &dyn Fn(&mut Tree)| {
        let mut tree: Tree = names.iter().map(|name| (path(name), file(name, 1))).collect();
        change(&mut tree);
        built(&tree).1
    };
    let before: BTreeSet<ListRef> = tree(&|_| {}).into_keys().collect();
    assert!(before.len() > 50, "{}", before.len());
    let moved = |lists: Lists| -> usize {
        lists.into_iter().filter(|(list, _)| !before.contains(list)).map(|(_, text)| text.len()).sum()
    };
    for name in ["photo-00000.jpg", "photo-04321.jpg", "photo-09999.jpg"] {
        let other = moved(tree(&|tree| _ = tree.insert(path(name), file(name, 2))));
        let gone = moved(tree(&|tree| _ = tree.remove(&path(name))));
        let more = moved(tree(&|tree| _ = tree.insert(path(format!("{name}x")), file("x", 2))));
        assert!(other > 0 && gone > 0 && more > 0);
        for bytes in [other, gone, more] {
            assert!(bytes <= MAX_LIST + 2 * MAX_PART, "{bytes}");
        }
    }
}

#[test]
fn entries_that_do_not_make_a_folder_are_not_built() {
    let dated = |entry: Entry| Entry { mtime: Mtime::new(1, 0), ..entry };
    let list = reference_of(b"");
    for entries in [
        vec![file("b", 1), file("a", 1)],
        vec![file("a", 1), file("a", 1)],
        vec![file("a/b", 1)],
        vec![file("a", 1), file("a/b", 1)],
        vec![folder("a", None), folder("b", None), file("b/c/d", 1)],
        // The order of lists, not of the tree.
        vec![folder("S", None), file("S-", 1), file("S/a", 1)],
        vec![file("a", 1), dated(file("b", 1))],
        vec![Entry { path: path("a"), kind: Kind::Part(list), mtime: None }],
    ] {
        let mut builder = Builder::new(|text: &[u8]| Ok::<_, Infallible>(reference_of(text)));
        let all = entries.iter().try_for_each(|entry| builder.push(entry));
        assert!(matches!(all, Err(BuildError::Entry(..))), "{entries:?}");
    }
    let mut builder = Builder::new(|_: &[u8]| Err("disk full"));
    builder.push(&file("a", 1)).unwrap();
    assert!(matches!(builder.finish(), Err(BuildError::Sink("disk full"))));
}
