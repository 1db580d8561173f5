//! Folders by the real programs: shared, recreated with every odd name, as a tar stream too, and brought up to date.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use cjp2p_tests::content;
use cjp2p_tests::lab::scratch::in_memory;
use cjp2p_tests::real::bench::Bench;
use cjp2p_tests::real::server::{Server, peak_memory};
use cjp2p_tests::real::{end_of, tool};
use cjp2p_wire::folder::{Builder, Entry, FolderPath, Kind, reference_of};
use data_encoding::HEXLOWER;

/// Entries of the folder with odd names, roughly.
const ENTRIES: usize = 2000;

/// Links in it that lead out, or may: the way down could be a link itself.
const OUT: [&str; 3] = ["absolute", "out", "up"];

/// Something in a folder.
#[derive(Debug, PartialEq, Eq)]
enum Thing {
    File(Vec<u8>, bool),
    Link(PathBuf),
    Folder,
}

/// What is in a folder, with times in nanoseconds since 1970 if these matter.
fn found(folder: &Path, with_times: bool) -> BTreeMap<PathBuf, (Thing, i128)> {
    let mut things = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            let thing = if kind.is_symlink() {
                Thing::Link(fs::read_link(&path).unwrap())
            } else if kind.is_dir() {
                folders.push(path.clone());
                Thing::Folder
            } else {
                Thing::File(fs::read(&path).unwrap(), kind.permissions().mode() & 0o111 == 0o111)
            };
            let time = i128::from(kind.mtime()) * 1_000_000_000 + i128::from(kind.mtime_nsec());
            let below = path.strip_prefix(folder).unwrap().to_owned();
            things.insert(below, (thing, if with_times { time } else { 0 }));
        }
    }
    things
}

/// Fails where two folders differ, and names the first difference only.
fn expect_same(one: &Path, other: &Path, with_times: bool) {
    let (one, other) = (found(one, with_times), found(other, with_times));
    for path in one.keys().chain(other.keys()) {
        assert!(
            one.get(path) == other.get(path),
            "{path:?}: {:?}, {:?}",
            shown(&one, path),
            shown(&other, path)
        );
    }
}

fn shown(things: &BTreeMap<PathBuf, (Thing, i128)>, path: &Path) -> Option<String> {
    things.get(path).map(|(thing, time)| {
        let kind = match thing {
            Thing::File(bytes, exec) => format!("{} bytes, exec {exec}", bytes.len()),
            other => format!("{other:?}"),
        };
        format!("{kind}, time {time}")
    })
}

/// A folder with every odd name and kind of entry, some 2,000 in all.
fn make_odd(folder: &Path) {
    let letters: [&[u8]; 12] = [
        b"-rf",
        b"trailing ",
        b" leading",
        b"new\nline",
        b"tab\tquote\"back\\slash",
        b"\xff\xfe no UTF-8 \xc3",
        "combined e\u{301}".as_bytes(),
        "composed \u{e9}".as_bytes(),
        b"Case",
        b"case",
        b"*?[a-z]",
        b"\x01\x1b[31m\x7f",
    ];
    let name = |bytes: &[u8]| folder.join(OsStr::from_bytes(bytes));
    for (nth, odd) in letters.iter().enumerate() {
        let within = name(odd).join(OsStr::from_bytes(odd));
        fs::create_dir_all(&within).unwrap();
        for file in 0..ENTRIES / letters.len() {
            let mut path = odd.to_vec();
            path.extend_from_slice(format!(".{file}").as_bytes());
            let path = within.join(OsString::from_vec(path));
            // Some are equal, some empty, and a few longer than a block.
            let length = [0, 5, 700, 1024, 4096, 10_000][file % 6];
            fs::write(&path, content::bytes((file % 60) as u64, length)).unwrap();
            if file % 7 == nth % 7 {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
    let longest = vec![b'x'; 255];
    fs::create_dir(name(&longest)).unwrap();
    fs::write(name(&longest).join(OsStr::from_bytes(&longest)), "long").unwrap();
    fs::create_dir_all(name(b"empty/within/it")).unwrap();
    fs::write(name(b"empty.not"), "sorted beside it").unwrap();
    let sparse = File::create(name(b"sparse")).unwrap();
    sparse.set_len(3_000_000).unwrap();
    for (link, target) in [
        ("in", "case"),
        ("circle", "circle"),
        ("up", "empty/within/../.."),
        ("dangling", "nowhere at all"),
        ("empty/back", "../empty/back"),
        ("odd", "new\nline/-rf"),
    ] {
        symlink(target, folder.join(link)).unwrap();
    }
    symlink("/etc/hostname", name(b"absolute")).unwrap();
    symlink("../../outside", name(b"out")).unwrap();
    let year = Duration::from_secs(365 * 86400);
    for (path, time) in [
        ("sparse", SystemTime::UNIX_EPOCH - 20 * year),
        ("empty.not", SystemTime::UNIX_EPOCH + 90 * year),
        ("empty/within", SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_890_123)),
    ] {
        let times = FileTimes::new().set_modified(time);
        File::open(folder.join(path)).unwrap().set_times(times).unwrap();
    }
}

/// The id under which a folder was published.
fn published(server: &mut Server) -> String {
    let event = server.events.iter().find(|event| event["event"] == "published").cloned();
    event.unwrap_or_else(|| server.wait_for("published"))["id"].as_str().unwrap().to_owned()
}

fn expect_done(output: &Output) {
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_folder_with_every_odd_name_is_recreated_in_a_folder_and_by_tar() {
    let bench = Bench::new();
    make_odd(&bench.path("share"));
    let mut server = bench.serve(&["--hidden"]);
    let (id, peer) = (published(&mut server), server.address.to_string());
    expect_done(&bench.get(&peer, &[&id, "-o", "copy", "--links", "any"]));
    expect_same(&bench.path("share"), &bench.path("copy"), false);
    // Links that lead out are left out, and said, unless they are wanted.
    let without = bench.get(&peer, &[&id, "-o", "without"]);
    assert_eq!(without.status.code(), Some(7));
    let told = String::from_utf8(without.stderr).unwrap();
    assert!(OUT.iter().all(|link| told.contains(link)), "{told}");
    for link in OUT {
        assert!(fs::symlink_metadata(bench.path("without").join(link)).is_err());
        symlink(fs::read_link(bench.path("share").join(link)).unwrap(), bench.path("without").join(link))
            .unwrap();
    }
    expect_same(&bench.path("share"), &bench.path("without"), false);
    // As a stream.
    fs::create_dir(bench.path("untarred")).unwrap();
    let mut get = tool("cjp2p-get", &bench.path("get-state"))
        .args(["--quiet", "--peer", &peer, &id, "--links", "any"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tar = Command::new("tar")
        .args(["-x", "-P", "-f", "-"])
        .current_dir(bench.path("untarred"))
        .stdin(get.stdout.take().unwrap())
        .spawn()
        .unwrap();
    assert!(end_of(&mut tar).success() && end_of(&mut get).success());
    expect_same(&bench.path("share"), &bench.path("untarred"), false);
}

#[test]
fn times_before_1970_and_after_2038_are_recreated_where_the_list_has_them() {
    let bench = Bench::new();
    make_odd(&bench.path("share"));
    let mut server = bench.serve(&["--hidden", "--times"]);
    let (id, peer) = (published(&mut server), server.address.to_string());
    expect_done(&bench.get(&peer, &[&id, "-o", "copy", "--links", "any"]));
    // A list has whole milliseconds.
    let millis = |folder: &str| {
        let mut things = found(&bench.path(folder), true);
        things.values_mut().for_each(|(_, time)| *time = time.div_euclid(1_000_000));
        things
    };
    let (shared, copied) = (millis("share"), millis("copy"));
    for path in shared.keys().chain(copied.keys()) {
        assert!(
            shared.get(path) == copied.get(path),
            "{path:?}: {:?}, {:?}",
            shown(&shared, path),
            shown(&copied, path)
        );
    }
    let (before, after) = (&shared[Path::new("sparse")], &shared[Path::new("empty.not")]);
    assert!(before.1 < -600_000_000_000 && after.1 > i128::from(u32::MAX) / 2 * 1000);
}

#[test]
fn a_mirror_of_ten_thousand_files_moves_what_changed_and_little_else() {
    const FILES: usize = 10_000;
    const LENGTH: usize = 3000;
    let folder = in_memory().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = |n: usize| path("share").join((n / 500).to_string()).join(format!("{n}.txt"));
    for n in 0..FILES {
        if n % 500 == 0 {
            fs::create_dir_all(file(n).parent().unwrap()).unwrap();
        }
        fs::write(file(n), content::bytes(n as u64, 40 + n % 300)).unwrap();
    }
    // What a server of its own gives for one run of the mirror, in bytes of content and lists.
    let mirror = || {
        let mut server = Server::start(&path("share"), &path("serve-state"), &[]);
        let id = published(&mut server);
        let output = tool("cjp2p-get", &path("get-state"))
            .args(["--quiet", "--peer", &server.address.to_string(), &id, "--delete", "-o"])
            .arg(path("copy"))
            .output()
            .unwrap();
        expect_done(&output);
        expect_same(&path("share"), &path("copy"), false);
        server.end();
        let served = server.events.iter().filter(|event| event["event"] == "served");
        served.map(|event| event["bytes"].as_u64().unwrap()).max().unwrap_or(0)
    };
    let all = mirror();
    assert!(all > 1_500_000, "{all}");
    for n in [3, 4444, 9999] {
        fs::write(file(n), content::bytes(n as u64, LENGTH)).unwrap();
    }
    fs::write(path("share/3/added"), content::bytes(77_777, LENGTH)).unwrap();
    fs::remove_file(file(8000)).unwrap();
    fs::rename(file(6000), path("share/15/renamed")).unwrap();
    let moved = mirror();
    let changed = 4 * LENGTH as u64;
    let entries = 6;
    assert!(
        moved <= changed * 11 / 10 + (64 << 10) * (entries + 1),
        "{moved} bytes for {changed} that changed"
    );
    assert_eq!(mirror(), 0, "nothing moves where nothing changed");
}

#[test]
fn a_path_in_a_folder_is_a_file_or_a_folder_by_itself() {
    let bench = Bench::new();
    bench.share("top", b"top");
    bench.share("small/of it/a", b"aa");
    bench.share("small/of it/deeper/b", b"bb");
    bench.share("small/of it and more", b"c");
    // Too long to be within the list of the other.
    for n in 0..200 {
        bench.share(&format!("large/{n}"), format!("file {n}").as_bytes());
    }
    let mut server = bench.serve(&[]);
    let (id, peer) = (published(&mut server), server.address.to_string());
    for (path, copy) in [("small/of it", "one"), ("large", "two"), ("small/", "three")] {
        expect_done(&bench.get(&peer, &[&format!("{id}/{path}"), "-o", copy]));
        expect_same(&bench.path("share").join(path), &bench.path(copy), false);
    }
    let file = bench.get(&peer, &[&format!("{id}/small/of it/deeper/b")]);
    expect_done(&file);
    assert_eq!(file.stdout, b"bb");
    let list = bench.get(&peer, &[&format!("{id}/small/of it"), "--list"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(
        list.lines().map(|line| line.rsplit("  ").next().unwrap()).collect::<Vec<_>>(),
        ["a", "deeper/", "deeper/b"]
    );
    let none = bench.get(&peer, &[&format!("{id}/small/of"), "-o", "none"]);
    assert_eq!(none.status.code(), Some(3));
    assert_eq!(String::from_utf8(none.stderr).unwrap().lines().count(), 1);
    assert_eq!(bench.get(&peer, &[&format!("{id}/../up"), "-o", "none"]).status.code(), Some(2));
}

/// `CJP2P_ENTRIES=10000000 cargo test --release -p cjp2p-tests --test process folders::a_list` is the long form; it takes some gigabytes of
/// memory for the lists.
#[test]
fn a_list_of_any_length_is_printed_within_64_mib() {
    const IN_A_FOLDER: u64 = 1000;
    let entries: u64 = std::env::var("CJP2P_ENTRIES").map_or(300_000, |text| text.parse().unwrap());
    let bench = Bench::new();
    let put = |text: &[u8]| {
        let list = reference_of(text);
        let name = HEXLOWER.encode(&list.root);
        let folder = bench.path("share").join(&name[..2]);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), text).map(|()| list)
    };
    let mut builder = Builder::new(put);
    for n in 0..entries {
        let folder = n / IN_A_FOLDER;
        if n % IN_A_FOLDER == 0 {
            let path = FolderPath::new(format!("{folder:08}").as_bytes()).unwrap();
            builder.push(&Entry { path, kind: Kind::Folder { list: None }, mtime: None }).unwrap();
        }
        let path = FolderPath::new(format!("{folder:08}/{n:010}").as_bytes()).unwrap();
        let root = *blake3::hash(&n.to_le_bytes()).as_bytes();
        builder
            .push(&Entry { path, kind: Kind::File { length: 7, root, exec: false }, mtime: None })
            .unwrap();
    }
    let id = format!("folder/{}", HEXLOWER.encode(&builder.finish().unwrap().root));
    let server = bench.serve(&[]);
    let mut get = tool("cjp2p-get", &bench.path("get-state"))
        .args(["--quiet", "--no-share", "--peer", &server.address.to_string(), &id, "--list"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(get.stdout.take().unwrap());
    let (mut count, mut most) = (0, 0);
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        count += 1;
        if count % 10_000 == 0 {
            most = most.max(peak_memory(get.id()));
        }
        line.clear();
    }
    assert!(end_of(&mut get).success());
    assert_eq!(count, entries + entries.div_ceil(IN_A_FOLDER));
    eprintln!("{entries} entries: at most {} KiB resident", most >> 10);
    assert!(most > 0 && most <= 64 << 20, "{most} bytes resident");
}
