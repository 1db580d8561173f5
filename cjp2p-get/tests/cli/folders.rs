//! Folders: what is in them, as tar streams, and lists that lie.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cjp2p_tests::content;
use cjp2p_wire::folder::{Builder, Entry, FolderPath, Kind, ListRef, reference_of};
use data_encoding::HEXLOWER;

use crate::support::{Bench, Host};

/// A folder that somebody shares: its entries, and the contents of its files.
#[derive(Default)]
pub(crate) struct Shared {
    entries: Vec<Entry>,
    pub(crate) contents: Vec<Vec<u8>>,
}

impl Shared {
    pub(crate) fn folder(mut self, path: &[u8]) -> Shared {
        self.push(path, Kind::Folder { list: None });
        self
    }

    pub(crate) fn link(mut self, path: &[u8], target: &[u8]) -> Shared {
        self.push(path, Kind::Link { target: target.to_vec() });
        self
    }

    pub(crate) fn file(self, path: &[u8], bytes: &[u8]) -> Shared {
        self.kind(path, bytes, false)
    }

    fn kind(mut self, path: &[u8], bytes: &[u8], exec: bool) -> Shared {
        self.push(
            path,
            Kind::File { length: bytes.len() as u64, root: *blake3::hash(bytes).as_bytes(), exec },
        );
        self.contents.push(bytes.to_vec());
        self
    }

    fn push(&mut self, path: &[u8], kind: Kind) {
        self.entries.push(Entry { path: FolderPath::new(path).unwrap(), kind, mtime: None });
    }

    /// The folder's id; its lists are shared too.
    pub(crate) fn id(&mut self) -> String {
        self.entries.sort_by(|one, other| one.path.cmp_tree(&other.path));
        let contents = &mut self.contents;
        let mut builder = Builder::new(|text: &[u8]| -> Result<ListRef, std::convert::Infallible> {
            contents.push(text.to_vec());
            Ok(reference_of(text))
        });
        self.entries.iter().for_each(|entry| builder.push(entry).unwrap());
        format!("folder/{}", HEXLOWER.encode(&builder.finish().unwrap().root))
    }

    pub(crate) fn host(&self) -> Host {
        Host::sharing(&self.contents.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// The id of a folder whose only list has this text, and somebody who shares it.
fn with_list(text: &str) -> (String, Host) {
    let id = format!("folder/{}", HEXLOWER.encode(&reference_of(text.as_bytes()).root));
    (id, Host::sharing(&[text.as_bytes(), b"hi"]))
}

fn many() -> Shared {
    let mut shared = Shared::default().folder(b"empty").folder(b"d").folder(b"d/deep");
    for n in 0..700u64 {
        let bytes = content::bytes(n, 1 + (n as usize * 37) % 3000);
        shared = shared.file(format!("d/deep/{n:04}").as_bytes(), &bytes);
    }
    let long = [&b"\xff\n "[..], &[b'x'; 200]].concat();
    shared
        .file(b"zero", b"")
        .file(b"same", &content::bytes(1, 38))
        .file(&long, b"odd")
        .file(b"-rf", &content::bytes(900, 70_000))
        .file(b"long", &content::bytes(901, (2 << 20) + 5))
        .kind(b"run", b"#!/bin/sh\n", true)
        .link(b"to", b"d/deep/0001")
        .link(b"gone", b"nowhere")
}

/// What is at each path below a folder: the kind, the mode's bit for execution, and the content or target.
fn snapshot(top: &Path) -> BTreeMap<Vec<u8>, (char, bool, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().as_os_str().as_encoded_bytes().to_vec();
            let exec = !found.is_symlink() && found.permissions().mode() & 0o100 != 0;
            if found.is_dir() {
                all.insert(name, ('d', exec, Vec::new()));
                folders.push(path);
            } else if found.is_symlink() {
                let target = fs::read_link(&path).unwrap().into_os_string().into_vec();
                all.insert(name, ('l', false, target));
            } else {
                all.insert(name, ('f', exec, fs::read(&path).unwrap()));
            }
        }
    }
    all
}

/// Makes what `shared` has by itself.
fn make(shared: &Shared, top: &Path) {
    fs::create_dir_all(top).unwrap();
    let content =
        |root: &[u8; 32]| shared.contents.iter().find(|bytes| blake3::hash(bytes).as_bytes() == root);
    for entry in &shared.entries {
        let path = top.join(PathBuf::from(std::ffi::OsString::from_vec(entry.path.as_bytes().to_vec())));
        match &entry.kind {
            Kind::Folder { .. } => fs::create_dir(&path).unwrap(),
            Kind::Link { target } => {
                symlink(PathBuf::from(std::ffi::OsString::from_vec(target.clone())), &path).unwrap();
            }
            Kind::File { root, exec, .. } => {
                fs::write(&path, content(root).unwrap()).unwrap();
                let mode = if *exec { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            Kind::Part(_) => {}
        }
    }
}

#[test]
fn a_folder_comes_as_a_tar_stream_with_every_name() {
    let mut shared = many();
    let id = shared.id();
    let (host, bench) = (shared.host(), Bench::new());
    let ended = bench.run(&[&host], &[&id]).done();
    make(&shared, &bench.path("expected"));
    let mut archive = tar::Archive::new(&ended.stdout[..]);
    archive.set_preserve_permissions(true);
    archive.unpack(bench.path("got")).unwrap();
    assert!(snapshot(&bench.path("got")) == snapshot(&bench.path("expected")));
    let bench = Bench::new();
    let ended = bench.run(&[&host], &[&*id, "--file", "deep/*1", "--file", "run", "-o", "-"]).done();
    assert_eq!(ended.stdout.len() % 512, 0);
    let mut archive = tar::Archive::new(&ended.stdout[..]);
    let paths: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
    assert_eq!(paths, [b"run".to_vec()], "a pattern with a slash begins at the top");
}

#[test]
fn a_folder_is_made_on_the_disk_and_brought_up_to_date_by_the_same_command() {
    let mut shared = many();
    let id = shared.id();
    let (host, bench) = (shared.host(), Bench::new());
    make(&shared, &bench.path("expected"));
    let ended = bench.run(&[&host], &[&*id, "-o", "got", "--json"]).done();
    assert!(snapshot(&bench.path("got")) == snapshot(&bench.path("expected")));
    let told = &ended.json()[0];
    assert_eq!(
        (&told["event"], &told["files"], &told["left_out"]),
        (&"folder".into(), &706.into(), &0.into())
    );
    // What is right is not fetched, and nobody is asked for it but for the lists.
    fs::write(bench.path("got/long"), "changed").unwrap();
    fs::remove_file(bench.path("got/d/deep/0003")).unwrap();
    let ended = bench.run(&[&host], &[&*id, "-o", "got", "--json"]);
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    assert!(ended.stderr.contains("long: "), "{}", ended.stderr);
    assert!(ended.json().iter().any(|told| told["event"] == "failed" && told["path"] == "long"));
    let ended = bench.run(&[&host], &[&*id, "-o", "got", "--dry-run", "--force"]).done();
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "replace  long\n");
    let ended = bench.run(&[&host], &[&*id, "-o", "got", "--force", "--json"]).done();
    assert_eq!(ended.json()[0]["fetched"], 1);
    assert!(snapshot(&bench.path("got")) == snapshot(&bench.path("expected")));
    fs::write(bench.path("got/more"), "mine").unwrap();
    bench.run(&[&host], &[&*id, "-o", "got", "--delete", "--backup", "trash"]).done();
    assert!(snapshot(&bench.path("got")) == snapshot(&bench.path("expected")));
    assert!(snapshot(&bench.path("trash")).into_values().any(|(_, _, bytes)| bytes == b"mine"));
}

#[test]
fn of_a_folder_only_what_matches_is_made_with_the_folders_that_it_is_in() {
    let mut shared = many();
    let id = shared.id();
    let (host, bench) = (shared.host(), Bench::new());
    bench.run(&[&host], &[&*id, "-o", "got", "--file", "d/deep/000?", "--file", "zero"]).done();
    let names: Vec<Vec<u8>> = snapshot(&bench.path("got")).into_keys().collect();
    assert_eq!(names.len(), 13, "{names:?}");
    assert!(names.contains(&b"d/deep/0009".to_vec()) && names.contains(&b"zero".to_vec()));
}

#[test]
fn what_is_in_a_folder_is_printed_for_people_and_for_programs() {
    let mut shared = Shared::default().folder(b"a").file(b"a/b\nc", b"hi").link(b"l", b"a");
    let id = shared.id();
    let (host, bench) = (shared.host(), Bench::new());
    let ended = bench.run(&[&host], &[&*id, "--list"]).done();
    let text = String::from_utf8(ended.stdout).unwrap();
    let of_hi = blake3::hash(b"hi").to_hex();
    let line = format!("\\             2  blake3/{of_hi}  a/b\\nc\n");
    assert!(text.contains(&line) && text.contains("  folder  a/\n") && text.contains("l -> a\n"), "{text}");
    let ended = bench.run(&[&host], &[&*id, "--list", "--json", "--file", "a"]).done();
    let entries = ended.json();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[1]["path"], &entries[1]["length"]), (&"a/b\nc".into(), &2.into()));
    bench
        .run(&[&host], &[&*id, "--list", "--file", "nothing"])
        .failed(1, "--file: nothing in the folder matches");
}

#[test]
fn command_lines_that_make_no_sense_with_a_folder_are_refused() {
    let (id, bench) = (format!("folder/{}", "ab".repeat(32)), Bench::new());
    for (arguments, told) in [
        (&[&*id, &id][..], "alone"),
        (&[&*id, "--range", "0-9"], "--range"),
        (&[&*id, "--into", "d"], "--into"),
        (&[&*id, "--json"], "--json"),
        (&[&*id, "--list", "-o", "d"], "--list"),
        (&[&*id, "--file", "/etc"], "--file"),
        (&["folder/ab"], "64 hex digits"),
        (&["blake3/ab", "--list"], "--list is for folders"),
        (&["blake3/ab", "--delete"], "--delete is for folders"),
        (&[&*id, "--delete"], "-o DIR"),
        (&[&*id, "--list", "--dry-run"], "-o DIR"),
    ] {
        bench.run::<&str>(&[], arguments).failed(2, told);
    }
    assert_eq!(bench.files(), Vec::<String>::new());
}

#[test]
fn hostile_lists_write_nothing_and_the_entry_is_named() {
    let file = |path: &str| {
        let hash = blake3::hash(b"hi").to_hex();
        format!("{{\"path\":\"{path}\",\"kind\":\"file\",\"length\":2,\"blake3\":\"{hash}\"}}\n")
    };
    for (list, told) in [
        (file("../x"), "line 1"),
        (file("/etc/x"), "line 1"),
        (file("a/../b"), "line 1"),
        (file("a\\u0000"), "line 1"),
        (file("b") + &file("a"), "line 2"),
        (file("a") + &file("a"), "line 2"),
        (file("a") + &file("a/b"), "a/b: "),
        (file("a").replace("\"length\":2", "\"length\":02"), "line 1"),
        ("not a list\n".into(), "line 1"),
        (file("a").trim_end().into(), "line 1"),
    ] {
        let (id, host) = with_list(&list);
        for arguments in [&[&*id][..], &[&*id, "--list"], &[&*id, "-o", "got"]] {
            let bench = Bench::new();
            let ended = bench.run(&[&host], arguments).failed(5, told);
            assert_eq!(bench.files(), Vec::<String>::new());
            assert!(
                !ended.stdout.len().is_multiple_of(512) || ended.stdout.is_empty(),
                "{list}: {:?}",
                ended.stdout
            );
        }
    }
    let (id, host) = with_list(&"x".repeat(70_000));
    Bench::new().run(&[&host], &[&*id]).failed(5, "70000 bytes");
}

#[test]
fn an_entry_that_lies_about_its_length_or_is_nowhere_is_named_and_the_rest_is_done() {
    let mut shared = Shared::default().file(b"b", b"right");
    shared.push(b"a", Kind::File { length: 3, root: *blake3::hash(b"hi").as_bytes(), exec: false });
    shared.contents.push(b"hi".to_vec());
    let id = shared.id();
    let ended = Bench::new().run(&[&shared.host()], &[&*id]).failed(5, "a: the content is 2 bytes long");
    let mut archive = tar::Archive::new(&ended.stdout[..]);
    assert_eq!(archive.entries().unwrap().map(|entry| entry.unwrap().size()).collect::<Vec<_>>(), [5]);

    let mut shared = Shared::default().file(b"b", b"right").file(b"gone", b"gone");
    let id = shared.id();
    shared.contents.retain(|bytes| bytes != b"gone");
    let ended = Bench::new().run(&[&shared.host()], &[&*id, "--timeout", "2s"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("gone: no peer offered any of it"), "{}", ended.stderr);
}

#[test]
fn links_that_lead_out_are_left_out_unless_that_is_asked_for() {
    let mut shared = Shared::default().link(b"in", b"a").link(b"out", b"../x").file(b"a", b"hi");
    let id = shared.id();
    let (host, bench) = (shared.host(), Bench::new());
    let count = |bytes: &[u8]| tar::Archive::new(bytes).entries().unwrap().count();
    let ended = bench.run(&[&host], &[&*id]).failed(7, "out: a link that leads out");
    assert_eq!(count(&ended.stdout), 2);
    assert_eq!(count(&bench.run(&[&host], &[&*id, "--links", "any"]).done().stdout), 3);
}

#[test]
fn a_folder_that_nobody_has_is_said_to_be_so() {
    let bench = Bench::new();
    let id = format!("folder/{}", "ab".repeat(32));
    bench.run(&[&Host::sharing(&[])], &[&*id, "--timeout", "1s"]).failed(3, "folder/abab");
}
