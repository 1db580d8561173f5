//! Seeds that are started again: what was hashed is not hashed again, and what changed meanwhile is not given to anybody.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs::{self, FileTimes, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::real::album::{Album, FILES};
use cjp2p_tests::real::server::Server;
use serde_json::Value;

/// What is told of the torrent whose path ends like this.
fn told(server: &Server, name: &str) -> Value {
    let is_it = |event: &&Value| {
        event["event"] == "torrent" && Path::new(event["path"].as_str().unwrap()).ends_with(name)
    };
    server.events.iter().find(is_it).cloned().unwrap()
}

/// Pieces that are right, that there are, and that were hashed.
fn pieces(server: &Server, name: &str) -> [u64; 3] {
    ["pieces_right", "pieces", "pieces_hashed"].map(|field| told(server, name)[field].as_u64().unwrap())
}

/// The bytes that a process has read from files and sockets so far.
fn bytes_read(server: &Server) -> u64 {
    let numbers = fs::read_to_string(format!("/proc/{}/io", server.pid())).unwrap();
    numbers.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// The records that are kept, once there are so many.
fn records(album: &Album, count: usize) -> Vec<PathBuf> {
    let begun = Instant::now();
    loop {
        let found: Vec<PathBuf> = fs::read_dir(album.path("serve/torrents"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.file_name().unwrap().as_encoded_bytes().starts_with(b"."))
            .collect();
        if found.len() >= count || begun.elapsed() > Duration::from_secs(60) {
            assert_eq!(found.len(), count);
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_second_start_hashes_nothing_and_gives_everything() {
    let album = Album::new();
    let mut first = album.seed();
    let [right, all, hashed] = pieces(&first, "album");
    assert_eq!([right, hashed], [all, all]);
    // It is written down beside the first upload, and not only at the end.
    records(&album, 1);
    first.end();
    let second = album.seed();
    assert_eq!(pieces(&second, "album"), [all, all, 0]);
    let total: usize = FILES.iter().map(|(_, length)| length).sum();
    // The blake3 ids are remembered too.
    assert!(bytes_read(&second) < total as u64 / 4, "{} bytes", bytes_read(&second));
    assert!(album.get(&second, &["t.torrent", "-o", "out"]).status().unwrap().success());
    assert!(album.is_there("out"));
}

#[test]
fn a_file_that_changed_while_no_server_ran_is_hashed_again_and_only_that() {
    let album = Album::new();
    let mut first = album.seed();
    let [_, all, _] = pieces(&first, "album");
    first.end();
    // One byte, and the times put back.
    let path = album.path("share/album/z");
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1_500_000).unwrap();
    file.write_all_at(&[!byte[0]], 1_500_000).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    drop(file);
    for _ in 0..2 {
        let mut server = album.seed();
        let [right, _, hashed] = pieces(&server, "album");
        // Those of `z`, one of which it shares with others; at the second start only the wrong one.
        assert_eq!(right, all - 1);
        assert!((1..=2_000_000 / (32 << 10) + 2).contains(&hashed), "{hashed} of {all}");
        let stalls = ["t.torrent", "-o", "out", "--stall", "2s", "--timeout", "2s"];
        let output = album.get(&server, &stalls).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("not talked with"), "{output:?}");
        server.end();
    }
    // And put right again.
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&byte, 1_500_000).unwrap();
    let server = album.seed();
    let [right, _, hashed] = pieces(&server, "album");
    assert!(right == all && hashed < all, "{right} of {all}, {hashed} hashed");
    assert!(album.get(&server, &["t.torrent", "-o", "out"]).status().unwrap().success());
    assert!(album.is_there("out"));
}

#[test]
fn a_record_that_is_damaged_or_of_something_else_does_no_harm() {
    let album = Album::new();
    let mut server = album.seed();
    let [_, all, _] = pieces(&server, "album");
    let record = records(&album, 1).remove(0);
    server.end();
    let whole = fs::read(&record).unwrap();
    let mut bit = whole.clone();
    let at = bit.len() - 40;
    bit[at] ^= 1;
    for damaged in [&b""[..], b"cjp2p seed 1\n", &bit, &whole[..whole.len() - 1], &vec![0; whole.len()]] {
        fs::write(&record, damaged).unwrap();
        let mut server = album.seed();
        assert_eq!(pieces(&server, "album"), [all, all, all]);
        server.end();
        assert!(fs::read(&record).unwrap() == whole, "it is written anew");
    }
    // A pipe is not waited for.
    fs::remove_file(&record).unwrap();
    assert!(Command::new("mkfifo").arg(&record).status().unwrap().success());
    let server = album.seed();
    assert_eq!(pieces(&server, "album"), [all, all, all]);
}

#[test]
fn a_torrent_that_is_made_is_hashed_once_and_again_when_something_changes() {
    let album = Album::new();
    fs::write(album.path("share/single"), content::bytes(9, 100_000)).unwrap();
    let start = || {
        let mut server = Server::start(&album.path("share"), &album.path("serve"), &["--magnets"]);
        while server.events.iter().filter(|event| event["event"] == "torrent").count() < 2 {
            server.wait_for("torrent");
        }
        server
    };
    let mut first = start();
    let (made, single) = (pieces(&first, "album"), pieces(&first, "single"));
    assert_eq!((made[0], made[2], single[2]), (made[1], made[1], single[1]));
    let magnets = ["album", "single"].map(|name| told(&first, name)["magnet"].clone());
    records(&album, 2);
    first.end();

    let mut second = start();
    assert_eq!((pieces(&second, "album")[2], pieces(&second, "single")[2]), (0, 0));
    assert_eq!(["album", "single"].map(|name| told(&second, name)["magnet"].clone()), magnets);
    let magnet = magnets[0].as_str().unwrap();
    assert!(album.get(&second, &[magnet, "-o", "out"]).status().unwrap().success());
    assert!(album.is_there("out"));
    second.end();

    let file = OpenOptions::new().write(true).open(album.path("share/single")).unwrap();
    file.write_all_at(b"x", 5).unwrap();
    drop(file);
    let third = start();
    assert_eq!(pieces(&third, "album")[2], 0);
    assert_eq!(pieces(&third, "single")[2], single[1]);
    assert!(told(&third, "single")["magnet"] != magnets[1]);
    assert_eq!(records(&album, 2).len(), 2);
}
