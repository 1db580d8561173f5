//! Whole runs over real folders, beside a provider that has everything in memory.

mod many;
mod model;
mod support;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use cjp2p_cli::Exit;
use cjp2p_io::partial_name::STAGING_FOLDER;
use cjp2p_wire::folder::{Entry, FolderPath, Kind, Mtime};

use super::{Local, Options, Told};
use support::{Thing, Things, World, entry, file, found, insert, link, make, root, things};

fn plain() -> Options {
    Options::default()
}

fn mirror() -> Options {
    Options { delete: true, ..Options::default() }
}

fn forced() -> Options {
    Options { force: true, ..Options::default() }
}

/// Some of everything.
fn odd() -> Things {
    let long = "x".repeat(255);
    let mut things = things([
        ("a", file("one")),
        ("a-b", file("two")),
        ("empty", Thing::Folder),
        ("new\nline", file("")),
        ("-rf", file(vec![7; 5000])),
        ("deep/er/est/again", file(vec![7; 5000])),
        ("deep/er-", Thing::File(b"run".to_vec(), true)),
        (&*long, file("long")),
        ("trailing ", file("one")),
        ("link", link("deep/er")),
        ("dangling", link("nowhere")),
        ("deep/self", link("self")),
        ("e\u{301}", file("combined")),
        (".hidden/.x", file("h")),
    ]);
    insert(&mut things, b"no\xff\xfeutf8/\x01", file("bytes"));
    things
}

#[test]
fn a_folder_with_every_odd_name_is_recreated_and_nothing_of_ours_stays_in_it() {
    let mut world = World::new();
    let ended = world.fetch(&odd(), plain());
    assert_eq!(ended.exit(), Exit::Done, "{ended:?}");
    assert!(world.found() == odd());
    let summary = ended.result.unwrap();
    assert_eq!((summary.fetched, summary.linked, summary.kept, summary.kept_in), (11, 3, 0, None));
    assert_eq!(ended.asked.len(), 8, "each content once, and nothing for an empty file");
    let again = world.fetch(&odd(), plain());
    assert!(again.asked.is_empty() && world.found() == odd());
    let summary = again.result.unwrap();
    assert_eq!((summary.fetched, summary.kept), (0, odd().len() as u64));
}

#[test]
fn only_what_changed_is_asked_for_and_a_rename_moves_nothing() {
    let mut world = World::new();
    let before = odd();
    world.fetch(&before, plain());
    let mut after = before.clone();
    let moved = after.remove(&b"deep/er-"[..]).unwrap();
    insert(&mut after, b"elsewhere/renamed", moved);
    insert(&mut after, b"copied", file("combined"));
    insert(&mut after, b"a", file("another"));
    after.remove(&b"a-b"[..]);
    let ended = world.fetch(&after, mirror());
    assert_eq!(ended.exit(), Exit::Done, "{ended:?}");
    assert_eq!(ended.asked, [root(b"another")]);
    assert!(world.found() == after);
    let summary = ended.result.unwrap();
    assert_eq!((summary.copied, summary.replaced, summary.deleted), (2, 1, 2));
}

#[test]
fn times_are_those_of_the_list_folders_and_links_included() {
    for (seconds, nanos) in [(-1_000_000_000, 1), (5_000_000_000, 999_999_999), (0, 0)] {
        let mut world = World::new();
        world.mtime = Mtime::new(seconds, nanos);
        assert_eq!(world.fetch(&odd(), plain()).exit(), Exit::Done);
        let are_set = |world: &World| {
            odd().keys().all(|name| {
                let path = world.to().join(std::ffi::OsStr::from_bytes(name));
                let found = fs::symlink_metadata(path).unwrap();
                (found.mtime(), found.mtime_nsec()) == (seconds, i64::from(nanos))
            })
        };
        assert!(are_set(&world));
        let ended = world.fetch(&odd(), plain());
        assert!(ended.asked.is_empty() && are_set(&world));
        // Times alone are changed without a word, and nothing is fetched for it.
        world.mtime = Mtime::new(seconds + 1, nanos);
        assert!(world.fetch(&odd(), plain()).asked.is_empty() && !are_set(&world));
        world.mtime = Mtime::new(seconds, nanos);
        assert!(world.fetch(&odd(), plain()).asked.is_empty() && are_set(&world));
    }
}

#[test]
fn what_others_changed_or_put_there_is_replaced_only_by_force_or_kept() {
    for (options, is_replaced) in [
        (plain(), false),
        (mirror(), false),
        (forced(), true),
        (Options { backup: Some("kept".into()), ..plain() }, true),
    ] {
        let mut world = World::new();
        let list = things([("a", file("one")), ("b", file("two")), ("c", link("x")), ("d/e", file("f"))]);
        world.fetch(&list, plain());
        let to = world.to();
        fs::write(to.join("a"), "mine").unwrap();
        fs::remove_file(to.join("c")).unwrap();
        symlink("mine", to.join("c")).unwrap();
        fs::write(to.join("new"), "mine too").unwrap();
        let after = things([
            ("a", file("another")),
            ("b", file("changed")),
            ("c", link("y")),
            ("d", file("was a folder")),
            ("new", file("from the list")),
        ]);
        let backup = options.backup.as_ref().map(|_| world.at("kept"));
        let deletes = options.delete;
        let ended = world.fetch(&after, Options { backup: backup.clone(), ..options });
        if is_replaced {
            assert_eq!(ended.exit(), Exit::Done, "{ended:?}");
            assert!(world.found() == after);
        } else {
            assert_eq!(ended.exit(), Exit::Destination);
            let refused: &[&str] = if deletes { &["a", "c", "new"] } else { &["a", "c", "d", "new"] };
            assert_eq!(ended.refused(), refused);
            assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "mine");
            assert_eq!(fs::read_to_string(to.join("new")).unwrap(), "mine too");
            assert_eq!(fs::read_to_string(to.join("b")).unwrap(), "changed", "the rest is done");
            assert_eq!(world.found().get(&b"c"[..]), Some(&link("mine")));
        }
        if let Some(backup) = backup {
            let expected = things([
                ("a", file("mine")),
                ("b", file("two")),
                ("c", link("mine")),
                ("d/e", file("f")),
                ("new", file("mine too")),
            ]);
            assert!(found(&backup) == expected);
        }
    }
}

#[test]
fn a_folder_in_which_a_download_is_in_progress_makes_way_for_nothing() {
    for options in [plain(), mirror()] {
        let mut world = World::new();
        world.fetch(&things([("a", Thing::Folder), ("b", file("1"))]), plain());
        let partial = world.to().join("a/film.cjp2p-part");
        fs::write(&partial, "half").unwrap();
        let ended = world.fetch(&things([("a", file("was a folder")), ("b", file("1"))]), options);
        assert_eq!((ended.exit(), ended.refused()), (Exit::Destination, vec!["a".into()]));
        assert_eq!(fs::read(&partial).unwrap(), b"half");
    }
}

#[test]
fn nothing_is_written_through_a_link_that_was_there_or_came_along() {
    let mut world = World::new();
    fs::create_dir_all(world.at("outside/sub")).unwrap();
    fs::create_dir(world.to()).unwrap();
    symlink(world.at("outside"), world.to().join("a")).unwrap();
    let ended = world.fetch(&things([("a/x", file("1")), ("b/y", file("2"))]), plain());
    assert_eq!((ended.exit(), ended.refused()), (Exit::Destination, vec!["a".into()]));
    assert_eq!(fs::read(world.to().join("b/y")).unwrap(), b"2");
    // With --force the link goes, and not what it leads to.
    let ended = world.fetch(&things([("a/x", file("1")), ("b/y", file("2"))]), forced());
    assert_eq!(ended.exit(), Exit::Done);
    assert!(world.to().join("a").symlink_metadata().unwrap().is_dir());
    // One that comes along as a folder that is no folder.
    let listed = [
        entry(b"c", &link("b"), None),
        entry(b"c/z", &file("3"), None),
        entry(b"out", &link("../outside"), None),
        entry(b"root", &link("/"), None),
    ];
    world.contents.insert(root(b"3"), b"3".to_vec());
    let ended = world.fetch_entries(listed, plain());
    assert_eq!(ended.exit(), Exit::Destination);
    let mut refused = ended.refused();
    refused.sort();
    assert_eq!(refused, ["c", "out", "root"]);
    assert!(!world.to().join("b/z").exists() && !world.to().join("out").is_symlink());
    assert_eq!(found(&world.at("outside")), things([("sub", Thing::Folder)]));
    let any = Options { any_links: true, ..plain() };
    let ended = world.fetch_entries([entry(b"out", &link("../outside"), None)], any);
    assert_eq!(ended.exit(), Exit::Done);
    assert!(world.to().join("out").is_symlink());
}

#[test]
fn of_a_folder_that_is_gone_when_things_get_their_names_only_the_folder_is_refused() {
    let mut world = World::new();
    make(&world.to_made(), &things([("a", Thing::Folder)]));
    world.meanwhile = Some(|to| fs::rename(to.join("a"), to.join("elsewhere")).unwrap());
    let list = things([("a/b/c/x", file("1")), ("a/y", file("2")), ("z", file("3"))]);
    let ended = world.fetch(&list, plain());
    assert_eq!((ended.exit(), ended.refused()), (Exit::Destination, vec!["a".into()]));
    assert_eq!(fs::read(world.to().join("z")).unwrap(), b"3");
    assert_eq!(world.fetch(&list, plain()).exit(), Exit::Done);
}

#[test]
fn deleting_stops_where_nothing_is_known_or_much_would_go_and_nothing_is_done_then() {
    let mut world = World::new();
    make(&world.to_made(), &things([("mine", file("1")), ("a", file("1"))]));
    let list = things([("a", file("1")), ("b", file("2"))]);
    let ended = world.fetch(&list, mirror());
    assert_eq!(ended.exit(), Exit::Destination);
    assert!(ended.result.unwrap_err().message.contains("was not fetched to before"));
    assert!(world.found() == things([("mine", file("1")), ("a", file("1"))]));
    // Without --delete it is a folder of ours from then on.
    assert_eq!(world.fetch(&list, plain()).exit(), Exit::Done);
    assert_eq!(world.fetch(&list, mirror()).exit(), Exit::Done);
    assert!(world.found() == list);
    make(&world.to(), &things([("x/y", file("1")), ("x/z", file("2"))]));
    let ended = world.fetch(&list, mirror());
    assert!(ended.result.unwrap_err().message.contains("3 of 5 entries, more than half"));
    assert_eq!(world.found().len(), 5);
    assert_eq!(world.fetch(&list, Options { force: true, ..mirror() }).exit(), Exit::Done);
    assert!(world.found() == list);
}

#[test]
fn what_is_deleted_is_kept_where_asked_for_and_what_was_changed_stays_otherwise() {
    let mut world = World::new();
    let list =
        things([("a", file("1")), ("b", file("2")), ("c", file("3")), ("d", file("4")), ("e/f", file("5"))]);
    world.fetch(&list, plain());
    fs::write(world.to().join("e/f"), "mine").unwrap();
    fs::write(world.to().join("d"), "4").unwrap();
    let fewer = things([("a", file("1")), ("b", file("2")), ("c", file("3"))]);
    let ended = world.fetch(&fewer, mirror());
    assert_eq!((ended.exit(), ended.refused()), (Exit::Destination, vec!["e/f".into()]));
    assert_eq!(fs::read(world.to().join("e/f")).unwrap(), b"mine");
    assert!(!world.to().join("d").exists(), "it is what was written, whenever that was");
    let kept = Some(world.at("kept"));
    assert_eq!(world.fetch(&fewer, Options { backup: kept, ..mirror() }).exit(), Exit::Done);
    assert!(world.found() == fewer);
    assert_eq!(found(&world.at("kept")), things([("e/f", file("mine"))]));
}

#[test]
fn a_dry_run_tells_what_would_be_done_and_does_nothing() {
    let mut world = World::new();
    let dry = Options { dry_run: true, ..mirror() };
    let before = things([("a", file("1")), ("b", file("2")), ("c", file("3")), ("d", link("a"))]);
    let ended = world.fetch(&before, dry.clone());
    assert_eq!(ended.would(), ["fetch a", "fetch b", "fetch c", "link d"]);
    assert!(!world.to().exists());
    world.fetch(&before, plain());
    let state = found(&world.at("state"));
    let mut after = before.clone();
    after.remove(&b"c"[..]);
    insert(&mut after, b"b", file("another"));
    insert(&mut after, b"e/f", file("1"));
    insert(&mut after, b"a", Thing::File(b"1".to_vec(), true));
    let ended = world.fetch(&after, dry);
    assert_eq!(ended.would(), ["set a", "replace b", "make e", "copy e/f", "delete c"]);
    assert!(ended.asked.is_empty() && world.found() == before);
    assert!(found(&world.at("state")) == state);
}

#[test]
fn content_that_cannot_be_had_leaves_its_files_as_they_are_and_nothing_is_deleted() {
    let mut world = World::new();
    let before = things([("a", file("1")), ("b", file("2")), ("c", file("3"))]);
    world.fetch(&before, plain());
    let after = things([("a", file("new")), ("b", file("newer")), ("d", file("new"))]);
    world.missing.insert(root(b"new"));
    let ended = world.fetch(&after, mirror());
    assert_eq!((ended.exit(), ended.refused()), (Exit::Destination, vec!["a".into(), "d".into()]));
    assert!(world.found() == things([("a", file("1")), ("b", file("newer")), ("c", file("3"))]));
    assert!(
        ended
            .told
            .iter()
            .any(|told| matches!(told, Told::Warning(what) if what.contains("nothing is deleted")))
    );
    world.missing.clear();
    assert_eq!(world.fetch(&after, mirror()).exit(), Exit::Done);
    assert!(world.found() == after);
}

#[test]
fn lists_that_lie_and_contents_of_a_wrong_length_are_named() {
    let mut world = World::new();
    let lying = |path: &str, length: u64, byte: u8| Entry {
        path: FolderPath::new(path.as_bytes()).unwrap(),
        kind: Kind::File { length, root: [byte; 32], exec: false },
        mtime: None,
    };
    // The provider gives what it has by these roots.
    world.contents.insert([1; 32], vec![7; 10]);
    world.contents.insert([2; 32], vec![7; 5000]);
    let ended = world.fetch_entries(
        [lying("a", 11, 1), lying("b", 10, 1), lying("c", 4999, 2), lying("d", 0, 3)],
        plain(),
    );
    let mut refused = ended.refused();
    refused.sort();
    assert_eq!(refused, ["a", "b", "c", "d"]);
    assert_eq!(ended.exit(), Exit::Destination);
    assert!(world.found().is_empty());
}

#[test]
fn what_an_interrupted_run_left_is_used_if_it_is_right() {
    let mut world = World::new();
    let list =
        things([("a", file("right")), ("b", file("wrong")), ("c", file("short")), ("d", file("right"))]);
    let staging = world.to().join(STAGING_FOLDER);
    fs::create_dir_all(&staging).unwrap();
    let name = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    fs::write(staging.join(format!("{}.1", name(b"right"))), "right").unwrap();
    fs::write(staging.join(name(b"wrong")), "gnorw").unwrap();
    fs::write(staging.join(name(b"short")), "shor").unwrap();
    fs::write(staging.join(name(b"of no use")), "of no use").unwrap();
    fs::create_dir(staging.join("new-1")).unwrap();
    let ended = world.fetch(&list, plain());
    assert_eq!(ended.exit(), Exit::Done, "{ended:?}");
    let mut asked = ended.asked;
    asked.sort();
    let mut expected = vec![root(b"wrong"), root(b"short")];
    expected.sort();
    assert_eq!(asked, expected);
    assert!(world.found() == list);
}

#[test]
fn exec_bits_follow_the_list_and_set_uid_is_never_made() {
    let mut world = World::new();
    let list =
        |exec| things([("a", Thing::File(b"1".to_vec(), exec)), ("b", Thing::File(b"1".to_vec(), !exec))]);
    for exec in [true, false, true] {
        let ended = world.fetch(&list(exec), plain());
        assert_eq!(ended.exit(), Exit::Done, "{ended:?}");
        assert!(world.found() == list(exec));
    }
    fs::set_permissions(world.to().join("a"), fs::Permissions::from_mode(0o4644)).unwrap();
    world.fetch(&list(true), plain());
    let mode = fs::metadata(world.to().join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o4100, 0o100);
}

#[test]
fn what_is_remembered_spares_hashing_and_checksum_hashes_all_the_same() {
    let mut world = World::new();
    let list = things([("a", file("1234"))]);
    world.fetch(&list, plain());
    let path = world.to().join("a");
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "4321").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    // Nobody can tell by size and time.
    assert_eq!(world.fetch(&list, plain()).exit(), Exit::Done);
    let ended = world.fetch(&list, Options { checksum: true, ..plain() });
    assert_eq!((ended.exit(), ended.refused()), (Exit::Destination, vec!["a".into()]));
    assert_eq!(fs::read(&path).unwrap(), b"4321");
    let ended = world.fetch(&list, Options { checksum: true, ..forced() });
    assert_eq!(ended.exit(), Exit::Done);
    assert!(world.found() == list);
}

#[test]
fn two_runs_to_one_folder_exclude_each_other_and_a_backup_within_is_a_usage_error() {
    let world = World::new();
    let first = Local::open(&world.to(), None, plain()).unwrap().unwrap();
    assert!(Local::open(&world.to(), None, plain()).unwrap().is_none());
    drop(first);
    assert!(Local::open(&world.to(), None, plain()).unwrap().is_some());
    let within = Options { backup: Some(world.to().join("old")), ..plain() };
    assert_eq!(Local::open(&world.to(), None, within).map(drop).unwrap_err().exit, Exit::Usage);
    fs::write(world.at("file"), "").unwrap();
    assert_eq!(Local::open(&world.at("file"), None, plain()).map(drop).unwrap_err().exit, Exit::Destination);
}

impl World {
    /// The folder, made.
    fn to_made(&self) -> std::path::PathBuf {
        fs::create_dir_all(self.to()).unwrap();
        self.to()
    }
}

/// `CJP2P_FOLDING_FOLDER` is an empty folder on a file system where `A` and `a` are one file, such as exFAT, which has neither links
/// nor modes: `cargo test -p cjp2p-get --lib names_are_one_file`.
#[test]
fn where_two_names_are_one_file_the_second_is_refused_and_the_first_is_right() {
    let Some(folder) = std::env::var_os("CJP2P_FOLDING_FOLDER") else {
        return eprintln!("skipped: CJP2P_FOLDING_FOLDER names no folder");
    };
    let mut world = World::new();
    world.to = Some(folder.into());
    let list = things([
        ("Name", file("1")),
        ("name", file("2")),
        ("other", file("3")),
        ("sub/B", file(vec![7; 5000])),
        ("sub/b", file(vec![7; 5000])),
        ("sub/x:y", file("5")),
    ]);
    for _ in 0..2 {
        let ended = world.fetch(&list, plain());
        assert_eq!(ended.exit(), Exit::Destination);
        let refused = ended.refused();
        assert!(refused.contains(&"name".into()) && refused.contains(&"sub/b".into()), "{ended:?}");
        let found = world.found();
        for path in ["Name", "other", "sub/B"] {
            match (found.get(path.as_bytes()), &list[path.as_bytes()]) {
                (Some(Thing::File(found, _)), Thing::File(wanted, _)) => assert!(found == wanted),
                other => panic!("{path}: {other:?}"),
            }
        }
        assert!(!found.contains_key(&b"name"[..]) && !found.contains_key(&b"sub/b"[..]));
    }
    // What is there in another spelling is not written over.
    let ended = world.fetch(&things([("OTHER", file("9"))]), plain());
    assert_eq!(ended.refused(), ["OTHER"]);
    let ended = world.fetch(&things([("other", file("9"))]), plain());
    assert_eq!(ended.exit(), Exit::Done, "{ended:?}");
}
