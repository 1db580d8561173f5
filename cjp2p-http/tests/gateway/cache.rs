//! What is kept, for how long, and that nothing of it is believed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use cjp2p_tests::content;

use crate::support::{Gateway, room, sharing, until};

#[test]
fn what_was_fetched_is_there_for_the_next_process_though_nobody_has_it_any_more() {
    for length in [5000, 3_000_000] {
        let bytes = content::bytes(3, length);
        let peer = sharing(std::slice::from_ref(&bytes));
        let paths = [format!("/{}", content::blake3_id(&bytes)), format!("/{}", content::sha256_id(&bytes))];
        let gateway = Gateway::start(&peer, &[]);
        for path in &paths {
            assert!(gateway.get(path, "").body == bytes);
        }
        let folder = gateway.end();
        let nobody = sharing(&[]);
        let gateway = Gateway::start_in(folder, &nobody, &[]);
        for path in &paths {
            let answer = gateway.get(path, "");
            assert!(answer.status == 200 && answer.body == bytes, "{path}: {}", answer.status);
        }
    }
}

#[test]
fn what_is_wrong_in_the_cache_is_fetched_again_and_never_sent() {
    let bytes = content::bytes(4, 5_000_000);
    let peer = sharing(std::slice::from_ref(&bytes));
    let path = format!("/{}", content::blake3_id(&bytes));
    let gateway = Gateway::start(&peer, &[]);
    assert!(gateway.get(&path, "").body == bytes);
    // Without a chance to write anything down.
    let mut folder = gateway.kill();
    let mut peer = Some(peer);
    for has_source in [true, false] {
        // It would be asked again: it is remembered.
        let source = peer.take().filter(|_| has_source);
        let cache = folder.path().join("cache");
        let files = fs::read_dir(&cache).unwrap().filter_map(Result::ok).map(|file| file.path());
        let file =
            files.into_iter().find(|path| path.extension().is_some_and(|end| end == "cjp2p-part")).unwrap();
        let file = OpenOptions::new().write(true).open(file).unwrap();
        file.write_all_at(&[!bytes[2_000_000]], 2_000_000).unwrap();
        let nobody = sharing(&[]);
        let gateway = Gateway::start_in(folder, source.as_ref().unwrap_or(&nobody), &[]);
        let part = gateway.get(&path, "Range: bytes=4500000-4500009\r\n");
        assert!(part.status == 206 && part.body == bytes[4_500_000..4_500_010], "what is right is there");
        let answer = gateway.get(&path, "");
        assert_eq!((answer.status, answer.is_whole), (200, has_source));
        assert!(bytes.starts_with(&answer.body) && answer.body.len() <= bytes.len());
        folder = gateway.end();
    }
}

#[test]
fn the_cache_is_held_to_its_bound_and_what_was_read_last_stays() {
    let contents: Vec<Vec<u8>> = (0..4).map(|n| content::bytes(10 + n, 1_000_000)).collect();
    let peer = sharing(&contents);
    let gateway = Gateway::start(&peer, &["--cache", "2500000"]);
    for bytes in &contents {
        assert!(gateway.get(&format!("/{}", content::blake3_id(bytes)), "").body == *bytes);
    }
    until("the cache stays too large", || room(&gateway.cache()) <= 2_700_000);
    let names: Vec<String> = fs::read_dir(gateway.cache())
        .unwrap()
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with("part"))
        .collect();
    let is_there = |bytes: &[u8]| {
        let id = content::blake3_id(bytes).to_string().replace('/', "-");
        names.iter().any(|name| name.starts_with(&id))
    };
    assert_eq!(contents.iter().map(|bytes| is_there(bytes)).collect::<Vec<_>>(), [false, false, true, true]);
}

#[test]
fn a_cache_of_nothing_keeps_nothing() {
    let bytes = content::bytes(5, 2_000_000);
    let peer = sharing(std::slice::from_ref(&bytes));
    let gateway = Gateway::start(&peer, &["--cache", "0"]);
    let path = format!("/{}", content::blake3_id(&bytes));
    assert!(gateway.get(&path, "").body == bytes);
    assert_eq!(fs::read_dir(gateway.cache()).unwrap().count(), 0);
    assert!(gateway.get(&path, "Range: bytes=5-6\r\n").body == bytes[5..7]);
}

#[test]
fn a_folder_that_is_removed_meanwhile_is_an_error_and_no_wrong_answer() {
    let contents: Vec<Vec<u8>> = (0..2).map(|n| content::bytes(20 + n, 300_000)).collect();
    let peer = sharing(&contents);
    let gateway = Gateway::start(&peer, &[]);
    let [one, other] = [0, 1].map(|n| format!("/{}", content::blake3_id(&contents[n])));
    assert!(gateway.get(&one, "").body == contents[0]);
    fs::remove_dir_all(gateway.cache()).unwrap();
    for path in [&one, &other] {
        let answer = gateway.get(path, "");
        assert_eq!(answer.status, 500, "{path}");
        assert!(String::from_utf8_lossy(&answer.body).contains("the cache cannot be used"));
    }
    assert_eq!(gateway.get("/metrics", "").status, 200);
}

#[test]
fn two_processes_do_not_use_one_cache() {
    let peer = sharing(&[]);
    let gateway = Gateway::start(&peer, &[]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cjp2p-http"))
        .env("CJP2P_BOOTSTRAP", "")
        .env("CJP2P_NO_LAN", "1")
        .args(["--listen", "0", "--udp", "127.0.0.1:0", "--state"])
        .arg(gateway.cache().join("state"))
        .arg("--cache-dir")
        .arg(gateway.cache())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
}

#[test]
fn of_a_content_longer_than_the_cache_what_was_read_is_given_up_and_all_of_it_is_sent() {
    let bytes = content::bytes(31, 100 << 20);
    let peer = sharing(std::slice::from_ref(&bytes));
    let gateway = Gateway::start(&peer, &["--cache", "8M"]);
    let mut client = gateway.connect();
    client.send(&format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", content::blake3_id(&bytes)));
    let mut most = 0;
    let answer = client.answer_while(|| most = most.max(room(&gateway.cache())));
    assert!(answer.is_whole && answer.body == bytes);
    assert!(most < 92 << 20, "{most} bytes were in a cache of 8 MiB");
    until("the cache stays too large", || room(&gateway.cache()) <= 9 << 20);
}
