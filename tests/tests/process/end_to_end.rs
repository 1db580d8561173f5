//! The tools together, as a person uses them: a folder shared, and files fetched from it.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::real::bench::Bench;
use cjp2p_tests::real::host::Host;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;
use cjp2p_tests::sim::liars::{Liar, Lie};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_hashed_here_is_fetched_there_by_every_id_and_by_name() {
    let bench = Bench::new();
    let lengths = [0, 1, 4095, 4096, 4097, (1 << 20) + 1];
    let files: Vec<(String, Vec<u8>)> = lengths
        .iter()
        .map(|&length| (format!("file {length}.bin"), content::bytes(length as u64, length)))
        .collect();
    for (name, bytes) in &files {
        bench.share(name, bytes);
    }
    let server = bench.serve(&[]);
    let peer = server.address.to_string();
    for (name, bytes) in &files {
        let hashed = tool("cjp2p-hash", &bench.path("get-state"))
            .args(["-a", "all"])
            .arg(bench.path("share").join(name))
            .output()
            .expect("cjp2p-hash runs");
        let lines = String::from_utf8(hashed.stdout).expect("text");
        let mut ids: Vec<String> =
            lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        assert_eq!(ids.len(), 2, "{lines}");
        let served = server.ids(name);
        assert!(ids.iter().all(|id| served.contains(id)), "{ids:?} {served:?}");
        ids.push(name.clone());
        for id in ids {
            let output = bench.get(&peer, &["--unverified", &id]);
            assert_done(&output);
            assert!(output.stdout == *bytes, "{id}: {} bytes", output.stdout.len());
        }
    }
}

#[test]
fn ten_thousand_files_are_shared_remembered_and_fetched_in_one_command() {
    const FILES: usize = 10_000;
    let bench = Bench::new();
    let bytes = |n: usize| content::bytes(n as u64, n % 3000);
    for n in 0..FILES {
        bench.share(&format!("{}/{n}", n / 500), &[&n.to_le_bytes()[..], &bytes(n)].concat());
    }
    let first = bench.serve(&[]);
    assert_eq!(first.events.iter().filter(|event| event["event"] == "shared").count(), FILES);
    let ready = first.events.last().cloned().expect("it is ready");
    assert_eq!(ready["hashed"], FILES, "{ready}");
    drop(first);

    let again = bench.serve(&[]);
    let ready = again.events.last().cloned().expect("it is ready");
    assert_eq!(ready["hashed"], 0, "{ready}");
    let ids: Vec<String> = (0..FILES).map(|n| again.ids(&n.to_string())[0].clone()).collect();
    fs::write(bench.path("list"), ids.join("\n")).expect("a list");

    let list = fs::File::open(bench.path("list")).expect("the list");
    let output = tool("cjp2p-get", &bench.path("get-state"))
        .args(["--quiet", "--peer", &again.address.to_string(), "-o", "copies", "-"])
        .current_dir(bench.folder())
        .stdin(Stdio::from(list))
        .output()
        .expect("cjp2p-get runs");
    assert_done(&output);
    for (n, id) in ids.iter().enumerate() {
        let copy = fs::read(bench.path("copies").join(id)).expect("the copy is there");
        assert!(copy == [&n.to_le_bytes()[..], &bytes(n)].concat(), "{n}");
    }
}

/// Fetches beside these liars on real sockets, and expects the file whole and nothing wrong anywhere.
fn fetch_beside(lies: &[Lie], id_of: fn(&Server) -> String) {
    let bench = Bench::new();
    let bytes = content::bytes(7, 3_000_000);
    bench.share("file", &bytes);
    let server = bench.serve(&[]);
    let id = id_of(&server);
    let liars: Vec<Host> = lies
        .iter()
        .map(|&lie| {
            let bytes = bytes.clone();
            Host::start(move || Liar::new(lie, &bytes, 1))
        })
        .collect();
    let mut arguments: Vec<String> = liars.iter().map(|liar| format!("--peer={}", liar.address)).collect();
    arguments.extend(["-o".into(), "copy".into(), id]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_done(&bench.get(&server.address.to_string(), &arguments));
    assert!(fs::read(bench.path("copy")).expect("the copy") == bytes);
    assert_eq!(entries(bench.folder()), ["copy", "get-state", "serve-state", "share"]);
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn peers_that_lie_beside_an_honest_server_are_survived_by_blake3() {
    let lies = [
        Lie::Content,
        Lie::Tree,
        Lie::Length(3_000_001),
        Lie::LengthThenSilence(77),
        Lie::Garbage,
        Lie::Silence,
        Lie::Echo,
    ];
    fetch_beside(&lies, |server| server.ids("file")[0].clone());
}

#[test]
fn peers_that_lie_beside_an_honest_server_are_survived_by_sha256() {
    let lies = [
        Lie::Content,
        Lie::Tree,
        Lie::Length(2_999_999),
        Lie::HintOfNothing,
        Lie::HintOfOther,
        Lie::OtherContent,
        Lie::Garbage,
        Lie::Silence,
    ];
    fetch_beside(&lies, |server| server.ids("file")[1].clone());
}

#[test]
fn by_its_sha256_hash_content_is_checked_while_it_comes_by_the_tree_that_the_server_names() {
    let bench = Bench::new();
    let bytes = content::bytes(8, 3_000_000);
    bench.share("file", &bytes);
    let server = bench.serve(&[]);
    let [blake3, sha256] = &server.ids("file")[..] else { panic!("two ids") };
    let output = tool("cjp2p-get", &bench.path("get-state"))
        .args(["-v", "--json", "--peer", &server.address.to_string(), "-o", "copy", sha256])
        .current_dir(bench.folder())
        .output()
        .expect("cjp2p-get runs");
    assert_done(&output);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&format!("{sha256}: checked while it comes by the tree of {blake3}")), "{told}");
    let complete: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let tree = complete["received"].as_u64().expect("a number") - bytes.len() as u64;
    // All of the tree would be 24 KB; groups that come whole need only what is above their leaves.
    assert!((4_000..200_000).contains(&tree), "{complete}");
    assert!(fs::read(bench.path("copy")).expect("the copy") == bytes);
}

/// Kills a fetch of this id to `copy` when so many bytes have come, or nearly.
fn kill_a_fetch(bench: &Bench, server: &Server, id: &str, at: u64) {
    let mut child = tool("cjp2p-get", &bench.path("get-state"))
        .args(["--quiet", "--peer", &server.address.to_string(), "-o", "copy", id])
        .current_dir(bench.folder())
        .spawn()
        .expect("cjp2p-get starts");
    let blocks = || fs::metadata(bench.path("copy.cjp2p-part")).map_or(0, |found| found.blocks());
    while blocks() * 512 < at {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it was killed");
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it is killed");
    child.wait().expect("it ended");
}

#[test]
fn a_fetch_by_sha256_that_was_killed_is_hashed_from_its_beginning_when_it_goes_on() {
    const MIB: u64 = 1 << 20;
    let bench = Bench::new();
    // Several times what is hashed at a time.
    let bytes = content::bytes(9, 41 * MIB as usize + 5);
    bench.share("file", &bytes);
    let slow = bench.serve(&["--rate", "24M"]);
    let id = slow.ids("file")[1].clone();
    let get = |server: &Server| {
        let output = tool("cjp2p-get", &bench.path("get-state"))
            .args(["--quiet", "--json", "--peer", &server.address.to_string(), "-o", "copy", &id])
            .current_dir(bench.folder())
            .output()
            .expect("cjp2p-get runs");
        assert_done(&output);
        assert!(fs::read(bench.path("copy")).expect("the copy") == bytes);
        fs::remove_file(bench.path("copy")).expect("the copy is removed");
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        ["resumed", "received"].map(|key| line[key].as_u64().expect("a number"))
    };

    kill_a_fetch(&bench, &slow, &id, 20 * MIB);
    let [resumed, received] = get(&slow);
    assert!(resumed > 18 * MIB && received < 30 * MIB, "{resumed} was there, {received} came");

    // What was hashed while the rest came turns out wrong, and is fetched and hashed anew.
    kill_a_fetch(&bench, &slow, &id, 20 * MIB);
    drop(slow);
    let server = bench.serve(&[]);
    let partial = OpenOptions::new().write(true).open(bench.path("copy.cjp2p-part")).expect("the partial");
    partial.write_all_at(&[!bytes[9 << 20]], 9 << 20).expect("a byte is changed");
    let [_, received] = get(&server);
    assert!(received > 41 * MIB, "{received} came");

    // To a pipe it goes by another file.
    assert!(bench.get(&server.address.to_string(), &[&id]).stdout == bytes);
}

/// A file so deep below `folder` that no system call takes its path.
fn bury(folder: &Path, bytes: &[u8]) {
    let name = "n".repeat(100);
    let mut at: OwnedFd = fs::File::open(folder).expect("a folder").into();
    for _ in 0..50 {
        mkdirat(&at, &name, Mode::RWXU).expect("a folder");
        at = openat(&at, &name, OFlags::DIRECTORY, Mode::empty()).expect("a folder");
    }
    let file = openat(&at, "file", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).expect("a file");
    rustix::io::write(file, bytes).expect("it is written");
}

#[test]
fn a_folder_is_copied_by_its_list_with_all_that_is_shared_of_it() {
    let bench = Bench::new();
    for name in ["a", "sub/b", ".hidden", ".git/config", "sub/.c", "d.cjp2p-part"] {
        bench.share(name, name.as_bytes());
    }
    bury(&bench.path("share"), b"down there");
    let plain: &[&[u8]] = &[b"a", b"down there", b"sub/b"];
    let hidden: &[&[u8]] = &[b".git/config", b".hidden", b"a", b"down there", b"sub/.c", b"sub/b"];
    for (options, contents) in [(&[][..], plain), (&["--hidden"][..], hidden)] {
        let list = tool("cjp2p-hash", &bench.path("get-state"))
            .current_dir(bench.folder())
            .args(["-r", "share"])
            .args(options)
            .output()
            .expect("cjp2p-hash runs");
        assert_done(&list);
        fs::write(bench.path("LIST"), &list.stdout).expect("a file");
        let server = bench.serve(options);
        let mut get = tool("cjp2p-get", &bench.path("get-state"));
        get.args(["--quiet", "--peer", &server.address.to_string(), "--into", "mirror", "-"]);
        let list = fs::File::open(bench.path("LIST")).expect("a file");
        assert_done(&get.stdin(list).current_dir(bench.folder()).output().expect("cjp2p-get runs"));
        let mirror = bench.path("mirror");
        let mut copied: Vec<Vec<u8>> = (fs::read_dir(mirror.join("blake3")).expect("a folder"))
            .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
            .collect();
        copied.sort();
        assert_eq!(copied, contents);
        fs::remove_dir_all(mirror).expect("it is removed");
    }
}

#[test]
fn a_changed_file_is_shared_under_its_new_id_only() {
    let bench = Bench::new();
    bench.share("file", b"before");
    let mut server = bench.serve(&[]);
    let before = server.ids("file")[0].clone();
    bench.share("file", b"after, and longer");
    server.wait_for("changed");
    let shared = server.wait_for("shared");
    let after = shared["ids"][0].as_str().expect("an id").to_owned();
    assert_ne!(before, after);
    let peer = server.address.to_string();
    assert_eq!(bench.get(&peer, &[&after]).stdout, b"after, and longer");
    let gone = bench.get(&peer, &["--timeout", "1s", &before]);
    assert_eq!(
        gone.status.code(),
        Some(8),
        "it is said to be withdrawn: {}",
        String::from_utf8_lossy(&gone.stderr)
    );
    assert!(gone.stdout.is_empty());
}
