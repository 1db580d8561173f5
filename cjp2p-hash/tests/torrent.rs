//! Torrents: metainfo is made, printed as a magnet, and files are checked against it.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod common;

use std::fs;
use std::path::Path;

use common::{complaint, folder, run, stdout, text};

/// A folder `album` with files that share pieces.
fn album(at: &Path) {
    fs::create_dir_all(at.join("album/sub")).unwrap();
    fs::write(at.join("album/a"), vec![b'a'; 40_000]).unwrap();
    fs::write(at.join("album/empty"), "").unwrap();
    fs::write(at.join("album/sub/b"), vec![b'b'; 20_000]).unwrap();
    fs::write(at.join("album/sub/c"), vec![b'c'; 70_000]).unwrap();
}

#[test]
fn the_same_files_give_the_same_torrent_wherever_they_are() {
    let at = folder();
    album(at.path());
    // As computed by another program of the same files: one piece of SHA-1 after the other.
    let magnet =
        stdout(&run(at.path(), &["--write-torrent", "album.torrent", "album/", "--piece-length", "32K"]));
    assert_eq!(magnet, "magnet:?xt=urn:btih:2513fe8ad5fcd2861ebe84cc6297d20e4e92b1fe&dn=album&xl=130000\n");
    assert_eq!(stdout(&run(at.path(), &["--magnet", "album.torrent"])), magnet);
    let other = folder();
    album(other.path());
    let inside = other.path().join("album");
    let same = stdout(&run(&inside, &["--write-torrent", "../x", ".", "--piece-length", "32K"]));
    assert_eq!(same, magnet);
}

#[test]
fn what_is_said_beside_the_files_is_in_magnet_and_json() {
    let at = folder();
    fs::write(at.path().join("film"), "hi").unwrap();
    let args = [
        "--write-torrent",
        "t",
        "film",
        "--tracker",
        "http://t/announce",
        "--tracker",
        "udp://u:1",
        "--webseed",
        "http://w/film",
        "--private",
        "--json",
    ];
    let printed: serde_json::Value = serde_json::from_str(&stdout(&run(at.path(), &args))).unwrap();
    let id = format!("blake3/{}", common::HI_BLAKE3);
    assert_eq!(printed["id"], id);
    assert_eq!(
        (&printed["length"], &printed["pieces"], &printed["files"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(printed["private"], true);
    let magnet = printed["magnet"].as_str().unwrap();
    for part in [
        "&dn=film&",
        "&tr=http%3A%2F%2Ft%2Fannounce&tr=udp%3A%2F%2Fu%3A1&ws=http%3A%2F%2Fw%2Ffilm&x.cjp2p=blake3%2F8505",
    ] {
        assert!(magnet.contains(part), "{magnet}");
    }
    assert_eq!(printed["info_hash"], magnet["magnet:?xt=urn:btih:".len()..][..40]);
}

#[test]
fn a_file_is_replaced_only_with_force_and_never_by_half() {
    let at = folder();
    album(at.path());
    fs::write(at.path().join("t"), "mine").unwrap();
    let refused = run(at.path(), &["--write-torrent", "t", "album"]);
    assert_eq!(refused.status.code(), Some(7));
    assert_eq!(complaint(&refused), "t: is there already; --force replaces it");
    assert_eq!(fs::read(at.path().join("t")).unwrap(), b"mine");
    stdout(&run(at.path(), &["--write-torrent", "t", "album", "--force"]));
    stdout(&run(at.path(), &["--magnet", "t"]));
    let nothing = run(at.path(), &["--write-torrent", "new", "missing"]);
    assert_eq!(nothing.status.code(), Some(1));
    fs::write(at.path().join("empty"), "").unwrap();
    let empty = run(at.path(), &["--write-torrent", "new", "empty"]);
    assert_eq!((empty.status.code(), complaint(&empty)), (Some(1), "there are no bytes in it".into()));
    assert!(!at.path().join("new").exists());
    assert_eq!(run(at.path(), &["--write-torrent", "new", "album", "empty"]).status.code(), Some(2));
    assert_eq!(
        run(at.path(), &["--write-torrent", "new", "album", "--tracker", "ftp://x"]).status.code(),
        Some(2)
    );
    assert_eq!(run(at.path(), &["--tracker", "http://x/", "album/a"]).status.code(), Some(2));
}

#[test]
fn checking_says_which_files_are_right() {
    let at = folder();
    album(at.path());
    stdout(&run(at.path(), &["--write-torrent", "t", "album", "--piece-length", "16K"]));
    let check = |args: &[&str]| run(at.path(), &[&["-c", "--torrent", "t"], args].concat());
    let all = "./album/a: OK\n./album/empty: OK\n./album/sub/b: OK\n./album/sub/c: OK\n";
    assert_eq!(stdout(&check(&[])), all);
    assert_eq!(stdout(&check(&["--quiet", "."])), "");

    fs::write(at.path().join("album/sub/c"), [vec![b'c'; 69_999], b"x".to_vec()].concat()).unwrap();
    let wrong = check(&[]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(text(&wrong.stdout), all.replace("c: OK", "c: FAILED"));

    fs::remove_file(at.path().join("album/sub/b")).unwrap();
    fs::remove_file(at.path().join("album/empty")).unwrap();
    let missing = check(&[]);
    // The last piece of `a` and the first of `c` cannot be judged without `b`.
    let wanted = "./album/a: FAILED\n./album/empty: FAILED open or read\n./album/sub/b: FAILED open or read\n\
                  ./album/sub/c: FAILED\n";
    assert_eq!((missing.status.code(), &*text(&missing.stdout)), (Some(1), wanted));
    let status = check(&["--status"]);
    assert_eq!((status.status.code(), status.stdout, text(&status.stderr)), (Some(1), vec![], String::new()));
    let nowhere = check(&["nowhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn what_is_no_torrent_is_named_and_refused() {
    let at = folder();
    fs::write(
        at.path().join("t"),
        "d4:infod6:lengthi1e4:name2:..12:piece lengthi1e6:pieces20:hhhhhhhhhhhhhhhhhhhhee",
    )
    .unwrap();
    let refused = run(at.path(), &["--magnet", "t"]);
    assert_eq!(
        (refused.status.code(), complaint(&refused)),
        (Some(1), "t: names a path with a part . or ..".into())
    );
    fs::write(at.path().join("t"), "hello").unwrap();
    let refused = run(at.path(), &["-c", "--torrent", "t"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).starts_with("t: not the bencode of a torrent"), "{refused:?}");
}
