//! Which lists of folders are published, and when.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod bench;

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bench::{Bench, Running, tree_of};
use cjp2p_serve::events::{Event, Published};
use cjp2p_serve::share::Options;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::{Entry, FolderPath, Kind, ListRef, MAX_LIST, Mtime, Step, Walk};
use cjp2p_wire::store::{Asker, Library, Read};
use rustix::fs::{Mode, OFlags};

/// Long enough for a slow machine to make several changes within it.
const SETTLE: Duration = Duration::from_millis(300);

fn options() -> Options {
    Options { settle: SETTLE, ..Options::default() }
}

fn published(running: &mut Running) -> Arc<Published> {
    running.until(|event| match event {
        Event::Published(published) => Some(published.clone()),
        _ => None,
    })
}

/// What is in a folder, as getters find it out.
fn entries(running: &mut Running, list: ListRef) -> BTreeMap<String, Entry> {
    let (mut walk, mut entries) = (Walk::new(list), BTreeMap::new());
    loop {
        match walk.step().unwrap() {
            Step::List(list) => {
                assert!(list.length <= MAX_LIST as u64);
                walk.give(running.read_all(&list.id(), 40_960).expect("it is there")).unwrap();
            }
            Step::Entry(mut entry) => {
                if let Kind::Folder { list } = &mut entry.kind {
                    *list = None;
                }
                entries.insert(entry.path.to_string(), entry);
            }
            Step::End => return entries,
        }
    }
}

fn file(content: &[u8], exec: bool) -> Kind {
    Kind::File { length: content.len() as u64, root: *blake3::hash(content).as_bytes(), exec }
}

const FOLDER: Kind = Kind::Folder { list: None };

fn kinds(entries: &BTreeMap<String, Entry>) -> Vec<(&str, &Kind)> {
    entries.iter().map(|(path, entry)| (path.as_str(), &entry.kind)).collect()
}

#[test]
fn a_folder_is_published_with_all_that_is_in_it() {
    let bench = Bench::new();
    for name in ["a", "sub/b", "sub/deep/c", ".hidden", "sub/x.cjp2p-part", "sub-x"] {
        bench.write(name, name);
    }
    fs::create_dir(bench.path("empty")).unwrap();
    fs::set_permissions(bench.path("a"), Permissions::from_mode(0o711)).unwrap();
    symlink("../outside", bench.path("sub/link")).unwrap();
    let mut running = bench.start_with(&options());
    let published = published(&mut running);
    assert_eq!((published.totals.files, published.totals.bytes), (4, 1 + 5 + 10 + 5));
    assert_eq!((published.replaced, published.known_by, published.source.number), (None, 0, 0));
    let found = entries(&mut running, published.list);
    let link = Kind::Link { target: b"../outside".to_vec() };
    let (a, b, c, x) =
        (file(b"a", true), file(b"sub/b", false), file(b"sub/deep/c", false), file(b"sub-x", false));
    let expected = [
        ("a", &a),
        ("empty", &FOLDER),
        ("sub", &FOLDER),
        ("sub-x", &x),
        ("sub/b", &b),
        ("sub/deep", &FOLDER),
        ("sub/deep/c", &c),
        ("sub/link", &link),
    ];
    assert_eq!(kinds(&found), expected);
    assert!(found.values().all(|entry| entry.mtime.is_none()));
}

#[test]
fn a_list_can_be_asked_for_by_all_its_ids_and_by_its_tree() {
    let bench = Bench::new();
    for number in 0..200 {
        bench.write(&format!("file-{number:04}"), "x");
    }
    let mut running = bench.start_with(&options());
    let published = published(&mut running);
    let list = published.list;
    assert!(list.length > 3 * 4096, "one that has a tree worth the name");
    let text = running.read_all(&list.id(), 4096).unwrap();
    assert_eq!(ContentId::Sha256(published.sha256), bench::sha256_id(&text));
    for step in [960, 4096, 40_960] {
        for id in [list.id(), ContentId::Sha256(published.sha256)] {
            assert_eq!(running.read_all(&id, step).as_ref(), Some(&text));
        }
        assert_eq!(running.read_all(&ContentId::Tree(list.root), step), Some(tree_of(&text)));
    }
    assert_eq!(running.read(&list.id(), u64::MAX, 10), Some((Vec::new(), list.length)));
    assert_eq!(running.library.blake3_of(&published.sha256), Some(list.root));
    assert_eq!(running.library.parts(&list.id(), 5, 9).unwrap().length, Some(list.length));
    let glance = running.library.read(Asker::Unvalidated, &list.id(), 0, 40_960, &mut text.clone());
    assert!(matches!(glance, Read::Found { .. } | Read::Later), "it is in memory, or nothing is begun");
    let inside = running.library.file_at(published.known_by, &published.below.join("file-0007")).unwrap();
    assert_eq!((ContentId::Blake3(inside.0.blake3), inside.1), (bench::blake3_id(b"x"), 1));
}

#[test]
fn each_change_is_published_and_what_was_before_can_still_be_had() {
    let bench = Bench::new();
    bench.write("sub/a", "a");
    let mut running = bench.start_with(&options());
    let mut last = published(&mut running);
    type Change = fn(&Bench);
    let changes: [(&str, Change); 8] = [
        ("another content", |bench| bench.write("sub/a", "b")),
        ("an executable bit", |bench| {
            fs::set_permissions(bench.path("sub/a"), Permissions::from_mode(0o755)).unwrap();
        }),
        ("a link", |bench| symlink("a", bench.path("sub/link")).unwrap()),
        ("a link elsewhere", |bench| {
            fs::remove_file(bench.path("sub/link")).unwrap();
            symlink("b", bench.path("sub/link")).unwrap();
        }),
        ("an empty folder", |bench| fs::create_dir(bench.path("empty")).unwrap()),
        ("another name", |bench| fs::rename(bench.path("empty"), bench.path("void")).unwrap()),
        ("a folder less", |bench| fs::remove_dir(bench.path("void")).unwrap()),
        ("a file less", |bench| fs::remove_file(bench.path("sub/a")).unwrap()),
    ];
    let mut all = vec![last.list];
    for (what, change) in changes {
        change(&bench);
        let now = published(&mut running);
        assert_eq!(now.replaced, Some(last.list), "{what}");
        assert_ne!(now.list, last.list, "{what}");
        last = now;
        all.push(last.list);
    }
    assert_eq!(kinds(&entries(&mut running, last.list)).len(), 2);
    for list in all {
        assert_eq!(running.read_all(&list.id(), 4096).map(|text| text.len() as u64), Some(list.length));
        assert!(!running.library.is_withdrawn(&list.id()));
    }
}

#[test]
fn nothing_is_published_while_a_folder_changes() {
    let bench = Bench::new();
    bench.write("first", "1");
    let mut running = bench.start_with(&options());
    let first = published(&mut running);
    let until = Instant::now() + 4 * SETTLE;
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        bench.write(&format!("more-{}", number % 7), format!("{number}"));
        std::thread::sleep(SETTLE / 20);
    }
    let second = published(&mut running);
    assert_eq!(second.replaced, Some(first.list), "one between them");
    let expected: Vec<String> = (0..7).map(|number| format!("more-{number}")).collect();
    let found = entries(&mut running, second.list);
    assert!(found.keys().skip(1).eq(&expected), "{found:?}");
    for number in number - 6..=number {
        let text = format!("{number}");
        assert_eq!(found[&format!("more-{}", number % 7)].kind, file(text.as_bytes(), false));
    }
}

#[test]
fn a_touched_folder_that_is_as_it_was_is_not_published_again() {
    let bench = Bench::new();
    bench.write("a", "a");
    let mut running = bench.start_with(&options());
    let first = published(&mut running);
    bench.write("a", "a");
    fs::create_dir(bench.path("empty")).unwrap();
    fs::remove_dir(bench.path("empty")).unwrap();
    running.until_shared("a", "a");
    std::thread::sleep(2 * SETTLE);
    bench.write("b", "b");
    assert_eq!(published(&mut running).replaced, Some(first.list));
}

#[test]
fn a_folder_of_which_not_all_can_be_in_a_list_is_not_published_until_it_can() {
    let bench = Bench::new();
    bench.write("a", "a");
    let long = "x".repeat(250);
    let mut inner = File::open(bench.path("")).unwrap();
    for _ in 0..17 {
        rustix::fs::mkdirat(&inner, &*long, Mode::RWXU).unwrap();
        inner = rustix::fs::openat(&inner, &*long, OFlags::RDONLY, Mode::empty()).unwrap().into();
    }
    let mut running = bench.start_with(&options());
    running.until_ready();
    std::thread::sleep(2 * SETTLE);
    fs::remove_dir_all(bench.path(&long)).unwrap();
    let first = published(&mut running);
    assert_eq!(kinds(&entries(&mut running, first.list)), [("a", &file(b"a", false))]);
    assert_eq!(first.replaced, None, "the first that was published");
}

#[test]
fn arguments_that_lie_within_others_are_published_too() {
    let bench = Bench::new();
    bench.write("in/a", "a");
    bench.write("in/deep/b", "b");
    bench.write("in/.hidden/c", "c");
    bench.write("single", "s");
    let arguments: Vec<PathBuf> =
        ["", "in/deep", "single", "in", "in/.hidden", "in"].iter().map(|name| bench.path(name)).collect();
    let mut running = Running::start(&arguments, &options(), &bench.state());
    let mut all = BTreeMap::new();
    while all.len() < 5 {
        let published = published(&mut running);
        all.insert(published.source.number, published);
    }
    let paths = |running: &mut Running, number: u32| {
        let found = entries(running, all[&number].list);
        found.into_keys().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(paths(&mut running, 0), "in in/a in/deep in/deep/b single");
    assert_eq!(paths(&mut running, 1), "b");
    assert_eq!(paths(&mut running, 3), "a deep deep/b");
    assert_eq!(paths(&mut running, 4), "c");
    assert_eq!(all[&5].list, all[&3].list);
    for (number, name) in [(0, "in/deep/b"), (1, "b"), (3, "deep/b"), (5, "deep/b")] {
        let Published { known_by, below, .. } = &*all[&number];
        let found = running.library.file_at(*known_by, &below.join(name));
        assert_eq!(found.map(|(ids, _)| ContentId::Blake3(ids.blake3)), Some(bench::blake3_id(b"b")));
    }
    bench.write("in/deep/b", "more");
    let mut again = std::collections::BTreeSet::new();
    while again.len() < 4 {
        again.insert(published(&mut running).source.number);
    }
    assert!(again.into_iter().eq([0, 1, 3, 5]));
}

#[test]
fn times_are_in_the_list_where_they_are_wanted() {
    let bench = Bench::new();
    bench.write("sub/a", "a");
    symlink("a", bench.path("link")).unwrap();
    let set = |name: &str, seconds: u64, nanos| {
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let file = File::open(bench.path(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    };
    set("sub/a", 1 << 33, 5);
    set("sub", 7, 0);
    let mut running = bench.start_with(&Options { times: true, ..options() });
    let first = published(&mut running);
    let found = entries(&mut running, first.list);
    assert_eq!(found["sub/a"].mtime, Mtime::new(1 << 33, 5));
    assert_eq!(found["sub"].mtime, Mtime::new(7, 0));
    assert!(found["link"].mtime.is_some());
    set("sub/a", 8, 0);
    let second = published(&mut running);
    assert_eq!(entries(&mut running, second.list)["sub/a"].mtime, Mtime::new(8, 0));
}

#[test]
fn long_lists_are_cut_and_all_parts_can_be_had() {
    let bench = Bench::new();
    for number in 0..1_200 {
        bench.write(&format!("sub/file-{number:04}"), format!("{}", number % 10));
    }
    let mut running = bench.start_with(&options());
    let first = published(&mut running);
    let found = entries(&mut running, first.list);
    assert_eq!(found.len(), 1_201);
    let path = FolderPath::new(b"sub/file-0123").unwrap();
    assert_eq!(found["sub/file-0123"], Entry { path, kind: file(b"3", false), mtime: None });
    bench.write("sub/file-0600x", "new");
    let second = published(&mut running);
    assert_eq!(entries(&mut running, second.list).len(), 1_202);
    assert_eq!(entries(&mut running, first.list).len(), 1_201, "the older one is there too");
}

#[test]
fn a_folder_that_is_gone_and_back_is_published_again() {
    let bench = Bench::new();
    bench.write("a", "a");
    let mut running = bench.start_with(&options());
    let first = published(&mut running);
    fs::rename(bench.path(""), bench.outside("away")).unwrap();
    running.until_withdrawn("a");
    std::thread::sleep(2 * SETTLE);
    assert!(running.read_all(&first.list.id(), 4096).is_some());
    fs::rename(bench.outside("away"), bench.path("")).unwrap();
    let again = published(&mut running);
    assert_eq!((again.list, again.replaced), (first.list, None));
}
