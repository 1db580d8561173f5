//! Fetching from honest peers: to files, to standard output, one and many.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::io::Write;
use std::process::Stdio;

use cjp2p_tests::content::{self, blake3_id, sha256_id};

use crate::support::{Bench, Ended, Host, assert_content};

#[test]
fn content_of_every_length_arrives_by_either_id_in_a_file_and_in_a_pipe() {
    let lengths = [0, 1, 4095, 4096, 4097, 65_537, 524_289, (1 << 20) + 1];
    let contents: Vec<Vec<u8>> = lengths.iter().map(|length| content::bytes(1, *length)).collect();
    let host = Host::sharing(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for bytes in &contents {
        for id in [blake3_id(bytes), sha256_id(bytes)] {
            let (bench, id) = (Bench::new(), id.to_string());
            let ended = bench.run(&[&host], &[&id, "-o", "file"]).done();
            assert_eq!(ended.stdout, b"");
            assert_content(&bench.path("file"), bytes);
            assert_eq!(bench.files(), ["file"], "{} bytes", bytes.len());
            let ended = bench.run(&[&host], &[&id]).done();
            assert!(ended.stdout == *bytes, "{id}: {} bytes", bytes.len());
        }
    }
}

#[test]
fn empty_content_needs_no_peer() {
    let bench = Bench::new();
    bench.run(&[], &[&blake3_id(b"").to_string(), "-o", "file"]).done();
    assert_eq!(bench.read("file"), b"");
}

#[test]
fn all_spellings_of_an_id_are_understood() {
    let bytes = content::bytes(2, 10_000);
    let host = Host::sharing(&[&bytes]);
    let (blake3, sha256) = (blake3_id(&bytes), sha256_id(&bytes));
    for id in [sha256.to_string().to_uppercase(), blake3.cid().unwrap(), sha256.cid().unwrap()] {
        assert!(Bench::new().run(&[&host], &[&id]).done().stdout == bytes, "{id}");
    }
}

#[test]
fn a_file_that_is_there_is_done_at_once_or_refused_or_replaced() {
    let (bytes, other) = (content::bytes(3, 100_000), content::bytes(4, 100_000));
    let host = Host::sharing(&[&bytes]);
    for id in [blake3_id(&bytes), sha256_id(&bytes)] {
        let (bench, id) = (Bench::new(), id.to_string());
        fs::write(bench.path("file"), &bytes).unwrap();
        // Nobody is asked: nobody is there.
        let ended = bench.run(&[], &[&id, "-o", "file", "--json"]).done();
        assert_eq!(ended.json()[0]["already"], true);
        let ended = bench.run(&[&host], &[&id, "-o", "file", "--json", "--force"]).done();
        assert_eq!(ended.json()[0]["already"], false);
        assert!(ended.json()[0]["received"].as_u64().unwrap() >= 100_000);
        fs::write(bench.path("file"), &other).unwrap();
        bench.run(&[&host], &[&id, "-o", "file"]).failed(7, "file: is there already and something else");
        assert_content(&bench.path("file"), &other);
        bench.run(&[&host], &[&id, "-o", "file", "--force"]).done();
        assert_content(&bench.path("file"), &bytes);
        assert_eq!(bench.files(), ["file"]);
    }
}

#[test]
fn several_ids_go_to_a_folder_side_by_side() {
    let contents: Vec<Vec<u8>> = (0..100).map(|n| content::bytes(n, 3000 * n as usize)).collect();
    let host = Host::sharing(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let bench = Bench::new();
    let ids: Vec<String> = contents.iter().map(|bytes| blake3_id(bytes).to_string()).collect();
    // The first is given twice.
    let mut command = bench.command(&[&host], &[&*ids[0], "-", &*ids[1], "-o", "new/folder", "--json"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let list: String = ids.iter().map(|id| format!("{id}  a name\n\n")).collect();
    child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap()).done();
    assert_eq!(ended.json().len(), 100);
    for line in ended.json() {
        assert_eq!(line["path"], format!("new/folder/{}", line["id"].as_str().unwrap()));
    }
    assert_eq!(bench.files().len(), 100);
    for (id, bytes) in ids.iter().zip(&contents) {
        assert_content(&bench.path(&format!("new/folder/{id}")), bytes);
    }
}

#[test]
fn content_goes_into_a_shared_folder_under_its_id() {
    let bytes = content::bytes(6, 200_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), sha256_id(&bytes).to_string());
    bench.run(&[&host], &["--into", "shared", &id]).done();
    assert_eq!(bench.files(), [format!("shared/{id}")]);
    assert_content(&bench.path(&format!("shared/{id}")), &bytes);
    assert!(bench.path("shared/incomplete").is_dir());
}

#[test]
fn of_several_ids_the_good_ones_are_fetched_and_each_bad_one_is_told() {
    let bytes = content::bytes(7, 5000);
    let host = Host::sharing(&[&bytes]);
    let bench = Bench::new();
    let (good, unknown) = (blake3_id(&bytes).to_string(), blake3_id(b"unknown").to_string());
    let mut command = bench.command(&[&host], &["-", "-o", "dir", "--timeout", "500ms", "--json"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let list = format!("{unknown}\nno id, but a name\n{good}\n");
    child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(3), "that of the first in the list: {}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
    assert!(lines[0].starts_with("cjp2p-get: standard input: line 2: \"no id, but a name\""), "{}", lines[0]);
    assert!(lines[1].starts_with(&format!("cjp2p-get: {unknown}: no peer")), "{}", lines[1]);
    assert_content(&bench.path(&format!("dir/{good}")), &bytes);
    let events: Vec<_> = ended.json().iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events.iter().filter(|event| *event == "failed").count(), 2);
    assert_eq!(events.iter().filter(|event| *event == "complete").count(), 1);
}

#[test]
fn a_plain_name_is_fetched_only_where_that_is_insisted_on() {
    let bytes = content::bytes(8, 70_000);
    let host = Host::sharing(&[&bytes]);
    let bench = Bench::new();
    bench.run(&[&host], &["file-0"]).failed(2, "--unverified");
    assert!(bench.run(&[&host], &["file-0", "--unverified"]).done().stdout == bytes);
    bench.run(&[&host], &["file-0", "--unverified", "-o", "copy"]).done();
    assert_content(&bench.path("copy"), &bytes);
    bench.run(&[&host], &["file-0", "--unverified", "-o", "copy"]).failed(7, "copy: is there already");
}

#[test]
fn devices_and_pipes_are_written_to_and_not_replaced() {
    let bytes = content::bytes(9, 100_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    bench.run(&[&host], &[&id, "-o", "/dev/null"]).done();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let ended = bench.run(&[&host], &[&id, "-o", "/dev/stdout"]).done();
    assert!(ended.stdout == bytes);
    bench.run(&[&host], &[&id, "-o", "/dev/full"]).failed(7, "/dev/full: No space left");
}

#[test]
fn a_slow_reader_gets_everything_in_order_and_counts_as_no_stall() {
    let bytes = content::bytes(10, 20 << 20);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let address = host.address.to_string();
    let script = r#""$GET" --listen 127.0.0.1:0 --peer "$1" --stall 1s "$2" | (sleep 3; cat)"#;
    let ended = Ended::of(bench.script(script, &[&address, &id]).output().unwrap()).done();
    assert!(ended.stdout == bytes);
}

#[test]
fn all_sources_are_used() {
    let bytes = content::bytes(11, 8 << 20);
    let hosts: Vec<Host> = (0..3).map(|_| Host::limited(&[&bytes], Some(8 << 20))).collect();
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let ended = bench.run(&hosts.iter().collect::<Vec<_>>(), &[&id, "-o", "file", "--json"]).done();
    assert_eq!(ended.json()[0]["sources"], 3);
    assert_content(&bench.path("file"), &bytes);
}

#[test]
fn peers_that_were_met_are_remembered() {
    let bytes = content::bytes(12, 2_000_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    bench.run(&[&host], &[&id, "-o", "file"]).done();
    let table = bench.read("state/peers.json");
    assert!(String::from_utf8(table).unwrap().contains(&host.address.to_string()));
    assert!(bench.run(&[], &[&id]).done().stdout == bytes, "from whom the table knows");
}

#[test]
fn progress_is_told_in_lines_of_json() {
    let bytes = content::bytes(13, 3 << 20);
    let host = Host::limited(&[&bytes], Some(2 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let ended = bench.run(&[&host], &[&id, "-o", "file", "--progress", "json"]);
    assert_eq!(ended.code, Some(0));
    let lines: Vec<serde_json::Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2);
    let last = &lines[lines.len() - 1];
    assert_eq!((last["event"].as_str(), last["bytes"].as_u64()), (Some("progress"), Some(3 << 20)));
    assert_eq!(last["total"], 3 << 20);
    assert!(lines.iter().any(|line| line["sources"] == 1));
}
